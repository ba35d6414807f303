use std::time::Duration;

use prost::Message;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use vivace_proto::otlp::common::any_value::Value;
use vivace_proto::otlp::common::{AnyValue, KeyValue};
use vivace_proto::otlp::trace::{Span, Status};
use vivace_proto::tempopb::{Trace, TraceByIdResponse};

use super::fixture::{Fixture, Options, TRACE_HEX, home, span, traces};
use crate::Config;

const SPANS_COUNT: usize = 100_000;
const RECORDS: usize = 20;

/// A span of about 500 bytes.
fn fat(number: usize) -> Span {
    let value = Some(AnyValue { value: Some(Value::StringValue("x".repeat(400))) });
    Span {
        span_id: (number as u64 + 1).to_be_bytes().to_vec(),
        attributes: vec![KeyValue { key: "filler".into(), value, ..KeyValue::default() }],
        // As answers have it: a span without a status is one whose status is unset.
        status: Some(Status::default()),
        ..span("large", number as u64)
    }
}

/// A hundred thousand spans pass from the log over a querier of its own process to a client, in each form.
#[tokio::test]
async fn a_trace_of_100_000_spans_comes_back_over_the_wire() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let config = Config { queriers: vec![address], ..Config::default() };
    let querier = vivace_querier::Config { owner_wait: Duration::ZERO, ..Default::default() };
    let options = Options { config, querier, ..Options::default() };
    let mut fixture = Fixture::new(options).await;
    let server = Server::builder().add_service(fixture.querier.server());
    fixture
        .tasks
        .spawn(async move { server.serve_with_incoming(TcpListenerStream::new(listener)).await.unwrap() });
    let records: Vec<_> = (0..RECORDS)
        .map(|record| traces((record..SPANS_COUNT).step_by(RECORDS).map(fat).collect()))
        .collect();
    fixture.append(home(), &records).await;

    let headers = [("accept", "application/protobuf")];
    let first = fixture.get(&format!("/api/traces/{TRACE_HEX}"), &headers).await;
    assert_eq!(first.status, 200, "{}", first.text());
    assert!(first.body.len() > 40 << 20, "{}", first.body.len());
    check(&Trace::decode(first.body).unwrap());
    let second = fixture.get(&format!("/api/v2/traces/{TRACE_HEX}"), &headers).await;
    let second = TraceByIdResponse::decode(second.body).unwrap();
    assert_eq!(second.message, "");
    check(&second.trace.unwrap());
    let json = fixture.get(&format!("/api/traces/{TRACE_HEX}"), &[]).await.json();
    let spans = json["batches"][0]["scopeSpans"][0]["spans"].as_array().unwrap();
    assert_eq!(spans.len(), SPANS_COUNT);
    assert_eq!(spans[SPANS_COUNT - 1]["startTimeUnixNano"], format!("{}000000000", SPANS_COUNT - 1));
}

fn check(trace: &Trace) {
    let scopes = trace.resource_spans.iter().flat_map(|resource| &resource.scope_spans);
    let mut count = 0;
    for (number, span) in scopes.flat_map(|scope| &scope.spans).enumerate() {
        assert_eq!(span, &fat(number));
        count += 1;
    }
    assert_eq!(count, SPANS_COUNT);
}
