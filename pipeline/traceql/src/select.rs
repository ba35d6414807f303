//! Which spans of a batch a pipeline selects.

use std::sync::Arc;

use crate::ast::Literal;

/// Spansets that a pipeline leaves.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Selected {
    /// Rows of the spansets, one spanset after the other, ascending within each.
    pub rows: Vec<u32>,
    /// By trace, ascending.
    pub spansets: Vec<Spanset>,
}

/// A spanset: some rows of one trace. Never empty.
#[derive(Clone, Debug, PartialEq)]
pub struct Spanset {
    /// Number of the trace in the batch's runs.
    pub trace: u32,
    /// Where its rows end in [`Selected::rows`]; they begin where those of the one before end.
    pub end: u32,
    /// What stages said of it: `by(name)`, `avg(duration)`, … and the value.
    pub attributes: Vec<(Arc<str>, Literal)>,
}
