use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use serde_json::Value;
use vivace_ledger::Entry;
use vivace_ledger::invariants::ChainCheck;

use crate::settings::SPANS_TOPIC;

/// One partition's chain, read entry by entry as plain JSON.
#[derive(Clone, Debug, Default)]
pub struct ChainSummary {
    /// Number of entries.
    pub entries: u64,
    /// The first offset that no entry covers.
    pub end: u64,
    /// Records that were rejected or lost.
    pub not_stored: u64,
    /// Spans in the live blocks.
    pub rows: u64,
    /// Paths of the live blocks.
    pub live: Vec<Path>,
    /// Spans of each live block, by its id.
    rows_of: BTreeMap<String, u64>,
}

/// Reads the chains of all partitions and checks that they have no hole in their numbers, no gap and no overlap of
/// offsets, and no block twice: with the ledger's own invariants, and with other eyes on the plain JSON.
///
/// # Errors
/// Says which entry breaks which rule.
pub async fn read_ledger(store: &Arc<dyn ObjectStore>) -> anyhow::Result<BTreeMap<u32, ChainSummary>> {
    let root = Path::from("ledger").join(SPANS_TOPIC);
    let objects: Vec<_> = store.list(Some(&root)).try_collect().await?;
    let mut paths: Vec<_> = objects.into_iter().map(|object| object.location).collect();
    paths.sort();
    let mut chains: BTreeMap<u32, (ChainSummary, ChainCheck)> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for path in paths {
        let parts: Vec<_> = path.parts().collect();
        let [.., partition, name] = parts.as_slice() else {
            continue;
        };
        let Ok(sequence) = name.as_ref().trim_end_matches(".json").parse::<u64>() else {
            continue; // a snapshot
        };
        let partition = partition.as_ref().parse().context("a partition's folder is named by its number")?;
        let json = store.get(&path).await?.bytes().await?;
        let (chain, invariants) = chains.entry(partition).or_default();
        let entry: Entry = serde_json::from_slice(&json).with_context(|| format!("in {path}"))?;
        invariants.push(&entry).with_context(|| format!("{path}: {entry:?}"))?;
        let entry: Value = serde_json::from_slice(&json)?;
        follow(chain, &mut seen, sequence, &entry["body"]).with_context(|| format!("{path}: {entry}"))?;
    }
    Ok(chains.into_iter().map(|(partition, (chain, _))| (partition, chain)).collect())
}

fn follow(
    chain: &mut ChainSummary,
    seen: &mut BTreeSet<String>,
    sequence: u64,
    body: &Value,
) -> anyhow::Result<()> {
    ensure!(sequence == chain.entries + 1, "entry {sequence} follows {}", chain.entries);
    chain.entries = sequence;
    // What a replay reads again lies below the end, but in a chain without blocks.
    let replayed = body["kind"] == "replayed";
    if let Some(offsets) = body.get("offsets").filter(|_| !replayed) {
        let start = offsets["start"].as_u64().context("no start")?;
        let end = offsets["end"].as_u64().context("no end")?;
        ensure!(start == chain.end && end > start, "[{start}, {end}) follows {}", chain.end);
        chain.end = end;
        if body["kind"] == "lost" {
            chain.not_stored += end - start;
        }
    }
    chain.not_stored += body["rejected"].as_array().map_or(0, |list| list.len() as u64);
    let (added, gone) = match body["kind"].as_str() {
        Some("ingested") => (&body["blocks"], &Value::Null),
        Some("compacted" | "replayed" | "redacted") => (&body["outputs"], &body["inputs"]),
        Some("expired") => (&Value::Null, &body["blocks"]),
        Some("lost" | "recreated" | "discarded") => (&Value::Null, &Value::Null),
        other => bail!("unknown kind of entry {other:?}"),
    };
    for gone in gone.as_array().into_iter().flatten() {
        let id = gone.as_str().context("a block's id is text")?;
        let before = chain.live.len();
        chain.live.retain(|path| path.filename() != Some(&format!("{id}.parquet")));
        ensure!(chain.live.len() + 1 == before, "block {id} was not live");
        chain.rows -= chain.rows_of.remove(id).unwrap_or_default();
    }
    for block in added.as_array().into_iter().flatten() {
        let field = |name: &str| block[name].as_str().with_context(|| format!("a block without {name}"));
        let (id, tenant, date) = (field("id")?, field("tenant")?, field("date")?);
        ensure!(seen.insert(id.to_owned()), "block {id} was listed before");
        let rows = block["rows"].as_u64().context("a block without rows")?;
        chain.rows += rows;
        chain.rows_of.insert(id.to_owned(), rows);
        let file = format!("{id}.parquet");
        chain.live.push(Path::from_iter([
            "blocks",
            &format!("tenant={tenant}"),
            &format!("date={date}"),
            &file,
        ]));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ingested(start: u64, end: u64, block: &str) -> Value {
        let block = json!({"id": block, "tenant": "t", "date": "2026-01-01", "rows": 7});
        let offsets = json!({"start": start, "end": end});
        json!({"kind": "ingested", "offsets": offsets, "blocks": [block], "rejected": []})
    }

    fn follow_all(bodies: &[Value]) -> anyhow::Result<ChainSummary> {
        let (mut chain, mut seen) = (ChainSummary::default(), BTreeSet::new());
        for (sequence, body) in (1..).zip(bodies) {
            follow(&mut chain, &mut seen, sequence, body)?;
        }
        Ok(chain)
    }

    #[test]
    fn a_sound_chain_is_summed_up() {
        let merged = json!({"id": "c", "tenant": "t", "date": "2026-01-01", "rows": 14});
        let compacted = json!({"kind": "compacted", "inputs": ["a", "b"], "outputs": [merged]});
        let lost = json!({"kind": "lost", "offsets": {"start": 9, "end": 12}});
        let chain = follow_all(&[ingested(0, 5, "a"), ingested(5, 9, "b"), compacted, lost]).unwrap();
        assert_eq!((chain.entries, chain.end, chain.not_stored, chain.rows), (4, 12, 3, 14));
        assert_eq!(chain.live, [Path::from("blocks/tenant=t/date=2026-01-01/c.parquet")]);
    }

    #[test]
    fn gaps_overlaps_and_blocks_twice_are_seen() {
        let expired = json!({"kind": "expired", "blocks": ["x"]});
        for second in [ingested(6, 9, "b"), ingested(4, 9, "b"), ingested(5, 9, "a"), expired] {
            assert!(follow_all(&[ingested(0, 5, "a"), second.clone()]).is_err(), "{second}");
        }
        let (mut chain, mut seen) = (ChainSummary::default(), BTreeSet::new());
        assert!(follow(&mut chain, &mut seen, 2, &ingested(0, 5, "a")).is_err(), "entry 1 is missing");
    }
}
