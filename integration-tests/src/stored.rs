use std::sync::Arc;
use std::time::Duration;

use anyhow::{bail, ensure};
use object_store::ObjectStore;
use tokio::time::{Instant, sleep};

use crate::acknowledged::Acknowledged;
use crate::blocks::stored_spans;
use crate::ledger::read_ledger;

/// After the last span the blocks need their age, sorting and upload.
const STORED_LIMIT: Duration = Duration::from_secs(60);

/// Waits until the live blocks hold every acknowledged span, and checks that each is there once (a span that was sent
/// again after a lost answer is two records, and may be there twice), that nothing else is there, that the chains of
/// the ledger have no gap and no overlap, and that nothing was rejected or lost.
///
/// # Errors
/// Says what is wrong.
pub async fn all_stored_once(
    store: &Arc<dyn ObjectStore>,
    noted: &Acknowledged,
    partitions: usize,
) -> anyhow::Result<()> {
    let acknowledged = noted.spans();
    let started = Instant::now();
    loop {
        let chains = read_ledger(store).await?;
        let rows: u64 = chains.values().map(|chain| chain.rows).sum();
        // Counting rows is cheap, reading blocks is not: once they may be complete, they must be.
        if (rows as usize) < acknowledged.len() {
            ensure!(started.elapsed() < STORED_LIMIT, "only {rows} of {} spans stored", acknowledged.len());
            sleep(Duration::from_millis(500)).await;
            continue;
        }
        ensure!(chains.len() == partitions, "chains of {:?}, not of {partitions} partitions", chains.keys());
        let not_stored: u64 = chains.values().map(|chain| chain.not_stored).sum();
        ensure!(not_stored == 0, "{not_stored} records were rejected or lost");
        let live: Vec<_> = chains.values().flat_map(|chain| chain.live.clone()).collect();
        let stored = stored_spans(store, Some(&live)).await?;
        let missing = acknowledged.iter().filter(|span| !stored.contains_key(span)).count();
        if missing > 0 && started.elapsed() < STORED_LIMIT {
            continue; // the rows were of spans that are there twice
        }
        ensure!(missing == 0, "{missing} acknowledged spans are in no block");
        let repeated = stored.iter().filter(|(_, count)| **count > 1);
        let (resent, wrong): (Vec<_>, Vec<_>) = repeated.partition(|(span, _)| noted.was_resent(span));
        if let Some((span, count)) = wrong.first() {
            bail!("{} spans sent once are stored more than once, {span:?} {count} times", wrong.len());
        }
        let strange = stored.keys().filter(|span| !acknowledged.contains(span)).count();
        ensure!(strange == 0, "{strange} spans are stored that were never sent");
        let entries: u64 = chains.values().map(|chain| chain.entries).sum();
        let (all, blocks, took) = (acknowledged.len(), live.len(), started.elapsed());
        eprintln!("stored: all {all} spans in {blocks} live blocks of {entries} entries after {took:.1?}");
        eprintln!(
            "stored: {} spans were resent, {} of them are there twice",
            noted.resent_count(),
            resent.len()
        );
        return Ok(());
    }
}
