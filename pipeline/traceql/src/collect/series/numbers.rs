//! Numbers that are measured: a property of spans as floats.

use arrow::array::Array;

use super::codes::for_each_first;
use super::picked::{PickedRows, Property};
use crate::{Lane, Value};

/// A batch's values of a property. Times are nanoseconds.
#[derive(Debug)]
pub(crate) struct Numbers<'a> {
    property: Property<'a>,
    /// Integers and times under this don't count.
    whole_min: f64,
}

impl<'a> Numbers<'a> {
    pub(crate) const fn new(property: Property<'a>, whole_min: f64) -> Self {
        Self { property, whole_min }
    }

    /// The rows' first values; not a number where there is none, or none that counts.
    pub(crate) fn fill(&self, rows: PickedRows<'_>, out: &mut Vec<f64>) {
        out.clear();
        out.resize(rows.len(), f64::NAN);
        // The first lane that has a value counts, be it a number or not: it writes last.
        for (side, lane) in self.property.lanes.iter().rev() {
            self.fill_lane(lane, rows.of(*side), out);
        }
    }

    fn fill_lane(&self, lane: &Lane<'_>, rows: &[u32], out: &mut [f64]) {
        match lane {
            Lane::Int(array) | Lane::Duration(array) => {
                fill_with(*array, rows, out, |row| self.whole(array.values()[row] as f64));
            }
            Lane::Small(array) => {
                fill_with(*array, rows, out, |row| self.whole(f64::from(array.values()[row])))
            }
            Lane::Float(array) => fill_with(*array, rows, out, |row| finite(array.values()[row])),
            Lane::Text(array) => fill_with(*array, rows, out, |_| f64::NAN),
            Lane::Bool(array) => fill_with(*array, rows, out, |_| f64::NAN),
            Lane::Status(array) | Lane::Kind(array) => fill_with(*array, rows, out, |_| f64::NAN),
            Lane::Id(array) => fill_with(*array, rows, out, |_| f64::NAN),
            Lane::Sparse(items) => for_each_first(items, rows, |at, value| {
                out[at] = match value {
                    Value::Int(value) | Value::Duration(value) => self.whole(value as f64),
                    Value::Float(value) => finite(value),
                    _ => f64::NAN,
                };
            }),
        }
    }

    fn whole(&self, value: f64) -> f64 {
        if value < self.whole_min { f64::NAN } else { value }
    }
}

/// An infinite value would hide all others of its cell.
fn finite(value: f64) -> f64 {
    if value.is_finite() { value } else { f64::NAN }
}

fn fill_with(array: &dyn Array, rows: &[u32], out: &mut [f64], number: impl Fn(usize) -> f64) {
    match array.logical_nulls().filter(|nulls| nulls.null_count() > 0) {
        None => out.iter_mut().zip(rows).for_each(|(out, row)| *out = number(*row as usize)),
        Some(nulls) => {
            for (out, row) in out.iter_mut().zip(rows) {
                if nulls.is_valid(*row as usize) {
                    *out = number(*row as usize);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{DictionaryArray, Float64Array, Int64Array};
    use arrow::datatypes::Int32Type;

    use super::*;

    #[test]
    fn only_numbers_count_and_the_first_value_hides_others() {
        let text: DictionaryArray<Int32Type> = [Some("a"), None, None, None].into_iter().collect();
        let ints = Int64Array::from(vec![Some(5), Some(1), None, None]);
        let floats = Float64Array::from(vec![None, None, Some(0.5), Some(f64::INFINITY)]);
        let values = || Property::of(vec![Lane::Text(&text), Lane::Int(&ints), Lane::Float(&floats)]);
        let filled = |numbers: Numbers<'_>| {
            let mut out = Vec::new();
            numbers.fill(PickedRows::same(&[0, 1, 2, 3]), &mut out);
            out.into_iter().map(|value| Some(value).filter(|value| !value.is_nan())).collect::<Vec<_>>()
        };
        assert_eq!(filled(Numbers::new(values(), f64::NEG_INFINITY)), [None, Some(1.0), Some(0.5), None]);
        assert_eq!(filled(Numbers::new(values(), 2.0)), [None, None, Some(0.5), None]);
    }
}
