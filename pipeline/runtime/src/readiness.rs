//! Whether the process can be sent work, and if not, what is wrong.
//! Owns: the list of checks, the text for probes and the report for people and machines.
//! Does not own: how any check stands; its owner says so.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::Serialize;
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
    /// Whether the process is not ready while it does not pass.
    required: bool,
    /// Why not; `None` means ready.
    problem: Option<Cow<'static, str>>,
    partitions: BTreeMap<u32, PartitionReport>,
}

/// All that is known, for people and machines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReadinessReport {
    /// Whether the process can be sent work.
    pub ready: bool,
    /// Why not, if it is none of the checks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<&'static str>,
    /// In the order of the start.
    pub checks: Vec<CheckReport>,
}

/// How one check stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CheckReport {
    /// A stage, or what the stages depend on.
    pub name: Cow<'static, str>,
    /// Whether it passes.
    pub ready: bool,
    /// Whether the process is not ready while it does not pass. What stages depend on is only reported: a process that
    /// waits for it is of use again as soon as it is back.
    pub required: bool,
    /// Why it does not pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<Cow<'static, str>>,
    /// Of a stage that works on partitions, those that it has.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub partitions: Vec<PartitionReport>,
}

/// How a stage fares with one partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PartitionReport {
    /// Its number.
    pub partition: u32,
    /// In one word.
    pub state: &'static str,
    /// What is wrong, if something is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
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
        self.add(name.into(), true, Some("starting".into()))
    }

    /// Adds something that the process depends on, and is not unready without: it is only reported. It is well until its
    /// owner says otherwise.
    #[must_use]
    pub fn dependency(&self, name: impl Into<Cow<'static, str>>) -> ReadinessCheck {
        self.add(name.into(), false, None)
    }

    fn add(
        &self,
        name: Cow<'static, str>,
        required: bool,
        problem: Option<Cow<'static, str>>,
    ) -> ReadinessCheck {
        let mut checks = self.checks.lock();
        checks.push(Check { name, required, problem, partitions: BTreeMap::new() });
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
            .filter(|check| check.required)
            .filter_map(|check| check.problem.as_ref().map(|problem| format!("{}: {problem}\n", check.name)))
            .collect();
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }

    /// How all checks stand.
    #[must_use]
    pub fn report(&self) -> ReadinessReport {
        let draining = self.draining.is_cancelled();
        let checks = self.checks.lock();
        ReadinessReport {
            ready: !draining && !checks.iter().any(|check| check.required && check.problem.is_some()),
            detail: draining.then_some("shutting down"),
            checks: checks.iter().map(Check::report).collect(),
        }
    }
}

impl Check {
    fn report(&self) -> CheckReport {
        CheckReport {
            name: self.name.clone(),
            ready: self.problem.is_none(),
            required: self.required,
            detail: self.problem.clone(),
            partitions: self.partitions.values().cloned().collect(),
        }
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

    /// Notes how it fares with a partition. Whether the check passes does not follow from it.
    pub fn partition(&self, partition: u32, state: &'static str, detail: Option<String>) {
        let report = PartitionReport { partition, state, detail };
        self.checks.lock()[self.index].partitions.insert(partition, report);
    }

    /// Notes that the partition is not its own any more.
    pub fn partition_gone(&self, partition: u32) {
        self.checks.lock()[self.index].partitions.remove(&partition);
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
        let report = readiness.report();
        assert_eq!((report.ready, report.detail), (false, Some("shutting down")));
    }

    #[test]
    fn a_report_says_what_is_wrong_with_whom() {
        let readiness = Readiness::default();
        let (ingester, store) = (readiness.check("ingester"), readiness.dependency("store"));
        ingester.ready();
        ingester.partition(3, "trouble", Some("cannot upload".into()));
        ingester.partition(1, "serving", None);
        ingester.partition(7, "serving", None);
        ingester.partition_gone(7);
        store.not_ready("no answer");
        assert_eq!(readiness.state(), Ok(()), "a dependency is only reported");
        let report = serde_json::to_value(readiness.report()).unwrap();
        let expected = serde_json::json!({ "ready": true, "checks": [
            { "name": "ingester", "ready": true, "required": true, "partitions": [
                { "partition": 1, "state": "serving" },
                { "partition": 3, "state": "trouble", "detail": "cannot upload" },
            ] },
            { "name": "store", "ready": false, "required": false, "detail": "no answer" },
        ] });
        assert_eq!(report, expected);
    }
}
