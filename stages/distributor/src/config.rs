use std::net::SocketAddr;
use std::time::Duration;

use vivace_model::{ByteSize, settings};
use vivace_runtime::ServerOptions;

settings! {
    /// Settings of the distributor.
    pub struct Config: "VIVACE_DISTRIBUTOR_" {
        /// Where OTLP over gRPC is taken.
        grpc_listen: SocketAddr = SocketAddr::from(([0, 0, 0, 0], 4317)),
        /// Where OTLP over HTTP is taken, at `/v1/traces`.
        http_listen: SocketAddr = SocketAddr::from(([0, 0, 0, 0], 4318)),
        /// Largest request, both as it arrives and after decompression.
        request_bytes_max: ByteSize = ByteSize::mib(16),
        /// Largest record to write to the log. A span that does not fit with its resource and scope is rejected, so this
        /// has to be below what the log takes.
        record_bytes_max: ByteSize = ByteSize::kib(900),
        /// Bytes of all requests in work together, from their first byte until they are answered. Beyond it senders
        /// are told to come back later. At least four times the largest request.
        inflight_bytes_max: ByteSize = ByteSize::mib(64),
        /// Connections to each of the two ports. Where there are as many, the one that has been idle for longest is closed
        /// for a new one; while none is idle, new ones wait.
        #[unit = "connections"]
        connections_max: usize = ServerOptions::CONNECTIONS_MAX,
        /// Connections of one address to each of the two ports. Put it up to CONNECTIONS_MAX where all senders come
        /// through one load balancer that gives them its own address.
        #[unit = "connections"]
        connections_per_address_max: usize = ServerOptions::CONNECTIONS_PER_ADDRESS_MAX,
        /// How long a request may take to arrive.
        receive_timeout: Duration = Duration::from_secs(30),
        /// How long the log may take to make a request durable.
        append_timeout: Duration = Duration::from_secs(30),
        /// After what time senders are asked to try again, when they are told to come back later.
        retry_delay: Duration = Duration::from_secs(5),
        /// Overrides of tenants that change how their traces are spread over partitions are followed only after that
        /// time, so that all query-frontends have read them before.
        overrides_settle: Duration = Duration::from_secs(120),
        /// Age at which a connection is closed gracefully, give or take a tenth, so that senders spread over
        /// distributors that were added since.
        connection_age_max: Duration = Duration::from_secs(300),
        /// How often an idle HTTP/2 connection is asked whether it is alive.
        keepalive_interval: Duration = Duration::from_secs(30),
        /// How long the answer to that may take.
        keepalive_timeout: Duration = Duration::from_secs(20),
        /// How long to go on accepting after health says "not serving", so that load balancers notice first.
        shutdown_delay: Duration = Duration::ZERO,
        /// How long running requests may take to finish once their connection is being closed, at shutdown or of age.
        shutdown_grace: Duration = Duration::from_secs(20),
    }
}

/// Bytes that a sender may have on its way on one HTTP/2 connection: most requests.
const HTTP2_WINDOW: u32 = 1 << 20;
/// Largest HTTP/2 frame that senders are told to use. Most requests fit into one then: it is read in few calls and kept
/// where it was read to, while frames of the usual 16 KiB are joined by a copy. Below the window of a connection (1 MiB),
/// so that nobody gets more memory by it.
const HTTP2_FRAME_MAX: u32 = 256 * 1024;
/// How many times a request's size may be in flight for it: compressed and plain at once, then plain and split, whose
/// copies of resources may double it.
const REQUEST_COPIES_MAX: u64 = 4;

impl Config {
    /// Checks what no type can.
    ///
    /// # Errors
    /// One line for the user, naming the variable.
    pub fn validate(&self) -> Result<(), String> {
        let wrong = |field: &str, why: &str| Err(format!("{}{field} {why}", Self::PREFIX));
        if !(1..=u64::from(u32::MAX)).contains(&self.request_bytes_max.0) {
            return wrong("REQUEST_BYTES_MAX", "must be at least one byte and below 4GiB");
        }
        if self.record_bytes_max.0 == 0 {
            return wrong("RECORD_BYTES_MAX", "must be at least one byte");
        }
        if self.inflight_bytes_max.0 / REQUEST_COPIES_MAX < self.request_bytes_max.0 {
            return wrong(
                "INFLIGHT_BYTES_MAX",
                "must be at least four times VIVACE_DISTRIBUTOR_REQUEST_BYTES_MAX",
            );
        }
        if self.connections_max == 0 {
            return wrong("CONNECTIONS_MAX", "must be at least one");
        }
        if self.connections_per_address_max == 0 {
            return wrong("CONNECTIONS_PER_ADDRESS_MAX", "must be at least one");
        }
        for (field, value) in [
            ("RECEIVE_TIMEOUT", self.receive_timeout),
            ("APPEND_TIMEOUT", self.append_timeout),
            ("CONNECTION_AGE_MAX", self.connection_age_max),
            ("KEEPALIVE_INTERVAL", self.keepalive_interval),
            ("KEEPALIVE_TIMEOUT", self.keepalive_timeout),
        ] {
            if value.is_zero() {
                return wrong(field, "must be more than zero");
            }
        }
        Ok(())
    }

    /// How connections are treated.
    pub(crate) fn server(&self) -> ServerOptions {
        ServerOptions {
            connections_max: self.connections_max,
            connections_per_address_max: self.connections_per_address_max,
            age_max: Some(self.connection_age_max),
            grace: self.shutdown_grace,
            keepalive_interval: self.keepalive_interval,
            keepalive_timeout: self.keepalive_timeout,
            http2_window: HTTP2_WINDOW,
            http2_frame_max: Some(HTTP2_FRAME_MAX),
            ..ServerOptions::default()
        }
    }

    /// Bytes of all records of one request. Sized so that one of the largest requests fits into an idle distributor.
    pub(crate) fn output_bytes_max(&self) -> usize {
        self.request_bytes_max.as_usize().saturating_mul(2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_settings_are_named() {
        assert_eq!(Config::default().validate(), Ok(()));
        let zero = Config { receive_timeout: Duration::ZERO, ..Config::default() };
        assert_eq!(zero.validate().unwrap_err(), "VIVACE_DISTRIBUTOR_RECEIVE_TIMEOUT must be more than zero");
        let narrow = Config { inflight_bytes_max: ByteSize::mib(63), ..Config::default() };
        assert!(narrow.validate().unwrap_err().starts_with("VIVACE_DISTRIBUTOR_INFLIGHT_BYTES_MAX must be"));
        for wrong in [
            Config { request_bytes_max: ByteSize(0), ..Config::default() },
            Config { request_bytes_max: ByteSize::gib(4), ..Config::default() },
            Config { record_bytes_max: ByteSize(0), ..Config::default() },
            Config { connections_max: 0, ..Config::default() },
            Config { connections_per_address_max: 0, ..Config::default() },
        ] {
            assert!(wrong.validate().is_err());
        }
    }
}
