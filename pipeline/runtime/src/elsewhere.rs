//! Requests that another runtime answers than the one that serves their connections.
//! Owns: moving a request over, and the frames of its answer back.
//! Does not own: what is answered, and the runtimes.
//! Guarantee: whatever a handler or the body of its answer does to the threads of its runtime, connections are served on;
//! a client that goes away ends its handler.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use http_body::{Frame, SizeHint};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;
use tracing::warn;

/// Frames of a body that wait for their connection.
const FRAMES_WAITING_MAX: usize = 4;

/// The same routes, answered on another runtime.
pub fn answered_on(runtime: Handle, router: Router) -> Router {
    router.layer(middleware::from_fn(move |request: Request, next: Next| {
        answer(runtime.clone(), request, next)
    }))
}

async fn answer(runtime: Handle, request: Request, next: Next) -> Response {
    let own = runtime.clone();
    let handler = async move { moved(&own, next.run(request).await) };
    match AbortOnDropHandle::new(runtime.spawn(handler)).await {
        Ok(response) => response,
        Err(error) => {
            warn!(%error, "a request's handler panicked, or its runtime stops");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// The response, with a body that is made on the runtime; one that is ready is left as it is.
fn moved(runtime: &Handle, response: Response) -> Response {
    let (parts, body) = response.into_parts();
    if body.size_hint().exact().is_some() {
        return Response::from_parts(parts, body);
    }
    let (sender, frames) = mpsc::channel(FRAMES_WAITING_MAX);
    let pump = AbortOnDropHandle::new(runtime.spawn(pump(body, sender)));
    Response::from_parts(parts, Body::new(MovedBody { frames, _pump: pump }))
}

/// What comes of a body: its frames, then nothing.
type FrameOrEnd = Option<Result<Frame<Bytes>, axum::Error>>;

async fn pump(mut body: Body, frames: mpsc::Sender<FrameOrEnd>) {
    loop {
        let next = std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await;
        let last = next.is_none();
        if frames.send(next).await.is_err() || last {
            return;
        }
    }
}

/// A body whose frames come from another runtime.
struct MovedBody {
    frames: mpsc::Receiver<FrameOrEnd>,
    /// Ends the making of frames when the body is dropped.
    _pump: AbortOnDropHandle<()>,
}

impl HttpBody for MovedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        // Without an end the client must see that its answer is cut off.
        let cut_off = || Some(Err(axum::Error::new("the body's task panicked, or its runtime stops")));
        self.frames.poll_recv(context).map(|next| next.unwrap_or_else(cut_off))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

#[cfg(test)]
mod tests;
