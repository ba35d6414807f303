//! OTLP over HTTP: `POST /v1/traces` in protobuf or JSON.
//! Owns: content types, HTTP's statuses, answers in the format of the request.

use std::sync::Arc;
use std::time::Duration;

use ::http::{HeaderMap, HeaderValue, Method, StatusCode, Version, header};
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use prost::Message;
use tokio::time::timeout;

use crate::body::{self, Framing};
use crate::encoding::Encoding;
use crate::error::RequestError;
use crate::intake::{Head, Intake};
use crate::metrics::{Outcome, Protocol};
use crate::rpc::ExportTraceServiceResponse;

/// How long to read on after a refusal, so that the sender sees the answer and not a reset connection.
const DISCARD_TIME_MAX: Duration = Duration::from_secs(5);
/// How much to read on.
const DISCARD_BYTES_MAX: usize = 256 << 20;

const PROTOBUF: HeaderValue = HeaderValue::from_static("application/x-protobuf");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The paths of the HTTP port.
pub(crate) fn router(intake: Arc<Intake>) -> Router {
    Router::new().route("/v1/traces", any(export)).with_state(intake)
}

async fn export(State(intake): State<Arc<Intake>>, request: Request) -> Response {
    let (head, mut body) = request.into_parts();
    let response = answer(&intake, &head.method, &head.headers, &mut body).await;
    // Over HTTP/2 a stream can be answered and reset; before that, only what was read to its end.
    if !response.status().is_success() && head.version < Version::HTTP_2 {
        // Whether the rest came in time or not, the answer is the same.
        drop(timeout(DISCARD_TIME_MAX, body::discard(&mut body, DISCARD_BYTES_MAX)).await);
    }
    response
}

async fn answer(intake: &Intake, method: &Method, headers: &HeaderMap, body: &mut Body) -> Response {
    if method != Method::POST {
        let allow = [(header::ALLOW, HeaderValue::from_static("POST"))];
        return (StatusCode::METHOD_NOT_ALLOWED, allow, "405 method not allowed, supported: [POST]\n")
            .into_response();
    }
    let Some(protocol) = protocol(headers) else {
        let text = "415 unsupported media type, supported: [application/x-protobuf, application/json]\n";
        return (StatusCode::UNSUPPORTED_MEDIA_TYPE, text).into_response();
    };
    let count = intake.metrics.request(protocol);
    match take(intake, protocol, headers, body).await {
        Ok(response) => {
            count.finish(if response.partial_success.is_some() {
                Outcome::Partial
            } else {
                Outcome::Accepted
            });
            success(&response, protocol)
        }
        Err(error) => {
            count.finish(error.outcome());
            failure(intake, &error, protocol)
        }
    }
}

/// The protocol by content type, whatever parameters that has.
fn protocol(headers: &HeaderMap) -> Option<Protocol> {
    let value = headers.get(header::CONTENT_TYPE)?.as_bytes();
    let end = value.iter().position(|&byte| byte == b';').unwrap_or(value.len());
    match value[..end].trim_ascii() {
        name if name.eq_ignore_ascii_case(PROTOBUF.as_bytes()) => Some(Protocol::HttpProtobuf),
        name if name.eq_ignore_ascii_case(JSON.as_bytes()) => Some(Protocol::HttpJson),
        _ => None,
    }
}

async fn take(
    intake: &Intake,
    protocol: Protocol,
    headers: &HeaderMap,
    body: &mut Body,
) -> Result<ExportTraceServiceResponse, RequestError> {
    let tenant = intake.tenant(headers)?;
    let encoding = Encoding::of_header(headers.get(header::CONTENT_ENCODING))?;
    let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    let framing = Framing::Http { content_length: length.and_then(|length| length.parse().ok()) };
    intake.take(Head { protocol, encoding, framing }, tenant, body).await
}

fn success(response: &ExportTraceServiceResponse, protocol: Protocol) -> Response {
    let (content_type, body) = match protocol {
        Protocol::HttpJson => (JSON, response.to_json()),
        Protocol::HttpProtobuf | Protocol::Grpc => (PROTOBUF, response.encode_to_vec()),
    };
    ([(header::CONTENT_TYPE, content_type)], body).into_response()
}

fn failure(intake: &Intake, error: &RequestError, protocol: Protocol) -> Response {
    let refusal = intake.refusal(error);
    let (content_type, body) = match protocol {
        Protocol::HttpJson => (JSON, refusal.to_json()),
        Protocol::HttpProtobuf | Protocol::Grpc => (PROTOBUF, refusal.to_protobuf()),
    };
    let mut response = (error.status(), [(header::CONTENT_TYPE, content_type)], body).into_response();
    if let Some(delay) = refusal.retry_delay {
        // In whole seconds; at least one, or senders would come back at once.
        let seconds = delay.as_secs_f64().ceil().max(1.0) as u64;
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if matches!(error, RequestError::Encoding(_)) {
        let accepted = HeaderValue::from_static("identity, gzip, zstd");
        response.headers_mut().insert(header::ACCEPT_ENCODING, accepted);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types_name_the_protocol() {
        let of = |text: &'static str| {
            protocol(&HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(text))]))
        };
        assert_eq!(of("application/x-protobuf"), Some(Protocol::HttpProtobuf));
        assert_eq!(of("application/json; charset=utf-8"), Some(Protocol::HttpJson));
        assert_eq!(of("Application/JSON ;charset=utf-8"), Some(Protocol::HttpJson));
        assert_eq!(of("text/plain"), None);
        assert_eq!(of("application/x-protobuf2"), None);
        assert_eq!(protocol(&HeaderMap::new()), None);
    }
}
