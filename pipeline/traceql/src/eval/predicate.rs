//! A value compared with a constant: prepared once, for every type that the value may have.

use std::sync::Arc;

use super::number::{Number, NumberTest};
use crate::ast::{BinaryOp, Kind, Literal, Status};
use crate::pattern::Pattern;
use crate::{EvalError, Value};

/// What is asked of a value. Values of another type than the constant never meet it.
#[derive(Clone, Debug)]
pub(crate) struct Predicate {
    pub(crate) numbers: Option<NumberTest>,
    pub(crate) texts: Option<TextTest>,
    /// Whether false meets it, and true.
    pub(crate) flags: [bool; 2],
    /// A bit for each of the numbers of statuses that meet it.
    pub(crate) statuses: u8,
    /// A bit for each of the numbers of kinds that meet it.
    pub(crate) kinds: u8,
}

/// What is asked of a text.
#[derive(Clone, Debug)]
pub(crate) enum TextTest {
    /// This text.
    Equal(Arc<str>),
    /// Another text.
    NotEqual(Arc<str>),
    /// Before or behind.
    Ordered(BinaryOp, Arc<str>),
    /// The whole of it matches, or does not.
    Pattern(Pattern, bool),
}

impl Predicate {
    /// `value op constant`.
    ///
    /// # Errors
    /// A pattern that is none.
    pub(crate) fn new(op: BinaryOp, constant: &Literal) -> Result<Self, EvalError> {
        let mut predicate = Self { numbers: None, texts: None, flags: [false; 2], statuses: 0, kinds: 0 };
        match constant {
            Literal::Nil => {}
            Literal::Bool(value) => {
                let meets = |flag: bool| match op {
                    BinaryOp::Equal => flag == *value,
                    BinaryOp::NotEqual => flag != *value,
                    _ => false,
                };
                predicate.flags = [meets(false), meets(true)];
            }
            Literal::Int(value) | Literal::Duration(value) => {
                predicate.number(op, Number::Int(*value), true, true)
            }
            Literal::Float(value) => predicate.number(op, Number::Float(*value), true, true),
            Literal::Text(text) => predicate.texts = TextTest::new(op, text)?,
            Literal::Status(status) => predicate.number(op, Number::Int(*status as i64), true, false),
            Literal::Kind(kind) => predicate.number(op, Number::Int(*kind as i64), false, true),
        }
        Ok(predicate)
    }

    /// A number, and which of the properties that OTLP numbers compare with it.
    fn number(&mut self, op: BinaryOp, number: Number, statuses: bool, kinds: bool) {
        let Some(test) = NumberTest::new(op, number) else {
            return;
        };
        self.numbers = Some(test);
        if statuses {
            let met = Status::ALL.into_iter().filter(|status| test.int(*status as i64));
            self.statuses = met.fold(0, |bits, status| bits | 1 << status as u8);
        }
        if kinds {
            let met = Kind::ALL.into_iter().filter(|kind| test.int(*kind as i64));
            self.kinds = met.fold(0, |bits, kind| bits | 1 << kind as u8);
        }
    }

    /// How much work it is for a value, about.
    pub(super) const fn cost(&self) -> u32 {
        match self.texts {
            None => 0,
            Some(TextTest::Equal(_) | TextTest::NotEqual(_) | TextTest::Ordered(..)) => 2,
            Some(TextTest::Pattern(..)) => 6,
        }
    }

    /// How long [`Self::holds`] takes, as [`Spans::tick`](crate::Spans::tick) counts.
    pub(super) fn units(&self, value: Value<'_>) -> usize {
        match (&self.texts, value) {
            (Some(test), Value::Text(text)) => test.units(text),
            _ => 1,
        }
    }

    pub(crate) fn holds(&self, value: Value<'_>) -> bool {
        match value {
            Value::Bool(flag) => self.flags[usize::from(flag)],
            Value::Int(number) | Value::Duration(number) => self.numbers.is_some_and(|test| test.int(number)),
            Value::Float(number) => self.numbers.is_some_and(|test| test.float(number)),
            Value::Text(text) => self.texts.as_ref().is_some_and(|test| test.holds(text)),
            Value::Id(id) => self.texts.as_ref().is_some_and(|test| test.holds(&hex(id))),
            Value::Status(status) => self.statuses >> status as u8 & 1 == 1,
            Value::Kind(kind) => self.kinds >> kind as u8 & 1 == 1,
        }
    }
}

impl TextTest {
    fn new(op: BinaryOp, text: &Arc<str>) -> Result<Option<Self>, EvalError> {
        Ok(Some(match op {
            BinaryOp::Equal => Self::Equal(Arc::clone(text)),
            BinaryOp::NotEqual => Self::NotEqual(Arc::clone(text)),
            BinaryOp::Matches | BinaryOp::NotMatches => {
                let pattern = Pattern::new(text)
                    .map_err(|why| EvalError::Query(format!("bad regular expression \"{text}\": {why}")))?;
                Self::Pattern(pattern, op == BinaryOp::Matches)
            }
            _ if op.is_ordering() => Self::Ordered(op, Arc::clone(text)),
            _ => return Ok(None),
        }))
    }

    /// How long that takes for a text, as [`Spans::tick`](crate::Spans::tick) counts: for a pattern by its size, too.
    pub(super) fn units(&self, text: &str) -> usize {
        match self {
            Self::Equal(_) | Self::NotEqual(_) | Self::Ordered(..) => 1,
            Self::Pattern(pattern, _) => pattern.units(text),
        }
    }

    pub(crate) fn holds(&self, text: &str) -> bool {
        match self {
            Self::Equal(wanted) => *text == **wanted,
            Self::NotEqual(other) => *text != **other,
            Self::Ordered(op, other) => ordered(*op, text.cmp(other)),
            Self::Pattern(pattern, wanted) => pattern.is_match(text) == *wanted,
        }
    }
}

/// Whether two values in that order meet the operator.
pub(super) const fn ordered(op: BinaryOp, order: std::cmp::Ordering) -> bool {
    match op {
        BinaryOp::Equal => order.is_eq(),
        BinaryOp::NotEqual => order.is_ne(),
        BinaryOp::Less => order.is_lt(),
        BinaryOp::LessOrEqual => order.is_le(),
        BinaryOp::Greater => order.is_gt(),
        BinaryOp::GreaterOrEqual => order.is_ge(),
        _ => false,
    }
}

/// An id as text.
pub(crate) fn hex(id: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |bits: u8| char::from(DIGITS[usize::from(bits)]);
    id.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}
