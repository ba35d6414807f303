//! A bucket in memory with a few blocks, and what operators do with it.

#![allow(clippy::unwrap_used, reason = "a test ends by it")]

use std::collections::BTreeSet;
use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use prost::Message;
use vivace_block::{
    BlockConfig, BlockReader, Description, DuplicateFilter, Metrics, OpenBlock, ReaderConfig, to_traces_data,
    write_block,
};
use vivace_ledger::{BlockMeta, EntryBody, PartitionState, Proposal};
use vivace_model::{
    BlockId, Clock, ManualClock, Offset, OffsetRange, Partition, Random, Spread, TenantId, TraceId, UnixNanos,
};
use vivace_proto::otlp::trace::{ResourceSpans, ScopeSpans, Span, TracesData};

use crate::*;

const P: Partition = Partition(0);
const NOW: u64 = 1_780_000_000;

struct Rig {
    bucket: Bucket,
    clock: Arc<ManualClock>,
}

fn trace_id(number: u8) -> [u8; 16] {
    [number; 16]
}

/// Two spans of each trace.
fn traces(numbers: &[u8], batch: u8) -> TracesData {
    let spans = numbers.iter().flat_map(|&number| (0..2u8).map(move |index| (number, index)));
    let span = |(number, index): (u8, u8)| Span {
        trace_id: trace_id(number).to_vec(),
        span_id: vec![batch, number, index, 1, 1, 1, 1, 1],
        name: if number == 9 { "secret".into() } else { format!("span {number}") },
        start_time_unix_nano: (NOW + u64::from(number)) * 1_000_000_000 + u64::from(index),
        end_time_unix_nano: (NOW + u64::from(number)) * 1_000_000_000 + 500,
        ..Span::default()
    };
    let scope_spans = vec![ScopeSpans { spans: spans.map(span).collect(), ..ScopeSpans::default() }];
    TracesData { resource_spans: vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }] }
}

impl Rig {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::new(UnixNanos::from_secs(NOW)));
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let random = Arc::new(Random::seeded(7));
        let (topic, clock_too) = ("vivace.spans".into(), Arc::<ManualClock>::clone(&clock));
        let bucket = Bucket { store, topic, clock: clock_too, random };
        Self { bucket, clock }
    }

    async fn state(&self) -> PartitionState {
        self.bucket.chain(P).load().await.unwrap()
    }

    /// Ten offsets with the spans of these traces, as a block.
    async fn ingest(&self, numbers: &[u8]) -> BlockMeta {
        let state = self.state().await;
        let (start, config) = (state.end(), BlockConfig::default());
        let offsets = OffsetRange::new(start, Offset(start.0 + 10));
        let mut open = OpenBlock::new(TenantId::default(), &config);
        let batch = u8::try_from(state.sequence()).unwrap();
        open.append(&traces(numbers, batch).encode_to_vec(), &mut DuplicateFilter::new(1));
        let (sealed, created) = (open.seal(), self.clock.now());
        let description = Description {
            tenant: TenantId::default(),
            partition: P,
            spread: Spread::all(1),
            offsets,
            level: 0,
            created,
        };
        let file = write_block(&sealed, &description, &config).unwrap();
        let block = BlockMeta {
            id: BlockId::new(created, self.bucket.random.bytes()),
            tenant: TenantId::default(),
            date: created.date(),
            partition: P,
            spread: Spread::all(1),
            incarnation: 0,
            offsets,
            level: 0,
            rows: sealed.stats.rows,
            traces: sealed.stats.traces,
            bytes: file.len() as u64,
            start_min: sealed.stats.start_min,
            end_max: sealed.stats.end_max,
            created,
        };
        self.bucket.store.put(&block.path(), PutPayload::from(file)).await.unwrap();
        self.append(EntryBody::Ingested {
            offsets,
            blocks: vec![block.clone()],
            rejected: vec![],
            last: None,
        })
        .await;
        block
    }

    async fn append(&self, body: EntryBody) {
        let state = self.state().await;
        self.bucket.chain(P).append(&state, &Proposal::new(body, self.bucket.random.bytes())).await.unwrap();
    }

    async fn audit(&self) -> PartitionReport {
        let options = AuditOptions { deep: true, grace: Duration::from_secs(900) };
        Auditor::new(self.bucket.clone(), options).partition(P, ready(Ok(None))).await
    }

    async fn violation(&self) -> String {
        let report = self.audit().await;
        assert_eq!(report.verdict(), Verdict::Violated, "{report:?}");
        report.violations.told[0].clone()
    }

    /// Spans of a trace in live blocks.
    async fn spans(&self, number: u8) -> usize {
        let store = Arc::clone(&self.bucket.store);
        let reader = BlockReader::new(store, ReaderConfig::default(), Metrics::default());
        let mut spans = 0;
        for block in self.state().await.live() {
            let id = TraceId::from_bytes(trace_id(number));
            let rows = reader.trace(&block.path(), block.bytes, &id).await.unwrap();
            let found = to_traces_data(&rows.batches).unwrap();
            let scopes = found.resource_spans.iter().flat_map(|resource| &resource.scope_spans);
            spans += scopes.map(|scope| scope.spans.len()).sum::<usize>();
        }
        spans
    }

    async fn has(&self, block: &BlockMeta) -> bool {
        self.bucket.store.head(&block.path()).await.is_ok()
    }
}

#[tokio::test(start_paused = true)]
async fn a_sound_bucket_is_clean() {
    let rig = Rig::new();
    for numbers in [&[1, 2][..], &[2, 3], &[4]] {
        rig.ingest(numbers).await;
    }
    let report = rig.audit().await;
    assert_eq!(report.verdict(), Verdict::Clean, "{report:?}");
    assert!(report.warnings.is_empty());
    assert_eq!((report.entries, report.blocks, report.rows, report.end), (3, 3, 10, Offset(30)));
    assert_eq!(rig.bucket.partitions().await.unwrap(), [P]);
    // Snapshots are held against the entries too.
    for _ in 0..70 {
        rig.append(EntryBody::Ingested {
            offsets: OffsetRange::new(rig.state().await.end(), rig.state().await.end().next()),
            blocks: vec![],
            rejected: vec![],
            last: None,
        })
        .await;
    }
    assert_eq!(rig.audit().await.verdict(), Verdict::Clean);
    let (entries, snapshots) = rig.bucket.chain(P).listed().await.unwrap();
    assert_eq!((entries.len(), snapshots), (73, vec![64]));
}

#[tokio::test(start_paused = true)]
async fn what_is_ingested_meanwhile_does_not_look_like_another_topic() {
    let rig = Rig::new();
    rig.ingest(&[1]).await;
    let options = AuditOptions { deep: false, grace: Duration::ZERO };
    let auditor = Auditor::new(rig.bucket.clone(), options);
    // The topic holds what the chain accounts for; as soon as it was asked, both grow.
    let log = async {
        let held = OffsetRange::new(Offset(0), rig.state().await.end());
        rig.ingest(&[2]).await;
        Ok(Some(held))
    };
    assert_eq!(Box::pin(auditor.partition(P, log)).await.verdict(), Verdict::Clean);
}

#[tokio::test(start_paused = true)]
async fn whatever_is_damaged_is_named() {
    let rig = Rig::new();
    let first = rig.ingest(&[1, 2]).await;
    let second = rig.ingest(&[3]).await;
    let store = &rig.bucket.store;
    let good = store.get(&first.path()).await.unwrap().bytes().await.unwrap();
    store.put(&first.path(), PutPayload::from(good.slice(1..))).await.unwrap();
    assert!(rig.violation().await.contains("bytes instead of"));
    let mut bytes = good.to_vec();
    bytes[4..200].fill(0xA5);
    store.put(&first.path(), PutPayload::from(bytes)).await.unwrap();
    assert!(rig.violation().await.contains(&first.id.to_string()));
    let other = store.get(&second.path()).await.unwrap().bytes().await.unwrap();
    store.put(&first.path(), PutPayload::from(other)).await.unwrap();
    rig.violation().await;
    store.delete(&first.path()).await.unwrap();
    assert!(rig.violation().await.contains("missing"));
    store.put(&first.path(), PutPayload::from(good)).await.unwrap();
    assert_eq!(rig.audit().await.verdict(), Verdict::Clean);
    // The topic holds less than the chain: it is another one.
    let options = AuditOptions { deep: false, grace: Duration::ZERO };
    let auditor = Auditor::new(rig.bucket.clone(), options);
    let log = |start, end| ready(Ok(Some(OffsetRange::new(Offset(start), Offset(end)))));
    assert_eq!(auditor.partition(P, log(0, 20)).await.verdict(), Verdict::Clean);
    assert_eq!(auditor.partition(P, log(0, 19)).await.verdict(), Verdict::Violated);
    assert!(!auditor.partition(P, log(25, 30)).await.warnings.is_empty());
    let silent = ready(Err("the log does not answer".to_owned()));
    assert_eq!(auditor.partition(P, silent).await.verdict(), Verdict::Unknown);
    // An entry is gone, and one after it is there.
    let entry = vivace_ledger::ledger_folder().join("vivace.spans").join("0");
    store.delete(&entry.clone().join(format!("{:020}.json", 1))).await.unwrap();
    assert!(rig.violation().await.contains("entry 1 is missing, although entry 2 exists"));
}

#[tokio::test(start_paused = true)]
async fn orphans_are_found_once_they_are_old() {
    let rig = Rig::new();
    let block = rig.ingest(&[1]).await;
    let stray = object_store::path::Path::from("blocks/tenant=t/date=2026-01-01/stray.parquet");
    rig.bucket.store.put(&stray, PutPayload::from_static(b"x")).await.unwrap();
    let auditor =
        Auditor::new(rig.bucket.clone(), AuditOptions { deep: false, grace: Duration::from_secs(900) });
    let young = auditor.orphans().await.unwrap();
    // The store's clock is the machine's, and this test's is far from it; either way only the stray one is told.
    let old = ManualClock::new(UnixNanos(u64::MAX / 2));
    let later = Bucket { clock: Arc::new(old), ..rig.bucket.clone() };
    let auditor = Auditor::new(later, AuditOptions { deep: false, grace: Duration::from_secs(900) });
    let found = auditor.orphans().await.unwrap();
    assert_eq!((found.files, found.bytes, found.told.as_slice()), (1, 1, &[stray.to_string()][..]));
    assert!(young.files + young.young == 1 && rig.has(&block).await);
}

#[tokio::test(start_paused = true)]
async fn what_is_live_is_listed() {
    let rig = Rig::new();
    let blocks = [rig.ingest(&[1]).await, rig.ingest(&[8]).await];
    let states = rig.bucket.states(None).await.unwrap();
    let ids = |wanted: &Wanted| live_blocks(&states, wanted).iter().map(|block| block.id).collect::<Vec<_>>();
    assert_eq!(ids(&Wanted::default()), [blocks[1].id, blocks[0].id]);
    let range = UnixNanos::from_secs(NOW)..UnixNanos::from_secs(NOW + 2);
    assert_eq!(ids(&Wanted { range: Some(range), tenant: None }), [blocks[0].id]);
    assert!(ids(&Wanted { tenant: Some("other".parse().unwrap()), range: None }).is_empty());
    let live = live_blocks(&states, &Wanted::default());
    let sql = duckdb("s3://bucket/it's/", &live).unwrap();
    let path = blocks[1].path();
    assert!(sql.starts_with(&format!("read_parquet(['s3://bucket/it''s/{path}', 's3://")), "{sql}");
    assert!(sql.ends_with("'], union_by_name = true)") && duckdb("x", &[]).is_none());
}

#[tokio::test(start_paused = true)]
async fn redacted_traces_are_gone_and_no_other() {
    let rig = Rig::new();
    let blocks = [rig.ingest(&[1, 2, 3]).await, rig.ingest(&[2]).await, rig.ingest(&[5, 9]).await];
    let redactor = Redactor::new(rig.bucket.clone(), BlockConfig::default(), RedactLimits::default());
    let target = Target::Traces(BTreeSet::from([TraceId::from_bytes(trace_id(2))]));
    let found = redactor.find(&target, None).await.unwrap();
    assert_eq!(
        (found.affected.len(), found.rows(), rig.spans(2).await),
        (2, 4, 4),
        "a dry run changes nothing"
    );
    let done = redactor.remove(&found, "request 17").await.unwrap();
    assert_eq!((done.affected.len(), done.rows(), rig.spans(2).await), (2, 4, 0));
    assert_eq!((rig.spans(1).await, rig.spans(3).await, rig.spans(9).await), (2, 2, 2));
    assert!(!rig.has(&blocks[0]).await && !rig.has(&blocks[1]).await && rig.has(&blocks[2]).await);
    assert_eq!(rig.state().await.live().len(), 2, "a block that held nothing else is gone");
    assert_eq!(rig.state().await.redacted(), Some(OffsetRange::new(Offset(0), Offset(20))));
    let found = redactor.find(&Target::Query("{ name = \"secret\" }".into()), None).await.unwrap();
    assert_eq!((found.traces(), found.rows()), (1, 2));
    redactor.remove(&found, "request 18").await.unwrap();
    assert_eq!((rig.spans(9).await, rig.spans(5).await), (0, 2));
    let report = rig.audit().await;
    assert_eq!((report.verdict(), report.rows), (Verdict::Clean, 6), "{report:?}");
    // Nothing to do is no entry.
    let sequence = rig.state().await.sequence();
    let found = redactor.find(&target, None).await.unwrap();
    assert!(redactor.remove(&found, "again").await.unwrap().affected.is_empty());
    assert_eq!(rig.state().await.sequence(), sequence);
    let strange = redactor.find(&target, Some(&"other".parse().unwrap())).await.unwrap();
    assert_eq!((strange.traces(), strange.rows()), (0, 0));
    let no_query = redactor.find(&Target::Query("{ nonsense".into()), None).await.unwrap_err();
    assert_eq!(no_query.kind(), vivace_model::ErrorKind::Invalid);
}

#[tokio::test(start_paused = true)]
async fn kept_blocks_are_given_up_before_traces_are_removed() {
    let rig = Rig::new();
    let old = rig.ingest(&[1, 2]).await;
    let new = rig.ingest(&[1, 2]).await;
    // Stands for a replay: the first block goes, nothing comes.
    rig.append(EntryBody::Replayed {
        generation: 1,
        offsets: old.offsets,
        inputs: vec![old.id],
        outputs: vec![],
        abandoned: vec![],
        rejected: vec![],
        last: None,
        reason: "test".into(),
    })
    .await;
    let redactor = Redactor::new(rig.bucket.clone(), BlockConfig::default(), RedactLimits::default());
    let target = Target::Traces(BTreeSet::from([TraceId::from_bytes(trace_id(2))]));
    let found = redactor.find(&target, None).await.unwrap();
    let refused = redactor.remove(&found, "x").await.unwrap_err();
    assert!(refused.to_string().contains("--discard-old"), "{refused}");
    assert!(rig.has(&old).await);
    let gone = discard(&rig.bucket, P).await.unwrap();
    assert_eq!(gone.iter().map(|block| block.id).collect::<Vec<_>>(), [old.id]);
    assert!(!rig.has(&old).await && rig.has(&new).await);
    assert!(discard(&rig.bucket, P).await.unwrap().is_empty());
    redactor.remove(&found, "x").await.unwrap();
    assert_eq!((rig.spans(2).await, rig.audit().await.verdict()), (0, Verdict::Clean));
}
