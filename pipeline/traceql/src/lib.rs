//! TraceQL: text to tree to plan, and plans over Arrow batches of spans.
//! Owns: the language whole, and what it means on spans.
//! Does not own: where spans lie and how they are read; it says which columns it wants, as a
//! [`Projection`](vivace_model::scan::Projection).
//! Path of a query: [`parse`] (`lex`, `parse`, `validate`) gives the tree of [`ast`], which prints itself (`print`).

pub mod ast;
mod error;
mod lex;
mod names;
mod operator;
mod parse;
pub mod pattern;
mod print;
mod validate;

pub use error::{ParseError, Position};
pub use names::INTRINSIC_TAG_NAMES;
pub use parse::{TEXT_BYTES_MAX, parse, parse_lenient_filter};
