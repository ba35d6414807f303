//! Traces as plain structs.

use std::collections::BTreeMap;

use vivace_traceql::ast::{Kind, Literal, Status};

/// All spans of one trace, sorted by start and span id.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Trace {
    pub(crate) id: [u8; 16],
    pub(crate) spans: Vec<Span>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Span {
    pub(crate) id: [u8; 8],
    pub(crate) parent_id: Option<[u8; 8]>,
    pub(crate) start: u64,
    pub(crate) duration: u64,
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) status: Status,
    pub(crate) status_message: String,
    pub(crate) resource: Attributes,
    pub(crate) scope_name: String,
    pub(crate) scope_version: String,
    pub(crate) scope: Attributes,
    pub(crate) attributes: Attributes,
    pub(crate) events: Vec<Event>,
    pub(crate) links: Vec<Link>,
}

pub(crate) type Attributes = BTreeMap<String, Held>;

/// A value as it was sent.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Held {
    Text(String),
    Int(i64),
    Float(f64),
    Bool(bool),
    Array(Vec<Held>),
    Empty,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Event {
    pub(crate) time: u64,
    pub(crate) name: String,
    pub(crate) attributes: Attributes,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Link {
    pub(crate) trace_id: [u8; 16],
    pub(crate) span_id: [u8; 8],
    pub(crate) attributes: Attributes,
}

/// A value as a query sees it; ids are text.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Seen {
    Text(String),
    Int(i64),
    Float(f64),
    Bool(bool),
    Duration(i64),
    Status(Status),
    Kind(Kind),
}

impl Held {
    /// An array is as many values as it has elements if all are of one type; other arrays are no value.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        match self {
            Self::Text(text) => vec![Seen::Text(text.clone())],
            Self::Int(value) => vec![Seen::Int(*value)],
            Self::Float(value) => vec![Seen::Float(*value)],
            Self::Bool(value) => vec![Seen::Bool(*value)],
            Self::Empty => Vec::new(),
            Self::Array(elements) => {
                let kind = |held: &Self| std::mem::discriminant(held);
                let scalars = elements.iter().all(|held| !matches!(held, Self::Empty | Self::Array(_)));
                let alike = elements.windows(2).all(|pair| kind(&pair[0]) == kind(&pair[1]));
                if scalars && alike { elements.iter().flat_map(Self::seen).collect() } else { Vec::new() }
            }
        }
    }
}

impl Seen {
    pub(crate) fn of_literal(literal: &Literal) -> Option<Self> {
        Some(match literal {
            Literal::Nil => return None,
            Literal::Bool(value) => Self::Bool(*value),
            Literal::Int(value) => Self::Int(*value),
            Literal::Float(value) => Self::Float(*value),
            Literal::Text(text) => Self::Text(text.to_string()),
            Literal::Duration(nanos) => Self::Duration(*nanos),
            Literal::Status(status) => Self::Status(*status),
            Literal::Kind(kind) => Self::Kind(*kind),
        })
    }
}

impl Trace {
    /// The parent of a span, if it is there.
    pub(crate) fn parent(&self, span: usize) -> Option<usize> {
        let parent_id = self.spans[span].parent_id?;
        self.spans.iter().position(|other| other.id == parent_id)
    }

    pub(crate) fn children(&self, span: usize) -> Vec<usize> {
        (0..self.spans.len()).filter(|other| self.parent(*other) == Some(span)).collect()
    }

    pub(crate) fn is_ancestor(&self, ancestor: usize, span: usize) -> bool {
        match self.parent(span) {
            Some(parent) => parent == ancestor || self.is_ancestor(ancestor, parent),
            None => false,
        }
    }

    /// The first span without a parent.
    pub(crate) fn root(&self) -> Option<&Span> {
        self.spans.iter().find(|span| span.parent_id.is_none())
    }

    pub(crate) fn start(&self) -> u64 {
        self.spans.iter().map(|span| span.start).min().expect("a trace has spans")
    }

    pub(crate) fn end(&self) -> u64 {
        self.spans.iter().map(|span| span.start + span.duration).max().expect("a trace has spans")
    }

    /// Left and right of each span: numbers given on the way down and up through the trees of the trace.
    pub(crate) fn nested_sets(&self) -> Vec<(i64, i64)> {
        let mut numbers = vec![(0, 0); self.spans.len()];
        let mut counter = 0;
        for span in (0..self.spans.len()).filter(|span| self.parent(*span).is_none()) {
            self.number(span, &mut counter, &mut numbers);
        }
        numbers
    }

    fn number(&self, span: usize, counter: &mut i64, numbers: &mut [(i64, i64)]) {
        *counter += 1;
        numbers[span].0 = *counter;
        for child in self.children(span) {
            self.number(child, counter, numbers);
        }
        *counter += 1;
        numbers[span].1 = *counter;
    }
}
