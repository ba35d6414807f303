//! CPU time of the parts, per million spans: walk, column build, sort, file, lookup by id, merge.
//! One iteration handles a whole block, so that first-touch memory and growing tables are counted as in production.
#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use vivace_bench::Payload;
use vivace_block::{
    BlockConfig, BlockReader, Description, DuplicateFilter, Merge, MergeInput, MergeLimits, Metrics,
    OpenBlock, ReaderConfig, merge, write_block,
};
use vivace_model::otlp::{Limits, walk};
use vivace_model::{Offset, OffsetRange, Partition, Spread, TenantId, TenantSpread, TraceId, UnixNanos};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const SPANS: usize = 120_000;
/// Spans of a block that is merged.
const MERGED_SPANS: usize = 60_000;
const START: u64 = 1_779_494_400_000_000_000;

fn open_block(payload: &Payload) -> OpenBlock {
    let mut block = OpenBlock::new(TenantId::default(), &BlockConfig::default());
    let mut seen = DuplicateFilter::new(1);
    for request in &payload.requests {
        let appended = block.append(request, &mut seen);
        assert!(appended.rejected.is_empty() && appended.duplicates == 0, "{appended:?}");
    }
    block
}

fn description() -> Description {
    Description {
        tenant: TenantId::default(),
        partition: Partition(0),
        spread: Spread::all(1),
        offsets: OffsetRange::new(Offset(0), Offset(1)),
        level: 0,
        created: UnixNanos(START),
    }
}

fn parts(criterion: &mut Criterion) {
    let payload = Payload::build(1, START, SPANS);
    let mut group = criterion.benchmark_group("spans");
    group.throughput(Throughput::Elements(payload.spans as u64)).sample_size(10);
    group.bench_function("walk into 4 partitions", |bencher| {
        bencher.iter(|| {
            for request in &payload.requests {
                let limits = Limits { record_bytes_max: 1 << 20, output_bytes_max: 64 << 20 };
                black_box(walk(request.clone(), TenantSpread::all(4), limits).expect("the payload is valid"));
            }
        });
    });
    group.bench_function("columns", |bencher| {
        bencher.iter_with_large_drop(|| open_block(&payload));
    });
    group.bench_function("sort and seal", |bencher| {
        bencher.iter_batched(|| open_block(&payload), OpenBlock::seal, BatchSize::PerIteration);
    });
    let sealed = open_block(&payload).seal();
    let config = BlockConfig::default();
    group.bench_function("write", |bencher| {
        bencher
            .iter(|| write_block(&sealed, &description(), &config).expect("a sealed block can be written"));
    });
    group.finish();
    let bytes = write_block(&sealed, &description(), &config).expect("a sealed block can be written");
    let stored = bytes.len() as f64 / sealed.stats.rows as f64;
    let memory = sealed.memory_bytes() as f64 / sealed.stats.rows as f64;
    let open = open_block(&payload).memory_bytes() as f64 / sealed.stats.rows as f64;
    eprintln!("bytes per span: {stored:.1} stored, {memory:.0} sealed in memory, {open:.0} open in memory");
}

fn lookup(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime can be made");
    let payload = Payload::build(1, START, SPANS);
    let sealed = open_block(&payload).seal();
    let bytes = write_block(&sealed, &description(), &BlockConfig::default()).expect("it can be written");
    let (store, path, size) = (Arc::new(InMemory::new()), Path::from("block.parquet"), bytes.len() as u64);
    runtime.block_on(store.put(&path, bytes.into())).expect("memory takes it");
    let reader = BlockReader::new(store, ReaderConfig::default(), Metrics::default());
    let ids: Vec<TraceId> = payload.trace_ids.iter().map(|id| TraceId::from_bytes(*id)).collect();
    let mut group = criterion.benchmark_group("trace by id");
    let mut next = ids.iter().cycle();
    group.bench_function("found, warm", |bencher| {
        bencher.to_async(&runtime).iter(|| {
            let (reader, path, id) = (&reader, &path, next.next().expect("the cycle has no end"));
            async move {
                let rows = reader.trace(path, size, id).await.expect("the block can be read");
                assert!(!rows.batches.is_empty());
            }
        });
    });
    let absent = TraceId::from_bytes([0xab; 16]);
    group.bench_function("absent, warm", |bencher| {
        bencher.to_async(&runtime).iter(|| async {
            black_box(reader.trace(&path, size, &absent).await.expect("the block can be read"));
        });
    });
    group.finish();
}

/// Blocks as ingesters leave them, of which each third trace has its last spans in the next block.
fn pieces(count: usize) -> Vec<(Path, bytes::Bytes)> {
    let config = BlockConfig::default();
    let mut seen = DuplicateFilter::new(1);
    let mut blocks: Vec<OpenBlock> =
        (0..count).map(|_| OpenBlock::new(TenantId::default(), &config)).collect();
    let payload = Payload::build(1, START, count * MERGED_SPANS);
    let each = payload.requests.len().div_ceil(count);
    for (number, request) in payload.requests.iter().enumerate() {
        let late = usize::from(number % 3 == 2);
        let appended = blocks[(number / each + late) % count].append(request, &mut seen);
        assert!(appended.rejected.is_empty() && appended.duplicates == 0, "{appended:?}");
    }
    let blocks = blocks.into_iter().enumerate();
    let file = |(number, block): (usize, OpenBlock)| {
        let file =
            write_block(&block.seal(), &description(), &config).expect("a sealed block can be written");
        (Path::from(format!("in/{number}")), file)
    };
    blocks.map(file).collect()
}

/// Wall time is CPU time here: the runtime has one thread, on which all is done.
fn merging(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime can be made");
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let mut group = criterion.benchmark_group("merge");
    for count in [8, 32] {
        let mut inputs = Vec::new();
        for (path, file) in pieces(count) {
            inputs.push(MergeInput { path: path.clone(), file_bytes: file.len() as u64 });
            runtime.block_on(store.put(&path, file.into())).expect("memory takes it");
        }
        group.throughput(Throughput::Elements((count * MERGED_SPANS) as u64)).sample_size(10);
        group.bench_function(format!("{count} blocks"), |bencher| {
            bencher.to_async(&runtime).iter(|| async {
                let reader =
                    BlockReader::new(Arc::clone(&store), ReaderConfig::default(), Metrics::default());
                let limits = MergeLimits {
                    input_rows_max: 300_000,
                    trace_rows_max: 500_000,
                    file_bytes_max: 256 << 20,
                };
                let (inputs, config) = (inputs.clone(), BlockConfig::default());
                let job = Merge { inputs, description: description(), config, limits, keep: None };
                black_box(merge(&reader, &store, job, || "out".into()).await.expect("they can be merged"));
            });
        });
    }
    group.finish();
}

criterion_group!(benches, parts, lookup, merging);
criterion_main!(benches);
