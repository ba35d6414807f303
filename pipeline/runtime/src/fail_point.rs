//! Places in the code where a test makes the real process fail: die, stand still, be slow, or see an error.
//! Owns: how fail points are switched on, what happens at one, and that nothing does without being asked for.
//! Does not own: where the points are (each stage names its own), what a step does with an error.
//! Guarantee: a point that is off costs one relaxed load.

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Plan {
    action: Action,
    first: u64,
    last: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    /// SIGKILL to ourselves.
    Kill,
    /// SIGSTOP to ourselves; whoever wants us to go on sends SIGCONT.
    Stop,
    /// The step sees an error.
    Error,
    /// The step takes so much longer.
    Sleep(Duration),
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
        "{0:?} is no fail point: expected NAME=ACTION@PASSES with the action kill, stop, error or sleep(MILLISECONDS)"
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

    async fn act(&self) -> Result<(), Injected> {
        let pass = self.passes.fetch_add(1, Ordering::Relaxed) + 1;
        let Some(plan) = self.plan.get().filter(|plan| (plan.first..=plan.last).contains(&pass)) else {
            return Ok(());
        };
        warn!(point = self.name, pass, action = ?plan.action, "fail point reached");
        match plan.action {
            Action::Kill => signal_self(Signal::KILL),
            Action::Stop => signal_self(Signal::STOP),
            Action::Error => return Err(Injected(self.name)),
            Action::Sleep(time) => tokio::time::sleep(time).await,
        }
        Ok(())
    }
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
        point.plan.set(plan).map_err(|_| FailPointError::Twice(name.to_owned()))?;
        point.on.store(true, Ordering::Relaxed);
        warn!(point = name, ?plan, "a fail point is on: this process is for tests");
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
        action => {
            let millis = action.strip_prefix("sleep(")?.strip_suffix(')')?;
            Action::Sleep(Duration::from_millis(millis.parse().ok()?))
        }
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

    #[test]
    fn what_is_wrong_is_named() {
        static ONE: FailPoint = FailPoint::new("wrong.one");
        for text in ["wrong.one", "wrong.one=die", "wrong.one=kill@x", "wrong.one=sleep(1s)", "=kill@1-"] {
            assert!(matches!(arm_fail_points(text, &[&ONE]), Err(FailPointError::Syntax(_))), "{text}");
        }
        let unknown = arm_fail_points("wrong.two=kill", &[&ONE]).unwrap_err().to_string();
        assert_eq!(unknown, "fail point wrong.two does not exist; there are wrong.one");
        let twice = arm_fail_points("wrong.one=kill@1;wrong.one=stop", &[&ONE]);
        assert_eq!(twice, Err(FailPointError::Twice("wrong.one".into())));
        assert_eq!(parse("stop"), Some(Plan { action: Action::Stop, first: 1, last: u64::MAX }));
    }
}
