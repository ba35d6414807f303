//! Whether something outside of the process answers.
//! Owns: when it counts as silent, and saying so once, and once that it is back. Does not own: asking it.
//! Guarantee: one line for an outage and one for its end, however many requests fail.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::ReadinessCheck;

/// Failures in a row, without a success between them, after which it counts as silent.
const FAILURES: u32 = 3;
/// Or the time after the first of them.
const SILENCE: Duration = Duration::from_secs(5);

/// What is known about something that the process depends on.
#[derive(Clone, Debug)]
pub struct Dependency(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    name: &'static str,
    check: ReadinessCheck,
    up: Gauge,
    /// Whether the last request failed: all that is looked at while all is well.
    failing: AtomicBool,
    failures: Mutex<Failures>,
}

#[derive(Debug, Default)]
struct Failures {
    count: u32,
    first: Option<Instant>,
    said: bool,
}

impl Dependency {
    /// It answers, as far as is known. Registers `vivace_<metric>_up`; lines call it `name`.
    #[must_use]
    pub fn new(name: &'static str, metric: &str, check: ReadinessCheck, registry: &mut Registry) -> Self {
        let up = Gauge::default();
        up.set(1);
        let help = "Whether the last requests to it were answered (1) or not (0)";
        registry.register(format!("vivace_{metric}_up"), help, up.clone());
        Self(Arc::new(Inner { name, check, up, failing: AtomicBool::new(false), failures: Mutex::default() }))
    }

    /// Notes an answer, whatever it says.
    pub fn answered(&self) {
        if !self.0.failing.load(Ordering::Relaxed) {
            return;
        }
        let mut failures = self.0.failures.lock();
        self.0.failing.store(false, Ordering::Relaxed);
        let Failures { first, said, .. } = std::mem::take(&mut *failures);
        if said {
            let after = first.map(|first| first.elapsed()).unwrap_or_default();
            self.0.check.ready();
            self.0.up.set(1);
            info!(after = ?Duration::from_secs(after.as_secs()), "{} answers again", self.0.name);
        }
    }

    /// Notes a request without an answer, or with one that is no use.
    pub fn failed(&self, error: &(dyn Error + 'static)) {
        let mut failures = self.0.failures.lock();
        self.0.failing.store(true, Ordering::Relaxed);
        failures.count += 1;
        let first = *failures.first.get_or_insert_with(Instant::now);
        if failures.count < FAILURES && first.elapsed() < SILENCE {
            return;
        }
        let (name, causes) = (self.0.name, causes(error));
        let how = if is_disk_full(error) { "has a full disk" } else { "does not answer" };
        if !failures.said {
            failures.said = true;
            self.0.up.set(0);
            warn!(error = causes, "{name} {how}");
        }
        self.0.check.not_ready(format!("{name} {how}: {causes}"));
    }
}

fn is_disk_full(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::StorageFull) {
            return true;
        }
        next = error.source();
    }
    false
}

/// An error and its causes in one line; a cause that the text before already has is left out.
fn causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Readiness;

    fn down() -> io::Error {
        io::Error::other("connection refused")
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_said_when_it_lasts_and_ends_with_an_answer() {
        let readiness = Readiness::default();
        let check = readiness.dependency("store");
        let store = Dependency::new("object store", "store", check, &mut Registry::default());
        let detail = || readiness.report().checks[0].detail.clone();
        store.failed(&down());
        store.failed(&down());
        store.answered();
        store.failed(&down());
        assert_eq!((detail(), store.0.up.get()), (None, 1), "others were answered");
        tokio::time::sleep(SILENCE).await;
        store.failed(&down());
        assert_eq!(detail().unwrap(), "object store does not answer: connection refused");
        assert_eq!(store.0.up.get(), 0);
        store.answered();
        assert_eq!((detail(), store.0.up.get()), (None, 1));
        (0..FAILURES).for_each(|_| store.failed(&down()));
        assert!(detail().is_some());
    }

    #[test]
    fn a_full_disk_is_called_so() {
        let readiness = Readiness::default();
        let check = readiness.dependency("log");
        let log = Dependency::new("message log", "log", check, &mut Registry::default());
        let full = io::Error::other(Wrapped(io::Error::from(io::ErrorKind::StorageFull)));
        (0..FAILURES).for_each(|_| log.failed(&full));
        let detail = readiness.report().checks[0].detail.clone().unwrap();
        assert!(detail.starts_with("message log has a full disk: request failed: "), "{detail}");
    }

    #[test]
    fn causes_are_said_once() {
        let inner = io::Error::other("broken");
        let outer = io::Error::other(Wrapped(inner));
        assert_eq!(causes(&outer), "request failed: broken");
    }

    #[derive(Debug, thiserror::Error)]
    #[error("request failed")]
    struct Wrapped(#[source] io::Error);
}
