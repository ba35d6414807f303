//! Sends pre-built requests over OTLP gRPC, as fast as they are accepted or at a rate.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::{Buf, BufMut, Bytes};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::Channel;
use vivace_proto::otlp::common::any_value::Value;
use vivace_proto::otlp::trace::Span;
use vivace_sample::{Options, Shop};

use crate::quantile;

/// Times a request is tried before the run fails.
const ATTEMPTS_MAX: usize = 100;

/// Requests built beforehand, so that building them costs nothing while it is measured.
#[derive(Debug)]
pub struct Payload {
    /// Encoded `ExportTraceServiceRequest`s.
    pub requests: Vec<Bytes>,
    /// Spans in all of them.
    pub spans: usize,
    /// Bytes of all of them.
    pub bytes: usize,
    /// Some of the trace ids, evenly spread, all of whose spans are in the payload.
    pub trace_ids: Vec<[u8; 16]>,
    /// A `request.id` of the first request's spans, if one has it.
    pub request_id: Option<String>,
}

impl Payload {
    /// Builds requests of the sample shop until they hold `spans` spans. Equal arguments give equal payloads.
    #[must_use]
    pub fn build(seed: u64, start_unix_nano: u64, spans: usize) -> Self {
        let options = Options { seed, start: start_unix_nano, ..Options::default() };
        let mut shop = Shop::new(options);
        let mut payload =
            Self { requests: Vec::new(), spans: 0, bytes: 0, trace_ids: Vec::new(), request_id: None };
        while payload.spans < spans {
            let request = shop.next_request();
            let ids = request.resource_spans.iter().flat_map(|r| &r.scope_spans).flat_map(|s| &s.spans);
            let before = payload.spans;
            for span in ids {
                payload.spans += 1;
                if payload.requests.is_empty() && payload.request_id.is_none() {
                    payload.request_id = request_id(span);
                }
                // A root is there once; of every hundredth request the first root's trace is kept for lookups.
                if span.parent_span_id.is_empty() && payload.requests.len().is_multiple_of(20) {
                    payload.trace_ids.extend(<[u8; 16]>::try_from(span.trace_id.as_slice()));
                }
            }
            if payload.spans == before {
                break;
            }
            let bytes = Bytes::from(prost::Message::encode_to_vec(&request));
            payload.bytes += bytes.len();
            payload.requests.push(bytes);
        }
        payload
    }
}

fn request_id(span: &Span) -> Option<String> {
    let attribute = span.attributes.iter().find(|attribute| attribute.key == "request.id")?;
    match attribute.value.as_ref()?.value.as_ref()? {
        Value::StringValue(id) => Some(id.clone()),
        _ => None,
    }
}

/// How to send.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// `http://host:port` of OTLP gRPC.
    pub endpoint: String,
    /// Connections.
    pub connections: usize,
    /// Requests in flight on each connection.
    pub in_flight: usize,
    /// Spans per second over all; none for as fast as accepted.
    pub rate: Option<f64>,
}

/// What came of it.
#[derive(Clone, Debug, serde::Serialize)]
pub struct LoadReport {
    /// Spans acknowledged.
    pub spans: usize,
    /// Seconds from the first request to the last answer.
    pub seconds: f64,
    /// Spans per second.
    pub spans_per_second: f64,
    /// Megabytes of OTLP per second.
    pub megabytes_per_second: f64,
    /// Median milliseconds from sending a request to its acknowledgement.
    pub ack_p50_ms: f64,
    /// The same, 99th percentile.
    pub ack_p99_ms: f64,
    /// Answers that asked to try again.
    pub retries: usize,
}

/// Sends the whole payload; every request is retried until it is acknowledged.
///
/// # Errors
/// When the server can't be reached, refuses a request for good, or asks too often to try again.
pub async fn send(payload: &Arc<Payload>, options: &LoadOptions) -> Result<LoadReport> {
    let next = Arc::new(AtomicUsize::new(0));
    let started = Instant::now();
    let mut workers = JoinSet::new();
    for _ in 0..options.connections.max(1) {
        let endpoint = tonic::transport::Endpoint::from_shared(options.endpoint.clone())?
            .initial_stream_window_size(4 << 20)
            .initial_connection_window_size(16 << 20);
        let channel = endpoint.connect().await.context("failed to connect to the distributor")?;
        for _ in 0..options.in_flight.max(1) {
            let (payload, next, channel) = (Arc::clone(payload), Arc::clone(&next), channel.clone());
            let rate = options.rate;
            workers.spawn(async move { worker(&payload, &next, channel, started, rate).await });
        }
    }
    let (mut latencies, mut retries) = (Vec::new(), 0);
    while let Some(done) = workers.join_next().await {
        let (part, again) = done??;
        latencies.extend(part);
        retries += again;
    }
    let seconds = started.elapsed().as_secs_f64();
    latencies.sort_by(f64::total_cmp);
    Ok(LoadReport {
        spans: payload.spans,
        seconds,
        spans_per_second: payload.spans as f64 / seconds,
        megabytes_per_second: payload.bytes as f64 / 1e6 / seconds,
        ack_p50_ms: quantile(&latencies, 0.5),
        ack_p99_ms: quantile(&latencies, 0.99),
        retries,
    })
}

async fn worker(
    payload: &Payload,
    next: &AtomicUsize,
    channel: Channel,
    started: Instant,
    rate: Option<f64>,
) -> Result<(Vec<f64>, usize)> {
    let (mut latencies, mut retries) = (Vec::new(), 0);
    let mut client = tonic::client::Grpc::new(channel);
    let mean = payload.spans as f64 / payload.requests.len().max(1) as f64;
    loop {
        let index = next.fetch_add(1, Ordering::Relaxed);
        let Some(request) = payload.requests.get(index) else {
            return Ok((latencies, retries));
        };
        if let Some(rate) = rate {
            tokio::time::sleep_until(started + Duration::from_secs_f64(index as f64 * mean / rate)).await;
        }
        let mut attempt = 0;
        loop {
            let sent = Instant::now();
            client.ready().await.context("connection lost")?;
            let path = http::uri::PathAndQuery::from_static(
                "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            );
            match client.unary(tonic::Request::new(request.clone()), path, Raw).await {
                Ok(_) => {
                    latencies.push(sent.elapsed().as_secs_f64() * 1e3);
                    break;
                }
                Err(status)
                    if matches!(status.code(), tonic::Code::Unavailable | tonic::Code::ResourceExhausted)
                        && attempt < ATTEMPTS_MAX =>
                {
                    attempt += 1;
                    retries += 1;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Err(status) => bail!("request refused: {status}"),
            }
        }
    }
}

/// Bytes as they are: the requests are encoded already, and of the answers only the status counts.
#[derive(Clone, Copy, Debug, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;
    fn encoder(&mut self) -> Self {
        Self
    }
    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = tonic::Status;
    fn encode(&mut self, item: Bytes, dst: &mut EncodeBuf<'_>) -> Result<(), Self::Error> {
        dst.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = tonic::Status;
    fn decode(&mut self, src: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Self::Error> {
        Ok(Some(src.copy_to_bytes(src.remaining())))
    }
}
