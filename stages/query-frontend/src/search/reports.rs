use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

/// How often somebody who waits is told how far a search is.
const REPORT_EVERY: Duration = Duration::from_millis(500);

/// Tells whoever asked how far a search is.
#[derive(Debug)]
pub(crate) struct Reports<T> {
    to: Option<mpsc::Sender<T>>,
    next: Instant,
}

impl<T> Reports<T> {
    /// Nobody wants to know.
    pub(crate) fn none() -> Self {
        Self { to: None, next: Instant::now() }
    }

    pub(crate) fn to(to: mpsc::Sender<T>) -> Self {
        Self { to: Some(to), next: Instant::now() + REPORT_EVERY }
    }

    /// Waits until it is time to tell something.
    pub(crate) async fn due(&self) {
        match self.to {
            Some(_) => tokio::time::sleep_until(self.next).await,
            None => std::future::pending().await,
        }
    }

    /// Tells it. Who has gone away stops the search by dropping it.
    pub(crate) async fn send(&mut self, report: T) {
        if let Some(to) = &self.to {
            drop(to.send(report).await);
        }
        self.next = Instant::now() + REPORT_EVERY;
    }
}
