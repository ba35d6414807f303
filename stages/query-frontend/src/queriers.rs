//! The queriers that jobs can go to.
//! Owns: finding them by name, again and again, and which has the least to do.
//! Does not own: what happens when one fails (`dispatch`).

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::RwLock;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};
use tracing::{info, warn};
use vivace_proto::internal::querier_client::QuerierClient;
use vivace_proto::internal::querier_server;
use vivace_proto::internal::{
    MESSAGE_BYTES_MAX, PartStream, QuerierService, SearchJob, SearchJobPart, TraceJob, TraceJobPart,
};

/// Names are looked up that often.
const RESOLVE_EVERY: Duration = Duration::from_secs(10);
/// While there is none, more often.
const RESOLVE_PAUSE: Duration = Duration::from_secs(1);
/// A connection that takes longer than this fails: within a cluster it takes a millisecond.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// How often a connection is probed, so that one to a machine that vanished fails soon.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// Bytes of one answer, and of all together, that may be under way: two parts, so that a large trace does not wait for
/// a round trip every 64 KiB.
const STREAM_WINDOW_BYTES: u32 = 2 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;

/// One querier.
pub(crate) struct Member {
    pub(crate) address: String,
    pub(crate) service: QuerierService,
    /// Jobs that it has of us.
    load: AtomicUsize,
}

/// A job in work at a member, until it is dropped.
#[derive(Debug)]
pub(crate) struct Load(Arc<Member>);

impl Load {
    pub(crate) fn on(member: &Arc<Member>) -> Self {
        member.load.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(member))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.0.load.fetch_sub(1, Ordering::Relaxed);
    }
}

/// All queriers known.
#[derive(Debug)]
pub(crate) struct Queriers {
    names: Vec<String>,
    members: RwLock<Vec<Arc<Member>>>,
    turn: AtomicUsize,
    known: watch::Sender<usize>,
}

impl Queriers {
    /// Queriers that stay: the one of this process.
    pub(crate) fn fixed(services: Vec<QuerierService>) -> Self {
        let queriers = Self::remote(Vec::new());
        let member = |service| Arc::new(Member { address: "local".into(), service, load: 0.into() });
        queriers.set(services.into_iter().map(member).collect());
        queriers
    }

    /// Queriers by `host:port`; none until [`Queriers::follow`] has looked up the names.
    pub(crate) fn remote(names: Vec<String>) -> Self {
        Self { names, members: RwLock::default(), turn: 0.into(), known: watch::Sender::new(0) }
    }

    /// The one with the least to do that is not among `tried`; if all were tried, of all.
    pub(crate) fn choose(&self, tried: &[Arc<Member>]) -> Option<Arc<Member>> {
        let members = self.members.read();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        // Among equals take turns.
        let from = turn.checked_rem(members.len())?;
        let (before, after) = members.split_at(from);
        let is_tried = |member: &Arc<Member>| tried.iter().any(|tried| Arc::ptr_eq(tried, member));
        let key = |member: &&Arc<Member>| (is_tried(member), member.load.load(Ordering::Relaxed));
        after.iter().chain(before).min_by_key(key).cloned()
    }

    /// How many there are, and every change of it.
    pub(crate) fn known(&self) -> watch::Receiver<usize> {
        self.known.subscribe()
    }

    /// Looks up the names until shutdown.
    pub(crate) async fn follow(&self, shutdown: &CancellationToken) {
        if self.names.is_empty() {
            return shutdown.cancelled().await;
        }
        loop {
            self.resolve().await;
            let pause = if self.members.read().is_empty() { RESOLVE_PAUSE } else { RESOLVE_EVERY };
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    async fn resolve(&self) {
        let mut addresses = BTreeSet::new();
        for name in &self.names {
            match tokio::net::lookup_host(name.as_str()).await {
                Ok(found) => addresses.extend(found),
                Err(error) => {
                    // Better the addresses of a moment ago than none.
                    warn!(name, %error, "failed to look up queriers");
                    return;
                }
            }
        }
        let old = self.members.read().clone();
        let known = |address: &SocketAddr| {
            let address = address.to_string();
            old.iter().find(|member| member.address == address).cloned()
        };
        let members: Vec<_> =
            addresses.iter().map(|address| known(address).unwrap_or_else(|| connect(*address))).collect();
        if members.len() != old.len()
            || members.iter().any(|member| !old.iter().any(|old| Arc::ptr_eq(old, member)))
        {
            info!(queriers = members.len(), "queriers have changed");
        }
        self.set(members);
    }

    fn set(&self, members: Vec<Arc<Member>>) {
        let count = members.len();
        *self.members.write() = members;
        self.known.send_replace(count);
    }
}

fn connect(address: SocketAddr) -> Arc<Member> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .expect("an IP address and port make a URL")
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
    let client = QuerierClient::new(endpoint.connect_lazy()).max_decoding_message_size(MESSAGE_BYTES_MAX);
    Arc::new(Member { address: address.to_string(), service: Arc::new(Remote(client)), load: 0.into() })
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Member")
            .field("address", &self.address)
            .field("load", &self.load)
            .finish_non_exhaustive()
    }
}

/// A querier elsewhere.
struct Remote(QuerierClient<Channel>);

#[tonic::async_trait]
impl querier_server::Querier for Remote {
    type TraceStream = PartStream<TraceJobPart>;
    type SearchStream = PartStream<SearchJobPart>;

    async fn search(&self, request: Request<SearchJob>) -> Result<Response<Self::SearchStream>, Status> {
        let response = self.0.clone().search(request).await?;
        Ok(response.map(|stream| Box::pin(stream) as Self::SearchStream))
    }

    async fn trace(&self, request: Request<TraceJob>) -> Result<Response<Self::TraceStream>, Status> {
        let response = self.0.clone().trace(request).await?;
        Ok(response.map(|stream| Box::pin(stream) as Self::TraceStream))
    }
}
