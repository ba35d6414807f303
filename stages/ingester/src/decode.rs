//! Takes fetched records into the open piece.
//! Owns: whose spans a record holds, which records are rejected whole, and that spans and offset become visible together.
//! Does not own: OTLP and columns (the block), where rejected records go (`rejected`).

use bytes::Bytes;
use tokio::time::Instant;
use vivace_block::{DuplicateFilter, OpenBlock};
use vivace_ledger::Fingerprint;
use vivace_log::Record;
use vivace_model::{Offset, Spread, TenantId};

use crate::error::PipelineError;
use crate::fail_points::{DECODING, ENCODING, SEALING};
use crate::holding::{Content, Piece, Rows};
use crate::metrics::RejectReason;
use crate::quarantine::Poison;
use crate::rejected::{RejectedRecord, TENANT_HEADER, shorten};
use crate::shared::Shared;

/// Takes records into the piece, in order, dropping spans that `seen` knows, and putting aside what is `poison`. CPU-bound:
/// about 1 s per million spans. After an error neither the piece nor `seen` is of use any more.
///
/// # Errors
/// [`PipelineError::Record`] if taking in a record panics.
///
/// # Panics
/// If the log gives a record twice or out of order: its spans would be stored twice.
pub(crate) fn take_in(
    shared: &Shared,
    piece: &Piece,
    records: Vec<Record>,
    seen: &mut DuplicateFilter,
    poison: &Poison,
) -> Result<(), PipelineError> {
    let mut offset = piece.offsets().end;
    let mut end = offset;
    for record in &records {
        assert!(record.offset >= end, "record {} follows offset {end}", record.offset);
        end = record.offset.next();
    }
    let work = || take_all(shared, piece, records, (seen, poison), &mut offset);
    vivace_runtime::caught_here(work).map_err(|source| {
        shared.metrics().panics.inc();
        PipelineError::Record { offset, source }
    })
}

/// Leaves in `offset` which record it is at.
fn take_all(
    shared: &Shared,
    piece: &Piece,
    records: Vec<Record>,
    (seen, poison): (&mut DuplicateFilter, &Poison),
    offset: &mut Offset,
) {
    let metrics = shared.metrics();
    let last = records.last().map(fingerprint);
    for record in records {
        *offset = record.offset;
        metrics.records.inc();
        metrics.bytes.inc_by(record.value.len() as u64);
        // The lock is taken anew for each record, so that readers get in between.
        let mut content = piece.content.write();
        content.changing = true;
        let rejected = match (poison.get(&record.offset), check(shared, &record)) {
            (Some(reason), _) => {
                // It was counted when it was found.
                content.rejected.push(rejected_whole(&record, RejectReason::Quarantined, reason.clone()));
                Vec::new()
            }
            (None, Ok(tenant)) => {
                DECODING.strike(DECODING.poisons(&record.value));
                append(shared, &mut content, tenant, &record, seen)
            }
            (None, Err((class, reason))) => vec![rejected_whole(&record, class, shorten(reason))],
        };
        for rejected in &rejected {
            metrics.rejected(rejected.class);
        }
        content.rejected.extend(rejected);
        if !poison.contains_key(&record.offset) {
            content.records += 1;
            content.last_record = record.offset;
            content.struck.sealing |= SEALING.poisons(&record.value);
            content.struck.encoding |= ENCODING.poisons(&record.value);
        }
        content.changing = false;
        content.end = record.offset.next();
        content.opened.get_or_insert_with(Instant::now);
    }
    if last.is_some() {
        piece.content.write().last = last;
    }
    // Readers need not wait while it measures.
    piece.measure(&piece.content.read());
}

fn rejected_whole(record: &Record, class: RejectReason, reason: String) -> RejectedRecord {
    let (offset, value) = (record.offset, record.value.clone());
    RejectedRecord { offset, class, reason, spans: 0, tenant: tenant_of(record), value }
}

/// By what a record is known again.
pub(crate) fn fingerprint(record: &Record) -> Fingerprint {
    Fingerprint { timestamp: record.timestamp, crc: crc32c::crc32c(&record.value) }
}

fn tenant_of(record: &Record) -> Bytes {
    record.header(TENANT_HEADER).map(Bytes::copy_from_slice).unwrap_or_default()
}

/// What the record says of its spread. Someone else's record says nothing, and its traces may be anywhere.
fn spread_of(record: &Record) -> Spread {
    let header = record.header(Spread::HEADER).and_then(|header| std::str::from_utf8(header).ok());
    header.and_then(|text| text.parse().ok()).unwrap_or(Spread::UNKNOWN)
}

fn check(shared: &Shared, record: &Record) -> Result<TenantId, (RejectReason, String)> {
    let bytes_max = shared.config.record_bytes_max;
    if record.value.len() as u64 > bytes_max.0 {
        let reason = format!("record of {} bytes is larger than {bytes_max}", record.value.len());
        return Err((RejectReason::Size, reason));
    }
    let Some(header) = record.header(TENANT_HEADER) else {
        return Ok(TenantId::default());
    };
    let text = String::from_utf8_lossy(header);
    text.parse().map_err(|error| (RejectReason::Tenant, format!("{error}")))
}

fn append(
    shared: &Shared,
    content: &mut Content,
    tenant: TenantId,
    record: &Record,
    seen: &mut DuplicateFilter,
) -> Vec<RejectedRecord> {
    let rows = content.tenants.entry(tenant.clone());
    let rows =
        rows.or_insert_with_key(|tenant| Rows::Open(Box::new(OpenBlock::new(tenant.clone(), &shared.block))));
    let Rows::Open(block) = rows else { unreachable!("only the open piece grows, and its blocks are open") };
    let appended = block.append(&record.value, seen);
    if block.is_empty() {
        content.tenants.remove(&tenant);
    } else {
        let spread = spread_of(record);
        content.spreads.entry(tenant).and_modify(|known| *known = known.or(spread)).or_insert(spread);
    }
    shared.metrics().spans.inc_by(appended.spans as u64);
    shared.metrics().duplicates.inc_by(appended.duplicates as u64);
    let rejected = appended.rejected.into_iter().map(|rejected| RejectedRecord {
        offset: record.offset,
        class: if rejected.spans == 0 { RejectReason::Record } else { RejectReason::Spans },
        reason: shorten(rejected.reason),
        spans: rejected.spans,
        tenant: tenant_of(record),
        value: rejected.traces_data.into(),
    });
    rejected.collect()
}

/// Spans held by a piece that is open.
pub(crate) fn rows_of(content: &Content) -> usize {
    let rows = content.tenants.values().map(|rows| match rows {
        Rows::Open(block) => block.rows(),
        Rows::Sealed(block) => usize::try_from(block.stats.rows).unwrap_or(usize::MAX),
    });
    rows.sum()
}
