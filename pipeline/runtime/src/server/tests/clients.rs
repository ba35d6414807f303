//! Clients that are slow, silent or many.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::routing::{get, post};
use futures::stream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};

use super::{Server, fetch, start, start_with};
use crate::ServerOptions;

/// Silent connections that are opened to a listener that takes [`SMALL`] of them.
const MANY: usize = 400;
const SMALL: usize = 60;

/// A connection that has sent `bytes`, if any.
async fn client(server: &Server, bytes: &str) -> TcpStream {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(bytes.as_bytes()).await.unwrap();
    stream
}

/// What comes until the server closes the connection, and the seconds until then.
async fn to_end(mut stream: TcpStream) -> (String, u64) {
    let (start, mut answer) = (Instant::now(), Vec::new());
    // A reset is an end, too.
    drop(stream.read_to_end(&mut answer).await);
    (String::from_utf8_lossy(&answer).into_owned(), start.elapsed().as_secs())
}

/// The status of the answer that comes.
async fn status(stream: &mut TcpStream) -> String {
    let mut start = [0; 12];
    stream.read_exact(&mut start).await.unwrap();
    String::from_utf8_lossy(&start).trim_start_matches("HTTP/1.1 ").to_owned()
}

/// A connection of an address of its own.
async fn connect_from(last: u8, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from(([127, 0, 1, last], 0))).unwrap();
    socket.connect(to).await.unwrap()
}

fn hello() -> Router {
    Router::new().route("/", get("hello"))
}

/// A route that waits.
struct Gated {
    /// Each request that waits takes one.
    gate: Arc<Semaphore>,
    /// Each request that begins to wait gives one.
    begun: Arc<Semaphore>,
    router: Router,
}

impl Gated {
    fn new() -> Self {
        let (gate, begun) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let of_handler = (Arc::clone(&gate), Arc::clone(&begun));
        let wait = move || async move {
            of_handler.1.add_permits(1);
            of_handler.0.acquire().await.unwrap().forget();
            "done"
        };
        Self { gate, begun, router: hello().route("/wait", get(wait)) }
    }

    /// Makes the connection busy.
    async fn occupy(&self, stream: &mut TcpStream) {
        stream.write_all(WAIT.as_bytes()).await.unwrap();
        self.begun.acquire().await.unwrap().forget();
    }
}

const GET: &str = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";
const WAIT: &str = "GET /wait HTTP/1.1\r\nhost: x\r\n\r\n";

#[tokio::test(start_paused = true)]
async fn silent_slow_and_idle_clients_are_closed() {
    let server = start(hello()).await;
    assert_eq!(to_end(client(&server, "").await).await, (String::new(), 10));
    assert_eq!(to_end(client(&server, "GET / HT").await).await, (String::new(), 30));
    let (answer, seconds) = to_end(client(&server, GET).await).await;
    assert!(answer.ends_with("hello"), "{answer}");
    assert_eq!(seconds, 400);
    // Over HTTP/2 what a client owes is the next request.
    let (_, seconds) = to_end(client(&server, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await).await;
    assert!((60..=400).contains(&seconds), "it answers no ping: {seconds}");
    for waited_for in ["first_byte", "head", "request"] {
        let metric = format!("timed_out_total{{listener=\"test\",waited_for=\"{waited_for}\"}}");
        assert!(server.count(&metric) >= 1, "{waited_for}");
    }
    assert_eq!(server.count("open{listener=\"test\"}"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_go_on_is_given_up() {
    let taken = |body: Body| async move {
        match axum::body::to_bytes(body, 100).await {
            Ok(bytes) => format!("{} bytes", bytes.len()),
            Err(error) => format!("{}", std::error::Error::source(&error).unwrap_or(&error)),
        }
    };
    let server = start(Router::new().route("/", post(taken))).await;
    let head = "POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 6\r\n\r\nabc";
    let mut slow = client(&server, head).await;
    sleep(Duration::from_secs(29)).await;
    slow.write_all(b"d").await.unwrap();
    sleep(Duration::from_secs(29)).await;
    slow.write_all(b"ef").await.unwrap();
    assert!(to_end(slow).await.0.ends_with("6 bytes"), "it goes on, if slowly");

    let (answer, _) = to_end(client(&server, head).await).await;
    assert!(answer.ends_with("nothing more of the request's body came within 30s"), "{answer}");
    assert_eq!(server.count("timed_out_total{listener=\"test\",waited_for=\"body\"}"), 1);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_nobody_reads_is_given_up() {
    let endless = || async {
        let chunk = Bytes::from(vec![0; 1 << 20]);
        Body::from_stream(stream::repeat_with(move || Ok::<_, std::io::Error>(chunk.clone())))
    };
    let server = start(Router::new().route("/", get(endless))).await;
    let silent = client(&server, GET).await;
    let metric = "timed_out_total{listener=\"test\",waited_for=\"answer\"}";
    let start = Instant::now();
    while server.count(metric) == 0 {
        sleep(Duration::from_secs(1)).await;
    }
    assert!((60..=62).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
    assert_eq!(server.count("open{listener=\"test\"}"), 0);
    drop(silent);
}

#[tokio::test]
async fn many_silent_connections_keep_nobody_out() {
    let options = ServerOptions { connections_max: SMALL, ..ServerOptions::default() };
    let server = start_with(hello(), None, options).await;
    let mut silent = Vec::new();
    for number in 0..MANY {
        silent.push(connect_from((number % 200) as u8 + 1, server.address).await);
    }
    // Each is answered although hundreds came before it and stay.
    for _ in 0..3 {
        let answer = fetch(server.address, "/").await;
        assert!(answer.ends_with("hello"), "{answer}");
    }
    assert!(server.count("open{listener=\"test\"}") <= SMALL as u64);
    assert!(server.count("evicted_total{listener=\"test\"}") >= (MANY - SMALL) as u64);
    // The oldest went first, the youngest is still there.
    assert_eq!(to_end(silent.remove(0)).await.0, "");
    let mut youngest = silent.pop().unwrap();
    youngest.write_all(GET.as_bytes()).await.unwrap();
    assert_eq!(status(&mut youngest).await, "200");
}

#[tokio::test]
async fn one_address_does_not_get_all_connections() {
    let gated = Gated::new();
    let options = ServerOptions { connections_per_address_max: 2, ..ServerOptions::default() };
    let server = start_with(gated.router.clone(), None, options).await;
    let mut busy = Vec::new();
    for _ in 0..2 {
        busy.push(connect_from(1, server.address).await);
        gated.occupy(busy.last_mut().unwrap()).await;
    }
    assert_eq!(to_end(connect_from(1, server.address).await).await.0, "", "refused");
    assert_eq!(server.count("refused_total{listener=\"test\",reason=\"address\"}"), 1);
    let mut other = connect_from(2, server.address).await;
    other.write_all(GET.as_bytes()).await.unwrap();
    assert_eq!(status(&mut other).await, "200");
    gated.gate.add_permits(2);
    for stream in &mut busy {
        assert_eq!(status(stream).await, "200");
    }
}

#[tokio::test]
async fn health_has_room_while_all_connections_are_busy() {
    let gated = Gated::new();
    let options = ServerOptions { connections_max: 2, ..ServerOptions::default() };
    let health = Router::new().route("/live", get("alive"));
    let server = start_with(gated.router.clone().merge(health.clone()), Some(health), options).await;
    let mut busy = Vec::new();
    for _ in 0..2 {
        busy.push(client(&server, "").await);
        gated.occupy(busy.last_mut().unwrap()).await;
    }
    for _ in 0..100 {
        assert!(fetch(server.address, "/live").await.ends_with("alive"));
    }
    assert!(fetch(server.address, "/").await.starts_with("HTTP/1.1 503 "));
    gated.gate.add_permits(2);
    for stream in &mut busy {
        assert_eq!(status(stream).await, "200");
    }
}

#[tokio::test]
async fn without_reserved_room_others_wait_until_one_is_idle() {
    let gated = Gated::new();
    let options = ServerOptions { connections_max: 1, ..ServerOptions::default() };
    let server = start_with(gated.router.clone(), None, options).await;
    let mut busy = client(&server, "").await;
    gated.occupy(&mut busy).await;
    let mut next = Box::pin(fetch(server.address, "/"));
    let early = tokio::time::timeout(Duration::from_millis(50), &mut next).await;
    assert!(early.is_err(), "it waits");
    gated.gate.add_permits(1);
    assert_eq!(status(&mut busy).await, "200", "it was not closed while busy");
    // It is idle now, so the next one gets its place.
    assert!(next.await.ends_with("hello"));
    assert_eq!(server.count("evicted_total{listener=\"test\"}"), 1);
}

#[tokio::test]
async fn streams_of_a_connection_are_limited() {
    let server = start(hello()).await;
    let mut stream = client(&server, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap(); // no settings of ours
    let mut frame = [0; 9];
    stream.read_exact(&mut frame).await.unwrap();
    assert_eq!(frame[3], 4, "the first frame has the settings");
    let mut settings = vec![0; usize::from(frame[2])];
    stream.read_exact(&mut settings).await.unwrap();
    // The setting MAX_CONCURRENT_STREAMS is number 3.
    assert!(settings.chunks(6).any(|setting| setting == [0, 3, 0, 0, 0, 200]), "{settings:?}");
}
