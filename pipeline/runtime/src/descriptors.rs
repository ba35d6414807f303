//! File descriptors of the process.
//! Owns: raising their limit at start, and how many of them connections may take.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{info, warn};

/// Descriptors that are left to files, Kafka, the store and other stages, at least.
const RESERVED_MIN: u64 = 256;
/// And the part of all that is left to them where that is more.
const RESERVED_PART: u64 = 4;

/// Raises the limit on open files to what the system allows, and says how many connections each of `listeners` may have
/// so that all together stay below it.
#[must_use]
pub fn connections_per_listener(listeners: usize) -> usize {
    let before = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: before.maximum, maximum: before.maximum };
    if before.current != before.maximum
        && let Err(error) = setrlimit(Resource::Nofile, raised)
    {
        warn!(%error, limit = before.current, "the limit on open files cannot be raised");
    }
    let limit = getrlimit(Resource::Nofile).current;
    let connections = share(limit, listeners);
    info!(?limit, connections_per_port = connections, "open files");
    connections
}

fn share(limit: Option<u64>, listeners: usize) -> usize {
    let Some(limit) = limit else { return usize::MAX };
    let reserved = RESERVED_MIN.max(limit / RESERVED_PART);
    let connections = usize::try_from(limit.saturating_sub(reserved)).unwrap_or(usize::MAX);
    (connections / listeners.max(1)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_connections_together_leave_room_for_files() {
        assert_eq!(share(Some(1024), 4), 192);
        assert_eq!(share(Some(65_536), 2), 24_576);
        assert_eq!(share(Some(100), 4), 1, "hopeless, but not closed");
        assert_eq!(share(None, 4), usize::MAX);
    }
}
