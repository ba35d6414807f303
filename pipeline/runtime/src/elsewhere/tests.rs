//! Handlers that hold all threads of their runtime.

use std::convert::Infallible;
use std::sync::{Arc, Barrier};

use axum::routing::get;
use futures::{StreamExt, stream};
use prometheus_client::registry::Registry;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{ConnectionMetrics, Server, ServerOptions};

/// Threads of the runtime that answers queries.
const THREADS: usize = 2;

fn queries() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(THREADS).build().unwrap()
}

/// Serves the routes; their address.
async fn serve(
    router: Router,
    shutdown: CancellationToken,
) -> (std::net::SocketAddr, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let metrics = ConnectionMetrics::new(&mut Registry::default());
    let server = Server::new("test", listener, router, ServerOptions::default(), metrics);
    let server = Handle::current().spawn(server.run(shutdown));
    (address, server)
}

async fn ask(address: std::net::SocketAddr, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

async fn answer_of(mut stream: TcpStream) -> String {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn probes_are_answered_while_queries_hold_all_their_threads() {
    let (queries, shutdown) = (queries(), CancellationToken::new());
    // Both are passed when all threads are held, and when the test lets them go.
    let (held, released) = (Arc::new(Barrier::new(THREADS + 1)), Arc::new(Barrier::new(THREADS + 1)));
    let (holds, releases) = (Arc::clone(&held), Arc::clone(&released));
    let query = move || {
        let (holds, releases) = (Arc::clone(&holds), Arc::clone(&releases));
        async move {
            holds.wait();
            releases.wait();
            "found"
        }
    };
    let api = answered_on(queries.handle().clone(), Router::new().route("/query", get(query)));
    let router = Router::new().route("/live", get("alive")).merge(api);
    let (address, server) = serve(router, shutdown.clone()).await;
    let mut asked = Vec::new();
    for _ in 0..THREADS {
        asked.push(ask(address, "/query").await);
    }
    tokio::task::spawn_blocking(move || held.wait()).await.unwrap();
    assert!(answer_of(ask(address, "/live").await).await.ends_with("alive"), "no query is answered yet");
    tokio::task::spawn_blocking(move || released.wait()).await.unwrap();
    for query in asked {
        assert!(answer_of(query).await.ends_with("found"));
    }
    shutdown.cancel();
    server.await.unwrap();
    queries.shutdown_background();
}

#[tokio::test]
async fn a_client_that_goes_away_ends_its_handler() {
    let (queries, shutdown) = (queries(), CancellationToken::new());
    let (began, begins) = oneshot::channel::<()>();
    let (waits, ended) = oneshot::channel::<()>();
    let events = Arc::new(parking_lot::Mutex::new(Some((began, waits))));
    let query = move || {
        let (began, waits) = events.lock().take().expect("there is one request");
        async move {
            began.send(()).unwrap();
            std::future::pending::<()>().await;
            drop(waits);
        }
    };
    let router = answered_on(queries.handle().clone(), Router::new().route("/query", get(query)));
    let (address, server) = serve(router, shutdown.clone()).await;
    let client = ask(address, "/query").await;
    begins.await.unwrap();
    drop(client);
    assert!(ended.await.is_err(), "the handler is dropped, with all that it holds");
    shutdown.cancel();
    server.await.unwrap();
    queries.shutdown_background();
}

#[tokio::test]
async fn a_body_that_panics_is_cut_off() {
    let (queries, shutdown) = (queries(), CancellationToken::new());
    let body = || async {
        let parts = stream::iter(0..2).map(|number| match number {
            0 => Ok::<_, Infallible>("begun"),
            _ => panic!("on purpose"),
        });
        Body::from_stream(parts)
    };
    let router = answered_on(queries.handle().clone(), Router::new().route("/query", get(body)));
    let (address, server) = serve(router, shutdown.clone()).await;
    let answer = answer_of(ask(address, "/query").await).await;
    assert!(!answer.ends_with("0\r\n\r\n"), "it does not look like all of it: {answer}");
    shutdown.cancel();
    server.await.unwrap();
    queries.shutdown_background();
}

#[tokio::test]
async fn bodies_are_made_on_the_runtime_of_the_handler() {
    let (queries, shutdown) = (queries(), CancellationToken::new());
    let id = queries.handle().id();
    let body = move || async move {
        let parts = stream::iter(0..100).map(move |number| {
            assert_eq!(Handle::current().id(), id);
            Ok::<_, Infallible>(format!("{number},"))
        });
        Body::from_stream(parts)
    };
    let router = answered_on(queries.handle().clone(), Router::new().route("/query", get(body)));
    let (address, server) = serve(router, shutdown.clone()).await;
    let answer = answer_of(ask(address, "/query").await).await;
    assert!(answer.contains("98,") && answer.contains("99,"), "{answer}");
    shutdown.cancel();
    server.await.unwrap();
    queries.shutdown_background();
}
