//! The embedded log's housekeeping thread: writes commits down and deletes what nobody needs.
//! Owns: when that happens: soon after there is a reason, at most about once a second. Does not own: what is deleted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex, RwLock};
use tracing::warn;

use super::topic::Topic;

const PAUSE: Duration = Duration::from_secs(1);

pub(super) type Topics = RwLock<BTreeMap<String, Arc<Topic>>>;

#[derive(Debug, Default)]
struct State {
    work: bool,
    stop: bool,
}

/// Tells the keeper what to do.
#[derive(Debug, Default)]
pub(super) struct Signal {
    state: Mutex<State>,
    changed: Condvar,
}

impl Signal {
    /// Something was committed, or a segment begun.
    pub(super) fn work(&self) {
        let mut state = self.state.lock();
        if !state.work {
            state.work = true;
            self.changed.notify_all();
        }
    }

    /// Does the work once more and ends.
    pub(super) fn stop(&self) {
        self.state.lock().stop = true;
        self.changed.notify_all();
    }
}

/// The thread's loop.
pub(super) fn run(signal: &Signal, topics: &Topics) {
    loop {
        let stop = {
            let mut state = signal.state.lock();
            while !state.work && !state.stop {
                signal.changed.wait(&mut state);
            }
            state.work = false;
            state.stop
        };
        let done = keep(topics);
        if stop {
            return;
        }
        let mut state = signal.state.lock();
        state.work |= !done;
        signal.changed.wait_while_for(&mut state, |state| !state.stop, PAUSE);
    }
}

/// Saves commits and deletes segments; false if something is to be tried again.
pub(super) fn keep(topics: &Topics) -> bool {
    let topics: Vec<_> = topics.read().values().cloned().collect();
    let mut done = true;
    for topic in topics {
        if let Err(error) = topic.groups.save() {
            warn!(topic = topic.name, %error, "failed to save commits");
            done = false;
        }
        if let Err(error) = topic.truncate() {
            warn!(topic = topic.name, error = &error as &dyn std::error::Error, "failed to truncate");
        }
    }
    done
}
