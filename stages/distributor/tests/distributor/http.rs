//! OTLP over HTTP.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use opentelemetry_proto::tonic::trace::v1::TracesData;
use prost::Message;
use reqwest::Response;
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use serde_json::{Value, json};
use vivace_distributor::Config;
use vivace_model::{ByteSize, Overrides, Spread, TenantOverrides, TraceId};

use crate::support::{Mood, Stage, gzip, many, request, rpc_status, span, spans_of};

const JSON: &str = "application/json";

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).map_or("", |value| value.to_str().unwrap())
}

async fn json_of(response: Response) -> Value {
    assert_eq!(header(response.headers(), "content-type"), JSON);
    response.json().await.unwrap()
}

#[tokio::test]
async fn protobuf_is_taken_in_every_encoding() {
    let sent = many(100);
    let plain = sent.encode_to_vec();
    let bodies = [
        ("identity", plain.clone().into()),
        ("gzip", gzip(&plain)),
        ("zstd", zstd::encode_all(&plain[..], 3).unwrap().into()),
    ];
    for (encoding, body) in bodies {
        let stage = Stage::start().await;
        let response = stage.post(body).header("content-encoding", encoding).send().await.unwrap();
        assert_eq!(response.status(), 200, "{encoding}");
        assert_eq!(header(response.headers(), "content-type"), "application/x-protobuf");
        let body = response.bytes().await.unwrap();
        assert_eq!(ExportTraceServiceResponse::decode(body).unwrap(), ExportTraceServiceResponse::default());
        assert_eq!(stage.log.spans().await, spans_of(&sent), "{encoding}");
        assert_eq!(stage.metric(r#"requests_total{protocol="http_protobuf",outcome="accepted"}"#), 1);
        assert_eq!(stage.metric("inflight_bytes"), 0);
    }
}

#[tokio::test]
async fn json_is_taken_and_answered_in_json() {
    let sent = many(100);
    let text = serde_json::to_string(&sent).unwrap();
    for (content_type, encoding) in [(JSON, "identity"), ("application/json; charset=utf-8", "gzip")] {
        let stage = Stage::start().await;
        let body = if encoding == "gzip" { gzip(text.as_bytes()) } else { text.clone().into() };
        let request = stage.post(body).header("content-encoding", encoding);
        let response = replace_content_type(request, content_type).send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(json_of(response).await, json!({}));
        assert_eq!(stage.log.spans().await, spans_of(&sent));
        // Of the protobuf, which has no fewer fields than the JSON.
        let bytes = stage.metric("bytes_received_total") as usize;
        assert!(sent.encoded_len() <= bytes && bytes < text.len(), "{bytes}");
        assert_eq!(stage.metric("inflight_bytes"), 0);
    }
}

fn replace_content_type(request: reqwest::RequestBuilder, content_type: &str) -> reqwest::RequestBuilder {
    request.headers(HeaderMap::from_iter([(CONTENT_TYPE, content_type.parse().unwrap())]))
}

#[tokio::test]
async fn an_empty_request_is_fine() {
    let stage = Stage::start().await;
    assert_eq!(stage.post("").send().await.unwrap().status(), 200);
    assert_eq!(replace_content_type(stage.post("{}"), JSON).send().await.unwrap().status(), 200);
    assert!(stage.log.records().await.is_empty());
}

#[tokio::test]
async fn other_methods_types_and_paths_are_refused() {
    let stage = Stage::start().await;
    let url = format!("http://{}/v1/traces", stage.http);
    let response = reqwest::get(&url).await.unwrap();
    assert_eq!((response.status().as_u16(), header(response.headers(), "allow")), (405, "POST"));
    for content_type in ["text/plain", "application/protobuf", "application/jsonl"] {
        let request = replace_content_type(stage.post("{}"), content_type);
        assert_eq!(request.send().await.unwrap().status(), 415, "{content_type}");
    }
    let without = reqwest::Client::new().post(&url).body("").send().await.unwrap();
    assert_eq!(without.status(), 415);
    let brotli = stage.post("x").header("content-encoding", "br").send().await.unwrap();
    assert_eq!(brotli.status(), 415);
    assert_eq!(header(brotli.headers(), "accept-encoding"), "identity, gzip, zstd");
    let elsewhere =
        reqwest::Client::new().post(format!("http://{}/v1/logs", stage.http)).send().await.unwrap();
    assert_eq!(elsewhere.status(), 404);
}

#[tokio::test]
async fn errors_are_statuses_in_the_format_of_the_request() {
    let stage = Stage::start().await;
    let mut bad = span(1);
    bad.span_id = vec![0; 8];
    let bad = request(vec![bad]);
    let message = "span 0: span id must not be all zero";

    let response = stage.post(bad.encode_to_vec()).send().await.unwrap();
    assert_eq!(response.status(), 400);
    assert_eq!(header(response.headers(), "content-type"), "application/x-protobuf");
    assert_eq!(header(response.headers(), "retry-after"), "", "a retry fails the same");
    assert_eq!(rpc_status(&response.bytes().await.unwrap()), (3, message.to_owned(), None));

    let body = serde_json::to_string(&bad).unwrap();
    let response = replace_content_type(stage.post(body), JSON).send().await.unwrap();
    assert_eq!(response.status(), 400);
    assert_eq!(json_of(response).await, json!({"code": 3, "message": message, "details": []}));

    for (content_type, body) in [("application/x-protobuf", "\u{7f}"), (JSON, "{"), (JSON, "[]")] {
        let response = replace_content_type(stage.post(body), content_type).send().await.unwrap();
        assert_eq!(response.status(), 400, "{content_type} {body}");
    }
    let garbage = stage.post("x").header("content-encoding", "gzip").send().await.unwrap();
    assert_eq!(garbage.status(), 400);
    assert!(stage.log.records().await.is_empty());
}

#[tokio::test]
async fn the_senders_of_what_the_log_does_not_take_come_back() {
    let stage = Stage::start().await;
    for (mood, status, code) in [(Mood::Full, 429, 8), (Mood::Unavailable, 503, 14)] {
        *stage.log.mood.lock().await = mood;
        let response = stage.post(many(1).encode_to_vec()).send().await.unwrap();
        assert_eq!(response.status(), status);
        assert_eq!(header(response.headers(), "retry-after"), "5");
        let (rpc_code, _, delay) = rpc_status(&response.bytes().await.unwrap());
        assert_eq!((rpc_code, delay), (code, Some(5)));
    }
    let body = serde_json::to_string(&many(1)).unwrap();
    let response = replace_content_type(stage.post(body), JSON).send().await.unwrap();
    assert_eq!((response.status().as_u16(), header(response.headers(), "retry-after")), (503, "5"));
    let details = &json_of(response).await["details"][0];
    assert_eq!(*details, json!({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "5s"}));

    *stage.log.mood.lock().await = Mood::TooLarge;
    let response = stage.post(many(1).encode_to_vec()).send().await.unwrap();
    assert_eq!((response.status().as_u16(), header(response.headers(), "retry-after")), (500, ""));
    assert!(stage.log.records().await.is_empty());
}

#[tokio::test]
async fn a_span_too_large_is_rejected_and_the_rest_taken() {
    let stage = Stage::start_with(Config { record_bytes_max: ByteSize(1000), ..Config::default() }).await;
    let mut spans: Vec<_> = (1..=6).map(span).collect();
    spans[1..].iter_mut().for_each(|span| span.name = "x".repeat(2000));
    let sent = request(spans);
    let response = stage.post(sent.encode_to_vec()).send().await.unwrap();
    assert_eq!(response.status(), 200);
    let partial =
        ExportTraceServiceResponse::decode(response.bytes().await.unwrap()).unwrap().partial_success;
    assert_eq!(partial.as_ref().map(|partial| partial.rejected_spans), Some(5));

    let body = serde_json::to_string(&sent).unwrap();
    let response = replace_content_type(stage.post(body), JSON).send().await.unwrap();
    let partial = json_of(response).await["partialSuccess"].clone();
    assert_eq!(partial["rejectedSpans"], "5", "64-bit numbers are text in JSON");
    assert!(partial["errorMessage"].as_str().unwrap().ends_with("and 2 more"), "{partial}");
    assert_eq!(stage.log.records().await.len(), 2);
}

#[tokio::test]
async fn tenants_are_required_when_there_are_many() {
    let stage = Stage::start_multitenant().await;
    let post = || stage.post(many(1).encode_to_vec());
    let missing = post().send().await.unwrap();
    assert_eq!(missing.status(), 401);
    assert_eq!(rpc_status(&missing.bytes().await.unwrap()), (16, "no org id".to_owned(), None));
    assert_eq!(post().header("X-Scope-OrgID", "a/b").send().await.unwrap().status(), 400);
    let both =
        post().header("X-Scope-OrgID", "team-b").header("X-Scope-OrgID", "team-c").send().await.unwrap();
    assert_eq!(both.status(), 400);
    let (_, text, _) = rpc_status(&both.bytes().await.unwrap());
    assert_eq!(text, "X-Scope-OrgID is given more than once, with different values");
    let twice = post().header("X-Scope-OrgID", "team-b").header("X-Scope-OrgID", "team-b");
    assert_eq!(twice.send().await.unwrap().status(), 200);
    let records = stage.log.records().await;
    assert_eq!(records.len(), 1);
    assert_eq!(records[0].headers[0], ("x-scope-orgid".to_owned(), "team-b".into()));
}

#[tokio::test]
async fn traces_of_a_small_tenant_go_to_its_partitions() {
    let small = TenantOverrides { shard_size: Some(2), ..TenantOverrides::default() };
    let tenants = [("small".parse().unwrap(), small)].into();
    let overrides = Overrides { tenants, ..Overrides::default() };
    let stage = Stage::start_overridden(overrides.clone()).await;
    for (tenant, header, partitions) in [("small", "8/2", 2), ("large", "8", 8)] {
        let before = stage.log.records().await.len();
        let post = stage.post(many(100).encode_to_vec()).header("X-Scope-OrgID", tenant);
        assert_eq!(post.send().await.unwrap().status(), 200);
        let records = stage.log.records().await.split_off(before);
        assert_eq!(records.len(), partitions);
        let spread = (Spread::HEADER.to_owned(), header.into());
        assert!(records.iter().all(|record| record.headers[1] == spread));
        let (tenant, spread) = (tenant.parse().unwrap(), header.parse::<Spread>().unwrap());
        for record in records {
            let traces = TracesData::decode(record.value).unwrap();
            let scopes = traces.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
            for span in scopes.flat_map(|scope| scope.spans) {
                let trace_id = TraceId::new(&span.trace_id).unwrap();
                assert_eq!(spread.partition_of(&tenant, &trace_id), Some(record.partition));
            }
        }
    }
}
