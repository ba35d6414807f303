//! Accepts connections and serves a router on them.
//! Owns: how many connections there are, how old they get, how they end.
//! Guarantee: once stopped, no new connection is accepted, and a request that had begun is answered if it takes no
//! longer than the grace.

use std::io;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use prometheus_client::metrics::gauge::Gauge;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};
use vivace_runtime::catch_panics;

use crate::config::Config;

/// Memory for what was read of an HTTP/1 connection and not yet taken in.
const HTTP1_BUFFER_MAX: usize = 64 * 1024;
/// Largest HTTP/2 frame that senders are told to use. Most requests fit into one then: it is read in few calls and kept
/// where it was read to, while frames of the usual 16 KiB are joined by a copy. Below the window of a connection (1 MiB),
/// so that nobody gets more memory by it.
const HTTP2_FRAME_MAX: u32 = 256 * 1024;
/// How long to wait after a connection could not be accepted, for want of file descriptors mostly.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The golden ratio's fraction: its multiples spread evenly over [0, 1), however many there are.
const GOLDEN: f64 = 0.618_033_988_749_895;

#[derive(Debug)]
pub(crate) struct Server {
    name: &'static str,
    listener: TcpListener,
    router: Router,
    builder: Builder<TokioExecutor>,
    connections_max: usize,
    age_max: Duration,
    grace: Duration,
    open: Gauge,
}

impl Server {
    pub(crate) fn new(
        name: &'static str,
        listener: TcpListener,
        router: Router,
        config: &Config,
        open: Gauge,
    ) -> Self {
        let mut builder = Builder::new(TokioExecutor::new());
        // The timer also arms hyper's limit of 30 s for the headers of a request.
        builder.http1().timer(TokioTimer::new()).max_buf_size(HTTP1_BUFFER_MAX);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_frame_size(HTTP2_FRAME_MAX)
            .keep_alive_interval(config.keepalive_interval)
            .keep_alive_timeout(config.keepalive_timeout);
        Self {
            name,
            listener,
            router,
            builder,
            connections_max: config.connections_max,
            age_max: config.connection_age_max,
            grace: config.shutdown_grace,
            open,
        }
    }

    /// Serves until `stop`, then until all connections are closed or the grace is over.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let mut connections = JoinSet::new();
        let mut accepted: u64 = 0;
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(_) = connections.join_next() => {}
                stream = self.listener.accept(), if connections.len() < self.connections_max => match stream {
                    Ok((stream, _)) => {
                        let age = jittered(self.age_max, accepted);
                        accepted += 1;
                        connections.spawn(self.connection(stream, age, stop.clone()));
                    }
                    Err(error) => self.accept_failed(&error).await,
                },
            }
        }
        let Self { name, listener, grace, .. } = self;
        drop(listener);
        let drained = async { while connections.join_next().await.is_some() {} };
        if timeout(grace, drained).await.is_err() {
            warn!(
                server = name,
                connections = connections.len(),
                "connections are still busy after the grace"
            );
            connections.shutdown().await;
        }
    }

    async fn accept_failed(&self, error: &io::Error) {
        warn!(server = self.name, %error, "a connection could not be accepted");
        sleep(ACCEPT_PAUSE).await;
    }

    fn connection(
        &self,
        stream: TcpStream,
        age: Duration,
        stop: CancellationToken,
    ) -> impl Future<Output = ()> + Send + use<> {
        let (name, grace) = (self.name, self.grace);
        let service = TowerToHyperService::new(catch_panics(self.router.clone()));
        let builder = self.builder.clone();
        let open = OpenConnection::new(self.open.clone());
        async move {
            let _open = open;
            if let Err(error) = stream.set_nodelay(true) {
                debug!(server = name, %error, "connection without nodelay");
            }
            let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
            let ended = tokio::select! {
                biased;
                ended = connection.as_mut() => Some(ended),
                () = stop.cancelled() => None,
                () = sleep(age) => None,
            };
            let ended = match ended {
                Some(ended) => Ok(ended),
                None => {
                    connection.as_mut().graceful_shutdown();
                    timeout(grace, connection).await
                }
            };
            match ended {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    debug!(server = name, error = &*error as &dyn std::error::Error, "connection failed")
                }
                Err(_elapsed) => debug!(server = name, "connection closed while busy"),
            }
        }
    }
}

/// Counts itself among the open connections.
#[derive(Debug)]
struct OpenConnection(Gauge);

impl OpenConnection {
    fn new(open: Gauge) -> Self {
        open.inc();
        Self(open)
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Between nine and eleven tenths of `age`, spread evenly over the connections: those that were opened together, after
/// a restart say, do not all close together.
fn jittered(age: Duration, connection: u64) -> Duration {
    let spread = (connection as f64 * GOLDEN).fract();
    age.mul_f64(0.9 + 0.2 * spread)
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
