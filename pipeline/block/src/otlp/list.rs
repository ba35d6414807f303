//! Columns of a list per row: overflow attributes, events and links.

use std::ops::Range;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BinaryArray, BinaryViewArray, BooleanArray, Float64Array,
    Int8Array, Int64Array, ListArray, PrimitiveArray, RecordBatch, StringArray, StructArray,
    TimestampNanosecondArray, UInt32Array,
};
use arrow::datatypes::UInt32Type;
use prost::Message;
use vivace_proto::otlp::common::any_value::Value;
use vivace_proto::otlp::common::{ArrayValue, KeyValue, KeyValueList};
use vivace_proto::otlp::trace::span::{Event, Link};

use super::column::{attribute, member, wrong_type};
use crate::BlockError;
use crate::schema::{self, value_type};

/// A list per row; its items are structs.
#[derive(Debug)]
struct Lists<'a> {
    column: String,
    lists: &'a ListArray,
    items: &'a StructArray,
}

impl<'a> Lists<'a> {
    fn new(column: String, array: &'a ArrayRef) -> Result<Self, BlockError> {
        let lists = array.as_list_opt::<i32>();
        let items = lists.and_then(|lists| lists.values().as_struct_opt());
        match (lists, items) {
            (Some(lists), Some(items)) => Ok(Self { column, lists, items }),
            _ => Err(wrong_type(&column, "a list of structs", array)),
        }
    }

    /// Where the items of a row are.
    fn range(&self, row: usize) -> Range<usize> {
        if self.lists.is_null(row) {
            return 0..0;
        }
        let offsets = self.lists.value_offsets();
        offsets[row] as usize..offsets[row + 1] as usize
    }

    fn primitive<T: ArrowPrimitiveType>(
        &self,
        name: &str,
    ) -> Result<Option<&'a PrimitiveArray<T>>, BlockError> {
        member(&self.column, self.items, name, |array| array.as_primitive_opt::<T>())
    }

    fn text(&self, name: &str) -> Result<Option<&'a StringArray>, BlockError> {
        member(&self.column, self.items, name, |array| array.as_string_opt::<i32>())
    }

    fn binary(&self, name: &str) -> Result<Option<&'a BinaryArray>, BlockError> {
        member(&self.column, self.items, name, |array| array.as_binary_opt::<i32>())
    }

    fn attributes(&self) -> Result<Option<AttributeLists<'a>>, BlockError> {
        let column = format!("{}.attributes", self.column);
        let array = self.items.column_by_name("attributes");
        array.map(|array| AttributeLists::new(column, array)).transpose()
    }

    fn required<T>(&self, name: &str, member: Option<T>) -> Result<T, BlockError> {
        member.ok_or_else(|| BlockError::value(&self.column, format!("items without {name}")))
    }
}

/// Attributes per row, or per item of another list.
#[derive(Debug)]
pub(super) struct AttributeLists<'a> {
    lists: Lists<'a>,
    keys: &'a StringArray,
    types: &'a Int8Array,
    strings: Option<&'a StringArray>,
    ints: Option<&'a Int64Array>,
    doubles: Option<&'a Float64Array>,
    bools: Option<&'a BooleanArray>,
    bytes: Option<&'a BinaryArray>,
    large: Option<&'a BinaryViewArray>,
}

impl<'a> AttributeLists<'a> {
    /// The overflow column of that name; none if the batch lacks it or it has no value.
    pub(super) fn of(batch: &'a RecordBatch, name: &str) -> Result<Option<Self>, BlockError> {
        let array = batch.column_by_name(name).filter(|array| array.null_count() < array.len());
        array.map(|array| Self::new(name.to_owned(), array)).transpose()
    }

    fn new(column: String, array: &'a ArrayRef) -> Result<Self, BlockError> {
        let lists = Lists::new(column, array)?;
        Ok(Self {
            keys: lists.required("key", lists.text("key")?)?,
            types: lists.required("type", lists.primitive("type")?)?,
            strings: lists.text("string")?,
            ints: lists.primitive("int")?,
            doubles: lists.primitive("double")?,
            bools: member(&lists.column, lists.items, "bool", |array| array.as_boolean_opt())?,
            bytes: lists.binary("bytes")?,
            large: member(&lists.column, lists.items, schema::LARGE, |array| array.as_binary_view_opt())?,
            lists,
        })
    }

    /// The attributes of a row, in their order.
    pub(super) fn read(&self, row: usize, out: &mut Vec<KeyValue>) -> Result<(), BlockError> {
        let items = self.lists.range(row);
        out.reserve(items.len());
        for item in items {
            if self.types.value(item) == value_type::FOLDED {
                out.extend(self.folded(item)?);
            } else {
                out.push(attribute(self.keys.value(item), self.value(item)?));
            }
        }
        Ok(())
    }

    /// The attributes that an item stands for.
    fn folded(&self, item: usize) -> Result<Vec<KeyValue>, BlockError> {
        let wrong = |reason: String| BlockError::value(&self.lists.column, reason);
        let message = self.large(item).ok_or_else(|| wrong("folded attributes are missing".into()))?;
        let attributes = KeyValueList::decode(message);
        Ok(attributes.map_err(|error| wrong(format!("folded attributes: {error}")))?.values)
    }

    /// Bytes that two rows share only if their attributes are the same; none for a row without attributes. Large values are
    /// told by where they are, so that equal ones may be different.
    pub(super) fn identity(&self, row: usize, out: &mut Vec<u8>) {
        for item in self.lists.range(row) {
            put(out, self.keys.value(item).as_bytes());
            out.push(self.types.value(item) as u8);
            if let Some(large) = present(self.large, item) {
                out.extend(large.views()[item].to_le_bytes());
                continue;
            }
            let bytes = binary(self.bytes, item);
            if let Some(bytes) =
                bytes.or_else(|| present(self.strings, item).map(|s| s.value(item).as_bytes()))
            {
                put(out, bytes);
            } else if let Some(ints) = present(self.ints, item) {
                out.extend(ints.value(item).to_le_bytes());
            } else if let Some(doubles) = present(self.doubles, item) {
                out.extend(doubles.value(item).to_bits().to_le_bytes());
            } else if let Some(bools) = present(self.bools, item) {
                out.push(bools.value(item).into());
            }
        }
    }

    fn value(&self, item: usize) -> Result<Option<Value>, BlockError> {
        let wrong = |reason: &str| BlockError::value(&self.lists.column, reason);
        let missing = || wrong("an item without the value of its type");
        let bytes = || binary(self.bytes, item).or_else(|| self.large(item)).ok_or_else(missing);
        Ok(Some(match self.types.value(item) {
            value_type::EMPTY => return Ok(None),
            value_type::STRING => Value::StringValue(match present(self.strings, item) {
                Some(strings) => strings.value(item).to_owned(),
                None => String::from_utf8(self.large(item).ok_or_else(missing)?.to_vec())
                    .map_err(|_| wrong("a string that is no UTF-8"))?,
            }),
            value_type::BOOL => Value::BoolValue(present(self.bools, item).ok_or_else(missing)?.value(item)),
            value_type::INT => Value::IntValue(present(self.ints, item).ok_or_else(missing)?.value(item)),
            value_type::DOUBLE => {
                Value::DoubleValue(present(self.doubles, item).ok_or_else(missing)?.value(item))
            }
            value_type::ARRAY => Value::ArrayValue(
                ArrayValue::decode(bytes()?).map_err(|error| wrong(&format!("an array: {error}")))?,
            ),
            value_type::KVLIST => Value::KvlistValue(
                KeyValueList::decode(bytes()?).map_err(|error| wrong(&format!("a map: {error}")))?,
            ),
            value_type::BYTES => Value::BytesValue(bytes()?.to_vec()),
            other => return Err(wrong(&format!("type {other} of an attribute"))),
        }))
    }

    fn large(&self, item: usize) -> Option<&[u8]> {
        present(self.large, item).map(|large| large.value(item))
    }
}

/// Adds events to the spans of their rows.
pub(super) fn read_events(
    batch: &RecordBatch,
    mut add: impl FnMut(usize, Vec<Event>),
) -> Result<(), BlockError> {
    let Some(array) = batch.column_by_name(schema::EVENTS).filter(|array| array.null_count() < array.len())
    else {
        return Ok(());
    };
    let lists = Lists::new(schema::EVENTS.to_owned(), array)?;
    let times: Option<&TimestampNanosecondArray> = lists.primitive("time")?;
    let names = lists.text("name")?;
    let dropped = lists.primitive::<UInt32Type>(schema::DROPPED_ATTRIBUTES_COUNT)?;
    let attributes = lists.attributes()?;
    for row in 0..batch.num_rows() {
        let range = lists.range(row);
        if range.is_empty() {
            continue;
        }
        let mut events = Vec::with_capacity(range.len());
        for item in range {
            let mut event = Event {
                time_unix_nano: times.map_or(0, |times| times.value(item) as u64),
                name: names.map_or_else(String::new, |names| names.value(item).to_owned()),
                attributes: Vec::new(),
                dropped_attributes_count: dropped.map_or(0, |dropped| dropped.value(item)),
            };
            if let Some(attributes) = &attributes {
                attributes.read(item, &mut event.attributes)?;
            }
            events.push(event);
        }
        add(row, events);
    }
    Ok(())
}

/// Adds links to the spans of their rows.
pub(super) fn read_links(
    batch: &RecordBatch,
    mut add: impl FnMut(usize, Vec<Link>),
) -> Result<(), BlockError> {
    let Some(array) = batch.column_by_name(schema::LINKS).filter(|array| array.null_count() < array.len())
    else {
        return Ok(());
    };
    let lists = Lists::new(schema::LINKS.to_owned(), array)?;
    let trace_ids = lists.required(schema::TRACE_ID, lists.binary(schema::TRACE_ID)?)?;
    let span_ids = lists.required(schema::SPAN_ID, lists.binary(schema::SPAN_ID)?)?;
    let states = lists.text(schema::TRACE_STATE)?;
    let flags: Option<&UInt32Array> = lists.primitive(schema::FLAGS)?;
    let dropped: Option<&UInt32Array> = lists.primitive(schema::DROPPED_ATTRIBUTES_COUNT)?;
    let attributes = lists.attributes()?;
    for row in 0..batch.num_rows() {
        let range = lists.range(row);
        if range.is_empty() {
            continue;
        }
        let mut links = Vec::with_capacity(range.len());
        for item in range {
            let state = present(states, item);
            let mut link = Link {
                trace_id: trace_ids.value(item).to_vec(),
                span_id: span_ids.value(item).to_vec(),
                trace_state: state.map_or_else(String::new, |states| states.value(item).to_owned()),
                attributes: Vec::new(),
                dropped_attributes_count: dropped.map_or(0, |dropped| dropped.value(item)),
                flags: flags.map_or(0, |flags| flags.value(item)),
            };
            if let Some(attributes) = &attributes {
                attributes.read(item, &mut link.attributes)?;
            }
            links.push(link);
        }
        add(row, links);
    }
    Ok(())
}

/// The array, if it has a value there.
fn present<A: Array>(array: Option<&A>, item: usize) -> Option<&A> {
    array.filter(|array| array.is_valid(item))
}

fn binary(array: Option<&BinaryArray>, item: usize) -> Option<&[u8]> {
    present(array, item).map(|array| array.value(item))
}

fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend((bytes.len() as u64).to_le_bytes());
    out.extend(bytes);
}
