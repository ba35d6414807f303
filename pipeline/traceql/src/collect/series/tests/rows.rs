//! Spans of tests, and batches of them.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, DictionaryArray, Float64Array, Int8Array, Int32Array, Int64Array, ListArray, RecordBatch,
    StringArray, StructArray, TimestampNanosecondArray, new_null_array,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::Int32Type;
use proptest::prelude::*;
use vivace_model::schema::{self, value_type};

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Size {
    None,
    Int(i64),
    Float(f64),
    Text,
}

/// A span.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) trace_id: u128,
    pub(super) start: u64,
    pub(super) duration: i64,
    pub(super) service: Option<u8>,
    pub(super) size: Size,
    pub(super) status: i32,
    pub(super) selected: bool,
}

impl Default for Row {
    fn default() -> Self {
        Self {
            trace_id: 0,
            start: 1001,
            duration: 1,
            service: None,
            size: Size::None,
            status: 0,
            selected: true,
        }
    }
}

pub(super) fn row() -> impl Strategy<Value = Row> {
    let size = prop_oneof![
        Just(Size::None),
        (-5i64..5000).prop_map(Size::Int),
        (-0.5f64..8.0).prop_map(Size::Float),
        Just(Size::Text),
    ];
    let service = proptest::option::of(0u8..4);
    let selected = proptest::bool::weighted(0.8);
    (any::<u128>(), 950u64..2050, 0i64..1 << 40, service, size, 0i32..3, selected).prop_map(
        |(trace_id, start, duration, service, size, status, selected)| Row {
            trace_id,
            start,
            duration,
            service,
            size,
            status,
            selected,
        },
    )
}

pub(super) const fn service_name(number: u8) -> &'static str {
    ["frontend", "cart", "checkout", "payment"][number as usize]
}

/// The schema's columns of spans: integer sizes in a column of their own, all others in the overflow list.
pub(super) fn batch(rows: &[Row]) -> RecordBatch {
    let services: DictionaryArray<Int32Type> = rows.iter().map(|row| row.service.map(service_name)).collect();
    let sizes = rows.iter().map(|row| if let Size::Int(size) = row.size { Some(size) } else { None });
    let columns: Vec<(String, ArrayRef)> = vec![
        (
            schema::START_TIME.into(),
            Arc::new(TimestampNanosecondArray::from_iter_values(
                rows.iter().map(|row| row.start.cast_signed()),
            )),
        ),
        (
            schema::DURATION_NANOS.into(),
            Arc::new(rows.iter().map(|row| row.duration).collect::<Int64Array>()),
        ),
        (schema::STATUS_CODE.into(), Arc::new(rows.iter().map(|row| row.status).collect::<Int32Array>())),
        (schema::SPAN_ATTRIBUTES.into(), overflow(rows)),
        ("resource.service.name".into(), Arc::new(services)),
        ("span.size".into(), Arc::new(sizes.collect::<Int64Array>())),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true)))
        .unwrap()
}

fn overflow(rows: &[Row]) -> ArrayRef {
    let items: Vec<&Row> =
        rows.iter().filter(|row| matches!(row.size, Size::Float(_) | Size::Text)).collect();
    let floats = items.iter().map(|row| if let Size::Float(size) = row.size { Some(size) } else { None });
    let kind = |row: &&Row| if row.size == Size::Text { value_type::STRING } else { value_type::DOUBLE };
    let fields = schema::attribute_fields();
    let columns: Vec<ArrayRef> = fields
        .iter()
        .map(|field| -> ArrayRef {
            match field.name().as_str() {
                "key" => Arc::new(StringArray::from(vec!["size"; items.len()])),
                "type" => Arc::new(items.iter().map(kind).collect::<Int8Array>()),
                "string" => Arc::new(
                    items
                        .iter()
                        .map(|row| (row.size == Size::Text).then_some("large"))
                        .collect::<StringArray>(),
                ),
                "double" => Arc::new(floats.clone().collect::<Float64Array>()),
                _ => new_null_array(field.data_type(), items.len()),
            }
        })
        .collect();
    let lengths = rows.iter().map(|row| usize::from(matches!(row.size, Size::Float(_) | Size::Text)));
    let offsets = OffsetBuffer::from_lengths(lengths);
    Arc::new(ListArray::new(
        schema::item(fields.clone()),
        offsets,
        Arc::new(StructArray::new(fields, columns, None)),
        None,
    ))
}
