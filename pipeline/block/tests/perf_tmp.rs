#![allow(clippy::all, clippy::disallowed_methods, missing_docs)]
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use prost::Message;
use std::sync::Arc;
use std::time::Instant;
use vivace_block::*;
use vivace_model::*;

#[test]
fn perf() {
    let rows: usize = std::env::var("ROWS").map_or(150_000, |r| r.parse().unwrap());
    let mut config = BlockConfig::default();
    if let Ok(p) = std::env::var("PAGE") {
        config.page_rows_max = p.parse().unwrap();
    }
    let mut shop = vivace_sample::Shop::new(vivace_sample::Options::default());
    let mut block = OpenBlock::new(TenantId::default(), &config);
    let mut seen = DuplicateFilter::new(1);
    while block.rows() < rows {
        block.append(&shop.next_request().encode_to_vec(), &mut seen);
    }
    let sealed = block.seal();
    let t = cpu_now();
    let data = to_traces_data(&sealed.batches).unwrap();
    println!(
        "to_traces_data of {} rows: cpu {:.3}, groups {}",
        sealed.stats.rows,
        cpu_now() - t,
        data.resource_spans.len()
    );
    let clone = data.clone();
    let t = cpu_now();
    let mut combiner = TraceCombiner::new(usize::MAX);
    combiner.push(clone);
    println!("combine push {:.3}", cpu_now() - t);
    let t = cpu_now();
    let _ = combiner.finish();
    println!("combine finish {:.3}", cpu_now() - t);
    let description = Description {
        tenant: TenantId::default(),
        partition: Partition(0),
        partition_count: 1,
        offsets: OffsetRange::new(Offset(0), Offset(1)),
        level: 0,
        created: UnixNanos(0),
    };
    let t = Instant::now();
    let bytes = write_block(&sealed, &description, &config).unwrap();
    println!(
        "write {:?}: {} bytes, {} columns, {:.1} B/span",
        t.elapsed(),
        bytes.len(),
        sealed.batches[0].num_columns(),
        bytes.len() as f64 / sealed.stats.rows as f64
    );
    let mut ids = Vec::new();
    for r in &data.resource_spans {
        for s in &r.scope_spans {
            for s in &s.spans {
                ids.push(TraceId::new(&s.trace_id).unwrap());
            }
        }
    }
    ids.sort();
    ids.dedup();
    let dir = tempfile::tempdir().unwrap();
    let store: Arc<dyn ObjectStore> = Arc::new(LocalFileSystem::new_with_prefix(dir.path()).unwrap());
    let rt = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    rt.block_on(async {
        let path = Path::from("block");
        let len = bytes.len() as u64;
        store.put(&path, bytes.into()).await.unwrap();
        let mut registry = prometheus_client::registry::Registry::default();
        let reader = BlockReader::new(store, ReaderConfig::default(), Metrics::new(&mut registry));
        let t = Instant::now();
        let first = reader.trace(&path, len, &ids[ids.len() / 2]).await.unwrap();
        println!("cold: {:?} {} bytes", t.elapsed(), first.bytes_read);
        let mut times = Vec::new();
        let mut rows = 0;
        let mut bytes_read = 0;
        let mut cols = 0;
        let cpu = cpu_now();
        let n: usize = std::env::var("N").map_or(400, |r| r.parse().unwrap());
        for i in 0..n {
            let id = &ids[(i * 7919) % ids.len()];
            let t = Instant::now();
            let r = reader.trace(&path, len, id).await.unwrap();
            times.push(t.elapsed());
            rows += r.batches.iter().map(|b| b.num_rows()).sum::<usize>();
            cols += r.batches[0].num_columns();
            bytes_read += r.bytes_read;
        }
        let cpu = cpu_now() - cpu;
        times.sort();
        println!(
            "warm p50 {:?} p99 {:?} cpu/lookup {:.3} ms rows {} cols {} bytes {}",
            times[times.len() / 2],
            times[times.len() * 99 / 100],
            cpu * 1000.0 / n as f64,
            rows / n,
            cols / n,
            bytes_read / n as u64
        );
        let t = Instant::now();
        for i in 0..1000u64 {
            let mut id = [0u8; 16];
            id[..8].copy_from_slice(&i.wrapping_mul(0x9E3779B97F4A7C15).to_be_bytes());
            id[15] = 1;
            reader.trace(&path, len, &TraceId::new(&id).unwrap()).await.unwrap();
        }
        println!("absent: {:?} each", t.elapsed() / 1000);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        println!("{text}");
    });
}

fn cpu_now() -> f64 {
    let s = std::fs::read_to_string("/proc/self/stat").unwrap();
    let f: Vec<&str> = s.rsplit(')').next().unwrap().split_whitespace().collect();
    (f[11].parse::<f64>().unwrap() + f[12].parse::<f64>().unwrap()) / 100.0
}
