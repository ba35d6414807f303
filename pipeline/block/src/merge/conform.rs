//! Rows of a block in the columns of a merge: attributes change between columns and overflow lists.
//! Owns: which values move, and moving them. Does not own: the choice of columns (`target`).
//! Guarantee: an attribute that has a column stands in it wherever it can, as in a new block; no value is lost.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, ListArray, StringArray, StructArray,
};
use arrow::datatypes::{DataType, FieldRef, Float64Type, Int8Type, Int32Type, Int64Type};
use hashbrown::HashMap;

use super::source::SourceRows;
use super::target::Target;
use crate::BlockError;
use crate::assemble::conflicts::with_moved;
use crate::columns::{NULL, dictionary_column};
use crate::numbered::Column;
use crate::schema::{AttributeScope, value_type};

/// Rows of a source, of which one column of the target after the other is taken.
pub(super) struct Conformed<'a> {
    rows: SourceRows<'a>,
    /// Rows there are.
    count: usize,
    target: &'a Target,
    /// Of each column of the target its number in the source.
    places: Vec<Option<usize>>,
    /// The columns that attributes may leave or enter: overflow lists, and those that have a key of their items.
    moved: BTreeMap<usize, Option<ArrayRef>>,
}

/// By column of the target the overflow items, by row, that belong into it.
type Raised = BTreeMap<usize, Vec<(usize, usize)>>;

impl<'a> Conformed<'a> {
    /// So many rows. CPU-bound.
    pub(super) fn new(rows: SourceRows<'a>, count: usize, target: &'a Target) -> Result<Self, BlockError> {
        let own: HashMap<&str, (usize, &DataType)> =
            rows.fields().iter().enumerate().map(|(n, f)| (f.name().as_str(), (n, f.data_type()))).collect();
        let place = |field: &FieldRef| {
            let (number, data_type) = own.get(field.name().as_str())?;
            let fits =
                *data_type == field.data_type() || AttributeScope::parse_column(field.name()).is_none();
            fits.then_some(*number)
        };
        let places = target.schema.fields().iter().map(place).collect();
        let mut conformed = Self { rows, count, target, places, moved: BTreeMap::new() };
        for scope in AttributeScope::ALL {
            conformed.shift(scope)?;
        }
        Ok(conformed)
    }

    /// A column of the target, by its number, which is asked for once; none if it has no value. CPU-bound.
    pub(super) fn column(&mut self, column: usize) -> Result<Option<Column>, BlockError> {
        match (self.moved.remove(&column), self.places[column]) {
            (Some(moved), _) => Ok(moved.map(Column::Array)),
            (None, Some(place)) => self.rows.column(place),
            (None, None) => Ok(None),
        }
    }

    /// As it is in the source.
    fn stored(&mut self, column: usize) -> Result<Option<ArrayRef>, BlockError> {
        self.places[column].map_or(Ok(None), |place| self.own(place))
    }

    /// A column of the source.
    fn own(&mut self, column: usize) -> Result<Option<ArrayRef>, BlockError> {
        self.rows.column(column)?.map(Column::into_array).transpose().map_err(BlockError::encode)
    }

    /// Moves attributes of a scope to where they belong.
    fn shift(&mut self, scope: AttributeScope) -> Result<(), BlockError> {
        let list = self.target.fixed(scope.overflow());
        let own = self.stored(list)?;
        let wrong = || BlockError::value(scope.overflow(), "its items are not as they must be");
        let lowered = self.lowered(scope)?;
        let mut taken = Vec::new();
        if let Some(own) = own.as_ref() {
            let items = own.as_list_opt::<i32>().and_then(|own| own.values().as_struct_opt());
            let items = items.ok_or_else(wrong)?;
            let raised = self.raised(own.as_list(), items, scope)?.ok_or_else(wrong)?;
            taken.resize(items.len(), false);
            raised.values().flatten().for_each(|(_, item)| taken[*item] = true);
            for (column, items_of) in raised {
                let data_type = self.target.schema.field(column).data_type();
                let array = self.moved.get(&column).and_then(Option::as_ref);
                let array = with_raised(array, data_type, self.count, items, &items_of);
                self.moved.insert(column, Some(array.ok_or_else(wrong)?));
            }
        }
        let array = if lowered.is_empty() && !taken.contains(&true) {
            own
        } else {
            let moved: Vec<(&str, &ArrayRef)> = lowered.iter().map(|(key, array)| (&**key, array)).collect();
            let picked = vec![true; self.count];
            let array = with_moved(own.as_ref(), &moved, &picked, |item| !taken[item]);
            let array = array.map_err(|error| BlockError::value(scope.overflow(), error.to_string()))?;
            (array.null_count() < array.len()).then_some(array)
        };
        self.moved.insert(list, array);
        Ok(())
    }

    /// The columns of a scope that have none of their name and type in the target, with their keys.
    fn lowered(&mut self, scope: AttributeScope) -> Result<Vec<(String, ArrayRef)>, BlockError> {
        let lowers = |(number, field): (usize, &FieldRef)| {
            let (_, key) = AttributeScope::parse_column(field.name()).filter(|(of, _)| *of == scope)?;
            let place = self.target.column(scope, key);
            let stays =
                place.is_some_and(|place| self.target.schema.field(place).data_type() == field.data_type());
            (!stays).then(|| (number, key.to_owned()))
        };
        let numbers: Vec<(usize, String)> =
            self.rows.fields().iter().enumerate().filter_map(lowers).collect();
        let mut lowered = Vec::new();
        for (number, key) in numbers {
            if let Some(array) = self.own(number)? {
                lowered.push((key, array));
            }
        }
        Ok(lowered)
    }

    /// The overflow items of a scope that a column of the target can take: the first of a key in its row, of the column's
    /// type, not large. None if the items are none of attributes. The columns that they are for are in `moved` then.
    fn raised(
        &mut self,
        list: &ListArray,
        items: &StructArray,
        scope: AttributeScope,
    ) -> Result<Option<Raised>, BlockError> {
        let keys = items.column_by_name("key").and_then(|keys| keys.as_string_opt::<i32>());
        let kinds = items.column_by_name("type").and_then(|kinds| kinds.as_primitive_opt::<Int8Type>());
        let (Some(keys), Some(kinds), Some(strings)) = (keys, kinds, items.column_by_name("string")) else {
            return Ok(None);
        };
        let mut raised = Raised::new();
        let offsets = list.value_offsets();
        for row in (0..list.len()).filter(|row| list.is_valid(*row)) {
            for item in offsets[row] as usize..offsets[row + 1] as usize {
                let Some(place) = self.target.column(scope, keys.value(item)) else {
                    continue;
                };
                let fits = match self.target.schema.field(place).data_type() {
                    DataType::Int64 => kinds.value(item) == value_type::INT,
                    DataType::Float64 => kinds.value(item) == value_type::DOUBLE,
                    DataType::Boolean => kinds.value(item) == value_type::BOOL,
                    _ => kinds.value(item) == value_type::STRING && strings.is_valid(item),
                };
                if !fits {
                    continue;
                }
                if !self.moved.contains_key(&place) {
                    let column = self.stored(place)?;
                    self.moved.insert(place, column);
                }
                if self.moved[&place].as_ref().is_some_and(|column| column.is_valid(row)) {
                    continue;
                }
                let rows = raised.entry(place).or_default();
                if rows.last().is_none_or(|(last, _)| *last != row) {
                    rows.push((row, item));
                }
            }
        }
        Ok(Some(raised))
    }
}

/// The column with the values of those items in their rows.
fn with_raised(
    column: Option<&ArrayRef>,
    data_type: &DataType,
    rows: usize,
    items: &StructArray,
    raised: &[(usize, usize)],
) -> Option<ArrayRef> {
    fn with<T: Clone>(
        own: Option<impl Iterator<Item = Option<T>>>,
        rows: usize,
        raised: &[(usize, usize)],
        value: impl Fn(usize) -> T,
    ) -> Vec<Option<T>> {
        let mut values: Vec<Option<T>> = own.map_or_else(|| vec![None; rows], Iterator::collect);
        raised.iter().for_each(|(row, item)| values[*row] = Some(value(*item)));
        values
    }
    Some(match data_type {
        DataType::Int64 => {
            let own = column.map(|column| column.as_primitive::<Int64Type>().iter());
            let values = items.column_by_name("int")?.as_primitive_opt::<Int64Type>()?;
            Arc::new(Int64Array::from(with(own, rows, raised, |item| values.value(item))))
        }
        DataType::Float64 => {
            let own = column.map(|column| column.as_primitive::<Float64Type>().iter());
            let values = items.column_by_name("double")?.as_primitive_opt::<Float64Type>()?;
            Arc::new(Float64Array::from(with(own, rows, raised, |item| values.value(item))))
        }
        DataType::Boolean => {
            let own = column.map(|column| column.as_boolean().iter());
            let values = items.column_by_name("bool")?.as_boolean_opt()?;
            Arc::new(BooleanArray::from(with(own, rows, raised, |item| values.value(item))))
        }
        _ => with_raised_texts(column, rows, items.column_by_name("string")?.as_string_opt()?, raised),
    })
}

/// The new values come behind those of the dictionary; whoever gathers rows from it finds the equal ones.
fn with_raised_texts(
    column: Option<&ArrayRef>,
    rows: usize,
    strings: &StringArray,
    raised: &[(usize, usize)],
) -> ArrayRef {
    let (mut texts, mut numbers): (Vec<&str>, Vec<i32>) = (Vec::new(), vec![NULL; rows]);
    if let Some(column) = column {
        let dictionary = column.as_dictionary::<Int32Type>();
        let values = dictionary.values().as_string::<i32>();
        texts.extend((0..values.len()).map(|value| values.value(value)));
        let own = dictionary.keys().iter();
        numbers.iter_mut().zip(own).for_each(|(number, key)| *number = key.unwrap_or(NULL));
    }
    for (row, item) in raised {
        numbers[*row] = texts.len() as i32;
        texts.push(strings.value(*item));
    }
    dictionary_column(numbers, Arc::new(StringArray::from(texts)))
}
