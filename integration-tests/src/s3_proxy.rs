use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::ports::free_port;
use crate::settings::loopback;

/// Largest object that goes through.
const BODY_BYTES_MAX: usize = 1 << 30;

/// Which requests to the object store go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requests {
    /// All.
    Any,
    /// Blocks that are written.
    BlockPuts,
    /// Ledger entries and snapshots that are written.
    LedgerPuts,
    /// Everything that is read.
    Reads,
}

/// How they go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Answered with 500; the server never sees them.
    ErrorBefore,
    /// The server does what they ask; the answer is 500.
    ErrorAfter,
    /// The server sees them so much later.
    SlowBefore(Duration),
    /// The answer comes so much later.
    SlowAfter(Duration),
    /// They are never answered.
    Silent,
}

/// An S3 server's front that lets requests go wrong before or after they did their work. Stops with its drop.
#[derive(Debug)]
pub struct S3Proxy {
    port: u16,
    trouble: Arc<Mutex<Option<(Requests, Trouble)>>>,
    troubled: Arc<Mutex<u64>>,
    _task: JoinSet<()>,
}

#[derive(Clone, Debug)]
struct Front {
    target: String,
    http: reqwest::Client,
    trouble: Arc<Mutex<Option<(Requests, Trouble)>>>,
    troubled: Arc<Mutex<u64>>,
}

impl S3Proxy {
    /// Listens on a free port of loopback, in front of the server at `http://host:port`.
    ///
    /// # Errors
    /// When there is no free port.
    pub async fn start(target: &str) -> anyhow::Result<Self> {
        let port = free_port()?;
        let listener = TcpListener::bind(loopback(port)).await?;
        let (trouble, troubled) = (Arc::default(), Arc::default());
        let front = Front {
            target: target.to_owned(),
            http: reqwest::Client::new(),
            trouble: Arc::clone(&trouble),
            troubled: Arc::clone(&troubled),
        };
        let router = Router::new().fallback(forward).with_state(front);
        let mut task = JoinSet::new();
        task.spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                eprintln!("s3 proxy: {error}");
            }
        });
        Ok(Self { port, trouble, troubled, _task: task })
    }

    /// `host:port`
    #[must_use]
    pub fn address(&self) -> String {
        loopback(self.port)
    }

    /// Lets requests of a kind go wrong from now on.
    pub fn set(&self, requests: Requests, trouble: Trouble) {
        *self.trouble.lock() = Some((requests, trouble));
    }

    /// Lets all of them go right again.
    pub fn clear(&self) {
        *self.trouble.lock() = None;
    }

    /// Requests that went wrong so far.
    #[must_use]
    pub fn troubled(&self) -> u64 {
        *self.troubled.lock()
    }
}

async fn forward(State(front): State<Front>, request: Request) -> Response {
    let trouble = *front.trouble.lock();
    let trouble = trouble.filter(|(requests, _)| concerns(*requests, &request)).map(|(_, trouble)| trouble);
    if trouble.is_some() {
        *front.troubled.lock() += 1;
    }
    match trouble {
        Some(Trouble::ErrorBefore) => return refusal(),
        Some(Trouble::SlowBefore(time)) => sleep(time).await,
        Some(Trouble::Silent) => std::future::pending().await,
        Some(Trouble::ErrorAfter | Trouble::SlowAfter(_)) | None => {}
    }
    let answer = match pass_on(&front, request).await {
        Ok(answer) => answer,
        Err(error) => (StatusCode::BAD_GATEWAY, format!("{error:#}")).into_response(),
    };
    match trouble {
        Some(Trouble::ErrorAfter) => return refusal(),
        Some(Trouble::SlowAfter(time)) => sleep(time).await,
        _ => {}
    }
    answer
}

fn refusal() -> Response {
    let body = "<Error><Code>InternalError</Code><Message>injected</Message></Error>";
    (StatusCode::INTERNAL_SERVER_ERROR, body).into_response()
}

fn concerns(requests: Requests, request: &Request) -> bool {
    // Large objects come in parts, by POST and PUT.
    let writes = [Method::PUT, Method::POST].contains(request.method());
    let path = request.uri().path();
    match requests {
        Requests::Any => true,
        Requests::BlockPuts => writes && path.contains("/blocks/"),
        Requests::LedgerPuts => writes && path.contains("/ledger/"),
        Requests::Reads => [Method::GET, Method::HEAD].contains(request.method()),
    }
}

async fn pass_on(front: &Front, request: Request) -> anyhow::Result<Response> {
    let (parts, body) = request.into_parts();
    let body: Bytes = to_bytes(body, BODY_BYTES_MAX).await?;
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let mut headers = parts.headers;
    headers.remove(header::HOST);
    headers.remove(header::TRANSFER_ENCODING);
    headers.remove(header::CONTENT_LENGTH);
    let sent = front.http.request(parts.method.clone(), format!("{}{path}", front.target));
    let answer = sent.headers(headers).body(body).send().await?;
    let mut response = Response::builder().status(answer.status());
    for (name, value) in answer.headers() {
        // Of HEAD, the length is all that is asked for; elsewhere it comes from the body.
        let length = name == header::CONTENT_LENGTH && parts.method != Method::HEAD;
        if !length && ![header::TRANSFER_ENCODING, header::CONNECTION].contains(name) {
            response = response.header(name, value);
        }
    }
    Ok(response.body(Body::from(answer.bytes().await?))?)
}
