//! One connection, from its first byte to its end.
//! Owns: its timers, and how it is closed. Does not own: what is answered.

use std::convert::Infallible;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::http::{Request, Response, Version};
use hyper::service::Service;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::activity::Activity;
use super::body::{AnswerBody, RequestBody, Running};
use super::metrics::ConnectionMetrics;
use super::options::{ServerOptions, Timeouts};
use crate::panics::catch_panics;

/// The golden ratio's fraction: its multiples spread evenly over [0, 1), however many there are.
const GOLDEN: f64 = 0.618_033_988_749_895;

/// What the connections of a listener have in common.
#[derive(Debug)]
pub(super) struct Settings {
    name: &'static str,
    router: TowerToHyperService<Router>,
    builder: Builder<TokioExecutor>,
    timeouts: Timeouts,
    age_max: Option<Duration>,
    grace: Duration,
    metrics: ConnectionMetrics,
}

impl Settings {
    pub(super) fn new(
        name: &'static str,
        router: Router,
        options: &ServerOptions,
        metrics: ConnectionMetrics,
    ) -> Self {
        let mut builder = Builder::new(TokioExecutor::new());
        // Hyper's own time for heads would run while a connection is idle, too.
        builder.http1().timer(TokioTimer::new()).header_read_timeout(None);
        builder.http1().max_buf_size(options.http1_buffer_max);
        builder
            .http2()
            .timer(TokioTimer::new())
            .initial_stream_window_size(options.http2_window)
            .initial_connection_window_size(options.http2_window)
            .max_concurrent_streams(options.streams_max)
            .max_frame_size(options.http2_frame_max)
            .keep_alive_interval(options.keepalive_interval)
            .keep_alive_timeout(options.keepalive_timeout);
        let router = TowerToHyperService::new(catch_panics(router));
        let ServerOptions { timeouts, age_max, grace, .. } = *options;
        Self { name, router, builder, timeouts, age_max, grace, metrics }
    }
}

/// A connection that is being served.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) settings: Arc<Settings>,
    pub(super) activity: Arc<Activity>,
    /// Asks it to stop: the server's.
    pub(super) stop: CancellationToken,
    /// Asks it to go at once: others need its place.
    pub(super) evicted: CancellationToken,
    /// How many the server accepted before.
    pub(super) number: u64,
}

impl Connection {
    /// Serves until the client or the server ends it.
    pub(super) async fn serve(self, stream: TcpStream) {
        let Self { settings, activity, stop, evicted, number } = self;
        let Settings { name, builder, timeouts, metrics, .. } = &*settings;
        let _open = metrics.opened(name);
        if let Err(error) = stream.set_nodelay(true) {
            debug!(server = name, %error, "connection without nodelay");
        }
        let service = Requests { settings: Arc::clone(&settings), activity: Arc::clone(&activity) };
        let io = TokioIo::new(Socket { stream, activity: Arc::clone(&activity) });
        let mut connection = pin!(builder.serve_connection(io, service));
        let old = settings.age_max.map(|age| Instant::now() + jittered(age, number));
        // Once it is being closed, when it has to be.
        let mut closing: Option<Instant> = None;
        loop {
            let check = match activity.judge(timeouts) {
                Ok(next) => next,
                Err(owed) => {
                    metrics.timed_out(name, owed);
                    debug!(server = name, waited_for = owed.name(), "connection timed out");
                    return poll_to_end(connection).await;
                }
            };
            if closing.is_some_and(|deadline| deadline <= Instant::now()) {
                debug!(server = name, "connection closed while busy");
                return;
            }
            let due =
                [closing, old.filter(|_| closing.is_none())].into_iter().flatten().fold(check, Instant::min);
            tokio::select! {
                biased;
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        debug!(server = name, error = &*error as &dyn std::error::Error, "connection failed");
                    }
                    return;
                }
                () = evicted.cancelled(), if closing.is_none() => {
                    if activity.idle_since().is_some() {
                        return poll_to_end(connection).await;
                    }
                    // A request came at the last moment. It is answered.
                }
                () = stop.cancelled(), if closing.is_none() => {}
                () = sleep_until(due) => {}
            }
            let of_age = old.is_some_and(|old| old <= Instant::now());
            if closing.is_none() && (of_age || stop.is_cancelled() || evicted.is_cancelled()) {
                connection.as_mut().graceful_shutdown();
                closing = Some(Instant::now() + settings.grace);
            }
        }
    }
}

/// Says goodbye, as far as that can be done without waiting.
async fn poll_to_end(
    mut connection: Pin<
        &mut hyper_util::server::conn::auto::Connection<'_, TokioIo<Socket>, Requests, TokioExecutor>,
    >,
) {
    connection.as_mut().graceful_shutdown();
    std::future::poll_fn(|cx| {
        // How it ended does not matter any more.
        drop(connection.as_mut().poll(cx));
        Poll::Ready(())
    })
    .await;
}

/// Between nine and eleven tenths of `age`, spread evenly over the connections: those that were opened together, after
/// a restart say, do not all close together.
fn jittered(age: Duration, connection: u64) -> Duration {
    let spread = (connection as f64 * GOLDEN).fract();
    age.mul_f64(0.9 + 0.2 * spread)
}

/// Answers the requests of a connection, and notes when they begin and end.
#[derive(Debug)]
struct Requests {
    settings: Arc<Settings>,
    activity: Arc<Activity>,
}

impl Service<Request<hyper::body::Incoming>> for Requests {
    type Response = Response<AnswerBody<Body>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: Request<hyper::body::Incoming>) -> Self::Future {
        let Settings { name, timeouts, metrics, router, .. } = &*self.settings;
        let running = Running::new(Arc::clone(&self.activity), request.version() >= Version::HTTP_2);
        let request = request.map(|body| match body.is_end_stream() {
            true => Body::empty(),
            false => Body::new(RequestBody::new(body, timeouts.body, name, metrics.clone())),
        });
        let answer = router.call(request);
        Box::pin(async move { Ok(answer.await?.map(|body| AnswerBody::new(body, running))) })
    }
}

/// A socket that notes what comes in.
#[derive(Debug)]
struct Socket {
    stream: TcpStream,
    activity: Arc<Activity>,
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        self.activity.received(&buffer.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_spread() {
        let mut ages: Vec<_> =
            (0..100).map(|connection| jittered(Duration::from_secs(100), connection)).collect();
        ages.sort();
        assert!(ages[0] >= Duration::from_secs(90) && ages[99] <= Duration::from_secs(110));
        assert!(
            ages.windows(2).all(|pair| pair[1] - pair[0] < Duration::from_millis(400)),
            "no clusters, no gaps"
        );
    }
}
