//! Columns of spans to span messages, one column after the other: most attribute columns have few values.

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::{Int32Type, Int64Type, TimestampNanosecondType, UInt32Type};
use vivace_proto::otlp::trace::{Span, Status};

use super::column::{attribute, ids, numbers, promoted, text};
use super::list::{AttributeLists, read_events, read_links};
use crate::BlockError;
use crate::schema::{self, AttributeScope};

/// The span of each row.
pub(super) fn read(batch: &RecordBatch) -> Result<Vec<Span>, BlockError> {
    let mut spans = read_ids(batch)?;
    read_times(batch, &mut spans)?;
    read_texts(batch, &mut spans)?;
    read_numbers(batch, &mut spans)?;
    read_attributes(batch, &mut spans)?;
    read_events(batch, |row, events| spans[row].events = events)?;
    read_links(batch, |row, links| spans[row].links = links)?;
    Ok(spans)
}

fn read_ids(batch: &RecordBatch) -> Result<Vec<Span>, BlockError> {
    let required = |name: &'static str, bytes| {
        ids(batch, name, bytes)?.ok_or_else(|| BlockError::value(name, "the column is missing"))
    };
    let trace_ids = required(schema::TRACE_ID, 16)?;
    let span_ids = required(schema::SPAN_ID, 8)?;
    let parents = ids(batch, schema::PARENT_SPAN_ID, 8)?;
    let rows = 0..batch.num_rows();
    Ok(rows
        .map(|row| Span {
            trace_id: trace_ids.value(row).to_vec(),
            span_id: span_ids.value(row).to_vec(),
            parent_span_id: parents
                .filter(|parents| parents.is_valid(row))
                .map_or_else(Vec::new, |parents| parents.value(row).to_vec()),
            status: Some(Status::default()),
            ..Span::default()
        })
        .collect())
}

fn read_times(batch: &RecordBatch, spans: &mut [Span]) -> Result<(), BlockError> {
    let starts = numbers::<TimestampNanosecondType>(batch, schema::START_TIME)?;
    let durations = numbers::<Int64Type>(batch, schema::DURATION_NANOS)?;
    for (row, span) in spans.iter_mut().enumerate() {
        // All 64 bits of OTLP's unsigned times are in the signed columns.
        span.start_time_unix_nano = starts.map_or(0, |starts| starts.value(row) as u64);
        let duration = durations.map_or(0, |durations| durations.value(row) as u64);
        span.end_time_unix_nano = span.start_time_unix_nano.wrapping_add(duration);
    }
    Ok(())
}

fn read_texts(batch: &RecordBatch, spans: &mut [Span]) -> Result<(), BlockError> {
    let mut read = |name: &str, set: fn(&mut Span, String)| -> Result<(), BlockError> {
        if let Some(column) = text(batch, name)? {
            for row in column.rows() {
                set(&mut spans[row], column.text(row).unwrap_or_default().to_owned());
            }
        }
        Ok(())
    };
    read(schema::NAME, |span, name| span.name = name)?;
    read(schema::TRACE_STATE, |span, state| span.trace_state = state)?;
    read(schema::STATUS_MESSAGE, |span, message| span.status.get_or_insert_default().message = message)
}

fn read_numbers(batch: &RecordBatch, spans: &mut [Span]) -> Result<(), BlockError> {
    if let Some(kinds) = numbers::<Int32Type>(batch, schema::KIND)? {
        spans.iter_mut().zip(kinds.values()).for_each(|(span, &kind)| span.kind = kind);
    }
    if let Some(codes) = numbers::<Int32Type>(batch, schema::STATUS_CODE)? {
        let statuses = spans.iter_mut().map(|span| span.status.get_or_insert_default());
        statuses.zip(codes.values()).for_each(|(status, &code)| status.code = code);
    }
    let mut read = |name: &str, set: fn(&mut Span, u32)| -> Result<(), BlockError> {
        if let Some(column) = numbers::<UInt32Type>(batch, name)? {
            spans.iter_mut().zip(column.values()).for_each(|(span, &number)| set(span, number));
        }
        Ok(())
    };
    read(schema::FLAGS, |span, flags| span.flags = flags)?;
    read(schema::DROPPED_ATTRIBUTES_COUNT, |span, dropped| span.dropped_attributes_count = dropped)?;
    read(schema::DROPPED_EVENTS_COUNT, |span, dropped| span.dropped_events_count = dropped)?;
    read(schema::DROPPED_LINKS_COUNT, |span, dropped| span.dropped_links_count = dropped)
}

fn read_attributes(batch: &RecordBatch, spans: &mut [Span]) -> Result<(), BlockError> {
    for (key, column) in promoted(batch, AttributeScope::Span)? {
        for row in column.rows() {
            spans[row].attributes.push(attribute(key, column.value(row)));
        }
    }
    if let Some(overflow) = AttributeLists::of(batch, AttributeScope::Span.overflow())? {
        for (row, span) in spans.iter_mut().enumerate() {
            overflow.read(row, &mut span.attributes)?;
        }
    }
    Ok(())
}
