//! Span attributes of an open block: per key and type the rows that have it and their values.
//! Owns: finding the column of an attribute fast, and the overflow of what has no column.
//! Does not own: which of these columns become columns of the block (see `promote`).

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

use super::interner::{Interner, equal};
use super::items::Items;
use super::value::{AnyValue, DecodeError};
use crate::schema::LARGE_VALUE_BYTES;

/// Values of one type, one for each row in [`AttributeColumn::rows`].
#[derive(Debug)]
pub(crate) enum Values {
    /// Numbers in the interner.
    Strings(Vec<u32>, Interner),
    Ints(Vec<i64>),
    Doubles(Vec<f64>),
    Bools(Vec<bool>),
}

impl Values {
    /// Empty values of the type of `value`; none for what is never a column.
    fn for_value(value: &AnyValue<'_>) -> Option<Self> {
        Some(match value {
            AnyValue::String(_) => Self::Strings(Vec::new(), Interner::default()),
            AnyValue::Int(_) => Self::Ints(Vec::new()),
            AnyValue::Double(_) => Self::Doubles(Vec::new()),
            AnyValue::Bool(_) => Self::Bools(Vec::new()),
            AnyValue::Empty | AnyValue::Array(_) | AnyValue::KvList(_) | AnyValue::Bytes(_) => return None,
        })
    }

    #[inline]
    const fn takes(&self, value: &AnyValue<'_>) -> bool {
        matches!(
            (self, value),
            (Self::Strings(..), AnyValue::String(_))
                | (Self::Ints(_), AnyValue::Int(_))
                | (Self::Doubles(_), AnyValue::Double(_))
                | (Self::Bools(_), AnyValue::Bool(_))
        )
    }

    /// The value at a position.
    pub(crate) fn get(&self, index: usize) -> AnyValue<'_> {
        match self {
            Self::Strings(numbers, interner) => AnyValue::String(interner.get(numbers[index]).as_bytes()),
            Self::Ints(values) => AnyValue::Int(values[index]),
            Self::Doubles(values) => AnyValue::Double(values[index]),
            Self::Bools(values) => AnyValue::Bool(values[index]),
        }
    }

    fn memory_bytes(&self) -> usize {
        match self {
            Self::Strings(numbers, interner) => 4 * numbers.capacity() + interner.memory_bytes(),
            Self::Ints(values) => 8 * values.capacity(),
            Self::Doubles(values) => 8 * values.capacity(),
            Self::Bools(values) => values.capacity(),
        }
    }
}

/// All values of one key and one type; `rows` ascends.
#[derive(Debug)]
pub(crate) struct AttributeColumn {
    pub(crate) key: Box<str>,
    pub(crate) rows: Vec<u32>,
    pub(crate) values: Values,
    next: Next,
}

/// The columns that followed the last times, the newest first: attributes of one kind of span come in one order, and two
/// kinds often have a start in common.
#[derive(Clone, Copy, Debug)]
struct Next([u32; 2]);

impl Next {
    const NONE: Self = Self([NONE; 2]);

    fn note(&mut self, column: u32) {
        self.0 = [column, self.0[0]];
    }
}

impl AttributeColumn {
    #[inline]
    fn is_for(&self, key: &[u8], value: &AnyValue<'_>) -> bool {
        equal(self.key.as_bytes(), key) && self.values.takes(value)
    }
}

const NONE: u32 = u32::MAX;

/// The span attributes of an open block.
#[derive(Debug)]
pub(crate) struct AttributeColumns {
    pub(crate) columns: Vec<AttributeColumn>,
    table: HashTable<u32>,
    hasher: DefaultHashBuilder,
    /// Columns beyond this many are not opened: an attack with a million keys makes overflow items.
    columns_max: usize,
    pub(crate) overflow: Items,
    /// Row of each overflow item; ascends.
    pub(crate) overflow_rows: Vec<u32>,
    first: Next,
}

impl AttributeColumns {
    pub(crate) fn new(columns_max: usize) -> Self {
        Self {
            columns: Vec::new(),
            table: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            columns_max,
            overflow: Items::default(),
            overflow_rows: Vec::new(),
            first: Next::NONE,
        }
    }

    /// Takes an attribute of a row. `previous` is what the call for the attribute before it returned (for the first: none).
    #[inline]
    pub(crate) fn push(
        &mut self,
        row: u32,
        key: &[u8],
        value: AnyValue<'_>,
        previous: Option<u32>,
    ) -> Result<Option<u32>, DecodeError> {
        let guesses = previous.map_or(self.first, |previous| self.columns[previous as usize].next);
        let right = |guess: &u32| self.columns.get(*guess as usize).is_some_and(|c| c.is_for(key, &value));
        let found = match guesses.0.into_iter().find(right) {
            Some(found) => Some(found),
            None => {
                let found = self.find_or_open(key, &value)?;
                if let Some(found) = found {
                    previous.map_or(&mut self.first, |at| &mut self.columns[at as usize].next).note(found);
                }
                found
            }
        };
        let large = matches!(value, AnyValue::String(text) if text.len() > LARGE_VALUE_BYTES);
        let Some(number) = found.filter(|_| !large) else {
            self.overflow(row, key, value)?;
            return Ok(previous);
        };
        let column = &mut self.columns[number as usize];
        if column.rows.last() == Some(&row) {
            self.overflow(row, key, value)?; // the key came twice
            return Ok(found);
        }
        match (&mut column.values, value) {
            (Values::Strings(numbers, interner), AnyValue::String(text)) => {
                numbers.push(interner.intern(text)?)
            }
            (Values::Ints(values), AnyValue::Int(value)) => values.push(value),
            (Values::Doubles(values), AnyValue::Double(value)) => values.push(value),
            (Values::Bools(values), AnyValue::Bool(value)) => values.push(value),
            _ => unreachable!("the column was found for the type of the value"),
        }
        column.rows.push(row);
        Ok(found)
    }

    fn overflow(&mut self, row: u32, key: &[u8], value: AnyValue<'_>) -> Result<(), DecodeError> {
        self.overflow.push(key, value)?;
        self.overflow_rows.push(row);
        Ok(())
    }

    fn find_or_open(&mut self, key: &[u8], value: &AnyValue<'_>) -> Result<Option<u32>, DecodeError> {
        let hash = self.hasher.hash_one(key);
        let columns = &self.columns;
        if let Some(&number) = self.table.find(hash, |&n| columns[n as usize].is_for(key, value)) {
            return Ok(Some(number));
        }
        if columns.len() >= self.columns_max {
            return Ok(None);
        }
        let Some(values) = Values::for_value(value) else {
            return Ok(None);
        };
        let key = Box::from(std::str::from_utf8(key)?);
        let number = self.columns.len() as u32;
        self.columns.push(AttributeColumn { key, rows: Vec::new(), values, next: Next::NONE });
        let (columns, hasher) = (&self.columns, &self.hasher);
        self.table.insert_unique(hash, number, |&n| hasher.hash_one(columns[n as usize].key.as_bytes()));
        Ok(Some(number))
    }

    /// Takes back all that was pushed for `row`, the newest one.
    pub(crate) fn rollback(&mut self, row: u32) {
        for column in &mut self.columns {
            let kept = column.rows.len() - usize::from(column.rows.last() == Some(&row));
            column.rows.truncate(kept);
            match &mut column.values {
                Values::Strings(values, _) => values.truncate(kept),
                Values::Ints(values) => values.truncate(kept),
                Values::Doubles(values) => values.truncate(kept),
                Values::Bools(values) => values.truncate(kept),
            }
        }
        let kept = self.overflow_rows.partition_point(|&r| r < row);
        self.overflow_rows.truncate(kept);
        self.overflow.truncate(kept);
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        let columns = self.columns.iter();
        columns.map(|c| 128 + c.key.len() + 4 * c.rows.capacity() + c.values.memory_bytes()).sum::<usize>()
            + self.overflow.memory_bytes()
            + 4 * self.overflow_rows.capacity()
    }
}
