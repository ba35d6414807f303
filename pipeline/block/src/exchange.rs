//! Batches on their way between stages, as Arrow IPC streams.
//! Owns: their bytes, and that no message is larger than it has to be. Does not own: which rows and columns go.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, DictionaryArray, Int32Array, RecordBatch};
use arrow::buffer::Buffer;
use arrow::compute::take;
use arrow::datatypes::Int32Type;
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamDecoder;
use arrow::ipc::writer::StreamWriter;
use bytes::Bytes;
use vivace_model::scan::TraceRuns;

use crate::BlockError;
use crate::large::{self, large_bytes};
use crate::schema::TRACE_ID;

/// The batch as IPC streams of about `bytes_max` bytes each, or of one row. No row: no stream.
///
/// # Errors
/// [`ArrowError`] if Arrow cannot encode it.
pub fn encode_batch(batch: &RecordBatch, bytes_max: usize) -> Result<Vec<Bytes>, ArrowError> {
    let size = slice_bytes(batch)?;
    let parts = size.div_ceil(bytes_max.max(1)).max(1);
    let rows = batch.num_rows().div_ceil(parts).max(1);
    let mut streams = Vec::new();
    for start in (0..batch.num_rows()).step_by(rows) {
        let slice = batch.slice(start, rows.min(batch.num_rows() - start));
        push_stream(&slice, bytes_max, &mut streams)?;
    }
    Ok(streams)
}

/// The batches of an IPC stream. They share its bytes.
///
/// # Errors
/// [`ArrowError`] if it is no such stream, or not a whole one.
pub fn decode_batches(stream: Bytes) -> Result<Vec<RecordBatch>, ArrowError> {
    let mut buffer = Buffer::from(stream);
    let mut decoder = StreamDecoder::new();
    let mut batches = Vec::new();
    while !buffer.is_empty() {
        batches.extend(decoder.decode(&mut buffer)?);
    }
    decoder.finish()?;
    Ok(batches)
}

/// The traces of a batch that is sorted by trace id.
///
/// # Errors
/// [`BlockError::ColumnType`] if it has no trace ids.
pub fn trace_runs(batch: &RecordBatch) -> Result<TraceRuns, BlockError> {
    let column = batch.column_by_name(TRACE_ID);
    let ids = column.and_then(|column| column.as_fixed_size_binary_opt());
    let ids = ids.filter(|ids| ids.value_length() == 16).ok_or_else(|| BlockError::ColumnType {
        column: TRACE_ID.to_owned(),
        expected: "16 bytes",
        actual: column.map_or_else(|| "not there".to_owned(), |column| column.data_type().to_string()),
    })?;
    let (rows, _) = ids.value_data().as_chunks();
    let start = ids.offset();
    Ok(TraceRuns::new(&rows[start..start + ids.len()]))
}

/// Rows differ in size: what came out too large is halved.
fn push_stream(batch: &RecordBatch, bytes_max: usize, streams: &mut Vec<Bytes>) -> Result<(), ArrowError> {
    let columns = batch.columns().iter().map(used).collect::<Result<_, _>>()?;
    let compacted = RecordBatch::try_new(batch.schema(), columns)?;
    let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema())?;
    writer.write(&compacted)?;
    let stream = writer.into_inner()?;
    let rows = batch.num_rows();
    if stream.len() > bytes_max.saturating_mul(2) && rows > 1 {
        push_stream(&batch.slice(0, rows / 2), bytes_max, streams)?;
        return push_stream(&batch.slice(rows / 2, rows - rows / 2), bytes_max, streams);
    }
    streams.push(stream.into());
    Ok(())
}

fn slice_bytes(batch: &RecordBatch) -> Result<usize, ArrowError> {
    let bytes = |column: &ArrayRef| Ok(column.to_data().get_slice_memory_size()? + large_bytes(column));
    batch.columns().iter().map(bytes).sum()
}

/// The column without strings and large values that none of its rows has.
fn used(column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    if column.data_type().is_nested() { large::compact(column) } else { compact(column) }
}

/// A dictionary with more values than rows is cut down to those that the rows have.
fn compact(column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let Some(dictionary) = column.as_dictionary_opt::<Int32Type>() else {
        return Ok(Arc::clone(column));
    };
    if dictionary.values().len() <= dictionary.len() {
        return Ok(Arc::clone(column));
    }
    let mut numbers = vec![None; dictionary.values().len()];
    let mut used: Vec<i32> = Vec::new();
    let keys = dictionary.keys().iter().map(|key| {
        let key = key?;
        let number = &mut numbers[usize::try_from(key).ok()?];
        if number.is_none() {
            *number = i32::try_from(used.len()).ok();
            used.push(key);
        }
        *number
    });
    let keys: Int32Array = keys.collect();
    let values = take(dictionary.values(), &Int32Array::from(used), None)?;
    Ok(Arc::new(DictionaryArray::<Int32Type>::try_new(keys, values)?))
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, StringArray};
    use arrow::compute::concat_batches;
    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;

    fn batch(rows: i32, distinct: i32) -> RecordBatch {
        let values = StringArray::from_iter_values((0..distinct).map(|number| format!("value {number}")));
        let keys: Int32Array =
            (0..rows).map(|row| (row % 5 != 0).then_some(row.wrapping_mul(7) % distinct)).collect();
        let names: DictionaryArray<Int32Type> = DictionaryArray::new(keys, Arc::new(values));
        let numbers: Int64Array = (0..i64::from(rows)).map(Some).collect();
        let schema = Schema::new(vec![
            Field::new("name", names.data_type().clone(), true),
            Field::new("number", DataType::Int64, true),
        ]);
        RecordBatch::try_new(Arc::new(schema), vec![Arc::new(names), Arc::new(numbers)]).unwrap()
    }

    fn texts(batch: &RecordBatch) -> Vec<Option<String>> {
        let names = batch.column(0).as_dictionary::<Int32Type>();
        let names = names.downcast_dict::<StringArray>().unwrap();
        names.into_iter().map(|name| name.map(str::to_owned)).collect()
    }

    #[test]
    fn what_was_encoded_comes_back_in_parts() {
        for (rows, bytes_max) in [(1, 1), (1000, 1 << 20), (1000, 2000), (10, 1)] {
            let batch = batch(rows, 600);
            let streams = encode_batch(&batch, bytes_max).unwrap();
            assert!(bytes_max < 1 << 20 || streams.len() == 1);
            assert!(bytes_max > 2000 || rows == 1 || streams.len() > 1);
            let batches: Vec<_> =
                streams.into_iter().flat_map(|stream| decode_batches(stream).unwrap()).collect();
            let whole = concat_batches(&batch.schema(), &batches).unwrap();
            assert_eq!(texts(&whole), texts(&batch));
            assert_eq!(whole.column(1), batch.column(1));
        }
        assert!(encode_batch(&batch(0, 1), 100).unwrap().is_empty());
    }

    #[test]
    fn a_few_rows_do_not_carry_a_whole_dictionary() {
        let few = batch(100_000, 50_000).slice(70, 10);
        let streams = encode_batch(&few, 1 << 20).unwrap();
        assert!(streams.len() < 3 && streams[0].len() < 4096, "{} bytes", streams[0].len());
    }

    #[test]
    fn rubbish_is_an_error() {
        let stream = encode_batch(&batch(10, 3), 1 << 20).unwrap().remove(0);
        assert!(decode_batches(stream.slice(..stream.len() / 2)).is_err());
        assert!(decode_batches(Bytes::from_static(b"no such stream at all")).is_err());
    }
}
