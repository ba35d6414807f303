//! The open connections of a listener.
//! Owns: their tasks, how many there are of each address, and which has been idle for longest.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::{Id, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::activity::Activity;
use super::connection::{Connection, Settings};

/// The connections; those that were asked to go are not counted any more.
#[derive(Debug, Default)]
pub(super) struct Connections {
    tasks: JoinSet<()>,
    entries: HashMap<Id, Entry>,
    networks: HashMap<IpAddr, usize>,
    reserved: usize,
    accepted: u64,
    became_idle: Arc<Notify>,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Entry {
    activity: Arc<Activity>,
    network: IpAddr,
    reserved: bool,
    evict: CancellationToken,
}

impl Entry {
    pub(super) const fn network(&self) -> IpAddr {
        self.network
    }

    pub(super) const fn is_reserved(&self) -> bool {
        self.reserved
    }
}

impl Connections {
    /// How many there are, but for those on reserved room.
    pub(super) fn open(&self) -> usize {
        self.entries.len() - self.reserved
    }

    pub(super) const fn reserved(&self) -> usize {
        self.reserved
    }

    pub(super) fn of_network(&self, network: IpAddr) -> usize {
        self.networks.get(&network).copied().unwrap_or(0)
    }

    /// How many have not ended.
    pub(super) fn len(&self) -> usize {
        self.tasks.len()
    }

    pub(super) fn spawn(
        &mut self,
        settings: &Arc<Settings>,
        stream: TcpStream,
        network: IpAddr,
        reserved: bool,
        stop: &CancellationToken,
    ) {
        let (activity, evict) =
            (Arc::new(Activity::new(Arc::clone(&self.became_idle))), CancellationToken::new());
        let connection = Connection {
            settings: Arc::clone(settings),
            activity: Arc::clone(&activity),
            stop: stop.clone(),
            evicted: evict.clone(),
            number: self.accepted,
        };
        self.accepted += 1;
        let task = self.tasks.spawn(connection.serve(stream));
        *self.networks.entry(network).or_default() += 1;
        self.reserved += usize::from(reserved);
        self.entries.insert(task.id(), Entry { activity, network, reserved, evict });
    }

    /// Asks the one that has been idle for longest to go, of those of which `which` is true. Says whether there was one.
    pub(super) fn evict_oldest_idle(&mut self, which: impl Fn(&Entry) -> bool) -> bool {
        let entries = self.entries.iter().filter(|(_, entry)| which(entry));
        let idle = entries.filter_map(|(id, entry)| Some((entry.activity.idle_since()?, *id)));
        let Some((_, id)) = idle.min_by_key(|(since, _)| *since) else { return false };
        if let Some(entry) = self.remove(id) {
            entry.evict.cancel();
        }
        true
    }

    /// Notified when one has become idle.
    pub(super) fn became_idle(&self) -> Arc<Notify> {
        Arc::clone(&self.became_idle)
    }

    /// Waits until one has ended; for ever if there is none. Safe to drop.
    pub(super) async fn ended(&mut self) {
        match self.tasks.join_next_with_id().await {
            Some(Ok((id, ()))) => drop(self.remove(id)),
            Some(Err(error)) => {
                self.remove(error.id());
                if !error.is_cancelled() {
                    warn!(%error, "a connection's task panicked");
                }
            }
            None => std::future::pending().await,
        }
    }

    /// Waits until all have ended. Safe to drop.
    pub(super) async fn all_ended(&mut self) {
        while !self.tasks.is_empty() {
            self.ended().await;
        }
    }

    /// Ends those that are left.
    pub(super) async fn abort(&mut self) {
        self.tasks.shutdown().await;
    }

    fn remove(&mut self, id: Id) -> Option<Entry> {
        let entry = self.entries.remove(&id)?;
        self.reserved -= usize::from(entry.reserved);
        if let Some(count) = self.networks.get_mut(&entry.network) {
            *count -= 1;
            if *count == 0 {
                self.networks.remove(&entry.network);
            }
        }
        Some(entry)
    }
}

/// What stands for a client: its IPv4 address, or the /64 network of its IPv6 address, in which it has any number.
pub(super) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_an_address_or_a_network() {
        let of = |text: &str| network(text.parse().unwrap()).to_string();
        assert_eq!(of("192.0.2.7"), "192.0.2.7");
        assert_eq!(of("::ffff:192.0.2.7"), "192.0.2.7");
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
    }
}
