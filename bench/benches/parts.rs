//! CPU time of the parts, per million spans: walk, column build, sort, file, lookup by id.
//! One iteration handles a whole block, so that first-touch memory and growing tables are counted as in production.
#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use object_store::ObjectStoreExt;
use object_store::memory::InMemory;
use object_store::path::Path;
use vivace_bench::Payload;
use vivace_block::{
    BlockConfig, BlockReader, Description, DuplicateFilter, Metrics, OpenBlock, ReaderConfig, write_block,
};
use vivace_model::otlp::{Limits, walk};
use vivace_model::{Offset, OffsetRange, Partition, Spread, TenantId, TenantSpread, TraceId, UnixNanos};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const SPANS: usize = 120_000;
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

criterion_group!(benches, parts, lookup);
criterion_main!(benches);
