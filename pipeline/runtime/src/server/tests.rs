//! The server and its admin pages, over real sockets.

mod clients;

use std::net::SocketAddr;
use std::sync::Arc;

use super::{ConnectionMetrics, Server as Listener, ServerOptions};
use crate::{AdminState, BuildInfo, Readiness, Setting, admin_router, new_registry};
use axum::Router;
use axum::routing::get;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

struct Server {
    address: SocketAddr,
    shutdown: CancellationToken,
    task: JoinSet<()>,
    registry: Registry,
}

impl Server {
    /// What is counted under that name, all labels but the listener's included.
    fn count(&self, metric: &str) -> u64 {
        let mut page = String::new();
        prometheus_client::encoding::text::encode(&mut page, &self.registry).unwrap();
        let line = page.lines().find_map(|line| line.strip_prefix(&format!("vivace_connections_{metric} ")));
        line.map_or(0, |value| value.parse().unwrap())
    }
}

async fn start(router: Router) -> Server {
    start_with(router, None, ServerOptions::default()).await
}

async fn start_with(router: Router, reserve: Option<Router>, options: ServerOptions) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (shutdown, mut task, mut registry) = (CancellationToken::new(), JoinSet::new(), Registry::default());
    let metrics = ConnectionMetrics::new(&mut registry);
    let mut server = Listener::new("test", listener, router, options, metrics);
    if let Some(reserve) = reserve {
        server = server.reserve(reserve);
    }
    task.spawn(server.run(shutdown.clone()));
    Server { address, shutdown, task, registry }
}

/// The whole answer to a GET, head and body.
async fn fetch(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

fn state() -> AdminState {
    let build = BuildInfo::new("1.2.3");
    AdminState {
        registry: new_registry(&build),
        readiness: Readiness::default(),
        build,
        settings: Arc::new([Setting {
            variable: "VIVACE_TEST_ROWS_MAX".to_owned(),
            value: "7".to_owned(),
            default: "9".to_owned(),
            unit: "spans",
            meaning: "How many.",
        }]),
    }
}

#[tokio::test]
async fn ready_says_what_is_not() {
    let state = state();
    let check = state.readiness.check("log");
    let server = start(admin_router(state)).await;
    let answer = fetch(server.address, "/ready").await;
    assert!(
        answer.starts_with("HTTP/1.1 503 ") && answer.ends_with("not ready\nlog: starting\n"),
        "{answer}"
    );
    assert!(fetch(server.address, "/live").await.starts_with("HTTP/1.1 200 "));
    check.ready();
    let answer = fetch(server.address, "/ready").await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\nready\n"), "{answer}");
}

#[tokio::test]
async fn ready_has_a_detail() {
    let state = state();
    let check = state.readiness.check("ingester");
    check.partition(4, "serving", None);
    let server = start(admin_router(state)).await;
    let answer = fetch(server.address, "/ready?detail").await;
    assert!(
        answer.starts_with("HTTP/1.1 503 ") && answer.contains("content-type: application/json"),
        "{answer}"
    );
    let expected = r#"{"ready":false,"checks":[{"name":"ingester","ready":false,"required":true,"detail":"starting","partitions":[{"partition":4,"state":"serving"}]}]}"#;
    assert!(answer.ends_with(expected), "{answer}");
    check.ready();
    assert!(fetch(server.address, "/ready?detail=1").await.starts_with("HTTP/1.1 200 "));
    assert!(fetch(server.address, "/ready?details").await.ends_with("\r\n\r\nready\n"), "plain, as before");
}

#[tokio::test]
async fn metrics_of_process_build_and_stages_are_on_one_page() {
    let state = state();
    let spans = Counter::<u64>::default();
    state.registry.lock().register("vivace_test_spans", "Spans", spans.clone());
    spans.inc_by(3);
    let server = start(admin_router(state)).await;
    let page = fetch(server.address, "/metrics").await;
    assert!(page.contains("content-type: application/openmetrics-text; version=1.0.0"), "{page}");
    assert!(page.contains("\nvivace_test_spans_total 3\n"), "{page}");
    assert!(page.contains("\nvivace_build_info{version=\"1.2.3\""), "{page}");
    assert!(page.contains("\nprocess_cpu_seconds_total "), "{page}");
    assert!(page.ends_with("# EOF\n"), "{page}");
}

#[tokio::test]
async fn version_and_settings_are_shown() {
    let server = start(admin_router(state())).await;
    assert!(fetch(server.address, "/status/version").await.contains("vivace, version 1.2.3"));
    assert!(fetch(server.address, "/status/config").await.contains("VIVACE_TEST_ROWS_MAX=7"));
}

#[tokio::test]
async fn methods_that_a_page_does_not_have_are_refused() {
    let server = start(admin_router(state())).await;
    for path in ["/live", "/ready", "/metrics", "/status/config"] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let request = format!("DELETE {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 405 ") && answer.contains("allow: GET,HEAD"), "{answer}");
    }
}

#[tokio::test]
async fn a_request_begun_before_shutdown_is_answered() {
    let (begun, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (in_handler, in_test) = ((Arc::clone(&begun), Arc::clone(&go_on)), (begun, go_on));
    let router = Router::new().route(
        "/slow",
        get(move || async move {
            in_handler.0.notify_one();
            in_handler.1.notified().await;
            "slow but sure"
        }),
    );
    let mut server = start(router).await;
    let idle = TcpStream::connect(server.address).await.unwrap();
    let mut requests = JoinSet::new();
    let address = server.address;
    requests.spawn(async move { fetch(address, "/slow").await });
    in_test.0.notified().await;
    server.shutdown.cancel();
    // The listener is gone once connecting fails; until then the server has not noticed the shutdown.
    while TcpStream::connect(server.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    in_test.1.notify_one();
    let answer = requests.join_next().await.unwrap().unwrap();
    assert!(answer.ends_with("slow but sure"), "{answer}");
    server.task.join_next().await.unwrap().unwrap();
    drop(idle); // a silent client did not hold up the end
}
