//! From a request's bytes to its records in the log: receive, decompress, split, append.
//! Owns: the order of these steps, which thread does them, and that all of it is on the budget.
//! Does not own: how a protocol frames requests and words its answers.
//! Guarantee: a request is accepted only after the log has made all of its records durable.

mod job;

use std::fmt::Write as _;
use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use http::HeaderMap;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use tracing::{debug, warn};
use vivace_log::{LogError, NewRecord, SharedLog};
use vivace_model::otlp::{Limits, RejectedSpan, SpansRecord};
use vivace_model::{ErrorKind, Overrides, Spread, TenantError, TenantId, TenantSpread};
use vivace_runtime::{Injected, Watched};

use self::job::{Job, Prepared, Progress};
use crate::body::{self, Framing, GRPC_PREFIX};
use crate::config::Config;
use crate::encoding::Encoding;
use crate::error::RequestError;
use crate::inflight::{self, Inflight};
use crate::metrics::{Metrics, Protocol, RejectReason, RejectedLabels};
use crate::rpc::{ExportTraceServiceResponse, PartialSuccess, RpcStatus};
use crate::{fail_points, grpc};

/// Name of the header with the tenant: of requests, and of records.
pub(crate) const TENANT_HEADER: &str = "x-scope-orgid";

/// Rejected spans that an answer names; more are only counted.
const REJECTED_NAMED_MAX: usize = 3;

/// What both protocols hand their requests to.
#[derive(Debug)]
pub(crate) struct Intake {
    pub(crate) config: Config,
    pub(crate) metrics: Metrics,
    log: SharedLog,
    topic: String,
    partitions: u32,
    /// How traces of single tenants are spread over them.
    pub(crate) overrides: Watched<Overrides>,
    /// Whether each request must name its tenant.
    pub(crate) multitenancy_enabled: bool,
    limits: Limits,
    pub(crate) inflight: Inflight,
    /// One permit for each job off the async threads. More at once would only take memory.
    threads: Arc<Semaphore>,
}

/// A request of which the headers are known.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head {
    pub(crate) protocol: Protocol,
    pub(crate) encoding: Encoding,
    pub(crate) framing: Framing,
}

impl Intake {
    pub(crate) fn new(
        config: Config,
        log: SharedLog,
        topic: String,
        partitions: u32,
        metrics: Metrics,
    ) -> Self {
        let limits = Limits {
            record_bytes_max: config.record_bytes_max.as_usize(),
            output_bytes_max: config.output_bytes_max(),
        };
        let memory = inflight::alone(config.inflight_bytes_max.as_usize());
        let inflight = Inflight::new(memory, metrics.inflight_bytes.clone());
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = Arc::new(Semaphore::new(threads));
        let (overrides, multitenancy_enabled) = (Watched::fixed(Overrides::default()), false);
        Self {
            config,
            metrics,
            log,
            topic,
            partitions,
            overrides,
            multitenancy_enabled,
            limits,
            inflight,
            threads,
        }
    }

    /// The tenant of a request with these headers. A proxy may repeat the header, but not change it.
    pub(crate) fn tenant(&self, headers: &HeaderMap) -> Result<Option<TenantId>, RequestError> {
        if !self.multitenancy_enabled {
            return Ok(None);
        }
        let mut values = headers.get_all(TENANT_HEADER).iter();
        let header = values.next().ok_or(TenantError::Missing)?;
        if values.any(|other| other != header) {
            return Err(TenantError::Ambiguous.into());
        }
        Ok(Some(String::from_utf8_lossy(header.as_bytes()).parse()?))
    }

    /// Takes a request in. `tenant` is none while multi-tenancy is off.
    pub(crate) async fn take(
        &self,
        head: Head,
        tenant: Option<TenantId>,
        body: &mut Body,
    ) -> Result<ExportTraceServiceResponse, RequestError> {
        let mut hold = self.inflight.hold();
        let max = self.config.request_bytes_max.as_usize();
        let prefix = if matches!(head.framing, Framing::Grpc) { GRPC_PREFIX } else { 0 };
        let receive = body::read(body, head.framing, max + prefix, &mut hold);
        let bytes = timeout(self.config.receive_timeout, receive)
            .await
            .unwrap_or(Err(RequestError::Slow(self.config.receive_timeout)))
            // The sender knows the size of its message without the prefix.
            .map_err(|error| match error {
                RequestError::TooLarge { .. } => RequestError::TooLarge { max },
                error => error,
            })?;
        let (bytes, encoding) = match head.framing {
            Framing::Grpc => grpc::message(bytes, head.encoding)?,
            Framing::Http { .. } => (bytes, head.encoding),
        };
        let json = head.protocol == Protocol::HttpJson;
        let named = tenant.clone().unwrap_or_default();
        let spread = self.overrides.settled(self.config.overrides_settle).spread(&named, self.partitions);
        let job = Job::new(bytes, encoding, json, max, self.limits, TenantSpread::new(spread, &named), hold)?;
        let Prepared { walked, spans, bytes, mut hold } = self.prepare(job).await?;
        if self.log.copies_appended() {
            hold.grow(walked.records.iter().map(|record| record.value.len()).sum())?;
        }
        self.metrics.spans_received.inc_by(spans as u64);
        self.metrics.bytes_received.inc_by(bytes as u64);
        self.append(tenant.as_ref(), spread, walked.records).await?;
        drop(hold);
        Ok(self.answer(&walked.rejected))
    }

    /// Does what takes little time at once and the rest on another thread.
    async fn prepare(&self, job: Job) -> Result<Prepared, RequestError> {
        let job = match job.advance(true)? {
            Progress::Done(prepared) => return Ok(prepared),
            Progress::Paused(job) => job,
        };
        let permit = Arc::clone(&self.threads).acquire_owned().await.expect("the semaphore is never closed");
        let task = tokio::task::spawn_blocking(move || {
            let progress = job.advance(false);
            drop(permit);
            progress
        });
        match task.await.map_err(RequestError::Task)?? {
            Progress::Done(prepared) => Ok(prepared),
            Progress::Paused(_) => unreachable!("a job pauses only when told to"),
        }
    }

    async fn append(
        &self,
        tenant: Option<&TenantId>,
        spread: Spread,
        records: Vec<SpansRecord>,
    ) -> Result<(), RequestError> {
        if records.is_empty() {
            return Ok(());
        }
        let count = records.len() as u64;
        let tenant = tenant.map(|tenant| Bytes::copy_from_slice(tenant.as_str().as_bytes()));
        let tenant = tenant.map(|tenant| (TENANT_HEADER.to_owned(), tenant));
        let spread = (Spread::HEADER.to_owned(), Bytes::from(spread.to_string()));
        let headers: Vec<_> = tenant.into_iter().chain([spread]).collect();
        let new_record = |record: SpansRecord| NewRecord {
            partition: record.partition,
            key: None,
            headers: headers.clone(),
            value: record.value,
        };
        let records = records.into_iter().map(new_record).collect();
        let started = Instant::now();
        let append = async {
            fail_points::APPENDING.pass().await.map_err(injected)?;
            self.log.append(&self.topic, records).await?;
            fail_points::APPENDED.pass().await.map_err(injected)
        };
        let appended = timeout(self.config.append_timeout, append).await;
        self.metrics.append_seconds.observe(started.elapsed().as_secs_f64());
        match appended {
            Ok(Ok(())) => {
                self.metrics.records_appended.inc_by(count);
                Ok(())
            }
            Ok(Err(error)) => {
                // Full is told to senders and counted; it needs no line for each of them.
                if !matches!(error, LogError::Full) {
                    warn!(
                        topic = self.topic,
                        records = count,
                        error = &error as &dyn std::error::Error,
                        "append failed"
                    );
                }
                Err(error.into())
            }
            Err(_elapsed) => Err(RequestError::LogSlow(self.config.append_timeout)),
        }
    }

    fn answer(&self, rejected: &[RejectedSpan]) -> ExportTraceServiceResponse {
        if rejected.is_empty() {
            return ExportTraceServiceResponse::default();
        }
        let labels = RejectedLabels { reason: RejectReason::TooLarge };
        self.metrics.spans_rejected.get_or_create(&labels).inc_by(rejected.len() as u64);
        let max = self.limits.record_bytes_max;
        let mut error_message = format!("spans larger than {max} bytes with their resource and scope:");
        for span in rejected.iter().take(REJECTED_NAMED_MAX) {
            let RejectedSpan { index, trace_id, bytes } = span;
            write!(error_message, " span {index} of trace {trace_id} ({bytes} bytes),")
                .expect("a string takes all");
        }
        match rejected.len().checked_sub(REJECTED_NAMED_MAX) {
            Some(more @ 1..) => write!(error_message, " and {more} more").expect("a string takes all"),
            _ => error_message.truncate(error_message.len() - 1),
        }
        let rejected_spans = i64::try_from(rejected.len()).unwrap_or(i64::MAX);
        ExportTraceServiceResponse { partial_success: Some(PartialSuccess { rejected_spans, error_message }) }
    }

    /// What to tell a sender, whatever the protocol.
    pub(crate) fn refusal(&self, error: &RequestError) -> RpcStatus {
        debug!(error = error as &dyn std::error::Error, "request refused");
        let retry = matches!(error.kind(), ErrorKind::Unavailable);
        let retry_delay = retry.then_some(self.config.retry_delay);
        RpcStatus { code: error.code(), message: error.to_string(), retry_delay }
    }
}

fn injected(source: Injected) -> LogError {
    LogError::Unavailable { action: "failed to append".into(), source: source.into() }
}
