//! How long to wait between attempts.

use std::time::Duration;

use tokio::time;

use crate::Random;

/// First wait after a failure.
const WAIT_MIN: Duration = Duration::from_millis(100);
/// Longest wait between two attempts.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// Waits that double from [`WAIT_MIN`] to [`WAIT_MAX`], each cut by a random part. Attempts are not limited: an
/// ingester that cannot store keeps its spans and stops fetching; it never drops them.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
}

impl Backoff {
    pub(crate) const fn new() -> Self {
        Self { next: WAIT_MIN }
    }

    /// How long to wait after one more failure.
    pub(crate) fn next(&mut self, random: &Random) -> Duration {
        let wait = random.jitter(self.next);
        self.next = (self.next * 2).min(WAIT_MAX);
        wait
    }

    /// Waits after one more failure.
    pub(crate) async fn wait(&mut self, random: &Random) {
        time::sleep(self.next(random)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_maximum() {
        let random = Random::seeded(1);
        let mut backoff = Backoff::new();
        let waits: Vec<_> = (0..10).map(|_| backoff.next(&random)).collect();
        assert!(waits[0] >= WAIT_MIN / 2 && waits[0] <= WAIT_MIN, "{waits:?}");
        assert!(waits[9] >= WAIT_MAX / 2 && waits[9] <= WAIT_MAX, "{waits:?}");
    }
}
