use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use tokio::time::{Instant, sleep};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use crate::acknowledged::{Acknowledged, span_keys};

/// A request is given up, and the test with it, when it was not acknowledged for so long.
const RETRY_LIMIT: Duration = Duration::from_secs(90);

/// Longest wait for one answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(15);

/// Pause before the first retry; doubles up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// An OTLP client over gRPC that does as OTLP demands: sends a request again as long as the error is retryable. It
/// notes what was acknowledged.
#[derive(Clone, Debug)]
pub struct Sender {
    client: TraceServiceClient<Channel>,
    noted: Arc<Acknowledged>,
}

impl Sender {
    /// A sender to `http://host:port`; it connects with its first request.
    ///
    /// # Errors
    /// When that is no address.
    pub fn new(address: &str, noted: &Arc<Acknowledged>) -> anyhow::Result<Self> {
        let endpoint = Endpoint::from_shared(address.to_owned())?.timeout(ANSWER_LIMIT);
        let client = TraceServiceClient::new(endpoint.connect_lazy());
        Ok(Self { client, noted: Arc::clone(noted) })
    }

    /// Sends until acknowledged; gives the number of tries.
    ///
    /// # Errors
    /// When an answer says that a retry is of no use, or too much time has passed.
    pub async fn send(&mut self, request: ExportTraceServiceRequest) -> anyhow::Result<u32> {
        let spans = span_keys(&request);
        self.noted.sending(&spans);
        let deadline = Instant::now() + RETRY_LIMIT;
        let mut pause = PAUSE_MIN;
        for attempt in 1.. {
            match self.client.export(request.clone()).await {
                Ok(answer) => {
                    let partial = answer.into_inner().partial_success.unwrap_or_default();
                    ensure!(partial.rejected_spans == 0, "spans rejected: {}", partial.error_message);
                    self.noted.acknowledged(&spans);
                    return Ok(attempt);
                }
                Err(status) if !is_retryable(&status) => bail!("refused for good: {status}"),
                Err(status) if Instant::now() > deadline => {
                    return Err(status).with_context(|| format!("not acknowledged in {attempt} tries"));
                }
                Err(status) => {
                    self.noted.refused(&format!("{:?}", status.code()));
                    self.noted.resending(&spans);
                    sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
        }
        bail!("tried too often")
    }
}

/// The codes that OTLP's specification names. A broken connection shows as UNKNOWN or INTERNAL with a cause beneath.
fn is_retryable(status: &Status) -> bool {
    let named = matches!(
        status.code(),
        Code::Cancelled
            | Code::DeadlineExceeded
            | Code::Aborted
            | Code::OutOfRange
            | Code::Unavailable
            | Code::DataLoss
            | Code::ResourceExhausted
    );
    named || std::error::Error::source(status).is_some()
}
