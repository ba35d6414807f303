//! OTLP over gRPC, with the client that SDKs in Rust use.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use tonic::codec::CompressionEncoding;
use tonic::{Code, Request};
use vivace_distributor::Config;
use vivace_model::{ByteSize, Spread};

use crate::support::{Mood, Stage, many, request, rpc_status, span, spans_of};

#[tokio::test]
async fn spans_reach_the_log_in_every_compression() {
    let stage = Stage::start().await;
    let sent = many(200);
    for encoding in [None, Some(CompressionEncoding::Gzip), Some(CompressionEncoding::Zstd)] {
        let mut client = stage.client().await;
        if let Some(encoding) = encoding {
            client = client.send_compressed(encoding);
        }
        let response = client.export(sent.clone()).await.unwrap().into_inner();
        assert_eq!(response.partial_success, None, "not even an empty one");
    }
    let mut expected = [spans_of(&sent), spans_of(&sent), spans_of(&sent)].concat();
    expected.sort_by_cached_key(|(key, span)| (key.clone(), span.encode_to_vec()));
    assert_eq!(stage.log.spans().await, expected);
    let records = stage.log.records().await;
    assert_eq!(records.len(), 3 * 8, "one record for each partition and request");
    let spread = [(Spread::HEADER.to_owned(), "8".into())];
    assert!(records.iter().all(|record| record.headers == spread && record.key.is_none()));
    assert_eq!(stage.metric("spans_received_total"), 600);
    assert_eq!(stage.metric("bytes_received_total"), 3 * sent.encoded_len() as i64);
    assert_eq!(stage.metric("records_appended_total"), 24);
    assert_eq!(stage.metric(r#"requests_total{protocol="grpc",outcome="accepted"}"#), 3);
    assert_eq!(stage.metric("append_seconds_count"), 3);
    assert_eq!(stage.metric("inflight_bytes"), 0);
}

#[tokio::test]
async fn an_empty_request_is_fine() {
    let stage = Stage::start().await;
    let mut client = stage.client().await;
    client.export(ExportTraceServiceRequest::default()).await.unwrap();
    client.export(request(Vec::new())).await.unwrap();
    assert!(stage.log.records().await.is_empty());
}

#[tokio::test]
async fn a_bad_id_refuses_the_request() {
    let stage = Stage::start().await;
    let mut bad = span(2);
    bad.trace_id.pop();
    let status = stage.client().await.export(request(vec![span(1), bad])).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(status.message(), "span 1: trace id must be 16 bytes, got 15");
    assert!(status.details().is_empty(), "no RetryInfo: a retry fails the same");
    assert!(stage.log.records().await.is_empty());
    assert_eq!(stage.metric(r#"requests_total{protocol="grpc",outcome="invalid"}"#), 1);
}

#[tokio::test]
async fn a_span_too_large_is_rejected_and_the_rest_taken() {
    let config = Config { record_bytes_max: ByteSize(1000), ..Config::default() };
    let stage = Stage::start_with(config).await;
    let mut large = span(2);
    large.name = "x".repeat(2000);
    let response = stage.client().await.export(request(vec![span(1), large, span(3)])).await.unwrap();
    let partial = response.into_inner().partial_success.unwrap();
    assert_eq!(partial.rejected_spans, 1);
    let start = "spans larger than 1000 bytes with their resource and scope: \
                 span 1 of trace 09090909090909090909090900000002 (";
    assert!(partial.error_message.starts_with(start), "{}", partial.error_message);
    assert_eq!(stage.log.spans().await, spans_of(&request(vec![span(1), span(3)])));
    assert_eq!(stage.metric(r#"spans_rejected_total{reason="too_large"}"#), 1);
    assert_eq!(stage.metric(r#"requests_total{protocol="grpc",outcome="partial"}"#), 1);
}

#[tokio::test]
async fn the_senders_of_what_the_log_does_not_take_come_back() {
    let stage = Stage::start().await;
    let mut client = stage.client().await;
    for (mood, code, delay) in [
        (Mood::Full, Code::ResourceExhausted, Some(5)),
        (Mood::Unavailable, Code::Unavailable, Some(5)),
        (Mood::TooLarge, Code::Internal, None),
    ] {
        *stage.log.mood.lock().await = mood;
        let status = client.export(many(1)).await.unwrap_err();
        assert_eq!(status.code(), code, "{mood:?}");
        assert!(!status.message().contains("secret"), "senders need not know our brokers");
        match delay {
            Some(_) => {
                let (detail_code, message, seconds) = rpc_status(status.details());
                assert_eq!((detail_code, message.as_str(), seconds), (code as i32, status.message(), delay));
            }
            None => assert!(status.details().is_empty()),
        }
    }
    assert!(stage.log.records().await.is_empty());
    *stage.log.mood.lock().await = Mood::Willing;
    client.export(many(1)).await.unwrap();
    assert_eq!(stage.metric(r#"requests_total{protocol="grpc",outcome="log_full"}"#), 1);
    assert_eq!(stage.metric(r#"requests_total{protocol="grpc",outcome="log_unavailable"}"#), 1);
    assert_eq!(stage.metric(r#"requests_total{protocol="grpc",outcome="internal"}"#), 1);
}

#[tokio::test]
async fn tenants_are_required_when_there_are_many() {
    let stage = Stage::start_multitenant().await;
    let mut client = stage.client().await;
    let missing = client.export(many(1)).await.unwrap_err();
    assert_eq!((missing.code(), missing.message()), (Code::Unauthenticated, "no org id"));
    for bad in ["a/b", "..", "a|b"] {
        let mut request = Request::new(many(1));
        request.metadata_mut().insert("x-scope-orgid", bad.parse().unwrap());
        assert_eq!(client.export(request).await.unwrap_err().code(), Code::InvalidArgument, "{bad}");
    }
    let mut both = Request::new(many(1));
    both.metadata_mut().append("x-scope-orgid", "team-a".parse().unwrap());
    both.metadata_mut().append("x-scope-orgid", "team-b".parse().unwrap());
    assert_eq!(client.export(both).await.unwrap_err().code(), Code::InvalidArgument);
    assert!(stage.log.records().await.is_empty());
    let mut request = Request::new(many(1));
    request.metadata_mut().insert("x-scope-orgid", "team-a".parse().unwrap());
    client.export(request).await.unwrap();
    let records = stage.log.records().await;
    assert_eq!(records[0].headers[0], ("x-scope-orgid".to_owned(), "team-a".into()));
    assert_eq!(stage.metric(r#"requests_total{protocol="grpc",outcome="tenant"}"#), 5);
}

#[tokio::test]
async fn tenants_are_ignored_when_there_is_one() {
    let stage = Stage::start().await;
    let mut request = Request::new(many(1));
    request.metadata_mut().insert("x-scope-orgid", "a/b".parse().unwrap());
    stage.client().await.export(request).await.unwrap();
    assert!(stage.log.records().await[0].headers.iter().all(|(name, _)| name == Spread::HEADER));
}

/// Posts a body that no gRPC client would send, and gives the status.
async fn post_raw(
    stage: &Stage,
    path: &str,
    body: &'static [u8],
    encoding: &'static str,
) -> (String, String) {
    let client = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    let request = client.post(format!("http://{}{path}", stage.grpc)).body(body);
    let request = request.header("content-type", "application/grpc").header("grpc-encoding", encoding);
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 200, "errors are in grpc-status");
    let header = |name| response.headers().get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
    (header("grpc-status"), header("grpc-accept-encoding"))
}

#[tokio::test]
async fn what_is_no_message_is_refused() {
    let stage = Stage::start().await;
    let export = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
    for (body, encoding) in [
        (&b""[..], "identity"),
        (&[0, 0, 0, 0, 9, 1], "identity"),
        (&[0, 0, 0, 0, 1, 0xff], "identity"),
        (&[1, 0, 0, 0, 1, 0xff], "gzip"),
        (&[1, 0, 0, 0, 1, 0xff], "identity"),
    ] {
        let (status, _) = post_raw(&stage, export, body, encoding).await;
        assert_eq!(status, (Code::InvalidArgument as i32).to_string(), "{body:?} {encoding}");
    }
    let (status, accepted) = post_raw(&stage, export, &[1, 0, 0, 0, 1, 0xff], "br").await;
    assert_eq!((status.as_str(), accepted.as_str()), ("12", "identity,gzip,zstd"));
    let (status, _) =
        post_raw(&stage, "/opentelemetry.proto.collector.logs.v1.LogsService/Export", b"", "identity").await;
    assert_eq!(status, (Code::Unimplemented as i32).to_string());
    assert!(stage.log.records().await.is_empty());
}

#[tokio::test]
async fn http_on_the_grpc_port_is_told_so() {
    let stage = Stage::start().await;
    let response = reqwest::get(format!("http://{}/v1/traces", stage.grpc)).await.unwrap();
    assert_eq!(response.status(), 404);
    assert!(response.text().await.unwrap().contains("gRPC port"));
}
