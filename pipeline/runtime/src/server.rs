//! Serves HTTP/1 and HTTP/2 on one listener: the accept loop of every port of the process.
//! Owns: which connections are accepted, refused and closed for others, and their end at shutdown.
//! Does not own: what is answered (a router), one connection's life (`connection`), what it waits for (`activity`).
//! Guarantee: a silent client never keeps others out. Where the listener is full the connection that has been idle for
//! longest is closed; while none is idle, health is still answered if room is reserved for it. Once stopped, no new
//! connection is accepted, and a request that had begun is answered if it takes no longer than the grace.

mod activity;
mod body;
mod connection;
mod connections;
mod metrics;
mod options;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{StatusCode, header};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::warn;

pub use self::metrics::ConnectionMetrics;
pub use self::options::{ServerOptions, Timeouts};

use self::connection::Settings;
use self::connections::{Connections, network};
use self::metrics::Refusal;

/// Connections that are accepted for `reserve` alone while the listener is full.
const RESERVED_MAX: usize = 32;
/// How long such a connection lives.
const RESERVED_AGE: Duration = Duration::from_secs(10);
/// Pause after a failed accept, which mostly means that file descriptors ran out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// One listener with what it serves.
#[derive(Debug)]
pub struct Server {
    name: &'static str,
    listener: TcpListener,
    options: ServerOptions,
    metrics: ConnectionMetrics,
    settings: Arc<Settings>,
    /// For the connections beyond the limit.
    reserved: Option<Arc<Settings>>,
}

/// A connection that has been accepted and is not served yet.
#[derive(Debug)]
struct Accepted {
    stream: TcpStream,
    peer: SocketAddr,
}

impl Server {
    /// A server of `router`; metrics and log lines call it `name`.
    #[must_use]
    pub fn new(
        name: &'static str,
        listener: TcpListener,
        router: Router,
        options: ServerOptions,
        metrics: ConnectionMetrics,
    ) -> Self {
        let settings = Arc::new(Settings::new(name, router, &options, metrics.clone()));
        Self { name, listener, options, metrics, settings, reserved: None }
    }

    /// Reserves room for what `router` serves: while the listener is full and no connection is idle, a few more are
    /// accepted for a short time. Anything else that is asked on them gets 503.
    #[must_use]
    pub fn reserve(mut self, router: Router) -> Self {
        let full = || async {
            (StatusCode::SERVICE_UNAVAILABLE, [(header::CONNECTION, "close")], "too many connections\n")
        };
        let options = ServerOptions {
            age_max: Some(RESERVED_AGE),
            timeouts: Timeouts::all(RESERVED_AGE),
            ..self.options.clone()
        };
        let router = router.fallback(full);
        self.reserved = Some(Arc::new(Settings::new(self.name, router, &options, self.metrics.clone())));
        self
    }

    /// Serves until `stop`, then until all connections are closed or the grace is over.
    pub async fn run(self, stop: CancellationToken) {
        let mut connections = Connections::default();
        let mut accepted: Option<Accepted> = None;
        let mut failing = false;
        let became_idle = connections.became_idle();
        loop {
            if let Some(next) = accepted.take() {
                accepted = self.admit(next, &mut connections, &stop);
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = connections.ended() => {}
                () = became_idle.notified(), if accepted.is_some() => {}
                result = self.listener.accept(), if accepted.is_none() => match result {
                    Ok((stream, peer)) => {
                        accepted = Some(Accepted { stream, peer });
                        failing = false;
                    }
                    Err(error) => {
                        if !failing {
                            warn!(server = self.name, %error, "connections cannot be accepted");
                        }
                        failing = true;
                        self.accept_failed(&mut connections).await;
                    }
                },
            }
        }
        let Self { name, listener, options, .. } = self;
        drop(listener); // new clients are refused and go elsewhere
        drop(accepted);
        if timeout(options.grace, connections.all_ended()).await.is_err() {
            warn!(
                server = name,
                connections = connections.len(),
                "connections are still busy after the grace"
            );
            connections.abort().await;
        }
    }

    /// Serves the connection, refuses it, or gives it back while there is no room.
    fn admit(
        &self,
        accepted: Accepted,
        connections: &mut Connections,
        stop: &CancellationToken,
    ) -> Option<Accepted> {
        let network = network(accepted.peer.ip());
        let crowded = connections.of_network(network) >= self.options.connections_per_address_max;
        let refused = crowded && !self.evict(connections, |entry| entry.network() == network);
        let full = !refused
            && connections.open() >= self.options.connections_max
            && !self.evict(connections, |entry| !entry.is_reserved());
        if !refused && !full {
            connections.spawn(&self.settings, accepted.stream, network, false, stop);
            return None;
        }
        if let Some(settings) = &self.reserved
            && (connections.reserved() < RESERVED_MAX || self.evict(connections, |entry| entry.is_reserved()))
        {
            connections.spawn(settings, accepted.stream, network, true, stop);
            return None;
        }
        if refused {
            self.metrics.refused(self.name, Refusal::Address);
            return None;
        }
        Some(accepted)
    }

    /// Closes the connection that has been idle for longest, if one is.
    fn evict(&self, connections: &mut Connections, which: impl Fn(&connections::Entry) -> bool) -> bool {
        let evicted = connections.evict_oldest_idle(which);
        if evicted {
            self.metrics.evicted(self.name);
        }
        evicted
    }

    async fn accept_failed(&self, connections: &mut Connections) {
        self.metrics.refused(self.name, Refusal::Accept);
        // For want of descriptors, mostly: an idle client gives one back.
        self.evict(connections, |_| true);
        sleep(ACCEPT_PAUSE).await;
    }
}

#[cfg(test)]
mod tests;
