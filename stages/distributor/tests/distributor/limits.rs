//! What happens at each limit.

use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tonic::Code;
use tonic::codec::CompressionEncoding;
use vivace_distributor::Config;
use vivace_model::ByteSize;

use crate::support::{Stage, gzip, large, many, one_large, rpc_status, spans_of};

const MIB: usize = 1 << 20;

#[tokio::test]
async fn a_large_request_below_the_limit_is_taken() {
    let stage = Stage::start().await;
    let sent = large(5 * MIB);
    stage.client().await.export(sent.clone()).await.unwrap();
    assert_eq!(stage.log.spans().await, spans_of(&sent));
    for encoding in [CompressionEncoding::Gzip, CompressionEncoding::Zstd] {
        stage.client().await.send_compressed(encoding).export(sent.clone()).await.unwrap();
    }
    let json = serde_json::to_string(&sent).unwrap();
    let response = stage.post(gzip(json.as_bytes())).header("content-encoding", "gzip").send().await.unwrap();
    assert_eq!(response.status(), 400, "it is not protobuf");
    let url = format!("http://{}/v1/traces", stage.http);
    let request = reqwest::Client::new().post(url).header("content-type", "application/json");
    assert_eq!(request.body(json).send().await.unwrap().status(), 200);
    assert_eq!(stage.log.spans().await.len(), 40);
    let records = stage.log.records().await;
    assert!(records.iter().all(|record| record.value.len() <= 900 << 10));
    assert_eq!(stage.metric("inflight_bytes"), 0);
}

#[tokio::test]
async fn a_request_over_the_limit_is_refused_for_good() {
    let stage = Stage::start_with(Config { request_bytes_max: ByteSize::mib(1), ..Config::default() }).await;
    let message = "request is larger than 1048576 bytes";
    let too_large = large(2 * MIB);
    let status = stage.client().await.export(too_large.clone()).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::InvalidArgument, message));
    assert!(status.details().is_empty());

    let body = too_large.encode_to_vec();
    let response = stage.post(body.clone()).send().await.unwrap();
    assert_eq!(response.status(), 413);
    assert_eq!(rpc_status(&response.bytes().await.unwrap()), (3, message.to_owned(), None));
    // Without a length: refused at the first surplus byte.
    let pieces: Vec<_> =
        body.chunks(10_000).map(|piece| Ok::<_, std::io::Error>(Bytes::copy_from_slice(piece))).collect();
    let chunked = reqwest::Body::wrap_stream(futures::stream::iter(pieces));
    assert_eq!(stage.post(chunked).send().await.unwrap().status(), 413);
    assert!(stage.log.records().await.is_empty());
    assert_eq!(stage.metric(r#"requests_total{protocol="grpc",outcome="too_large"}"#), 1);
    assert_eq!(stage.metric(r#"requests_total{protocol="http_protobuf",outcome="too_large"}"#), 2);
    assert_eq!(stage.metric("inflight_bytes"), 0);
}

#[tokio::test]
async fn a_bomb_is_refused_at_the_limit() {
    let stage = Stage::start_with(Config { request_bytes_max: ByteSize::mib(1), ..Config::default() }).await;
    let message = "request is larger than 1048576 bytes after decompression";
    let mut bomb = many(1);
    bomb.resource_spans[0].schema_url = "x".repeat(100 * MIB);
    for encoding in [CompressionEncoding::Gzip, CompressionEncoding::Zstd] {
        let status = stage.client().await.send_compressed(encoding).export(bomb.clone()).await.unwrap_err();
        assert_eq!((status.code(), status.message()), (Code::InvalidArgument, message), "{encoding:?}");
    }
    let body = gzip(&bomb.encode_to_vec());
    let response = stage.post(body).header("content-encoding", "gzip").send().await.unwrap();
    assert_eq!(response.status(), 413);
    assert_eq!(rpc_status(&response.bytes().await.unwrap()).1, message);
    assert!(stage.log.records().await.is_empty());
    assert_eq!(stage.metric("inflight_bytes"), 0);
}

#[tokio::test]
async fn a_resource_that_would_multiply_is_refused() {
    let config = Config {
        request_bytes_max: ByteSize::mib(1),
        record_bytes_max: ByteSize::kib(110),
        ..Config::default()
    };
    let stage = Stage::start_with(config).await;
    let mut request = many(200);
    request.resource_spans[0].schema_url = "x".repeat(109 << 10);
    let response = stage.post(request.encode_to_vec()).send().await.unwrap();
    assert_eq!(response.status(), 200, "each partition gets the resource once");
    request.resource_spans[0].scope_spans[0].spans.iter_mut().for_each(|span| span.name = "x".repeat(900));
    let response = stage.post(request.encode_to_vec()).send().await.unwrap();
    assert_eq!(response.status(), 413);
    assert!(
        rpc_status(&response.bytes().await.unwrap())
            .1
            .starts_with("request splits into more than 2097152 bytes")
    );
}

#[tokio::test]
async fn beyond_the_budget_senders_are_told_to_come_back() {
    let config = Config {
        request_bytes_max: ByteSize::mib(1),
        inflight_bytes_max: ByteSize::mib(4),
        retry_delay: Duration::from_millis(2500),
        ..Config::default()
    };
    let stage = Stage::start_with(config).await;
    stage.log.hold();
    let mut waiting = JoinSet::new();
    // Of one span each, so that the request is the record and counts once.
    let sent = one_large(900_000);
    let body = sent.encode_to_vec();
    for _ in 0..4 {
        waiting.spawn(stage.post(body.clone()).send());
        stage.log.next_append().await;
    }
    assert_eq!(stage.metric("inflight_bytes"), 4 * body.len() as i64);

    let status = stage.client().await.export(sent).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(rpc_status(status.details()).2, Some(2));
    let response = stage.post(body.clone()).send().await.unwrap();
    assert_eq!(response.status(), 429);
    assert_eq!(response.headers()["retry-after"], "3", "rounded up");
    // A few bytes still pass, unless they become many.
    let zeros = gzip(&[0; 900_000]);
    let response = stage.post(zeros).header("content-encoding", "gzip").send().await.unwrap();
    assert_eq!(response.status(), 429);
    assert_eq!(stage.post("").send().await.unwrap().status(), 200);
    assert_eq!(stage.metric(r#"requests_total{protocol="http_protobuf",outcome="busy"}"#), 2);

    stage.log.gate.add_permits(100);
    while let Some(response) = waiting.join_next().await {
        assert_eq!(response.unwrap().unwrap().status(), 200, "what was taken in is finished");
    }
    assert_eq!(stage.metric("inflight_bytes"), 0);
    assert_eq!(stage.post(body).send().await.unwrap().status(), 200);
}

/// Begins a request of 1000 bytes and sends only a few of them.
async fn begin(stage: &Stage) -> TcpStream {
    let mut stream = TcpStream::connect(stage.http).await.unwrap();
    let head = "POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-protobuf\r\ncontent-length: 1000\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&[0; 10]).await.unwrap();
    stream
}

#[tokio::test]
async fn a_sender_that_dawdles_does_not_keep_its_share_of_the_budget() {
    let config = Config { receive_timeout: Duration::from_millis(50), ..Config::default() };
    let stage = Stage::start_with(config).await;
    let mut stream = begin(&stage).await;
    while stage.metric(r#"requests_total{protocol="http_protobuf",outcome="slow"}"#) == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(stage.metric("inflight_bytes"), 0);
    stream.write_all(&[0; 990]).await.unwrap();
    let mut answer = vec![0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, b"HTTP/1.1 503");
}

#[tokio::test]
async fn a_sender_that_leaves_gives_back_its_share() {
    let stage = Stage::start().await;
    let stream = begin(&stage).await;
    while stage.metric("inflight_bytes") == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(stream);
    while stage.metric("inflight_bytes") != 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(stage.metric(r#"requests_total{protocol="http_protobuf",outcome="cancelled"}"#), 1);
}

#[tokio::test]
async fn a_log_that_does_not_answer_is_unavailable() {
    let config = Config { append_timeout: Duration::from_millis(20), ..Config::default() };
    let stage = Stage::start_with(config).await;
    stage.log.hold();
    let status = stage.client().await.export(many(1)).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(rpc_status(status.details()).2, Some(5));
}
