//! What merging blocks costs, by the CPU time of this process.

use std::path::Path as FilePath;
use std::sync::Arc;

use anyhow::Result;
use futures::TryStreamExt;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore};
use serde::Serialize;
use vivace_block::{
    BlockConfig, BlockReader, Description, DuplicateFilter, Merge, MergeInput, MergeLimits, Metrics,
    OpenBlock, ReaderConfig, merge, write_block,
};
use vivace_model::{Clock, Offset, OffsetRange, Partition, Spread, SystemClock, TenantId};

use crate::Payload;
use crate::process::{CpuSeconds, peak_bytes};

/// Each trace's requests of which that one in so many goes to the block after its own.
const LATE_ONE_IN: usize = 3;
/// Where in the folder the blocks to merge are.
const INPUTS: &str = "in";

/// What merging some blocks cost.
#[derive(Clone, Debug, Serialize)]
pub struct MergeReport {
    /// Spans merged, in all rounds.
    pub spans: u64,
    /// Bytes of the inputs, a span.
    pub bytes_in_per_span: f64,
    /// Bytes of the outputs, a span.
    pub bytes_out_per_span: f64,
    /// Spans merged in a second of CPU time.
    pub spans_per_cpu_second: f64,
    /// Of the process at its peak, beyond what it took before the merges.
    pub memory_mib: f64,
}

/// Writes that many blocks of so many spans each to the folder, as ingesters leave them.
///
/// # Errors
/// When the folder cannot be written.
pub fn blocks_to_merge(folder: &FilePath, blocks: usize, spans: usize) -> Result<()> {
    let folder = folder.join(INPUTS);
    std::fs::create_dir_all(&folder)?;
    for (number, file) in pieces(blocks, spans)?.into_iter().enumerate() {
        std::fs::write(folder.join(number.to_string()), file)?;
    }
    Ok(())
}

/// Merges the blocks of the folder, again and again. Memory is that of the process: measure in one of its own.
///
/// # Errors
/// When merging fails.
pub async fn merging(folder: &FilePath, rounds: usize) -> Result<MergeReport> {
    let store: Arc<dyn ObjectStore> = Arc::new(LocalFileSystem::new_with_prefix(folder)?);
    let listed: Vec<_> = store.list(Some(&Path::from(INPUTS))).try_collect().await?;
    let input = |meta: &ObjectMeta| MergeInput { path: meta.location.clone(), file_bytes: meta.size };
    let mut inputs: Vec<MergeInput> = listed.iter().map(input).collect();
    inputs.sort_by(|a, b| a.path.cmp(&b.path));
    let bytes_in: u64 = inputs.iter().map(|input| input.file_bytes).sum();
    let (before, memory) = (CpuSeconds::of("self")?, peak_bytes("self")?);
    let (mut merged, mut bytes_out) = (0, 0);
    for _ in 0..rounds {
        let reader = BlockReader::new(Arc::clone(&store), ReaderConfig::default(), Metrics::default());
        let limits =
            MergeLimits { input_rows_max: 300_000, trace_rows_max: 500_000, file_bytes_max: 256 << 20 };
        let (inputs, config) = (inputs.clone(), BlockConfig::default());
        let job = Merge { inputs, description: description(), config, limits, keep: None };
        let mut number = 0;
        let name = || {
            number += 1;
            Path::from(format!("out/{number}"))
        };
        let outcome = merge(&reader, &store, job, name).await?;
        merged += outcome.rows_in;
        bytes_out += outcome.outputs.iter().map(|output| output.bytes).sum::<u64>();
    }
    let cpu = CpuSeconds::of("self")?.total() - before.total();
    Ok(MergeReport {
        spans: merged,
        bytes_in_per_span: bytes_in as f64 * rounds as f64 / merged as f64,
        bytes_out_per_span: bytes_out as f64 / merged as f64,
        spans_per_cpu_second: merged as f64 / cpu,
        memory_mib: (peak_bytes("self")? - memory) as f64 / f64::from(1 << 20),
    })
}

/// Blocks as ingesters leave them: some spans of a trace come late, into the next one.
fn pieces(count: usize, spans: usize) -> Result<Vec<Vec<u8>>> {
    let config = BlockConfig::default();
    let mut seen = DuplicateFilter::new(1);
    let mut blocks: Vec<OpenBlock> =
        (0..count).map(|_| OpenBlock::new(TenantId::default(), &config)).collect();
    let payload = Payload::build(1, SystemClock.now().0, count * spans);
    let each = payload.requests.len().div_ceil(count);
    for (number, request) in payload.requests.iter().enumerate() {
        let late = usize::from(number % LATE_ONE_IN == 0);
        blocks[(number / each + late) % count].append(request, &mut seen);
    }
    let files = blocks.into_iter().map(|block| write_block(&block.seal(), &description(), &config));
    files.map(|file| Ok(file?.to_vec())).collect()
}

fn description() -> Description {
    Description {
        tenant: TenantId::default(),
        partition: Partition(0),
        spread: Spread::all(1),
        offsets: OffsetRange::new(Offset(0), Offset(1)),
        level: 1,
        created: SystemClock.now(),
    }
}
