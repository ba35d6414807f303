//! Memory that batches take, each buffer counted once.
//! Owns: telling buffers apart by their allocation. Does not own: limits.
//! Arrow counts a buffer for each array that has a part of it: columns of one IPC message all lie in that message, and
//! dictionaries are shared between batches, so sums of single columns are many times too large.

use std::collections::HashSet;

use arrow::array::{Array, ArrayData, RecordBatch};
use arrow::buffer::Buffer;

/// Adds up the memory of batches that are kept together.
///
/// Allocations are told apart by their address, so what was added has to live as long as this is added to.
#[derive(Clone, Debug, Default)]
pub struct Footprint {
    seen: HashSet<usize>,
    bytes: usize,
}

impl Footprint {
    /// Adds a batch; gives the bytes of what was not counted before.
    pub fn add(&mut self, batch: &RecordBatch) -> usize {
        let before = self.bytes;
        for column in batch.columns() {
            self.add_data(&column.to_data());
        }
        self.bytes - before
    }

    /// Bytes of all allocations that were added.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    fn add_data(&mut self, data: &ArrayData) {
        self.bytes += size_of::<ArrayData>();
        data.buffers().iter().for_each(|buffer| self.add_buffer(buffer));
        if let Some(nulls) = data.nulls() {
            self.add_buffer(nulls.buffer());
        }
        data.child_data().iter().for_each(|child| self.add_data(child));
    }

    fn add_buffer(&mut self, buffer: &Buffer) {
        // Of the allocation, not of the part that this buffer shows.
        if self.seen.insert(buffer.data_ptr().as_ptr() as usize) {
            self.bytes += buffer.capacity();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, DictionaryArray, Int32Array, Int64Array, StringArray};
    use arrow::datatypes::Int32Type;

    use super::*;
    use crate::{decode_batches, encode_batch};

    const ROWS: usize = 10_000;

    fn numbers() -> ArrayRef {
        Arc::new(Int64Array::from_iter_values(0..ROWS as i64))
    }

    fn near(bytes: usize, expected: usize) -> bool {
        (expected..expected + expected / 10 + 4096).contains(&bytes)
    }

    #[test]
    fn columns_of_one_message_count_it_once() {
        let columns: Vec<(String, ArrayRef)> =
            (0..50).map(|number| (format!("column {number}"), numbers())).collect();
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let mut streams = encode_batch(&batch, usize::MAX).unwrap();
        let stream = streams.pop().unwrap();
        let length = stream.len();
        let batches = decode_batches(stream).unwrap();
        let mut footprint = Footprint::default();
        batches.iter().for_each(|batch| {
            footprint.add(batch);
        });
        assert!(near(footprint.bytes(), length), "{} of {length}", footprint.bytes());
        let summed: usize = batches.iter().map(RecordBatch::get_array_memory_size).sum();
        assert!(summed > 40 * length, "Arrow counts the message for each column: {summed}");
    }

    #[test]
    fn shared_columns_and_dictionaries_count_once() {
        let texts: ArrayRef = Arc::new(StringArray::from_iter_values((0..1000).map(|_| "x".repeat(1000))));
        let dictionary = |from: i32| -> ArrayRef {
            let keys: Int32Array = (0..ROWS as i32).map(|row| Some((row + from) % 1000)).collect();
            Arc::new(DictionaryArray::<Int32Type>::try_new(keys, Arc::clone(&texts)).unwrap())
        };
        let one = numbers();
        let columns = [("a", Arc::clone(&one)), ("b", one), ("c", dictionary(0)), ("d", dictionary(1))];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let mut footprint = Footprint::default();
        let all = 8 * ROWS + 2 * 4 * ROWS + 1000 * 1000 + 4 * 1001;
        assert!(near(footprint.add(&batch), all), "{} of {all}", footprint.bytes());
        // Slices and copies hold nothing more but their descriptions.
        assert!(footprint.add(&batch.slice(7, 100)) < 4096);
        assert!(near(footprint.bytes(), all));
    }
}
