//! One partition, from the moment it is given to us until it is taken away:
//! load the chain, read the log from its end, take in, store, list; and all of it anew when another was faster.
//! Owns: when work on a partition starts over and when it is refused; a panic of it ends here.
//! Does not own: membership of the group (`group`); the steps (`start`, `fetch`, `store`, `upkeep`).

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use vivace_model::{ErrorKind, Offset, Partition};
use vivace_runtime::caught;

use crate::error::{PipelineError, causes};
use crate::fetch::{FetchEnd, Fetcher};
use crate::holding::Holding;
use crate::quarantine::Suspects;
use crate::retry::Backoff;
use crate::shared::Shared;
use crate::start::find_start;
use crate::store::Storer;
use crate::upkeep::Upkeep;

/// Wait after another ingester listed our offsets, so that two who both believe to be the owner do not race at full speed.
const FENCED_PAUSE: Duration = Duration::from_secs(1);
/// Wait before a set that failed is made again, smaller perhaps.
const SUSPECT_PAUSE: Duration = Duration::from_millis(50);
/// A refused partition is looked at again that often, for somebody may have repaired it.
const REFUSED_PAUSE: Duration = Duration::from_secs(60);

/// Works on one partition until everything is drained; dropped when the partition is taken away.
#[derive(Debug)]
pub(crate) struct Pipeline {
    shared: Arc<Shared>,
    partition: Partition,
    upkeep: Upkeep,
    suspects: Suspects,
    /// Grows while work panics without getting on.
    panics: Backoff,
    /// Where work on the partition panicked last, by the chain's end.
    start: Offset,
    /// Asks to store and list what was taken in and to end then.
    drain: CancellationToken,
}

impl Pipeline {
    pub(crate) fn new(shared: Arc<Shared>, partition: Partition, drain: CancellationToken) -> Self {
        let since = shared.environment.clock.now();
        let upkeep = Upkeep::new(Arc::clone(&shared), partition, since);
        let suspects = Suspects::new(Arc::clone(&shared), partition);
        Self { shared, partition, upkeep, suspects, panics: Backoff::new(), start: Offset::ZERO, drain }
    }

    pub(crate) async fn run(mut self) {
        self.shared.status.starting(self.partition);
        let mut backoff = Backoff::new();
        while !self.drain.is_cancelled() {
            let pause = match caught(self.session(&mut backoff)).await {
                Ok(Ok(FetchEnd::Drained)) => return,
                Ok(Ok(FetchEnd::Gap)) => {
                    warn!(partition = %self.partition, "the next records are not in the topic, starting over");
                    continue;
                }
                Ok(Err(error)) => self.judge(&error, &mut backoff),
                Err(panicked) => {
                    self.shared.metrics().panics.inc();
                    self.start_over(&panicked)
                }
            };
            tokio::select! {
                biased;
                () = self.drain.cancelled() => {}
                () = sleep(pause) => {}
            }
        }
    }

    /// Notes that work failed without a cause that can be waited for; gives the time to wait before starting over.
    fn start_over(&mut self, error: &dyn Error) -> Duration {
        let error = causes(error);
        let pause = self.panics.next(self.shared.random());
        error!(partition = %self.partition, error, ?pause, "work on the partition failed, starting over");
        self.shared.status.panicked(self.partition, error);
        pause
    }

    /// Notes an error; gives the time to wait before starting over.
    fn judge(&mut self, error: &PipelineError, backoff: &mut Backoff) -> Duration {
        let partition = self.partition;
        let leads_on = match error {
            PipelineError::Record { offset, source } => {
                self.suspects.record_failed(*offset, &source.to_string());
                Some(true)
            }
            PipelineError::Set { set, source } => Some(self.suspects.set_failed(*set, &causes(source))),
            _ => None,
        };
        match leads_on {
            Some(true) => {
                warn!(%partition, error = causes(error), "records cannot be stored, starting over");
                self.shared.status.panicked(partition, causes(error));
                return self.shared.random().jitter(SUSPECT_PAUSE);
            }
            Some(false) => return self.start_over(error),
            None => {}
        }
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
        if std::mem::replace(&mut self.start, start) != start {
            self.panics = Backoff::new();
        }
        let holding = Holding::new(start);
        let serving = self.shared.holdings.serve(self.partition, &holding);
        self.shared.status.serving(self.partition);
        self.shared.metrics().set_refused(self.partition, false);
        let (shared, partition) = (&self.shared, self.partition);
        let careful = self.suspects.plan(start);
        let (fetcher, sets) = Fetcher::new(
            Arc::clone(shared),
            partition,
            Arc::clone(&holding),
            reader,
            careful,
            self.drain.clone(),
        );
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
