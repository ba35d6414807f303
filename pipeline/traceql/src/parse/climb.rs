//! Operators and their precedence, which fields of a span and spansets share. Low to high:
//! `&& ||`, comparisons and structural operators, `+ -`, unary `!`, `* / %`, `^` (from the right), unary `-`.
//! `&&` and `||` are on one level: `a || b && c` is `(a || b) && c`.

use super::{DEPTH_MAX, Parser, Result};
use crate::parse_error::ParseError;
use crate::lex::Symbol;
use crate::operator::Level;

/// Longer chains of one of `&&`, `||` become balanced trees, which mean the same and are not deep.
const LEFT_DEEP_MAX: usize = 64;

/// A tree and the levels it has.
#[derive(Debug)]
pub(super) struct Node<T> {
    pub(super) tree: T,
    pub(super) depth: usize,
}

impl<T> Node<T> {
    pub(super) const fn leaf(tree: T) -> Self {
        Self { tree, depth: 1 }
    }

    /// What holds this one.
    pub(super) fn above<U>(self, parser: &Parser<'_>, make: impl FnOnce(T) -> U) -> Result<Node<U>> {
        Ok(Node { depth: deeper(parser, parser.offset(), self.depth)?, tree: make(self.tree) })
    }
}

/// What the operators stand between.
pub(super) trait Operands: Sized {
    /// An operand, with signs before it.
    fn operand(parser: &mut Parser<'_>) -> Result<Node<Self>>;

    /// Both sides in one, unless the operator cannot stand between them.
    fn combine(parser: &Parser<'_>, operator: Operator, left: Self, right: Self) -> Result<Self>;
}

/// An operator and where it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Operator {
    pub(super) symbol: Symbol,
    pub(super) offset: usize,
}

impl Operator {
    /// An error at the operator.
    pub(super) fn fail(self, parser: &Parser<'_>, why: &str) -> ParseError {
        ParseError::syntax(parser.text, self.offset, format!("\"{}\" {why}", self.symbol))
    }
}

/// Operands and operators that bind at least as tightly as `loosest`.
pub(super) fn climb<T: Operands>(parser: &mut Parser<'_>, loosest: Level) -> Result<Node<T>> {
    let mut left = T::operand(parser)?;
    while let Some((operator, level)) = next_operator(parser, loosest) {
        if level == Level::Logic {
            left = logic(parser, left)?;
            continue;
        }
        parser.advance();
        let right = if level == Level::Power {
            parser.nested(|parser| climb(parser, Level::Power))?
        } else {
            climb(parser, level.tighter())?
        };
        left = join(parser, operator, left, right)?;
    }
    Ok(left)
}

fn next_operator(parser: &Parser<'_>, loosest: Level) -> Option<(Operator, Level)> {
    let symbol = parser.symbol()?;
    let level = Level::of(symbol).filter(|level| *level >= loosest)?;
    Some((Operator { symbol, offset: parser.offset() }, level))
}

/// What follows `left` in a chain of `&&` and `||`.
fn logic<T: Operands>(parser: &mut Parser<'_>, left: Node<T>) -> Result<Node<T>> {
    let mut chain = Vec::new();
    while let Some((operator, Level::Logic)) = next_operator(parser, Level::Logic) {
        parser.advance();
        chain.push((operator, climb(parser, Level::Comparison)?));
    }
    let mut left = left;
    let mut chain = chain.into_iter().peekable();
    while let Some((operator, operand)) = chain.next() {
        let mut run = vec![left, operand];
        while let Some((_, operand)) = chain.next_if(|(next, _)| next.symbol == operator.symbol) {
            run.push(operand);
        }
        left = if run.len() > LEFT_DEEP_MAX {
            balanced(parser, operator, run)?
        } else {
            left_deep(parser, operator, run)?
        };
    }
    Ok(left)
}

fn left_deep<T: Operands>(parser: &Parser<'_>, operator: Operator, run: Vec<Node<T>>) -> Result<Node<T>> {
    let mut operands = run.into_iter();
    let first = operands.next().ok_or_else(|| parser.fail("expected an operand"))?;
    operands.try_fold(first, |left, right| join(parser, operator, left, right))
}

fn balanced<T: Operands>(parser: &Parser<'_>, operator: Operator, mut run: Vec<Node<T>>) -> Result<Node<T>> {
    if run.len() <= 2 {
        return left_deep(parser, operator, run);
    }
    let right = run.split_off(run.len().div_ceil(2));
    let left = balanced(parser, operator, run)?;
    let right = balanced(parser, operator, right)?;
    join(parser, operator, left, right)
}

fn join<T: Operands>(
    parser: &Parser<'_>,
    operator: Operator,
    left: Node<T>,
    right: Node<T>,
) -> Result<Node<T>> {
    let depth = deeper(parser, operator.offset, left.depth.max(right.depth))?;
    Ok(Node { tree: T::combine(parser, operator, left.tree, right.tree)?, depth })
}

fn deeper(parser: &Parser<'_>, offset: usize, depth: usize) -> Result<usize> {
    if depth >= DEPTH_MAX {
        let message = format!(
            "the expression is too deep: operators apply to each other on more than {DEPTH_MAX} levels"
        );
        return Err(ParseError::syntax(parser.text, offset, message));
    }
    Ok(depth + 1)
}
