use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use vivace_sample::{Options, Shop};

use crate::acknowledged::Acknowledged;
use crate::sender::Sender;

/// The time, in seconds since the epoch, in which all spans of a load start: from 2026-01-01T00:00:00Z on, for less than an
/// hour.
pub const SHOP_SECONDS: Range<u64> = 1_767_225_000..1_767_229_200;

/// How much several senders send together, and how fast.
#[derive(Clone, Copy, Debug)]
pub struct LoadOptions {
    /// Senders side by side, each with a shop and a connection of its own.
    pub senders: usize,
    /// Spans that all of them send at least.
    pub spans: usize,
    /// Spans that all of them send in a second at most; fewer when the answers are slow.
    pub spans_per_second: usize,
    /// What the shops do follows from it.
    pub seed: u64,
}

/// Senders at work beside the test. Dropping it stops them.
#[derive(Debug)]
pub struct Load {
    tasks: JoinSet<anyhow::Result<()>>,
    noted: Arc<Acknowledged>,
    options: LoadOptions,
    stop: CancellationToken,
}

impl Load {
    /// Starts the senders, to OTLP over gRPC at `http://host:port`.
    ///
    /// # Errors
    /// When that is no address.
    pub fn start(address: &str, noted: &Arc<Acknowledged>, options: LoadOptions) -> anyhow::Result<Self> {
        let (mut tasks, stop) = (JoinSet::new(), CancellationToken::new());
        for index in 0..options.senders {
            let sender = Sender::new(address, noted)?;
            tasks.spawn(send(sender, options, options.seed + index as u64, stop.clone()));
        }
        Ok(Self { tasks, noted: Arc::clone(noted), options, stop })
    }

    /// Waits until that part of all spans was acknowledged.
    ///
    /// # Errors
    /// When a sender had to give up, or finished before.
    pub async fn reached(&mut self, part: f64) -> anyhow::Result<()> {
        let wanted = (self.options.spans as f64 * part) as usize;
        while self.noted.span_count() < wanted {
            while let Some(ended) = self.tasks.try_join_next() {
                ended??;
            }
            ensure!(!self.tasks.is_empty(), "all senders are done before {wanted} spans");
            sleep(Duration::from_millis(20)).await;
        }
        eprintln!("load: {} spans acknowledged", self.noted.span_count());
        Ok(())
    }

    /// Sends no more than the traces that were begun; waits until all of them is acknowledged.
    ///
    /// # Errors
    /// When a sender had to give up.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.stop.cancel();
        self.finished().await
    }

    /// Waits until all is sent and acknowledged.
    ///
    /// # Errors
    /// When a sender had to give up.
    pub async fn finished(mut self) -> anyhow::Result<()> {
        while let Some(ended) = self.tasks.join_next().await {
            ended??;
        }
        eprintln!("load: all {} spans acknowledged", self.noted.span_count());
        Ok(())
    }
}

/// One sender's work: every trace that it begins is sent whole in the end.
async fn send(
    mut sender: Sender,
    options: LoadOptions,
    seed: u64,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let mut shop = Shop::new(Options { seed, ..Options::default() });
    let wanted = options.spans.div_ceil(options.senders);
    let pause = Duration::from_secs_f64(options.senders as f64 / options.spans_per_second as f64);
    let mut next = Instant::now();
    let mut sent = 0;
    while sent < wanted && !stop.is_cancelled() {
        let request = shop.next_request();
        let spans = request.resource_spans.iter().flat_map(|group| &group.scope_spans);
        let spans = spans.map(|scoped| scoped.spans.len()).sum::<usize>();
        sender.send(request).await?;
        sent += spans;
        // After a hold-up it goes on at the old pace and does not make up for the time.
        next = (next + pause * u32::try_from(spans)?).max(Instant::now());
        sleep_until(next).await;
    }
    for request in shop.drain() {
        sender.send(request).await?;
    }
    Ok(())
}
