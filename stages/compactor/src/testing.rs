//! Small makers of blocks for the unit tests.

use std::time::Duration;

use vivace_ledger::{BlockMeta, Entry, EntryBody, PartitionState};
use vivace_model::{BlockId, Offset, OffsetRange, Partition, Spread, TenantId, UnixNanos};
use vivace_proto::otlp::trace::{ResourceSpans, ScopeSpans, Span, TracesData};

pub(crate) const TOPIC: &str = "vivace.spans";
/// 2026-05-23, midnight.
pub(crate) const NOW: UnixNanos = UnixNanos::from_secs(1_779_494_400);

pub(crate) const fn days(days: u64) -> Duration {
    Duration::from_secs(days * 24 * 60 * 60)
}

/// A small block whose id and offsets follow from its number.
pub(crate) fn block(number: u64) -> BlockMeta {
    let mut random = [0; 10];
    random[2..].copy_from_slice(&number.to_be_bytes());
    BlockMeta {
        id: BlockId::new(NOW, random),
        tenant: TenantId::default(),
        date: NOW.date(),
        partition: Partition(0),
        spread: Spread::all(4),
        offsets: OffsetRange::new(Offset(number), Offset(number + 1)),
        level: 0,
        rows: 10,
        traces: 2,
        bytes: 1000,
        start_min: NOW,
        end_max: NOW,
        created: NOW,
    }
}

/// Changes to blocks.
pub(crate) trait Ending {
    /// The same block of spans that end at that time, made then.
    fn ending(self, end: UnixNanos) -> Self;
}

impl Ending for BlockMeta {
    fn ending(self, end: UnixNanos) -> Self {
        Self { date: end.date(), start_min: end, end_max: end, created: end, ..self }
    }
}

/// A state with these live blocks.
pub(crate) fn state_of(blocks: Vec<BlockMeta>) -> PartitionState {
    let end = blocks.iter().map(|block| block.offsets.end).max().unwrap_or(Offset(1));
    let offsets = OffsetRange::new(Offset(0), end);
    let body = EntryBody::Ingested { offsets, blocks, rejected: vec![] };
    let entry = Entry {
        version: 1,
        sequence: 1,
        topic: TOPIC.into(),
        partition: Partition(0),
        writer: "01890a5d-ac96-774b-bcce-b302099a8057".into(),
        written: NOW,
        body,
    };
    PartitionState::empty(TOPIC, Partition(0)).apply(&entry).expect("the blocks keep the rules")
}

/// A span of a second of each of these traces, which start then.
pub(crate) fn spans(traces: &[(u8, u64)]) -> TracesData {
    let span = |&(trace, start): &(u8, u64)| Span {
        trace_id: vec![trace; 16],
        span_id: vec![trace; 8],
        name: "work".into(),
        start_time_unix_nano: start,
        end_time_unix_nano: start + 1_000_000_000,
        ..Span::default()
    };
    let scope_spans = vec![ScopeSpans { spans: traces.iter().map(span).collect(), ..ScopeSpans::default() }];
    TracesData { resource_spans: vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }] }
}
