//! Turns what was found into the messages of Tempo's API, for HTTP and gRPC alike.
//! Owns: how values, ids and times are written there. Does not own: JSON (`json`).

use std::time::Duration;

use prost::Message;
use vivace_proto::internal::{Label, LabelValue, label_value};
use vivace_proto::otlp::common::any_value::Value;
use vivace_proto::otlp::common::{AnyValue, KeyValue};
use vivace_proto::tempopb::{MetadataMetrics, SearchMetrics};
use vivace_traceql::ast::{Kind, Status};

use crate::duration::go_duration;
use crate::search::Totals;

mod series;
mod tags;
mod traces;

pub(crate) use series::{instant_response, range_response, split_range};
pub(crate) use tags::{names_v1, names_v2, values_v1, values_v2};
pub(crate) use traces::{search_response, split_traces};

/// Messages of a stream are cut before they are larger: clients take 4 MiB.
const MESSAGE_BYTES: usize = 1 << 20;
/// Tag and length of an item, and its share of what is in every message.
const ITEM_FRAME_BYTES: usize = 16;

/// What a search took.
pub(crate) fn search_metrics(totals: &Totals) -> SearchMetrics {
    SearchMetrics {
        inspected_traces: narrow(totals.traces_inspected),
        inspected_bytes: totals.bytes_inspected,
        total_blocks: narrow(totals.blocks),
        completed_jobs: narrow(totals.jobs_completed),
        total_jobs: narrow(totals.jobs),
        total_block_bytes: totals.block_bytes,
        inspected_spans: totals.spans_inspected,
    }
}

/// What a lookup took.
pub(crate) fn metadata_metrics(totals: &Totals) -> MetadataMetrics {
    MetadataMetrics {
        inspected_bytes: totals.bytes_inspected,
        total_jobs: narrow(totals.jobs),
        completed_jobs: narrow(totals.jobs_completed),
        total_blocks: narrow(totals.blocks),
        total_block_bytes: totals.block_bytes,
    }
}

/// Items by messages of bounded size; at least one, however few there are.
fn chunks<T: Message>(items: Vec<T>) -> Vec<Vec<T>> {
    let mut chunks = vec![Vec::new()];
    let mut bytes = 0;
    for item in items {
        let more = item.encoded_len() + ITEM_FRAME_BYTES;
        if bytes > 0 && bytes + more > MESSAGE_BYTES {
            chunks.push(Vec::new());
            bytes = 0;
        }
        bytes += more;
        if let Some(chunk) = chunks.last_mut() {
            chunk.push(item);
        }
    }
    chunks
}

fn narrow(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn key_value(label: Label) -> KeyValue {
    let value = label.value.and_then(|value| value.value).map(any_value);
    KeyValue { key: label.name, value: Some(AnyValue { value }), ..KeyValue::default() }
}

fn any_value(value: label_value::Value) -> Value {
    match value {
        label_value::Value::Bool(value) => Value::BoolValue(value),
        label_value::Value::Int(value) => Value::IntValue(value),
        label_value::Value::Float(value) => Value::DoubleValue(value),
        other => Value::StringValue(text(other)),
    }
}

/// A value as text.
fn text(value: label_value::Value) -> String {
    match value {
        label_value::Value::Text(text) => text,
        label_value::Value::Bool(value) => value.to_string(),
        label_value::Value::Int(value) => value.to_string(),
        label_value::Value::Float(value) => value.to_string(),
        label_value::Value::Duration(value) => {
            let sign = if value < 0 { "-" } else { "" };
            format!("{sign}{}", go_duration(Duration::from_nanos(value.unsigned_abs())))
        }
        label_value::Value::Status(number) => Status::from_number(wire(number)).name().to_owned(),
        label_value::Value::Kind(number) => Kind::from_number(wire(number)).name().to_owned(),
    }
}

/// The type of a value, as lookups tell it.
const fn type_name(value: &label_value::Value) -> &'static str {
    match value {
        label_value::Value::Text(_) => "string",
        label_value::Value::Bool(_) => "bool",
        label_value::Value::Int(_) => "int",
        label_value::Value::Float(_) => "float",
        label_value::Value::Duration(_) => "duration",
        label_value::Value::Status(_) | label_value::Value::Kind(_) => "keyword",
    }
}

fn wire(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(0)
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

/// Values that say something, each with its type and text.
fn typed(values: Vec<LabelValue>) -> impl Iterator<Item = (&'static str, String)> {
    values.into_iter().filter_map(|value| value.value).map(|value| (type_name(&value), text(value)))
}
