//! The block: spans as columns, in memory and as one plain Parquet file.
//! Owns: the schema, building blocks from OTLP, writing, pruning and reading them, and rows back to OTLP.
//! Does not own: where blocks are listed (the ledger), when they are sealed (the ingester), what queries mean.
//! Guarantee: OTLP in equals OTLP out; only the grouping by resource and scope and the order of attributes may differ.

mod assemble;
mod columns;
mod combine;
mod complete;
mod config;
mod describe;
mod duplicates;
mod equality;
mod error;
mod exchange;
mod footprint;
mod groups;
mod large;
mod merge;
mod metrics;
mod nested_set;
mod numbered;
mod otlp;
mod reader;

mod write;

pub use arrow::array::RecordBatch;
pub use assemble::{ASSEMBLE_COLUMNS, assemble};
pub use columns::{Appended, BlockStats, Needle, OpenBlock, RejectedSpans, SealedBlock};
pub use combine::{Combined, TraceCombiner};
pub use config::BlockConfig;
pub use duplicates::DuplicateFilter;
pub use error::BlockError;
pub use exchange::{decode_batches, encode_batch, trace_runs};
pub use footprint::Footprint;
pub use merge::{KeepTraces, Merge, MergeInput, MergeLimits, MergeOutcome, MergedBlock, merge};
pub use metrics::Metrics;
pub use otlp::to_traces_data;
pub use reader::{BlockReader, BlockScan, ReaderConfig, TraceRows};
pub use vivace_model::schema;
pub use write::{Description, write_block};
