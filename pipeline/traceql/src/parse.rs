//! Tokens to tree.
//! Owns: the grammar, and how deep and how big a tree may get, so that whoever walks one may recurse.
//! Does not own: which trees make sense (`validate`).

#[cfg(test)]
mod client_tests;
mod climb;
mod field;
#[cfg(test)]
mod grammar_tests;
mod lenient;
mod metrics;
mod outer;
#[cfg(test)]
mod print_tests;

use std::sync::Arc;

use crate::ast::{Literal, Query};
use crate::parse_error::{ParseError, clip};
use crate::lex::{Lexed, Symbol, Token, lex};
use crate::validate;

pub use lenient::parse_lenient_filter;

/// Bytes of a query. More is refused before anything is read.
pub const TEXT_BYTES_MAX: usize = 128 * 1024;

/// Brackets within brackets, signs before signs and powers of powers.
const NESTING_MAX: usize = 64;

/// Nodes from the top of a tree to its bottom. Chains of `&&` and `||` may be longer: see `climb`.
const DEPTH_MAX: usize = 256;

type Result<T> = std::result::Result<T, ParseError>;

/// The tree of a query that makes sense.
///
/// # Errors
/// The text is no query, or one that makes no sense, or bigger than allowed.
pub fn parse(text: &str) -> Result<Query> {
    let query = Parser::new(text)?.query()?;
    validate::query(&query)?;
    Ok(query)
}

/// Where in the text we are.
struct Parser<'a> {
    text: &'a str,
    tokens: Vec<Lexed<'a>>,
    at: usize,
    nesting: usize,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str) -> Result<Self> {
        if text.len() > TEXT_BYTES_MAX {
            let message =
                format!("the query has {} bytes, more than the {TEXT_BYTES_MAX} allowed", text.len());
            return Err(ParseError::syntax(text, 0, message));
        }
        Ok(Self { text, tokens: lex(text), at: 0, nesting: 0 })
    }

    fn query(&mut self) -> Result<Query> {
        let body = self.body()?;
        let hints = if self.is_call("with") { self.hints()? } else { Vec::new() };
        match self.peek() {
            Token::End => Ok(Query { body, hints }),
            _ => Err(self.unexpected("an operator, \"|\", \"with(\" or the end of the query")),
        }
    }

    /// `with(key = value, …)`
    fn hints(&mut self) -> Result<Vec<(String, Literal)>> {
        self.call("with")?;
        let mut hints = Vec::new();
        while !self.take(Symbol::ParenClose) {
            if !hints.is_empty() {
                self.expect(Symbol::Comma, "\",\" or \")\"")?;
            }
            let Token::Word(key) = *self.peek() else {
                return Err(self.unexpected("the name of a hint"));
            };
            self.advance();
            self.expect(Symbol::Equal, "\"=\"")?;
            hints.push((key.to_owned(), self.literal()?));
        }
        Ok(hints)
    }

    fn literal(&mut self) -> Result<Literal> {
        match self.maybe_literal()? {
            Some(literal) => Ok(literal),
            None => Err(self.unexpected("a literal")),
        }
    }

    /// A constant, with its sign if it has one.
    fn maybe_literal(&mut self) -> Result<Option<Literal>> {
        if self.peek() == &Token::Symbol(Symbol::Subtract) {
            let number = match self.tokens.get(self.at + 1).map(|lexed| &lexed.token) {
                Some(Token::Int(value)) => Literal::Int(0i64.wrapping_sub_unsigned(*value)),
                Some(Token::Float(value)) => Literal::Float(-value),
                Some(Token::Duration(value)) => Literal::Duration(-value),
                Some(Token::Word("minInt")) => {
                    return Err(self.fail("-minInt is out of the range of integers"));
                }
                Some(Token::Word("maxInt")) => Literal::Int(-i64::MAX),
                _ => return Ok(None),
            };
            self.at += 2;
            return Ok(Some(number));
        }
        let literal = match self.peek() {
            Token::Text(text) => Literal::Text(Arc::clone(text)),
            Token::Int(value) => match i64::try_from(*value) {
                Ok(value) => Literal::Int(value),
                Err(_) => return Err(self.fail(format!("{value} is out of the range of integers"))),
            },
            Token::Float(value) => Literal::Float(*value),
            Token::Duration(value) => Literal::Duration(*value),
            Token::Word(word) => match Literal::from_word(word) {
                Some(literal) => literal,
                None => return Ok(None),
            },
            Token::Attribute(_) | Token::Symbol(_) | Token::Bad(_) | Token::End => return Ok(None),
        };
        self.advance();
        Ok(Some(literal))
    }

    fn peek(&self) -> &Token<'a> {
        self.tokens.get(self.at).map_or(&Token::End, |lexed| &lexed.token)
    }

    fn symbol(&self) -> Option<Symbol> {
        match self.peek() {
            Token::Symbol(symbol) => Some(*symbol),
            _ => None,
        }
    }

    /// Never past the last token, which is the end or what cannot be read.
    fn advance(&mut self) {
        if self.at + 1 < self.tokens.len() {
            self.at += 1;
        }
    }

    fn take(&mut self, symbol: Symbol) -> bool {
        let found = self.symbol() == Some(symbol);
        if found {
            self.advance();
        }
        found
    }

    fn expect(&mut self, symbol: Symbol, expected: &str) -> Result<()> {
        if self.take(symbol) { Ok(()) } else { Err(self.unexpected(expected)) }
    }

    /// Whether `word(` is next.
    fn is_call(&self, word: &str) -> bool {
        self.called() == Some(word)
    }

    /// The word before a `(` that is next.
    fn called(&self) -> Option<&'a str> {
        match (self.peek(), self.tokens.get(self.at + 1).map(|lexed| &lexed.token)) {
            (Token::Word(word), Some(Token::Symbol(Symbol::ParenOpen))) => Some(word),
            _ => None,
        }
    }

    /// Goes past `word(`.
    fn call(&mut self, word: &str) -> Result<()> {
        if !self.is_call(word) {
            return Err(self.unexpected(&format!("\"{word}(\"")));
        }
        self.at += 2;
        Ok(())
    }

    /// Parses what is inside of something, unless that goes too deep.
    fn nested<T>(&mut self, inside: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.nesting >= NESTING_MAX {
            return Err(self.fail(format!("nested too deeply: more than {NESTING_MAX} levels")));
        }
        self.nesting += 1;
        let parsed = inside(self);
        self.nesting -= 1;
        parsed
    }

    fn offset(&self) -> usize {
        self.tokens.get(self.at).map_or(self.text.len(), |lexed| lexed.start)
    }

    /// An error at the next token.
    fn fail(&self, message: impl Into<String>) -> ParseError {
        ParseError::syntax(self.text, self.offset(), message)
    }

    /// The next token is not what the grammar has here.
    fn unexpected(&self, expected: &str) -> ParseError {
        let written =
            self.tokens.get(self.at).and_then(|lexed| self.text.get(lexed.start..lexed.end)).unwrap_or("");
        self.fail(match self.peek() {
            Token::Bad(message) => message.clone(),
            Token::End => format!("unexpected end of the query, expected {expected}"),
            Token::Text(_) => format!("unexpected string {}, expected {expected}", clip(written)),
            _ => format!("unexpected \"{}\", expected {expected}", clip(written)),
        })
    }
}
