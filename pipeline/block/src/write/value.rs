//! The values of a flat column as Parquet wants them: plain bytes, bounds and the order of these.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};

use parquet::data_type::{ByteArray, FixedLenByteArray};
use parquet::file::statistics::{Statistics, ValueStatistics};

/// Bytes of a string that bounds keep.
pub(super) const BOUND_LENGTH_MAX: usize = 64;

/// A value of a column. Its order is that of the column's type.
pub(super) trait Value: Copy + Ord + Hash {
    /// How many values are no number, of types that can say so.
    const NANS: Option<i64> = None;

    /// Bytes of a string, which Parquet counts before encoding; none of other types.
    fn string_bytes(self) -> Option<usize> {
        None
    }

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
    fn string_bytes(self) -> Option<usize> {
        Some(self.len())
    }

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
        byte_statistics(bounds, nulls)
    }
}

impl Value for &[u8] {
    fn string_bytes(self) -> Option<usize> {
        Some(self.len())
    }

    fn put(self, out: &mut Vec<u8>) {
        let length = u32::try_from(self.len()).expect("a value is smaller than its record");
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(self);
    }

    fn with_bytes<R>(self, run: impl FnOnce(&[u8]) -> R) -> R {
        run(self)
    }

    fn lower(self) -> Vec<u8> {
        self[..self.len().min(BOUND_LENGTH_MAX)].to_vec()
    }

    /// The start of long bytes, the last of them that can be raised by one.
    fn upper(self) -> Vec<u8> {
        if self.len() <= BOUND_LENGTH_MAX {
            return self.to_vec();
        }
        let raised = self[..BOUND_LENGTH_MAX].iter().rposition(|byte| *byte < u8::MAX);
        raised.map_or_else(|| self.to_vec(), |at| [&self[..at], &[self[at] + 1]].concat())
    }

    fn statistics(bounds: Option<(Self, Self)>, nulls: u64) -> Statistics {
        byte_statistics(bounds, nulls)
    }
}

/// Statistics of values that may be cut.
fn byte_statistics<V: Value + AsRef<[u8]>>(bounds: Option<(V, V)>, nulls: u64) -> Statistics {
    let (exact_min, exact_max) = bounds.unzip();
    let (min, max) = (exact_min.map(V::lower), exact_max.map(V::upper));
    let same = |bound: &Option<Vec<u8>>, exact: Option<V>| {
        bound.as_deref().zip(exact).is_some_and(|(bound, exact)| bound == exact.as_ref())
    };
    let (min_is_exact, max_is_exact) = (same(&min, exact_min), same(&max, exact_max));
    let bounds = (min.map(ByteArray::from), max.map(ByteArray::from));
    Statistics::ByteArray(
        ValueStatistics::new(bounds.0, bounds.1, None, Some(nulls), false)
            .with_min_is_exact(min_is_exact)
            .with_max_is_exact(max_is_exact),
    )
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

impl Value for bool {
    fn put(self, out: &mut Vec<u8>) {
        out.push(self.into());
    }

    fn with_bytes<R>(self, run: impl FnOnce(&[u8]) -> R) -> R {
        run(&[self.into()])
    }

    fn statistics(bounds: Option<(Self, Self)>, nulls: u64) -> Statistics {
        let (min, max) = bounds.unzip();
        let statistics = ValueStatistics::new(min, max, None, Some(nulls), false);
        Statistics::Boolean(statistics.with_backwards_compatible_min_max(true))
    }
}

/// A number that is one; zeros of both signs are different values.
#[derive(Clone, Copy, Debug)]
pub(super) struct Double(pub(super) f64);

impl Double {
    /// With the bounds -0 and +0 for zeros, since either is equal to both.
    fn bound(self, zero: f64) -> f64 {
        if self.0 == 0.0 { zero } else { self.0 }
    }
}

impl PartialEq for Double {
    fn eq(&self, other: &Self) -> bool {
        self.0.to_bits() == other.0.to_bits()
    }
}

impl Eq for Double {}

impl Hash for Double {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.to_bits().hash(state);
    }
}

impl PartialOrd for Double {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Double {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl Value for Double {
    const NANS: Option<i64> = Some(0);

    fn put(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0.to_le_bytes());
    }

    fn with_bytes<R>(self, run: impl FnOnce(&[u8]) -> R) -> R {
        run(&self.0.to_le_bytes())
    }

    fn lower(self) -> Vec<u8> {
        self.bound(-0.0).to_le_bytes().to_vec()
    }

    fn upper(self) -> Vec<u8> {
        self.bound(0.0).to_le_bytes().to_vec()
    }

    fn statistics(bounds: Option<(Self, Self)>, nulls: u64) -> Statistics {
        let nans = bounds.map(|_| 0);
        let (min, max) = bounds.map(|(min, max)| (min.bound(-0.0), max.bound(0.0))).unzip();
        let statistics = ValueStatistics::new(min, max, None, Some(nulls), false).with_nan_count(nans);
        Statistics::Double(statistics.with_backwards_compatible_min_max(true))
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
