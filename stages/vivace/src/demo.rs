//! Sends a steady flow of the sample shop's traces to this very process, so that a first look shows something.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio_util::sync::CancellationToken;
use tonic::transport::Endpoint;
use tracing::{info, warn};
use vivace_model::Clock;
use vivace_proto::otlp::collector::trace::trace_service_client::TraceServiceClient;
use vivace_sample::{Options, Shop};

/// How often a batch is sent.
const PACE: Duration = Duration::from_millis(500);
/// Largest request of the shop.
const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// Sends a batch of spans twice a second until shutdown; what is refused is logged and left.
pub(crate) async fn run(
    target: SocketAddr,
    clock: Arc<dyn Clock>,
    shutdown: CancellationToken,
) -> Result<()> {
    let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{}", target.port()))
        .context("the distributor's port makes a valid address")?;
    let mut client =
        TraceServiceClient::new(endpoint.connect_lazy()).max_encoding_message_size(MESSAGE_BYTES_MAX);
    let start = clock.now().0;
    let mut shop = Shop::new(Options { seed: start, start, spans_per_request: 100, ..Options::default() });
    let mut pace = tokio::time::interval(PACE);
    pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    info!("the demo shop is open: its traces are on their way");
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return Ok(()),
            _ = pace.tick() => {}
        }
        shop.set_time(clock.now().0);
        if let Err(status) = client.export(shop.next_request()).await {
            warn!(%status, "the demo's spans were refused");
        }
    }
}
