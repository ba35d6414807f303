//! Places in the code where a test makes the real process fail: die, stand still, be slow, panic, or see an error.
//! Owns: how fail points are switched on, what happens at one, and that nothing does without being asked for.
//! Does not own: where the points are (each stage names its own), what a step does with an error.
//! Guarantee: a point that is off costs one relaxed load.

use std::cell::RefCell;
use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rustix::process::{Signal, getpid, kill_process};
use tracing::warn;

/// A place where the process can be made to fail. Each is a `static` of the stage that passes it.
#[derive(Debug)]
pub struct FailPoint {
    name: &'static str,
    on: AtomicBool,
    plan: OnceLock<Plan>,
    passes: AtomicU64,
}

/// What happens at a point, and at which passes: from the `first` to the `last`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Plan {
    action: Action,
    first: u64,
    last: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Action {
    /// SIGKILL to ourselves.
    Kill,
    /// SIGSTOP to ourselves; whoever wants us to go on sends SIGCONT.
    Stop,
    /// The step sees an error.
    Error,
    /// The step takes so much longer.
    Sleep(Duration),
    /// The step panics.
    Panic,
    /// The step panics if the data that it works on contains this text.
    Poison(String),
}

/// The error of a step that was told to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("fail point {0}")]
pub struct Injected(&'static str);

/// Why fail points cannot be switched on. One line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FailPointError {
    /// A part of the text is not as it must be.
    #[error(
        "{0:?} is no fail point: expected NAME=ACTION@PASSES with the action kill, stop, error, sleep(MILLISECONDS), panic \
         or panic(TEXT IN THE DATA)"
    )]
    Syntax(String),
    /// There is no such point.
    #[error("fail point {0} does not exist; there are {1}")]
    Unknown(String, String),
    /// A point is named twice, or was switched on before.
    #[error("fail point {0} is on already")]
    Twice(String),
}

impl FailPoint {
    /// A point that is off.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self { name, on: AtomicBool::new(false), plan: OnceLock::new(), passes: AtomicU64::new(0) }
    }

    /// Passes the point. Safe to drop; a pass counts when it begins.
    ///
    /// # Errors
    /// [`Injected`] when the point was told to give one. It means what any failure of this step means.
    pub async fn pass(&self) -> Result<(), Injected> {
        if !self.on.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.act().await
    }

    /// Whether anything may happen here, for whoever would have to make up the data first.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    /// Whether a step on this data is to panic. Of a step on the data of many records, ask for each record while its
    /// bytes are at hand, and pass the answer to [`strike`](Self::strike) later.
    #[must_use]
    pub fn poisons(&self, data: &[u8]) -> bool {
        self.on.load(Ordering::Relaxed) && self.is_poison(data)
    }

    /// Panics if the step's data is poison.
    ///
    /// # Panics
    /// That is what it is for.
    pub fn strike(&self, poison: bool) {
        assert!(!poison, "fail point {}", self.name);
    }

    fn is_poison(&self, data: &[u8]) -> bool {
        if hooked(self.name, Some(data)) {
            return true;
        }
        let Some(Action::Poison(text)) = self.plan.get().map(|plan| &plan.action) else { return false };
        data.windows(text.len()).any(|window| window == text.as_bytes())
    }

    async fn act(&self) -> Result<(), Injected> {
        self.strike(hooked(self.name, None));
        let pass = self.passes.fetch_add(1, Ordering::Relaxed) + 1;
        let Some(plan) = self.plan.get().filter(|plan| (plan.first..=plan.last).contains(&pass)) else {
            return Ok(());
        };
        if matches!(plan.action, Action::Poison(_)) {
            return Ok(());
        }
        warn!(point = self.name, pass, action = ?plan.action, "fail point reached");
        match plan.action {
            Action::Kill => signal_self(Signal::KILL),
            Action::Stop => signal_self(Signal::STOP),
            Action::Error => return Err(Injected(self.name)),
            Action::Sleep(time) => tokio::time::sleep(time).await,
            Action::Panic | Action::Poison(_) => self.strike(true),
        }
        Ok(())
    }
}

/// Decides whether a step panics, by the point's name and, where the step asks for it, its data.
type Hook = Box<dyn FnMut(&'static str, Option<&[u8]>) -> bool>;

thread_local! {
    static HOOK: RefCell<Option<Hook>> = const { RefCell::new(None) };
}

/// As long as it lives, a test decides on its own thread which steps panic.
#[must_use]
pub struct FailPointHook(());

impl fmt::Debug for FailPointHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FailPointHook").finish_non_exhaustive()
    }
}

impl Drop for FailPointHook {
    fn drop(&mut self) {
        HOOK.with_borrow_mut(|hook| *hook = None);
    }
}

/// Lets `hook` decide at each of the points whether the step panics, for all that runs on this thread; so it is for tests
/// and simulations on a runtime of a single thread. Steps of other threads are as they were.
pub fn hook_fail_points(
    points: &[&FailPoint],
    hook: impl FnMut(&'static str, Option<&[u8]>) -> bool + 'static,
) -> FailPointHook {
    HOOK.with_borrow_mut(|place| *place = Some(Box::new(hook)));
    points.iter().for_each(|point| point.on.store(true, Ordering::Relaxed));
    FailPointHook(())
}

fn hooked(name: &'static str, data: Option<&[u8]>) -> bool {
    HOOK.with_borrow_mut(|hook| hook.as_mut().is_some_and(|hook| hook(name, data)))
}

fn signal_self(signal: Signal) {
    // To ourselves it is always allowed.
    kill_process(getpid(), signal).unwrap_or_else(|error| warn!(%error, "no signal sent"));
}

/// Switches points on: `NAME=ACTION@PASSES;…`, where the passes are `3`, `3-5` or left out for each of them.
///
/// # Errors
/// [`FailPointError`] for the first part that is wrong; points before it may be on then.
pub fn arm_fail_points(text: &str, points: &[&FailPoint]) -> Result<(), FailPointError> {
    for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
        let wrong = || FailPointError::Syntax(part.to_owned());
        let (name, plan) = part.split_once('=').ok_or_else(wrong)?;
        let plan = parse(plan.trim()).ok_or_else(wrong)?;
        let name = name.trim();
        let Some(point) = points.iter().find(|point| point.name == name) else {
            let known: Vec<_> = points.iter().map(|point| point.name).collect();
            return Err(FailPointError::Unknown(name.to_owned(), known.join(", ")));
        };
        warn!(point = name, ?plan, "a fail point is on: this process is for tests");
        point.plan.set(plan).map_err(|_| FailPointError::Twice(name.to_owned()))?;
        point.on.store(true, Ordering::Relaxed);
    }
    Ok(())
}

fn parse(text: &str) -> Option<Plan> {
    let (action, passes) = match text.split_once('@') {
        Some((action, passes)) => (action, Some(passes)),
        None => (text, None),
    };
    let action = match action {
        "kill" => Action::Kill,
        "stop" => Action::Stop,
        "error" => Action::Error,
        "panic" => Action::Panic,
        action => match action.strip_prefix("panic(").and_then(|text| text.strip_suffix(')')) {
            Some(text) if !text.is_empty() && passes.is_none() => Action::Poison(text.to_owned()),
            Some(_) => return None,
            None => {
                let millis = action.strip_prefix("sleep(")?.strip_suffix(')')?;
                Action::Sleep(Duration::from_millis(millis.parse().ok()?))
            }
        },
    };
    let (first, last) = match passes.map(|passes| passes.split_once('-').unwrap_or((passes, passes))) {
        None => (1, u64::MAX),
        Some((first, last)) => (first.parse().ok()?, last.parse().ok()?),
    };
    Some(Plan { action, first, last })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn points_act_at_the_passes_asked_for() {
        static ONE: FailPoint = FailPoint::new("test.one");
        static TWO: FailPoint = FailPoint::new("test.two");
        static OFF: FailPoint = FailPoint::new("test.off");
        arm_fail_points(" test.one=error@2-3; test.two=sleep(250)@1;", &[&ONE, &TWO, &OFF]).unwrap();
        let mut failed = Vec::new();
        for _ in 0..4 {
            failed.push(ONE.pass().await.is_err());
            assert_eq!(OFF.pass().await, Ok(()));
        }
        assert_eq!(failed, [false, true, true, false]);
        let started = tokio::time::Instant::now();
        TWO.pass().await.unwrap();
        TWO.pass().await.unwrap();
        assert_eq!(started.elapsed(), Duration::from_millis(250));
    }

    #[tokio::test]
    #[should_panic = "fail point test.panic"]
    async fn a_step_can_panic() {
        static POINT: FailPoint = FailPoint::new("test.panic");
        arm_fail_points("test.panic=panic@2", &[&POINT]).unwrap();
        POINT.pass().await.unwrap();
        let _never = POINT.pass().await;
    }

    #[tokio::test]
    async fn poison_is_known_by_its_text() {
        static POINT: FailPoint = FailPoint::new("test.poison");
        assert!(!POINT.poisons(b"a bad one"));
        arm_fail_points("test.poison=panic(bad)", &[&POINT]).unwrap();
        assert_eq!(POINT.pass().await, Ok(()), "only its data makes the step panic");
        assert!(POINT.poisons(b"a bad one") && !POINT.poisons(b"ba") && !POINT.poisons(b"good"));
    }

    #[tokio::test]
    async fn a_hook_decides_for_its_thread_while_it_lives() {
        static POINT: FailPoint = FailPoint::new("test.hooked");
        let hook = hook_fail_points(&[&POINT], |name, data| name == "test.hooked" && data == Some(b"x"));
        assert!(POINT.poisons(b"x") && !POINT.poisons(b"y"));
        assert_eq!(POINT.pass().await, Ok(()));
        assert!(!std::thread::spawn(|| POINT.poisons(b"x")).join().unwrap());
        drop(hook);
        assert!(!POINT.poisons(b"x"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        static ONE: FailPoint = FailPoint::new("wrong.one");
        for text in [
            "wrong.one",
            "wrong.one=die",
            "wrong.one=kill@x",
            "wrong.one=sleep(1s)",
            "=kill@1-",
            "wrong.one=panic()",
            "wrong.one=panic(x)@2",
        ] {
            assert!(matches!(arm_fail_points(text, &[&ONE]), Err(FailPointError::Syntax(_))), "{text}");
        }
        let unknown = arm_fail_points("wrong.two=kill", &[&ONE]).unwrap_err().to_string();
        assert_eq!(unknown, "fail point wrong.two does not exist; there are wrong.one");
        let twice = arm_fail_points("wrong.one=kill@1;wrong.one=stop", &[&ONE]);
        assert_eq!(twice, Err(FailPointError::Twice("wrong.one".into())));
        assert_eq!(parse("stop"), Some(Plan { action: Action::Stop, first: 1, last: u64::MAX }));
    }
}
