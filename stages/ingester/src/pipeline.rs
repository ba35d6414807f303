//! One partition, from the moment it is given to us until it is taken away:
//! load the chain, read the log from its end, take in, store, list; and all of it anew when another was faster.
//! Owns: when work on a partition starts over and when it is refused.
//! Does not own: membership of the group (`group`); the steps (`start`, `fetch`, `store`, `upkeep`).

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use vivace_model::{ErrorKind, Partition};

use crate::error::{PipelineError, causes};
use crate::fetch::{FetchEnd, Fetcher};
use crate::holding::Holding;
use crate::retry::Backoff;
use crate::shared::Shared;
use crate::start::find_start;
use crate::store::Storer;
use crate::upkeep::Upkeep;

/// Wait after another ingester listed our offsets, so that two who both believe to be the owner do not race at full speed.
const FENCED_PAUSE: Duration = Duration::from_secs(1);
/// A refused partition is looked at again that often, for somebody may have repaired it.
const REFUSED_PAUSE: Duration = Duration::from_secs(60);

/// Works on one partition until everything is drained; dropped when the partition is taken away.
#[derive(Debug)]
pub(crate) struct Pipeline {
    shared: Arc<Shared>,
    partition: Partition,
    upkeep: Upkeep,
    /// Asks to store and list what was taken in and to end then.
    drain: CancellationToken,
}

impl Pipeline {
    pub(crate) fn new(shared: Arc<Shared>, partition: Partition, drain: CancellationToken) -> Self {
        let since = shared.environment.clock.now();
        let upkeep = Upkeep::new(Arc::clone(&shared), partition, since);
        Self { shared, partition, upkeep, drain }
    }

    pub(crate) async fn run(mut self) {
        self.shared.status.starting(self.partition);
        let mut backoff = Backoff::new();
        while !self.drain.is_cancelled() {
            let error = match self.session(&mut backoff).await {
                Ok(FetchEnd::Drained) => return,
                Ok(FetchEnd::Gap) => {
                    warn!(partition = %self.partition, "the next records are not in the topic, starting over");
                    continue;
                }
                Err(error) => error,
            };
            let pause = self.judge(&error, &mut backoff);
            tokio::select! {
                biased;
                () = self.drain.cancelled() => {}
                () = sleep(pause) => {}
            }
        }
    }

    /// Notes an error; gives the time to wait before starting over.
    fn judge(&self, error: &PipelineError, backoff: &mut Backoff) -> Duration {
        let partition = self.partition;
        match error.kind() {
            ErrorKind::Unavailable => {
                self.shared.trouble(partition, "cannot work on the partition", error);
                backoff.next(self.shared.random())
            }
            ErrorKind::Fenced => {
                self.shared.metrics().conflicts.inc();
                warn!(%partition, error = causes(error), "another ingester was faster, its work counts and ours is dropped");
                self.shared.random().jitter(FENCED_PAUSE)
            }
            ErrorKind::Invalid | ErrorKind::Corrupt => {
                let reason = causes(error);
                error!(%partition, error = reason, "partition refused, nothing of it is stored until this is repaired");
                self.shared.status.refused(partition, reason);
                self.shared.metrics().set_refused(partition, true);
                REFUSED_PAUSE
            }
        }
    }

    /// Works from the end of the chain on, until it is drained or something goes wrong. All that was taken in and is
    /// not listed is dropped then; it is still in the log.
    async fn session(&mut self, backoff: &mut Backoff) -> Result<FetchEnd, PipelineError> {
        let (chain, state) = find_start(&self.shared, self.partition).await?;
        let start = state.end();
        let memory = self.shared.budget.reader(self.shared.log().reader_bytes()).await;
        let reader = self.shared.log().read(&self.shared.topics.spans, self.partition, start).await;
        let reader = reader.map_err(|source| PipelineError::Log { action: "read the topic", source })?;
        *backoff = Backoff::new();
        let holding = Holding::new(start);
        let serving = self.shared.holdings.serve(self.partition, &holding);
        self.shared.status.serving(self.partition);
        self.shared.metrics().set_refused(self.partition, false);
        let (shared, partition) = (&self.shared, self.partition);
        let (fetcher, sets) =
            Fetcher::new(Arc::clone(shared), partition, Arc::clone(&holding), reader, self.drain.clone());
        let storer = Storer::new(Arc::clone(shared), partition, Arc::clone(&holding), (chain, state), sets);
        let work = async { tokio::try_join!(fetcher.run(), storer.run()) };
        let ended = tokio::select! {
            biased;
            ended = work => {
                let (end, ()) = ended?;
                info!(%partition, ?end, "work on the partition ended");
                if end == FetchEnd::Drained {
                    // Other partitions may take longer, and nobody else can answer before the group is left.
                    serving.keep();
                }
                Ok(end)
            }
            () = self.upkeep.run(&holding, start) => unreachable!("upkeep goes on until it is dropped"),
        };
        drop(memory);
        ended
    }
}
