//! Which ingester works on which partition, by the metrics of all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::future::join_all;
use tokio::time::{Instant, sleep};
use vivace_model::Partition;

/// An ingester has this metric for each partition that it serves.
const METRIC: &str = "vivace_ingester_partition_refused{partition=\"";
/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);
/// An answer takes no longer; a process that does not answer serves nothing.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);

/// Who serves each partition.
pub(crate) type Owners = BTreeMap<Partition, String>;

/// Waits until the ingesters at these addresses (`http://host:port`) serve every partition, each once and all about as many;
/// gives who serves what, and the moment.
pub(crate) async fn settled(
    addresses: &[String],
    partitions: u32,
    limit: Duration,
) -> anyhow::Result<(Owners, Instant)> {
    let http = reqwest::Client::new();
    let deadline = Instant::now() + limit;
    loop {
        let served = join_all(addresses.iter().map(|address| serves(&http, address))).await;
        if let Some(owners) = fair(addresses, &served, partitions as usize) {
            return Ok((owners, Instant::now()));
        }
        anyhow::ensure!(Instant::now() < deadline, "not settled after {limit:?}: {served:?}");
        sleep(LOOK).await;
    }
}

async fn serves(http: &reqwest::Client, address: &str) -> BTreeSet<Partition> {
    let page =
        async { http.get(format!("{address}/metrics")).timeout(ANSWER_LIMIT).send().await?.text().await };
    page.await.map(|page| partitions_on(&page)).unwrap_or_default()
}

/// The partitions that a page of metrics names.
fn partitions_on(page: &str) -> BTreeSet<Partition> {
    let labels = page.lines().filter_map(|line| line.strip_prefix(METRIC)?.split_once('"'));
    labels.filter_map(|(number, _)| number.parse().ok().map(Partition)).collect()
}

/// The owners, if every partition has one and none of these has two more than another.
fn fair(addresses: &[String], served: &[BTreeSet<Partition>], partitions: usize) -> Option<Owners> {
    let counts = || served.iter().map(BTreeSet::len);
    let (least, most) = (counts().min()?, counts().max()?);
    let owners: Owners = (addresses.iter().zip(served))
        .flat_map(|(address, served)| served.iter().map(|partition| (*partition, address.clone())))
        .collect();
    let settled = counts().sum::<usize>() == partitions && owners.len() == partitions && most - least <= 1;
    settled.then_some(owners)
}

#[test]
fn owners_are_read_from_metrics() {
    let page = "# TYPE vivace_ingester_partition_refused gauge\n\
        vivace_ingester_partition_refused{partition=\"11\"} 0\n\
        vivace_ingester_partition_refused{partition=\"2\"} 0\nvivace_ingester_records_total 7\n";
    let (first, second) = (partitions_on(page), BTreeSet::from([Partition(3)]));
    assert_eq!(first, BTreeSet::from([Partition(2), Partition(11)]));
    let addresses = ["a".to_owned(), "b".to_owned()];
    let owners = fair(&addresses, &[first.clone(), second.clone()], 3).unwrap();
    assert_eq!(owners[&Partition(11)], "a");
    assert_eq!(fair(&addresses, &[first.clone(), second], 4), None, "one is missing");
    assert_eq!(fair(&addresses, &[first.clone(), first.clone()], 4), None, "all are served twice");
    assert_eq!(fair(&addresses, &[first, BTreeSet::new()], 2), None, "one has nothing to do");
}
