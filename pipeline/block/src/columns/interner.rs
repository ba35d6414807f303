//! Strings of one column, each stored once while that pays.
//! Owns: the de-duplication, the check for UTF-8 (once per distinct value, not once per row) and when to give up.

use std::hash::BuildHasher;
use std::str::Utf8Error;
use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray};
use arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use hashbrown::{DefaultHashBuilder, HashTable};

/// Lookups before the first decision on whether de-duplication pays.
const TRIAL_LOOKUPS: u32 = 1024;

/// Gives each distinct string a number, counted from 0, and keeps them in Arrow's layout.
///
/// Once more than half of the values looked up turned out to be new (request ids, SQL with literals), it stops looking and
/// gives every value a number of its own: that is cheaper, and dictionaries would not make the file smaller either.
#[derive(Debug)]
pub(crate) struct Interner {
    table: HashTable<u32>,
    hasher: DefaultHashBuilder,
    offsets: Vec<i32>,
    bytes: Vec<u8>,
    lookups: u32,
    distinct: bool,
    gives_up: bool,
}

impl Default for Interner {
    fn default() -> Self {
        Self {
            table: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            offsets: vec![0],
            bytes: Vec::new(),
            lookups: 0,
            distinct: true,
            gives_up: true,
        }
    }
}

impl Interner {
    /// One that keeps each value once, whatever comes.
    pub(crate) fn exact() -> Self {
        Self { gives_up: false, ..Self::default() }
    }

    /// The number of `value`, which is checked and stored if it is new.
    pub(crate) fn intern(&mut self, value: &[u8]) -> Result<u32, Utf8Error> {
        if !self.distinct {
            std::str::from_utf8(value)?;
            return Ok(self.push(value));
        }
        self.lookups += 1;
        let hash = self.hasher.hash_one(value);
        let (offsets, bytes) = (&self.offsets, &self.bytes);
        if let Some(&number) = self.table.find(hash, |&number| equal(slice(offsets, bytes, number), value)) {
            return Ok(number);
        }
        std::str::from_utf8(value)?;
        let number = self.push(value);
        let (offsets, bytes, hasher) = (&self.offsets, &self.bytes, &self.hasher);
        self.table.insert_unique(hash, number, |&number| hasher.hash_one(slice(offsets, bytes, number)));
        if self.gives_up && self.lookups >= TRIAL_LOOKUPS && self.len() as u32 > self.lookups / 2 {
            self.distinct = false;
            self.table = HashTable::new();
        }
        Ok(number)
    }

    fn push(&mut self, value: &[u8]) -> u32 {
        let number = self.len() as u32;
        self.bytes.extend_from_slice(value);
        self.offsets.push(i32::try_from(self.bytes.len()).expect("a block is sealed long before 2 GiB"));
        number
    }

    /// Values stored.
    pub(crate) const fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Whether each value is stored once.
    pub(crate) const fn is_distinct(&self) -> bool {
        self.distinct
    }

    /// The value with that number.
    pub(crate) fn get(&self, number: u32) -> &str {
        std::str::from_utf8(slice(&self.offsets, &self.bytes, number)).expect("checked when it was stored")
    }

    /// Its bytes, which are UTF-8.
    #[inline]
    pub(crate) fn bytes(&self, number: u32) -> &[u8] {
        slice(&self.offsets, &self.bytes, number)
    }

    /// Bytes of memory held, about.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.bytes.capacity() + 4 * self.offsets.capacity() + 5 * self.table.capacity()
    }

    /// All values as an array, without copying them.
    pub(crate) fn into_array(self) -> ArrayRef {
        let offsets = OffsetBuffer::new(ScalarBuffer::from(self.offsets));
        let array = StringArray::try_new(offsets, Buffer::from_vec(self.bytes), None);
        Arc::new(array.expect("every value was checked to be UTF-8"))
    }
}

/// Equality of short strings without a call: keys and most values take a few words.
#[inline]
pub(crate) fn equal(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let (a_words, a_rest) = a.as_chunks::<8>();
    let (b_words, b_rest) = b.as_chunks::<8>();
    a_words.iter().zip(b_words).all(|(a, b)| u64::from_ne_bytes(*a) == u64::from_ne_bytes(*b))
        && a_rest.iter().zip(b_rest).all(|(a, b)| a == b)
}

#[inline]
fn slice<'a>(offsets: &[i32], bytes: &'a [u8], number: u32) -> &'a [u8] {
    let number = number as usize;
    &bytes[offsets[number] as usize..offsets[number + 1] as usize]
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Array, AsArray};

    #[test]
    fn equal_values_share_a_number() {
        let mut interner = Interner::default();
        let numbers: Vec<_> = ["a", "b", "", "a", ""].map(|v| interner.intern(v.as_bytes()).unwrap()).into();
        assert_eq!(numbers, [0, 1, 2, 0, 2]);
        assert_eq!(interner.get(1), "b");
        let array = interner.into_array();
        assert_eq!(array.as_string::<i32>().iter().flatten().collect::<Vec<_>>(), ["a", "b", ""]);
    }

    #[test]
    fn equality_is_of_all_bytes() {
        let text = b"http.response.status_code";
        for len in 0..text.len() {
            assert!(equal(&text[..len], &text[..len]));
            assert!(!equal(&text[..len], &text[..len + 1]));
            for at in 0..len {
                let mut other = text[..len].to_vec();
                other[at] ^= 1;
                assert!(!equal(&text[..len], &other), "{len} {at}");
            }
        }
    }

    #[test]
    fn gives_up_on_values_that_hardly_repeat() {
        let mut interner = Interner::default();
        for n in 0..5000 {
            let number = interner.intern(format!("id-{n}").as_bytes()).unwrap();
            assert_eq!(interner.get(number), format!("id-{n}"));
        }
        assert!(!interner.is_distinct());
        assert_eq!(interner.into_array().len(), 5000);
    }

    #[test]
    fn bad_utf8_is_refused_and_not_stored() {
        let mut interner = Interner::default();
        assert!(interner.intern(b"\xff\xfe").is_err());
        assert_eq!(interner.len(), 0);
    }
}
