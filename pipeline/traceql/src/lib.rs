//! TraceQL: text to tree to plan, and plans over Arrow batches of spans.
//! Owns: the language whole, and what it means on spans.
//! Does not own: where spans lie and how they are read; it says which columns it wants, as a
//! [`Projection`](vivace_model::scan::Projection).
//!
//! Path of a query: [`parse`] (`lex`, `parse`, `validate`) gives the tree of [`ast`], which prints itself (`print`).
//!
//! A search goes in two steps over each batch: [`ScanPlan::select`] looks at the columns of [`ScanPlan::first`] and finds
//! spansets; a [`Collector`] says which rows of them it wants to know more of, and takes these rows with the columns of
//! [`ScanPlan::second`].

pub mod ast;
mod collect;
mod error;
mod eval;
mod finish;
mod grid;
mod lex;
mod limits;
mod merge;
mod names;
mod operator;
mod parse;
mod parse_error;
mod pattern;
mod plan;
mod print;
mod relevant;
mod select;
mod spans;
#[cfg(test)]
mod testing;
mod validate;

pub use collect::Collector;
pub use error::EvalError;
pub use finish::{FinishOptions, Finished, Series, SeriesMerger, finish, instant};
pub use grid::{check_points, default_step};
pub use limits::GroupLimit;
pub use merge::{TagsMerger, TracesMerger, merge_summary};
pub use names::INTRINSIC_TAG_NAMES;
pub use parse::{TEXT_BYTES_MAX, parse, parse_lenient_filter};
pub use parse_error::{ParseError, Position};
pub use plan::{Grid, Hints, PlanKind, ScanPlan};
pub use relevant::Relevant;
pub use select::{Selected, Spanset};
pub use spans::{Lane, Spans, Value, Values};
