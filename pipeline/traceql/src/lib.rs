//! TraceQL: text to tree to plan, and plans over Arrow batches of spans.
//! Owns: the language whole, and what it means on spans.
//! Does not own: where spans lie and how they are read; it says which columns it wants, as a
//! [`Projection`](vivace_model::scan::Projection).

pub mod ast;
