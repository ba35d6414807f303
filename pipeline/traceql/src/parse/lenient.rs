//! Filters that are still being typed, as lookups of tags send them.

use super::climb::climb;
use super::{Parser, parse};
use crate::ast::{BinaryOp, Body, FieldExpr, SpansetExpr, Stage};
use crate::lex::{Symbol, Token};
use crate::operator::Level;
use crate::validate::Filters;

/// Conjuncts that are kept of a filter that is incomplete; leaving one out restricts less.
const PARTS_MAX: usize = 64;

/// The expression of a text that is one `{ … }`. What is incomplete or makes no sense restricts nothing: of
/// `{ a && b && }` the parts that do are kept, and none are if the text is empty, something else, or all of it is bad.
#[must_use]
pub fn parse_lenient_filter(text: &str) -> Option<FieldExpr> {
    match parse(text) {
        Ok(query) => single_filter(query.body),
        Err(_) => parts(text),
    }
}

fn single_filter(body: Body) -> Option<FieldExpr> {
    let Body::Spans(pipeline) = body else {
        return None;
    };
    match <[Stage; 1]>::try_from(pipeline.stages) {
        Ok([Stage::Spansets(SpansetExpr::Filter(filter))]) => Some(filter),
        _ => None,
    }
}

/// Operands of the chain of `&&` and `||` in the braces, each on its own.
fn parts(text: &str) -> Option<FieldExpr> {
    let mut parser = Parser::new(text).ok()?;
    if !parser.take(Symbol::BraceOpen) {
        return None;
    }
    let mut filters = Filters::default();
    let mut kept = part(&mut parser, &mut filters);
    for count in 1.. {
        let op = match parser.symbol() {
            Some(Symbol::And) => BinaryOp::And,
            Some(Symbol::Or) => BinaryOp::Or,
            Some(Symbol::BraceClose) => break,
            _ => return kept,
        };
        parser.advance();
        let next = part(&mut parser, &mut filters).filter(|_| count < PARTS_MAX);
        kept = match (op, kept, next) {
            (op, Some(left), Some(right)) => {
                Some(FieldExpr::Binary { op, left: Box::new(left), right: Box::new(right) })
            }
            (BinaryOp::And, left, right) => left.or(right),
            // Whatever may be on one side of an `||`: all that stands before restricts nothing.
            _ => None,
        };
    }
    parser.advance();
    kept.filter(|_| parser.peek() == &Token::End)
}

/// One operand, if it makes sense. Goes to the operator or brace behind it.
fn part(parser: &mut Parser<'_>, filters: &mut Filters) -> Option<FieldExpr> {
    let end = end_of_part(parser);
    let parsed = climb::<FieldExpr>(parser, Level::Comparison);
    let complete = parser.at == end;
    parser.at = end;
    parsed.ok().map(|node| node.tree).filter(|tree| complete && filters.check(tree).is_ok())
}

/// The next token of the chain that is outside of brackets.
fn end_of_part(parser: &Parser<'_>) -> usize {
    let mut brackets = 0usize;
    let rest = parser.tokens.iter().enumerate().skip(parser.at);
    for (at, lexed) in rest {
        match &lexed.token {
            Token::Symbol(Symbol::ParenOpen) => brackets += 1,
            Token::Symbol(Symbol::ParenClose) => brackets = brackets.saturating_sub(1),
            Token::Symbol(Symbol::And | Symbol::Or) if brackets == 0 => return at,
            Token::Symbol(Symbol::BraceClose) | Token::End | Token::Bad(_) => return at,
            _ => {}
        }
    }
    parser.tokens.len().saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(text: &str) -> Option<String> {
        parse_lenient_filter(text).map(|filter| filter.to_string())
    }

    #[test]
    fn what_is_complete_is_kept() {
        for (text, filter) in [
            ("{.a=1}", Some(".a = 1")),
            ("{}", Some("true")),
            ("{.a=1 && }", Some(".a = 1")),
            ("{.a=1 && .b=\"x\" && name=", Some(".a = 1 && .b = \"x\"")),
            ("{.a=1 && name=\"", Some(".a = 1")),
            ("{duration>\"100ms\" && .a=1}", Some(".a = 1")),
            ("{.a=1 && (.b=2 || .c=) && .d=3 }", Some(".a = 1 && .d = 3")),
            ("{.a=1 || .b=}", None),
            ("{.a=1 && .b=2 || .c= && .d=4}", Some(".d = 4")),
            ("{ && .a=1 }", Some(".a = 1")),
            ("{.a=1 .b=2 && .c=3}", Some(".c = 3")),
            ("", None),
            ("{", None),
            ("{.a=}", None),
            ("foo", None),
            ("{.a=1 && } | rate()", None),
            ("{.a=1} | count() > 2", None),
            ("{.a=1} && {.b=2}", None),
            ("{.a=1", Some(".a = 1")),
        ] {
            assert_eq!(kept(text).as_deref(), filter, "{text}");
        }
        let many = format!("{{{} && }}", vec![".a=1"; 3_000].join(" && "));
        assert!(kept(&many).is_some());
    }
}
