//! Sends a steady flow of the sample shop's traces to this very process, so that a first look shows something.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio_util::sync::CancellationToken;
use tonic::transport::Endpoint;
use tracing::{info, warn};
use vivace_model::{Clock, TraceId};
use vivace_proto::otlp::collector::trace::ExportTraceServiceRequest;
use vivace_proto::otlp::collector::trace::trace_service_client::TraceServiceClient;
use vivace_sample::{Options, Shop};

/// How often a batch is sent.
const PACE: Duration = Duration::from_millis(500);
/// Largest request of the shop.
const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// Sends a batch of spans twice a second until shutdown; what is refused is logged and left. Says where to see a trace.
pub(crate) async fn run(
    target: SocketAddr,
    api_port: u16,
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
    let mut shown = false;
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return Ok(()),
            _ = pace.tick() => {}
        }
        shop.set_time(clock.now().0);
        let request = shop.next_request();
        let trace_id = first_root(&request);
        match client.export(request).await {
            Err(status) => warn!(%status, "the demo's spans were refused"),
            Ok(_) => {
                if let Some(id) = trace_id.filter(|_| !shown) {
                    info!("a trace to look at: http://localhost:{api_port}/api/v2/traces/{id}");
                    shown = true;
                }
            }
        }
    }
}

/// The id of a trace whose root is in the request.
fn first_root(request: &ExportTraceServiceRequest) -> Option<TraceId> {
    let mut spans = request.resource_spans.iter().flat_map(|r| &r.scope_spans).flat_map(|s| &s.spans);
    spans.find(|span| span.parent_span_id.is_empty()).and_then(|span| TraceId::new(&span.trace_id).ok())
}
