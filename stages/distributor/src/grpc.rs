//! OTLP over gRPC: one unary method, and the health service.
//! Owns: gRPC's message framing and its statuses. The request is taken off the wire here and not by tonic's codec,
//! because tonic decompresses on the async thread, off the budget, and answers a request that is too large with
//! `OUT_OF_RANGE`, upon which OTLP has the sender try again forever.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use http_body_util::{BodyExt, Full};
use prost::Message;
use tonic::{Code, Status};
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};

use crate::body::{Framing, GRPC_PREFIX};
use crate::encoding::Encoding;
use crate::error::RequestError;
use crate::intake::{Head, Intake};
use crate::metrics::{Outcome, Protocol};
use crate::rpc::ExportTraceServiceResponse;

/// Name of the service, as health checks ask for it.
pub(crate) const SERVICE: &str = "opentelemetry.proto.collector.trace.v1.TraceService";

/// The services of the gRPC port.
pub(crate) fn router(intake: Arc<Intake>, health: HealthReporter) -> Router {
    let health = HealthServer::new(HealthService::from_health_reporter(health));
    Router::new()
        .route(&format!("/{SERVICE}/Export"), any(export))
        .route_service("/grpc.health.v1.Health/{method}", health)
        .fallback(unimplemented)
        .with_state(intake)
}

async fn unimplemented(request: Request) -> Response {
    if is_grpc(request.headers()) {
        return Status::unimplemented("no such service or method").into_http();
    }
    let text = "this is the gRPC port; OTLP over HTTP is taken on its own\n";
    (StatusCode::NOT_FOUND, text).into_response()
}

fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

async fn export(State(intake): State<Arc<Intake>>, request: Request) -> Response {
    if request.method() != Method::POST || !is_grpc(request.headers()) {
        return StatusCode::UNSUPPORTED_MEDIA_TYPE.into_response();
    }
    let count = intake.metrics.request(Protocol::Grpc);
    match take(&intake, request).await {
        Ok(response) => {
            count.finish(if response.partial_success.is_some() {
                Outcome::Partial
            } else {
                Outcome::Accepted
            });
            success(&response)
        }
        Err(error) => {
            count.finish(error.outcome());
            failure(&intake, &error)
        }
    }
}

async fn take(intake: &Intake, request: Request) -> Result<ExportTraceServiceResponse, RequestError> {
    let (head, mut body) = request.into_parts();
    let tenant = intake.tenant(&head.headers)?;
    let encoding = Encoding::of_header(head.headers.get("grpc-encoding"))?;
    let head = Head { protocol: Protocol::Grpc, encoding, framing: Framing::Grpc };
    intake.take(head, tenant, &mut body).await
}

/// The one message of a body, and how it is compressed.
pub(crate) fn message(body: Bytes, encoding: Encoding) -> Result<(Bytes, Encoding), RequestError> {
    let Some(([flag, length @ ..], rest)) = body.split_first_chunk::<GRPC_PREFIX>() else {
        return Err(RequestError::Frame("there is none"));
    };
    let encoding = match (flag, encoding) {
        (0, _) => Encoding::Identity,
        (1, Encoding::Identity) => {
            return Err(RequestError::Frame("it is compressed, but grpc-encoding is missing"));
        }
        (1, encoding) => encoding,
        _ => return Err(RequestError::Frame("its first byte is neither 0 nor 1")),
    };
    let length = u32::from_be_bytes(*length) as usize;
    if rest.len() < length {
        return Err(RequestError::Frame("it is shorter than announced"));
    }
    if rest.len() > length {
        return Err(RequestError::Frame("it is longer than announced, or followed by another"));
    }
    Ok((body.slice(GRPC_PREFIX..), encoding))
}

fn success(response: &ExportTraceServiceResponse) -> Response {
    let length = response.encoded_len();
    let mut frame = BytesMut::with_capacity(GRPC_PREFIX + length);
    frame.extend_from_slice(&[0]);
    frame.extend_from_slice(&u32::try_from(length).expect("an answer is short").to_be_bytes());
    response.encode(&mut frame).expect("the buffer grows");
    let mut trailers = HeaderMap::new();
    trailers.insert(Status::GRPC_STATUS, HeaderValue::from(Code::Ok as i32));
    let body = Full::new(frame.freeze()).with_trailers(std::future::ready(Some(Ok(trailers))));
    let mut response = Response::new(Body::new(body));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

fn failure(intake: &Intake, error: &RequestError) -> Response {
    let refusal = intake.refusal(error);
    let mut status = match refusal.retry_delay {
        Some(_) => Status::with_details(refusal.code, &refusal.message, refusal.to_protobuf().into()),
        None => Status::new(refusal.code, &refusal.message),
    };
    if matches!(error, RequestError::Encoding(_)) {
        let accepted = "identity,gzip,zstd".parse().expect("it is ASCII");
        status.metadata_mut().insert("grpc-accept-encoding", accepted);
    }
    status.into_http()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_one_message() {
        let message = |body: &'static [u8], encoding| message(Bytes::from_static(body), encoding);
        let whole = message(&[0, 0, 0, 0, 2, 8, 9], Encoding::Gzip).unwrap();
        assert_eq!(whole, (Bytes::from_static(&[8, 9]), Encoding::Identity));
        let compressed = message(&[1, 0, 0, 0, 1, 8], Encoding::Zstd).unwrap();
        assert_eq!(compressed, (Bytes::from_static(&[8]), Encoding::Zstd));
        let empty = message(&[0, 0, 0, 0, 0], Encoding::Identity).unwrap();
        assert_eq!(empty, (Bytes::new(), Encoding::Identity));
        for (body, encoding) in [
            (&[][..], Encoding::Identity),
            (&[0, 0, 0, 0], Encoding::Identity),
            (&[0, 0, 0, 0, 2, 8], Encoding::Identity),
            (&[0, 0, 0, 0, 1, 8, 9], Encoding::Identity),
            (&[1, 0, 0, 0, 1, 8], Encoding::Identity),
            (&[2, 0, 0, 0, 1, 8], Encoding::Gzip),
        ] {
            assert!(matches!(message(body, encoding), Err(RequestError::Frame(_))), "{body:?}");
        }
    }
}
