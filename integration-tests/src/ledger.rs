use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use serde_json::Value;

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

/// Reads the chains of all partitions and checks with eyes of its own, not with Vivace's code, that they have no hole
/// in their numbers, no gap and no overlap of offsets, and no block twice.
///
/// # Errors
/// Says which entry breaks which rule.
pub async fn read_ledger(store: &Arc<dyn ObjectStore>) -> anyhow::Result<BTreeMap<u32, ChainSummary>> {
    let root = Path::from("ledger").join(SPANS_TOPIC);
    let objects: Vec<_> = store.list(Some(&root)).try_collect().await?;
    let mut paths: Vec<_> = objects.into_iter().map(|object| object.location).collect();
    paths.sort();
    let mut chains = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for path in paths {
        let parts: Vec<_> = path.parts().collect();
        let [.., partition, name] = parts.as_slice() else {
            continue;
        };
        let Ok(sequence) = name.as_ref().trim_end_matches(".json").parse::<u64>() else {
            continue; // a snapshot
        };
        let partition = partition
            .as_ref()
            .parse()
            .context("a partition's folder is named by its number")?;
        let entry: Value = serde_json::from_slice(&store.get(&path).await?.bytes().await?)?;
        let chain = chains.entry(partition).or_default();
        follow(chain, &mut seen, sequence, &entry["body"]).with_context(|| format!("{path}: {entry}"))?;
    }
    Ok(chains)
}

fn follow(
    chain: &mut ChainSummary,
    seen: &mut BTreeSet<String>,
    sequence: u64,
    body: &Value,
) -> anyhow::Result<()> {
    ensure!(
        sequence == chain.entries + 1,
        "entry {sequence} follows {}",
        chain.entries
    );
    chain.entries = sequence;
    if let Some(offsets) = body.get("offsets") {
        let start = offsets["start"].as_u64().context("no start")?;
        let end = offsets["end"].as_u64().context("no end")?;
        ensure!(
            start == chain.end && end > start,
            "[{start}, {end}) follows {}",
            chain.end
        );
        chain.end = end;
        if body["kind"] == "lost" {
            chain.not_stored += end - start;
        }
    }
    chain.not_stored += body["rejected"].as_array().map_or(0, |list| list.len() as u64);
    let (added, gone) = match body["kind"].as_str() {
        Some("ingested") => (&body["blocks"], &Value::Null),
        Some("compacted") => (&body["outputs"], &body["inputs"]),
        Some("expired") => (&Value::Null, &body["blocks"]),
        Some("lost") => (&Value::Null, &Value::Null),
        other => bail!("unknown kind of entry {other:?}"),
    };
    for gone in gone.as_array().into_iter().flatten() {
        let id = gone.as_str().context("a block's id is text")?;
        let before = chain.live.len();
        chain
            .live
            .retain(|path| path.filename() != Some(&format!("{id}.parquet")));
        ensure!(chain.live.len() + 1 == before, "block {id} was not live");
        chain.rows -= chain.rows_of.remove(id).unwrap_or_default();
    }
    for block in added.as_array().into_iter().flatten() {
        let field = |name: &str| {
            block[name]
                .as_str()
                .with_context(|| format!("a block without {name}"))
        };
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
