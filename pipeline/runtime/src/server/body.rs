//! Bodies that note what becomes of them.
//! Owns: giving up on a request's body that does not go on, and saying when an answer was given completely.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::BoxError;
use axum::body::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep};

use super::activity::{Activity, WaitsFor};
use super::metrics::ConnectionMetrics;

/// Why a request's body ends early.
#[derive(Debug, thiserror::Error)]
#[error("nothing more of the request's body came within {0:?}")]
struct BodyStalled(Duration);

/// A request's body. It fails when nothing of it comes for too long.
pub(super) struct RequestBody<B> {
    body: B,
    pause_max: Duration,
    /// Runs while more is waited for.
    timer: Option<Pin<Box<Sleep>>>,
    listener: &'static str,
    metrics: ConnectionMetrics,
}

impl<B> RequestBody<B> {
    pub(super) const fn new(
        body: B,
        pause_max: Duration,
        listener: &'static str,
        metrics: ConnectionMetrics,
    ) -> Self {
        Self { body, pause_max, timer: None, listener, metrics }
    }
}

impl<B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin> Body for RequestBody<B> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) {
            this.timer = None;
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let pause_max = this.pause_max;
        let timer = this.timer.get_or_insert_with(|| Box::pin(sleep(pause_max)));
        ready!(timer.as_mut().poll(cx));
        timer.as_mut().reset(Instant::now() + pause_max);
        this.metrics.timed_out(this.listener, WaitsFor::Body);
        Poll::Ready(Some(Err(BodyStalled(pause_max).into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A request in work. Ends when it is dropped.
#[derive(Debug)]
pub(super) struct Running(Arc<Activity>);

impl Running {
    pub(super) fn new(activity: Arc<Activity>, http2: bool) -> Self {
        activity.request_begun(http2);
        Self(activity)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.request_ended();
    }
}

/// The body of an answer. Its request ends with it.
pub(super) struct AnswerBody<B> {
    body: B,
    /// Whether a part of it was given out and the client was not yet ready for the next.
    untaken: bool,
    running: Running,
}

impl<B> AnswerBody<B> {
    pub(super) const fn new(body: B, running: Running) -> Self {
        Self { body, untaken: false, running }
    }

    fn taken(&mut self) {
        if self.untaken {
            self.untaken = false;
            self.running.0.answer_taken();
        }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for AnswerBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    /// The server polls again only when the client has room for more.
    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = &mut *self;
        let polled = Pin::new(&mut this.body).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(_))) => {
                this.running.0.answer_given(!this.untaken);
                this.untaken = true;
            }
            Poll::Ready(_) | Poll::Pending => this.taken(),
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B> Drop for AnswerBody<B> {
    fn drop(&mut self) {
        if self.untaken {
            self.running.0.answer_taken();
        }
    }
}
