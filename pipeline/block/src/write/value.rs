//! The values of a flat column as Parquet wants them: plain bytes, bounds and the order of these.

use std::hash::Hash;

use parquet::data_type::{ByteArray, FixedLenByteArray};
use parquet::file::statistics::{Statistics, ValueStatistics};

/// Bytes of a string that bounds keep.
pub(super) const BOUND_LENGTH_MAX: usize = 64;

/// A value of a column. Its order is that of the column's type.
pub(super) trait Value: Copy + Ord + Hash {
    /// Appends it in Parquet's plain encoding.
    fn put(self, out: &mut Vec<u8>);

    /// What a filter for this value hashes.
    fn with_bytes<R>(self, run: impl FnOnce(&[u8]) -> R) -> R;

    /// A lower bound of limited length.
    fn lower(self) -> Vec<u8> {
        self.with_bytes(<[u8]>::to_vec)
    }

    /// An upper bound of limited length.
    fn upper(self) -> Vec<u8> {
        self.with_bytes(<[u8]>::to_vec)
    }

    /// Bounds of a chunk and how many nulls it has.
    fn statistics(bounds: Option<(Self, Self)>, nulls: u64) -> Statistics;
}

impl Value for &str {
    fn put(self, out: &mut Vec<u8>) {
        let length = u32::try_from(self.len()).expect("a value is smaller than its record");
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(self.as_bytes());
    }

    fn with_bytes<R>(self, run: impl FnOnce(&[u8]) -> R) -> R {
        run(self.as_bytes())
    }

    fn lower(self) -> Vec<u8> {
        self.as_bytes()[..self.floor_char_boundary(BOUND_LENGTH_MAX)].to_vec()
    }

    /// The start of a long string with its last character replaced by the next one: above all strings with that start.
    fn upper(self) -> Vec<u8> {
        if self.len() <= BOUND_LENGTH_MAX {
            return self.as_bytes().to_vec();
        }
        let start = &self[..self.floor_char_boundary(BOUND_LENGTH_MAX)];
        let next = |(at, last): (usize, char)| {
            let next =
                char::from_u32(u32::from(last) + 1).filter(|next| next.len_utf8() == last.len_utf8())?;
            Some(format!("{}{next}", &start[..at]).into_bytes())
        };
        start.char_indices().rev().find_map(next).unwrap_or_else(|| self.as_bytes().to_vec())
    }

    fn statistics(bounds: Option<(Self, Self)>, nulls: u64) -> Statistics {
        let (exact_min, exact_max) = bounds.unzip();
        let (min, max) = (exact_min.map(Self::lower), exact_max.map(Self::upper));
        let same = |bound: &Option<Vec<u8>>, exact: Option<&str>| {
            bound.as_deref().zip(exact).is_some_and(|(bound, exact)| bound == exact.as_bytes())
        };
        let (min_is_exact, max_is_exact) = (same(&min, exact_min), same(&max, exact_max));
        let bounds = (min.map(ByteArray::from), max.map(ByteArray::from));
        Statistics::ByteArray(
            ValueStatistics::new(bounds.0, bounds.1, None, Some(nulls), false)
                .with_min_is_exact(min_is_exact)
                .with_max_is_exact(max_is_exact),
        )
    }
}

/// Signed integers of both sizes.
macro_rules! signed {
    ($type:ty, $statistics:path) => {
        impl Value for $type {
            fn put(self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }

            fn with_bytes<R>(self, run: impl FnOnce(&[u8]) -> R) -> R {
                run(&self.to_le_bytes())
            }

            fn statistics(bounds: Option<(Self, Self)>, nulls: u64) -> Statistics {
                let (min, max) = bounds.unzip();
                let statistics = ValueStatistics::new(min, max, None, Some(nulls), false);
                $statistics(statistics.with_backwards_compatible_min_max(true))
            }
        }
    };
}

signed!(i32, Statistics::Int32);
signed!(i64, Statistics::Int64);

/// Unsigned integers are signed ones to Parquet, of another order.
impl Value for u32 {
    fn put(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_le_bytes());
    }

    fn with_bytes<R>(self, run: impl FnOnce(&[u8]) -> R) -> R {
        run(&self.to_le_bytes())
    }

    fn statistics(bounds: Option<(Self, Self)>, nulls: u64) -> Statistics {
        let (min, max) = bounds.map(|(min, max)| (min.cast_signed(), max.cast_signed())).unzip();
        Statistics::Int32(ValueStatistics::new(min, max, None, Some(nulls), false))
    }
}

/// An id.
impl<const N: usize> Value for [u8; N] {
    fn put(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self);
    }

    fn with_bytes<R>(self, run: impl FnOnce(&[u8]) -> R) -> R {
        run(&self)
    }

    fn statistics(bounds: Option<(Self, Self)>, nulls: u64) -> Statistics {
        let fixed = |id: Self| FixedLenByteArray::from(id.to_vec());
        let (min, max) = bounds.map(|(min, max)| (fixed(min), fixed(max))).unzip();
        Statistics::FixedLenByteArray(ValueStatistics::new(min, max, None, Some(nulls), false))
    }
}
