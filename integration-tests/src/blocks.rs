use std::collections::HashMap;
use std::sync::Arc;

use anyhow::Context;
use arrow::array::{Array, FixedSizeBinaryArray, RecordBatch};
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use vivace_model::{SpanId, TraceId};

use crate::acknowledged::SpanKey;

/// How often each span occurs in the blocks that `chosen` names, or in all blocks of the store. Reads the files as
/// any reader of Parquet would, without Vivace's own code.
///
/// # Errors
/// When the store does not answer or a file is not as it should be.
pub async fn stored_spans(
    store: &Arc<dyn ObjectStore>,
    chosen: Option<&[Path]>,
) -> anyhow::Result<HashMap<SpanKey, u32>> {
    let paths = match chosen {
        Some(paths) => paths.to_vec(),
        None => {
            let objects = store.list(Some(&Path::from("blocks")));
            let paths: Vec<_> = objects.map_ok(|object| object.location).try_collect().await?;
            paths.into_iter().filter(|path| path.extension() == Some("parquet")).collect()
        }
    };
    let mut counts = HashMap::new();
    for path in paths {
        let bytes = store.get(&path).await?.bytes().await?;
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes)?;
        let ids = ProjectionMask::columns(reader.parquet_schema(), ["trace_id", "span_id"]);
        for batch in reader.with_projection(ids).build()? {
            count(&batch?, &mut counts).with_context(|| format!("in {path}"))?;
        }
    }
    Ok(counts)
}

fn count(batch: &RecordBatch, counts: &mut HashMap<SpanKey, u32>) -> anyhow::Result<()> {
    let column = |name: &str| {
        let column = batch.column_by_name(name).with_context(|| format!("no column {name}"))?;
        let ids = column.as_any().downcast_ref::<FixedSizeBinaryArray>();
        ids.with_context(|| format!("column {name} is {}", column.data_type()))
    };
    let (traces, spans) = (column("trace_id")?, column("span_id")?);
    for row in 0..batch.num_rows() {
        let key = (TraceId::new(traces.value(row))?, SpanId::new(spans.value(row))?);
        *counts.entry(key).or_default() += 1;
    }
    Ok(())
}
