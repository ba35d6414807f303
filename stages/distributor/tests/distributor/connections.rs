//! How connections and the stage end.

use std::time::Duration;

use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use vivace_distributor::Config;

use crate::support::{Stage, many, spans_of};

const SERVICE: &str = "opentelemetry.proto.collector.trace.v1.TraceService";

async fn until_closed(address: std::net::SocketAddr) {
    while TcpStream::connect(address).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn requests_that_run_at_shutdown_are_finished() {
    let mut stage = Stage::start().await;
    stage.log.hold();
    let (one, two) = (many(3), many(4));
    let mut client = stage.client().await;
    let mut running = JoinSet::new();
    let sent = one.clone();
    running.spawn(async move { client.export(sent).await.map(drop).map_err(|status| status.to_string()) });
    let http = stage.post(two.encode_to_vec()).send();
    running.spawn(async move {
        http.await.and_then(|r| r.error_for_status()).map(drop).map_err(|e| e.to_string())
    });
    stage.log.next_append().await;
    stage.log.next_append().await;

    stage.shutdown.cancel();
    until_closed(stage.grpc).await;
    until_closed(stage.http).await;
    stage.log.gate.add_permits(2);
    while let Some(answer) = running.join_next().await {
        assert_eq!(answer.unwrap(), Ok(()));
    }
    stage.ended().await;
    assert_eq!(stage.log.spans().await.len(), spans_of(&one).len() + spans_of(&two).len());
}

#[tokio::test]
async fn requests_still_arriving_at_shutdown_are_finished() {
    let mut stage = Stage::start().await;
    let body = many(50).encode_to_vec();
    let mut stream = TcpStream::connect(stage.http).await.unwrap();
    let length = body.len();
    let head = format!(
        "POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-protobuf\r\ncontent-length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&body[..100]).await.unwrap();
    while stage.metric("inflight_bytes") == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    stage.shutdown.cancel();
    until_closed(stage.http).await;
    stream.write_all(&body[100..]).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    stage.ended().await;
    assert_eq!(stage.log.spans().await.len(), 50);
}

#[tokio::test]
async fn the_grace_ends_what_does_not_end_by_itself() {
    let mut stage =
        Stage::start_with(Config { shutdown_grace: Duration::from_millis(50), ..Config::default() }).await;
    stage.log.hold();
    let mut client = stage.client().await;
    let mut running = JoinSet::new();
    running.spawn(async move { client.export(many(1)).await });
    stage.log.next_append().await;
    stage.shutdown.cancel();
    stage.ended().await;
    assert!(running.join_next().await.unwrap().unwrap().is_err(), "not acknowledged");
    assert!(stage.log.records().await.is_empty());
}

#[tokio::test]
async fn health_says_so_before_the_ports_close() {
    let config = Config { shutdown_delay: Duration::from_secs(3600), ..Config::default() };
    let stage = Stage::start_with(config).await;
    let mut health = HealthClient::new(stage.channel().await);
    for service in ["", SERVICE] {
        let check = HealthCheckRequest { service: service.into() };
        let answer = health.check(check.clone()).await.unwrap().into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving);
        let mut watch = health.watch(check).await.unwrap().into_inner();
        assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
        if service == SERVICE {
            stage.shutdown.cancel();
            assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
        }
    }
    // Until load balancers have noticed, whoever still comes is served.
    stage.client().await.export(many(1)).await.unwrap();
}

#[tokio::test]
async fn watchers_of_health_do_not_hold_up_the_end() {
    let mut stage = Stage::start().await;
    let mut health = HealthClient::new(stage.channel().await);
    let mut watch = health.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    stage.shutdown.cancel();
    stage.ended().await;
}

#[tokio::test]
async fn old_connections_are_closed_and_their_requests_finished() {
    let config = Config { connection_age_max: Duration::from_millis(100), ..Config::default() };
    let stage = Stage::start_with(config).await;
    stage.log.hold();
    let body = many(1).encode_to_vec();
    let mut stream = TcpStream::connect(stage.http).await.unwrap();
    let length = body.len();
    let head = format!(
        "POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-protobuf\r\ncontent-length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&body).await.unwrap();
    stage.log.next_append().await;
    // Older than it may get, and not closed: there is a request to finish.
    tokio::time::sleep(Duration::from_millis(150)).await;
    assert_eq!(stage.connections(), 1);
    stage.log.gate.add_permits(1);
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.contains("connection: close"), "{answer}");

    // A gRPC client connects anew. A request that it was about to send on a connection while that was closed fails with
    // `Cancelled`, without having been sent; exporters of OTLP send such a one again.
    stage.log.gate.add_permits(100);
    let mut client = stage.client().await;
    for _ in 0..20 {
        if let Err(status) = client.export(many(1)).await {
            assert_eq!(status.code(), Code::Cancelled, "{status}");
            client.export(many(1)).await.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(stage.log.spans().await.len(), 1 + 20, "none lost, none taken twice");
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_for_busy_ones_and_replace_idle_ones() {
    let stage = Stage::start_with(Config { connections_max: 1, ..Config::default() }).await;
    stage.log.hold();
    let mut running = JoinSet::new();
    running.spawn(stage.post(many(1).encode_to_vec()).send());
    stage.log.next_append().await;
    let second = stage.post(many(1).encode_to_vec()).send();
    let mut second = std::pin::pin!(second);
    let early = tokio::time::timeout(Duration::from_millis(50), &mut second).await;
    assert!(early.is_err(), "still waits");
    assert_eq!(stage.connections(), 1);
    stage.log.gate.add_permits(2);
    let first = running.join_next().await.unwrap().unwrap().unwrap();
    assert_eq!(first.status(), 200, "it was not closed while busy");
    // The first client keeps its connection; it is idle, so the second gets its place.
    assert_eq!(second.await.unwrap().status(), 200);
    drop(first);
}

#[tokio::test]
async fn silent_connections_keep_no_sender_out() {
    let stage = Stage::start_with(Config { connections_max: 20, ..Config::default() }).await;
    let mut silent = Vec::new();
    for _ in 0..200 {
        silent.push(TcpStream::connect(stage.http).await.unwrap());
    }
    assert_eq!(stage.post(many(1).encode_to_vec()).send().await.unwrap().status(), 200);
    assert!(stage.connections() <= 20);
}

#[tokio::test]
async fn a_port_in_use_and_a_wrong_setting_are_named() {
    use prometheus_client::registry::Registry;
    use vivace_distributor::{Distributor, Metrics};
    let stage = Stage::start().await;
    let bind = |config| {
        let metrics = Metrics::new(&mut Registry::default());
        let log: std::sync::Arc<dyn vivace_log::Log> = std::sync::Arc::clone(&stage.log) as _;
        Distributor::new(config, log, "spans".into(), 8, metrics).bind()
    };
    let error = bind(Config { grpc_listen: stage.grpc, ..Config::default() }).await.unwrap_err();
    assert_eq!(error.to_string(), format!("failed to listen on {}", stage.grpc));
    let error = bind(Config { connections_max: 0, ..Config::default() }).await.unwrap_err();
    assert_eq!(error.to_string(), "VIVACE_DISTRIBUTOR_CONNECTIONS_MAX must be at least one");
}
