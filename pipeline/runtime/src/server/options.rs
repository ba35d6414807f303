//! What can be chosen for a listener.

use std::time::Duration;

/// Heads of requests are below that, queries in them included.
const HTTP1_BUFFER_MAX: usize = 64 << 10;
/// The protocol's own; enough where requests are small.
const HTTP2_WINDOW: u32 = (64 << 10) - 1;

/// How long a client may keep a connection waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For the first byte after the connection was accepted.
    pub first_byte: Duration,
    /// For the head of a request, from its first byte.
    pub head: Duration,
    /// For more of a request's body.
    pub body: Duration,
    /// For taking more of the answer.
    pub answer: Duration,
    /// For the next request.
    pub idle: Duration,
}

impl Timeouts {
    /// The same for all.
    #[must_use]
    pub const fn all(time: Duration) -> Self {
        Self { first_byte: time, head: time, body: time, answer: time, idle: time }
    }

    pub(super) fn shortest(&self) -> Duration {
        self.first_byte.min(self.head).min(self.body).min(self.answer).min(self.idle)
    }
}

impl Default for Timeouts {
    /// Load balancers keep idle connections for one to six minutes, and expect the server to keep them longer; those that
    /// keep them longer than this connect again.
    fn default() -> Self {
        Self {
            first_byte: Duration::from_secs(10),
            head: Duration::from_secs(30),
            body: Duration::from_secs(30),
            answer: Duration::from_secs(60),
            idle: Duration::from_secs(400),
        }
    }
}

/// How a listener treats its connections.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Connections open at once.
    pub connections_max: usize,
    /// Connections open at once from one address (of IPv6: from one /64 network, as one customer has).
    pub connections_per_address_max: usize,
    /// What clients are waited for.
    pub timeouts: Timeouts,
    /// Age at which a connection is closed gracefully, give or take a tenth; none: never.
    pub age_max: Option<Duration>,
    /// How long running requests may take once their connection is being closed, at shutdown or of age.
    pub grace: Duration,
    /// How often a silent HTTP/2 client is asked whether it is still there.
    pub keepalive_interval: Duration,
    /// How long the answer to that may take.
    pub keepalive_timeout: Duration,
    /// Requests at the same time on one HTTP/2 connection.
    pub streams_max: u32,
    /// Memory for what was read of an HTTP/1 connection and not taken yet, and so for the head of a request.
    pub http1_buffer_max: usize,
    /// Memory for what was read of the bodies of an HTTP/2 connection and not taken yet.
    pub http2_window: u32,
    /// Largest HTTP/2 frame that clients may send; none: 16 KiB.
    pub http2_frame_max: Option<u32>,
}

impl ServerOptions {
    /// Connections to one listener, unless something else is set.
    pub const CONNECTIONS_MAX: usize = 4096;
    /// Connections of one address to one listener, unless something else is set: half, so that one client alone never
    /// has all of them.
    pub const CONNECTIONS_PER_ADDRESS_MAX: usize = Self::CONNECTIONS_MAX / 2;
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            connections_max: Self::CONNECTIONS_MAX,
            connections_per_address_max: Self::CONNECTIONS_PER_ADDRESS_MAX,
            timeouts: Timeouts::default(),
            age_max: None,
            grace: Duration::from_secs(20),
            keepalive_interval: Duration::from_secs(30),
            keepalive_timeout: Duration::from_secs(30),
            streams_max: 200,
            http1_buffer_max: HTTP1_BUFFER_MAX,
            http2_window: HTTP2_WINDOW,
            http2_frame_max: None,
        }
    }
}
