//! Rows of projected batches in a form in which equal ones are identical, wherever their values stand.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float64Type, Int8Type, Int32Type, Int64Type, TimestampNanosecondType};
use vivace_block::schema::{self, AttributeScope, value_type};
use vivace_model::scan::{Projection, ScanColumn, TimeRange};

/// A value of a column or of an overflow item.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Value {
    Text(String),
    Int(i64),
    /// By its bits.
    Double(u64),
    Bool(bool),
    /// Anything else, as text.
    Other(String),
}

/// All that a row says of what a projection asks for, sorted.
pub(crate) type Row = Vec<(String, Value)>;

/// The rows of a batch.
pub(crate) fn rows(batch: &RecordBatch, projection: &Projection) -> Vec<Row> {
    let mut rows = vec![Row::new(); batch.num_rows()];
    for (field, array) in batch.schema_ref().fields().iter().zip(batch.columns()) {
        let name = field.name().as_str();
        if let Some((scope, key)) = AttributeScope::parse_column(name) {
            if projection.wants(scope, key) {
                fill(&mut rows, name, array);
            }
        } else if let Some(scope) = AttributeScope::ALL.into_iter().find(|scope| scope.overflow() == name) {
            for (row, filled) in rows.iter_mut().enumerate() {
                let wanted = items(array, row).into_iter().filter(|(key, _)| projection.wants(scope, key));
                filled.extend(wanted.map(|(key, value)| (scope.column(&key), value)));
            }
        } else if projection.fixed.contains(name) {
            fill(&mut rows, name, array);
        }
    }
    rows.iter_mut().for_each(|row| row.sort());
    rows
}

fn fill(rows: &mut [Row], name: &str, array: &ArrayRef) {
    for (row, filled) in rows.iter_mut().enumerate() {
        filled.extend(value(array, row).map(|value| (name.to_owned(), value)));
    }
}

fn value(array: &ArrayRef, row: usize) -> Option<Value> {
    if array.is_null(row) {
        return None;
    }
    Some(match array.data_type() {
        DataType::Dictionary(..) => {
            let dictionary = array.as_dictionary::<Int32Type>();
            let values = dictionary.values().as_string::<i32>();
            Value::Text(values.value(dictionary.keys().value(row) as usize).to_owned())
        }
        DataType::Int64 => Value::Int(array.as_primitive::<Int64Type>().value(row)),
        DataType::Int32 => Value::Int(array.as_primitive::<Int32Type>().value(row).into()),
        DataType::Timestamp(..) => Value::Int(array.as_primitive::<TimestampNanosecondType>().value(row)),
        DataType::Float64 => Value::Double(array.as_primitive::<Float64Type>().value(row).to_bits()),
        DataType::Boolean => Value::Bool(array.as_boolean().value(row)),
        DataType::FixedSizeBinary(_) => {
            Value::Other(format!("{:?}", array.as_fixed_size_binary().value(row)))
        }
        DataType::List(_) => Value::Other(format!("{:?}", array.as_list::<i32>().value(row))),
        _ => Value::Other(format!("{:?}", array.slice(row, 1))),
    })
}

fn items(array: &ArrayRef, row: usize) -> Vec<(String, Value)> {
    let lists = array.as_list::<i32>();
    if lists.is_null(row) {
        return Vec::new();
    }
    let items = lists.value(row);
    let items = items.as_struct();
    let member = |name: &str| items.column_by_name(name).unwrap_or_else(|| panic!("{name} is there"));
    let keys = member("key").as_string::<i32>();
    let types = member("type").as_primitive::<Int8Type>();
    let value = |item: usize| match types.value(item) {
        value_type::STRING if member("string").is_valid(item) => {
            Value::Text(member("string").as_string::<i32>().value(item).to_owned())
        }
        value_type::STRING => Value::Text(
            String::from_utf8(member(schema::LARGE).as_binary_view().value(item).to_vec()).expect("text"),
        ),
        value_type::INT => Value::Int(member("int").as_primitive::<Int64Type>().value(item)),
        value_type::DOUBLE => {
            Value::Double(member("double").as_primitive::<Float64Type>().value(item).to_bits())
        }
        value_type::BOOL => Value::Bool(member("bool").as_boolean().value(item)),
        _ => Value::Other(format!("{:?}", items.slice(item, 1))),
    };
    (0..items.len()).map(|item| (keys.value(item).to_owned(), value(item))).collect()
}

/// The values that a row has in a column of a condition.
pub(crate) fn values<'a>(row: &'a Row, column: &ScanColumn) -> impl Iterator<Item = &'a Value> {
    let name = match column {
        ScanColumn::Fixed(name) => (*name).to_owned(),
        ScanColumn::Attribute(scope, key) => scope.column(key),
    };
    row.iter().filter(move |(of, _)| *of == name).map(|(_, value)| value)
}

/// Whether a row, of which start is asked for, starts in the time.
pub(crate) fn starts_in(row: &Row, range: Option<&TimeRange>) -> bool {
    let start = values(row, &ScanColumn::Fixed(schema::START_TIME)).next();
    let Some(Value::Int(start)) = start else {
        panic!("start was not asked for");
    };
    range.is_none_or(|range| (range.start.0..range.end.0).contains(&(*start as u64)))
}

/// All fixed columns but overflow lists, and all attributes.
pub(crate) fn everything() -> Projection {
    Projection {
        fixed: fixed_columns().into_iter().collect(),
        scopes: AttributeScope::ALL.into_iter().collect(),
        ..Projection::default()
    }
}

/// Names of the fixed columns that are no overflow lists.
pub(crate) fn fixed_columns() -> Vec<&'static str> {
    vec![
        schema::TRACE_ID,
        schema::SPAN_ID,
        schema::PARENT_SPAN_ID,
        schema::START_TIME,
        schema::DURATION_NANOS,
        schema::NAME,
        schema::KIND,
        schema::STATUS_CODE,
        schema::STATUS_MESSAGE,
        schema::TRACE_STATE,
        schema::FLAGS,
        schema::DROPPED_ATTRIBUTES_COUNT,
        schema::DROPPED_EVENTS_COUNT,
        schema::DROPPED_LINKS_COUNT,
        schema::NESTED_SET_LEFT,
        schema::NESTED_SET_RIGHT,
        schema::NESTED_SET_PARENT,
        schema::ROOT_SERVICE_NAME,
        schema::ROOT_SPAN_NAME,
        schema::SCOPE_NAME,
        schema::SCOPE_VERSION,
        schema::SCOPE_SCHEMA_URL,
        schema::SCOPE_DROPPED_ATTRIBUTES_COUNT,
        schema::RESOURCE_SCHEMA_URL,
        schema::RESOURCE_DROPPED_ATTRIBUTES_COUNT,
        schema::EVENTS,
        schema::LINKS,
    ]
}
