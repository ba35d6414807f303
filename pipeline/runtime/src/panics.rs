//! Panics that end one piece of work and not the process.
//! Owns: catching them, their text, and the answer to a request whose handler panicked.
//! Does not own: what follows for the work: whether it is tried again, put aside or given up.
//! Guarantee: every panic caught here is counted by whoever gave the counter, or given to the caller.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use tracing::error;

/// gRPC's number of an internal error.
const GRPC_INTERNAL: HeaderValue = HeaderValue::from_static("13");
const GRPC_MESSAGE: HeaderValue = HeaderValue::from_static("internal error: the request panicked");

/// Work that panicked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("panicked: {0}")]
pub struct Panicked(String);

impl Panicked {
    /// What a caught panic says.
    #[must_use]
    pub fn new(payload: &(dyn Any + Send)) -> Self {
        Self(message_of(payload))
    }
}

/// Awaits work, which whoever calls drops if it panics: nothing that it shares with others may be left half done.
///
/// # Errors
/// [`Panicked`], with the text of the panic.
pub async fn caught<T>(work: impl Future<Output = T>) -> Result<T, Panicked> {
    AssertUnwindSafe(work).catch_unwind().await.map_err(|payload| Panicked::new(payload.as_ref()))
}

/// The same for work on this thread.
///
/// # Errors
/// [`Panicked`], with the text of the panic.
pub fn caught_here<T>(work: impl FnOnce() -> T) -> Result<T, Panicked> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|payload| Panicked::new(payload.as_ref()))
}

/// The text of a panic.
pub(crate) fn message_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message").to_owned()
}

/// A router whose handlers answer with an internal error when they panic, over HTTP and gRPC.
pub(crate) fn catch_panics(router: Router) -> Router {
    router.layer(from_fn(answer_panics))
}

async fn answer_panics(request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let content_type = request.headers().get(header::CONTENT_TYPE);
    let grpc = content_type.is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"));
    match caught(next.run(request)).await {
        Ok(response) => response,
        Err(panicked) => {
            error!(path, error = %panicked, "the handler of a request panicked");
            if grpc { grpc_internal() } else { internal() }
        }
    }
}

fn internal() -> Response {
    (StatusCode::INTERNAL_SERVER_ERROR, "internal error: the request panicked\n").into_response()
}

fn grpc_internal() -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/grpc")),
        (header::HeaderName::from_static("grpc-status"), GRPC_INTERNAL),
        (header::HeaderName::from_static("grpc-message"), GRPC_MESSAGE),
    ];
    headers.into_response()
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::routing::get;
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn a_panic_is_given_to_the_caller() {
        assert_eq!(caught(async { 7 }).await, Ok(7));
        let panicked = caught(async { panic!("no {}", "way") }).await.map(|()| 0);
        assert_eq!(panicked.unwrap_err().to_string(), "panicked: no way");
        assert_eq!(caught_here(|| 7), Ok(7));
        let panicked: Result<(), _> = caught_here(|| panic!("here"));
        assert_eq!(panicked, Err(Panicked("here".into())));
    }

    #[tokio::test]
    async fn a_handler_that_panics_answers_with_an_internal_error() {
        async fn bad() -> &'static str {
            panic!("bad handler")
        }
        let router = catch_panics(Router::new().route("/bad", get(bad)).route("/good", get(async || "good")));
        let ask = |path: &str, content_type: &str| {
            let request = Request::builder().uri(path).header(header::CONTENT_TYPE, content_type);
            router.clone().oneshot(request.body(Body::empty()).unwrap())
        };
        assert_eq!(ask("/bad", "application/json").await.unwrap().status(), 500);
        let grpc = ask("/bad", "application/grpc+proto").await.unwrap();
        assert_eq!((grpc.status().as_u16(), &grpc.headers()["grpc-status"]), (200, &GRPC_INTERNAL));
        assert_eq!(ask("/good", "application/json").await.unwrap().status(), 200);
    }
}
