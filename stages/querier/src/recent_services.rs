//! How ingesters are reached: in this process, or over gRPC by address.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};
use vivace_proto::internal::recent_client::RecentClient;
use vivace_proto::internal::recent_server::Recent;
use vivace_proto::internal::{
    MESSAGE_BYTES_MAX, PartStream, RecentColumnsPart, RecentColumnsRequest, RecentService, RecentTracePart,
    RecentTraceRequest,
};

/// A connection that takes longer than this fails: within a cluster it takes a millisecond.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// How often a connection is probed, so that one to a machine that vanished fails soon.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// Bytes of one answer, and of all together, that may be under way: two parts, so that a large trace does not wait for
/// a round trip every 64 KiB.
const STREAM_WINDOW_BYTES: u32 = 2 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;

/// Ingesters by address. Those that run in this process are registered; to all others a connection is made when it is
/// needed first.
#[derive(Default)]
pub struct RecentServices {
    local: HashMap<String, RecentService>,
    remote: Mutex<HashMap<String, RecentService>>,
}

impl RecentServices {
    /// Knows an ingester of this process by the address that it announces ([`vivace_proto::owners::LOCAL_ADDRESS`],
    /// or any other in a simulation of several).
    #[must_use]
    pub fn with_local(mut self, address: impl Into<String>, service: RecentService) -> Self {
        self.local.insert(address.into(), service);
        self
    }

    /// The ingester at that address. `announced` are all that are owners at present: connections to others are dropped.
    pub(crate) fn get(
        &self,
        address: &str,
        announced: impl FnOnce() -> HashSet<String>,
    ) -> Result<RecentService, Status> {
        if let Some(service) = self.local.get(address) {
            return Ok(Arc::clone(service));
        }
        let mut remote = self.remote.lock();
        if let Some(service) = remote.get(address) {
            return Ok(Arc::clone(service));
        }
        let endpoint = Endpoint::from_shared(format!("http://{address}"))
            .map_err(|error| {
                Status::unavailable(format!("owner's address {address:?} is not valid: {error}"))
            })?
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
        let client = RecentClient::new(endpoint.connect_lazy()).max_decoding_message_size(MESSAGE_BYTES_MAX);
        let service: RecentService = Arc::new(Remote(client));
        let announced = announced();
        remote.retain(|known, _| announced.contains(known));
        remote.insert(address.to_owned(), Arc::clone(&service));
        Ok(service)
    }
}

impl fmt::Debug for RecentServices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecentServices").field("local", &self.local.keys()).finish_non_exhaustive()
    }
}

/// An ingester elsewhere.
struct Remote(RecentClient<Channel>);

#[tonic::async_trait]
impl Recent for Remote {
    type TraceStream = PartStream<RecentTracePart>;
    type ColumnsStream = PartStream<RecentColumnsPart>;

    async fn columns(
        &self,
        request: Request<RecentColumnsRequest>,
    ) -> Result<Response<Self::ColumnsStream>, Status> {
        let response = self.0.clone().columns(request).await?;
        Ok(response.map(|stream| Box::pin(stream) as Self::ColumnsStream))
    }

    async fn trace(
        &self,
        request: Request<RecentTraceRequest>,
    ) -> Result<Response<Self::TraceStream>, Status> {
        let response = self.0.clone().trace(request).await?;
        Ok(response.map(|stream| Box::pin(stream) as Self::TraceStream))
    }
}
