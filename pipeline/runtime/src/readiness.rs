use std::borrow::Cow;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

/// What has to be well before the process is sent any work.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    checks: Arc<Mutex<Vec<Check>>>,
    draining: CancellationToken,
}

#[derive(Debug)]
struct Check {
    name: Cow<'static, str>,
    /// Why not; `None` means ready.
    problem: Option<Cow<'static, str>>,
}

impl Readiness {
    /// Ready while all its checks pass and `draining` is not cancelled.
    #[must_use]
    pub fn new(draining: CancellationToken) -> Self {
        Self { checks: Arc::default(), draining }
    }

    /// Adds a check. It does not pass until its owner says so.
    #[must_use]
    pub fn check(&self, name: impl Into<Cow<'static, str>>) -> ReadinessCheck {
        let mut checks = self.checks.lock();
        checks.push(Check { name: name.into(), problem: Some("starting".into()) });
        ReadinessCheck { checks: Arc::clone(&self.checks), index: checks.len() - 1 }
    }

    /// Whether all is well.
    ///
    /// # Errors
    /// Says what is not, one line each.
    pub fn state(&self) -> Result<(), String> {
        if self.draining.is_cancelled() {
            return Err("shutting down\n".to_owned());
        }
        let checks = self.checks.lock();
        let problems: String = checks
            .iter()
            .filter_map(|check| check.problem.as_ref().map(|problem| format!("{}: {problem}\n", check.name)))
            .collect();
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }
}

/// One check, for the one who knows how it stands.
#[derive(Clone, Debug)]
pub struct ReadinessCheck {
    checks: Arc<Mutex<Vec<Check>>>,
    index: usize,
}

impl ReadinessCheck {
    /// It passes from now on.
    pub fn ready(&self) {
        self.checks.lock()[self.index].problem = None;
    }

    /// It does not pass from now on, for that reason.
    pub fn not_ready(&self, problem: impl Into<Cow<'static, str>>) {
        self.checks.lock()[self.index].problem = Some(problem.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_only_when_every_check_passes() {
        let readiness = Readiness::default();
        assert_eq!(readiness.state(), Ok(()));
        let (log, storage) = (readiness.check("log"), readiness.check("storage"));
        assert_eq!(readiness.state(), Err("log: starting\nstorage: starting\n".to_owned()));
        log.ready();
        storage.not_ready("no such bucket");
        assert_eq!(readiness.state(), Err("storage: no such bucket\n".to_owned()));
        storage.ready();
        assert_eq!(readiness.state(), Ok(()));
    }

    #[test]
    fn a_draining_process_is_not_ready() {
        let draining = CancellationToken::new();
        let readiness = Readiness::new(draining.clone());
        readiness.check("log").ready();
        draining.cancel();
        assert_eq!(readiness.state(), Err("shutting down\n".to_owned()));
    }
}
