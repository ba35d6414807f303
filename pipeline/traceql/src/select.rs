//! Which spans of a batch a pipeline selects.
//! Owns: what stages and operators between spansets mean. Does not own: what is asked of a single span (`eval`).

mod compile;
mod run;
mod scalar;
mod sets;
mod structure;

use std::sync::Arc;

use crate::ast::{BinaryOp, Literal, Pipeline, Relation};
use crate::eval::{Mask, Node, Operand};
use crate::{EvalError, Spans};

pub(crate) use self::scalar::Scalar;
use self::sets::Found;

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

impl Selected {
    /// Each spanset with its rows.
    pub fn iter(&self) -> impl Iterator<Item = (&Spanset, &[u32])> {
        let mut start = 0;
        self.spansets.iter().map(move |spanset| {
            let rows = &self.rows[start..spanset.end as usize];
            start = spanset.end as usize;
            (spanset, rows)
        })
    }
}

/// A pipeline, ready to run over batches.
#[derive(Clone, Debug)]
pub(crate) struct Selector {
    stages: Vec<Step>,
}

/// Which of the spansets found are kept.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Keep<'m> {
    /// All.
    All,
    /// Of each spanset these rows.
    Rows(&'m Mask),
    /// All spansets of traces of which one holds any of these rows.
    Traces(&'m Mask),
}

/// A stage that has an effect on spansets.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Spansets, or what is kept of those so far.
    Spansets(Spansets),
    /// A comparison of numbers. `first`: no stage stands before it, so that its own pipelines say which spans it is about.
    Scalars { op: BinaryOp, left: Scalar, right: Scalar, first: bool },
    /// `by()`: the name of its attribute, and whose values.
    By(Arc<str>, Operand),
    /// `coalesce()`.
    Coalesce,
}

/// Operators between spansets.
#[derive(Clone, Debug)]
pub(crate) enum Spansets {
    /// `{ … }`
    Filter(Node),
    /// `&&`
    And(Box<Self>, Box<Self>),
    /// `||`
    Or(Box<Self>, Box<Self>),
    /// All others.
    Structural {
        /// Which relation.
        relation: Relation,
        /// `!`
        negated: bool,
        /// `&`
        union: bool,
        /// Left side.
        left: Box<Self>,
        /// Right side.
        right: Box<Self>,
    },
    /// In brackets.
    Pipeline(Selector),
}

impl Selector {
    /// # Errors
    /// [`EvalError::Query`] for a pattern that is none, or constants divided by zero.
    pub(crate) fn new(pipeline: &Pipeline) -> Result<Self, EvalError> {
        compile::selector(pipeline)
    }

    /// The stages.
    pub(crate) fn steps(&self) -> &[Step] {
        &self.stages
    }

    /// All spans for which a condition is met.
    pub(crate) fn of_filter(node: Node) -> Self {
        Self { stages: vec![Step::Spansets(Spansets::Filter(node))] }
    }

    /// The spansets of a batch.
    ///
    /// # Errors
    /// [`EvalError`] for a batch of another form, an integer divided by zero, or more than one spanset of a trace where
    /// there must be one.
    pub(crate) fn run(&self, spans: &Spans<'_>, keep: Keep<'_>, sets: bool) -> Result<Selected, EvalError> {
        let runs = spans.runs();
        let run = run::Run::new(*spans);
        let found = run.pipeline(self, &sets::Units::Traces(runs), None)?;
        let (found, traces) = match keep {
            Keep::All => (found, None),
            Keep::Rows(mask) => (found.only(mask), None),
            Keep::Traces(mask) => (found, Some(mask)),
        };
        let found = match found {
            Found::One(mask) if !mask.any() => return Ok(Selected::default()),
            Found::One(mask) if !sets => {
                return Ok(Selected { rows: mask.to_rows(), spansets: Vec::new() });
            }
            other => other.into_sets(&sets::Units::Traces(runs)),
        };
        let mut selected = found.into_selected();
        if let Some(mask) = traces {
            selected.keep_traces(mask);
        }
        Ok(selected)
    }
}

impl Selected {
    /// Drops spansets of traces of which no spanset holds any of these rows.
    fn keep_traces(&mut self, mask: &Mask) {
        let mut kept = Self::default();
        let spansets: Vec<(&Spanset, &[u32])> = self.iter().collect();
        for trace in spansets.chunk_by(|a, b| a.0.trace == b.0.trace) {
            if !trace.iter().any(|(_, rows)| rows.iter().any(|row| mask.get(*row as usize))) {
                continue;
            }
            for (spanset, rows) in trace {
                kept.rows.extend_from_slice(rows);
                kept.spansets.push(Spanset { end: kept.rows.len() as u32, ..(*spanset).clone() });
            }
        }
        *self = kept;
    }
}

#[cfg(test)]
mod structure_tests;
#[cfg(test)]
mod tests;
