//! Real services for tests: an Apache Kafka broker, an S3 server, Vivace as processes of its own, and their clients.
//! Owns: starting services on loopback, stopping each by the pid that was started, showing their logs when a test
//! fails, sending traces and noting which were acknowledged, and the plain form in which traces are compared.
//! Does not own: what the tests demand of Vivace (`tests/`), installing the services (`scripts/test-tools.sh`).

mod acknowledged;
mod blocks;
mod bounded;
mod canonical;
mod canonical_json;
mod check;
mod checker;
mod client;
mod cluster;
mod counter;
mod kafka;
mod ledger;
mod load;
mod memory_group;
mod page;
mod ports;
mod prober;
mod process;
mod proxied;
mod python;
mod s3;
mod s3_proxy;
mod sender;
mod settings;
mod small_disk;
mod stored;
mod tcp_proxy;
mod tools;
mod vivace;

pub use acknowledged::{Acknowledged, SpanKey};
pub use blocks::stored_spans;
pub use bounded::{bounded, eventually};
pub use canonical::{Canonical, canonical};
pub use canonical_json::canonical_from_json;
pub use check::{TraceFault, compare, whole};
pub use checker::Checker;
pub use client::TraceClient;
pub use cluster::Cluster;
pub use counter::Counter;
pub use kafka::KafkaBroker;
pub use ledger::{ChainSummary, read_ledger};
pub use load::{Load, LoadOptions, SHOP_SECONDS};
pub use memory_group::MemoryGroup;
pub use page::publish_table;
pub use prober::Prober;
pub use process::Process;
pub use proxied::{KafkaLine, ProxiedCluster, Timing};
pub use python::run_python;
pub use s3::S3Server;
pub use s3_proxy::{Requests, S3Proxy, Trouble};
pub use sender::Sender;
pub use settings::Stage;
pub use small_disk::SmallDisk;
pub use stored::all_stored_once;
pub use tcp_proxy::{Line, TcpProxy};
pub use vivace::{Vivace, VivaceOptions};
