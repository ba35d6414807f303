//! Which rows of a batch meet a condition, read of its columns alone.
//! Owns: tests of single values. Does not own: where conditions come from (TraceQL).
//! Guarantee: what is not understood counts as met: a condition may rule out too little, never too much.

use arrow::array::{Array, ArrayRef, AsArray, DictionaryArray, PrimitiveArray};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Int32Type, Int64Type, TimestampNanosecondType, UInt32Type,
};
use vivace_model::scan::{Condition, Projection, ScanColumn, Test};
use vivace_traceql::ast::{Attribute, Target};
use vivace_traceql::{EvalError, Lane, Spans, Value};

/// The columns that tell whether the condition is met; none if all rows may.
pub(super) fn columns(condition: &Condition) -> Option<Projection> {
    let mut columns = Projection::default();
    let useful = add_columns(condition, &mut columns);
    useful.then_some(columns)
}

/// False if the condition rules out nothing.
fn add_columns(condition: &Condition, columns: &mut Projection) -> bool {
    match condition {
        Condition::Always => false,
        Condition::All(all) => {
            // Columns of all of them, also after one that is useful.
            let useful = all.iter().filter(|one| add_columns(one, columns));
            useful.count() > 0
        }
        Condition::Any(any) => any.iter().all(|one| add_columns(one, columns)),
        Condition::Leaf(ScanColumn::Fixed(name), _) => {
            columns.fixed.insert(name);
            true
        }
        Condition::Leaf(ScanColumn::Attribute(scope, key), _) => {
            columns.attributes.insert((*scope, key.clone()));
            true
        }
    }
}

/// Whether each row meets the condition.
pub(super) fn met(condition: &Condition, spans: &Spans<'_>) -> Result<Vec<bool>, EvalError> {
    match condition {
        Condition::Always => Ok(vec![true; spans.rows()]),
        Condition::All(all) => {
            let mut rows = vec![true; spans.rows()];
            for one in all.iter().filter(|one| !matches!(one, Condition::Always)) {
                rows.iter_mut().zip(met(one, spans)?).for_each(|(row, one)| *row &= one);
            }
            Ok(rows)
        }
        Condition::Any(any) => {
            let mut rows = vec![false; spans.rows()];
            for one in any {
                rows.iter_mut().zip(met(one, spans)?).for_each(|(row, one)| *row |= one);
            }
            Ok(rows)
        }
        Condition::Leaf(column, test) => {
            let mut rows = vec![false; spans.rows()];
            leaf(column, test, spans, &mut rows)?;
            Ok(rows)
        }
    }
}

fn leaf(column: &ScanColumn, test: &Test, spans: &Spans<'_>, rows: &mut [bool]) -> Result<(), EvalError> {
    match column {
        ScanColumn::Fixed(name) => {
            if let Some(array) = spans.batch().column_by_name(name) {
                fixed(array, test, rows);
            }
        }
        ScanColumn::Attribute(scope, key) => {
            let target = Target::Scoped(*scope, key.as_str().into());
            let written = scope.column(key).into();
            for lane in spans.values(&Attribute { parent: false, target, written })?.lanes {
                attribute(&lane, test, rows);
            }
        }
    }
    Ok(())
}

fn attribute(lane: &Lane<'_>, test: &Test, rows: &mut [bool]) {
    match lane {
        Lane::Text(texts) => of_texts(texts, test, rows),
        Lane::Int(numbers) | Lane::Duration(numbers) => of_numbers(*numbers, test, rows, |it| it as f64),
        Lane::Float(numbers) => of_numbers(*numbers, test, rows, |it| it),
        Lane::Status(numbers) | Lane::Kind(numbers) | Lane::Small(numbers) => {
            of_numbers(*numbers, test, rows, f64::from);
        }
        Lane::Bool(values) => {
            let met = |value| matches!(test, Test::Exists) || matches!(test, Test::Bool(it) if *it == value);
            values.iter().zip(rows).for_each(|(value, row)| *row |= value.is_some_and(met));
        }
        Lane::Id(ids) => (0..ids.len()).zip(rows).for_each(|(id, row)| *row |= ids.is_valid(id)),
        Lane::Sparse(values) => {
            // Spans of one resource share its values: a large text is tested once.
            let mut last: Option<(&str, bool)> = None;
            for (row, value) in values {
                rows[*row as usize] |= match (*value, last) {
                    (Value::Text(text), Some((tested, met))) if std::ptr::eq(text, tested) => met,
                    (value, _) => {
                        let met = met_by(test, value);
                        if let Value::Text(text) = value {
                            last = Some((text, met));
                        }
                        met
                    }
                };
            }
        }
    }
}

fn fixed(array: &ArrayRef, test: &Test, rows: &mut [bool]) {
    match array.data_type() {
        DataType::Int64 => of_numbers(array.as_primitive::<Int64Type>(), test, rows, |it| it as f64),
        DataType::Int32 => of_numbers(array.as_primitive::<Int32Type>(), test, rows, f64::from),
        DataType::UInt32 => of_numbers(array.as_primitive::<UInt32Type>(), test, rows, f64::from),
        DataType::Timestamp(..) => {
            if let Some(times) = array.as_primitive_opt::<TimestampNanosecondType>() {
                of_numbers(times, test, rows, |it| it.cast_unsigned() as f64);
            }
        }
        DataType::Dictionary(..) if array.as_dictionary_opt::<Int32Type>().is_some() => {
            of_texts(array.as_dictionary(), test, rows);
        }
        // Lists, ids: at least there has to be one.
        _ => (0..array.len()).zip(rows).for_each(|(row, met)| *met |= array.is_valid(row)),
    }
}

fn of_texts(texts: &DictionaryArray<Int32Type>, test: &Test, rows: &mut [bool]) {
    let Some(values) = texts.values().as_string_opt::<i32>() else {
        return rows.fill(true);
    };
    let mut any = false;
    let table: Vec<bool> = values
        .iter()
        .map(|value| {
            let met = value.is_some_and(|value| met_by(test, Value::Text(value)));
            any |= met;
            met
        })
        .collect();
    if !any {
        return;
    }
    let met = |key: i32| usize::try_from(key).is_ok_and(|key| table.get(key) == Some(&true));
    texts.keys().iter().zip(rows).for_each(|(key, row)| *row |= key.is_some_and(met));
}

fn of_numbers<T: ArrowPrimitiveType>(
    numbers: &PrimitiveArray<T>,
    test: &Test,
    rows: &mut [bool],
    as_float: impl Fn(T::Native) -> f64,
) {
    let met = |number: T::Native| match test {
        Test::Exists => true,
        Test::Between(least, most) => (*least..=*most).contains(&as_float(number)),
        Test::Text(_) | Test::TextMatches(_) | Test::Bool(_) => false,
    };
    numbers.iter().zip(rows).for_each(|(number, row)| *row |= number.is_some_and(met));
}

fn met_by(test: &Test, value: Value<'_>) -> bool {
    let number = match value {
        Value::Int(number) | Value::Duration(number) => Some(number as f64),
        Value::Float(number) => Some(number),
        Value::Status(status) => Some(f64::from(status as u8)),
        Value::Kind(kind) => Some(f64::from(kind as u8)),
        Value::Bool(_) | Value::Text(_) | Value::Id(_) => None,
    };
    match (test, value) {
        // An id may be meant by its text.
        (Test::Exists, _) | (Test::Text(_) | Test::TextMatches(_), Value::Id(_)) => true,
        (Test::Text(wanted), Value::Text(text)) => wanted == text,
        (Test::TextMatches(matches), Value::Text(text)) => matches(text),
        (Test::Bool(wanted), Value::Bool(value)) => *wanted == value,
        (Test::Between(least, most), _) => number.is_some_and(|it| (*least..=*most).contains(&it)),
        _ => false,
    }
}
