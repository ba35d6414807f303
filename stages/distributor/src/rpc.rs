//! The few messages of OTLP's answers: `ExportTraceServiceResponse`, and `google.rpc.Status` with `RetryInfo`.

use std::time::Duration;

use prost::Message;
use serde_json::json;
use tonic::Code;

const RETRY_INFO_TYPE: &str = "type.googleapis.com/google.rpc.RetryInfo";

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ExportTraceServiceResponse {
    /// Absent if all was taken: some senders warn about any partial success, even an empty one.
    #[prost(message, optional, tag = "1")]
    pub(crate) partial_success: Option<PartialSuccess>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct PartialSuccess {
    #[prost(int64, tag = "1")]
    pub(crate) rejected_spans: i64,
    #[prost(string, tag = "2")]
    pub(crate) error_message: String,
}

#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<ProtoDuration>,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
struct ProtoDuration {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

impl ExportTraceServiceResponse {
    pub(crate) fn to_json(&self) -> Vec<u8> {
        let value = match &self.partial_success {
            None => json!({}),
            Some(partial) => json!({"partialSuccess": {
                "rejectedSpans": partial.rejected_spans.to_string(),
                "errorMessage": partial.error_message,
            }}),
        };
        value.to_string().into_bytes()
    }
}

/// `google.rpc.Status`, with the time to wait if a retry makes sense.
#[derive(Clone, Debug)]
pub(crate) struct RpcStatus {
    pub(crate) code: Code,
    pub(crate) message: String,
    pub(crate) retry_delay: Option<Duration>,
}

impl RpcStatus {
    pub(crate) fn to_protobuf(&self) -> Vec<u8> {
        let retry_info = self.retry_delay.map(|delay| {
            let seconds = i64::try_from(delay.as_secs()).unwrap_or(i64::MAX);
            // Below 10^9 always.
            let nanos = delay.subsec_nanos() as i32;
            let info = RetryInfo { retry_delay: Some(ProtoDuration { seconds, nanos }) };
            Any { type_url: RETRY_INFO_TYPE.into(), value: info.encode_to_vec() }
        });
        let details = retry_info.into_iter().collect();
        Status { code: self.code as i32, message: self.message.clone(), details }.encode_to_vec()
    }

    pub(crate) fn to_json(&self) -> Vec<u8> {
        let details: Vec<_> = self
            .retry_delay
            .map(|delay| json!({"@type": RETRY_INFO_TYPE, "retryDelay": format!("{}s", delay.as_secs_f64())}))
            .into_iter()
            .collect();
        json!({"code": self.code as i32, "message": self.message, "details": details})
            .to_string()
            .into_bytes()
    }
}
