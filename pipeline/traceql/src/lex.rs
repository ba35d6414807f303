//! Text to tokens.
//! Owns: where a token starts and ends, comments, and what an operator is called.
//! Does not own: what a word means (`parse` asks `names`), nor which token may follow which.

mod attribute;
mod number;
mod text;

use std::fmt;
use std::sync::Arc;

use crate::ast::{Attribute, Relation};

pub(crate) use attribute::{is_key_char, split_scope};

/// More is refused: what follows is proportional to it, and no human wrote it.
const TOKENS_MAX: usize = 20_000;

/// The smallest unit of the grammar.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Token<'a> {
    /// `by`, `duration`, `span:id`, `true`.
    Word(&'a str),
    /// `span.foo`; intrinsics are words, but for those of the parent.
    Attribute(Attribute),
    Text(Arc<str>),
    /// Up to 2^63, which only a minus sign makes an integer.
    Int(u64),
    Float(f64),
    Duration(i64),
    Symbol(Symbol),
    /// What is no token, and why. The last one then.
    Bad(String),
    /// After the last.
    End,
}

/// A token and where it lies.
#[derive(Clone, Debug)]
pub(crate) struct Lexed<'a> {
    pub(crate) token: Token<'a>,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// Brackets and operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Symbol {
    BraceOpen,
    BraceClose,
    ParenOpen,
    ParenClose,
    Comma,
    Pipe,
    Not,
    And,
    Or,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Matches,
    NotMatches,
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
    Power,
    /// Structural operators but `>`, `<` and `!~`, which stand between values too.
    Structural {
        relation: Relation,
        negated: bool,
        union: bool,
    },
}

/// Longer ones before those that they start with.
const SYMBOLS: [(&str, Symbol); 35] = [
    ("&>>", union(Relation::Descendant)),
    ("&<<", union(Relation::Ancestor)),
    ("!>>", negated(Relation::Descendant)),
    ("!<<", negated(Relation::Ancestor)),
    ("&&", Symbol::And),
    ("||", Symbol::Or),
    ("&>", union(Relation::Child)),
    ("&<", union(Relation::Parent)),
    ("&~", union(Relation::Sibling)),
    ("!>", negated(Relation::Child)),
    ("!<", negated(Relation::Parent)),
    ("!=", Symbol::NotEqual),
    ("!~", Symbol::NotMatches),
    ("=~", Symbol::Matches),
    (">=", Symbol::GreaterOrEqual),
    ("<=", Symbol::LessOrEqual),
    (">>", plain(Relation::Descendant)),
    ("<<", plain(Relation::Ancestor)),
    (">", Symbol::Greater),
    ("<", Symbol::Less),
    ("~", plain(Relation::Sibling)),
    ("=", Symbol::Equal),
    ("!", Symbol::Not),
    ("|", Symbol::Pipe),
    ("{", Symbol::BraceOpen),
    ("}", Symbol::BraceClose),
    ("(", Symbol::ParenOpen),
    (")", Symbol::ParenClose),
    (",", Symbol::Comma),
    ("+", Symbol::Add),
    ("-", Symbol::Subtract),
    ("*", Symbol::Multiply),
    ("/", Symbol::Divide),
    ("%", Symbol::Modulo),
    ("^", Symbol::Power),
];

impl fmt::Display for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(SYMBOLS.iter().find(|(_, symbol)| symbol == self).map_or("", |(text, _)| text))
    }
}

const fn plain(relation: Relation) -> Symbol {
    Symbol::Structural { relation, negated: false, union: false }
}

const fn negated(relation: Relation) -> Symbol {
    Symbol::Structural { relation, negated: true, union: false }
}

const fn union(relation: Relation) -> Symbol {
    Symbol::Structural { relation, negated: false, union: true }
}

/// Tokens of a text. The last one is [`Token::End`], or [`Token::Bad`] if no token starts there.
pub(crate) fn lex(text: &str) -> Vec<Lexed<'_>> {
    let mut tokens = Vec::new();
    let mut at = 0;
    loop {
        at = skip_blanks(text, at);
        let (token, end) = match next(text, at) {
            _ if tokens.len() >= TOKENS_MAX => (Token::Bad(too_long()), text.len()),
            Ok(found) => found,
            Err(message) => (Token::Bad(message), text.len()),
        };
        let last = matches!(token, Token::End | Token::Bad(_));
        tokens.push(Lexed { token, start: at, end });
        if last {
            return tokens;
        }
        at = end;
    }
}

fn too_long() -> String {
    format!("the query is too long: it has more than {TOKENS_MAX} words and operators")
}

/// Blanks and comments.
fn skip_blanks(text: &str, mut at: usize) -> usize {
    loop {
        let rest = &text[at..];
        let blank = rest.len() - rest.trim_start().len();
        at += blank;
        if !text[at..].starts_with("//") {
            return at;
        }
        at += text[at..].find('\n').unwrap_or(text.len() - at);
    }
}

/// The token that starts at `at`, and where it ends.
fn next(text: &str, at: usize) -> Result<(Token<'_>, usize), String> {
    let rest = &text[at..];
    let Some(first) = rest.chars().next() else {
        return Ok((Token::End, at));
    };
    if let Some((token, length)) = number::number(rest)? {
        return Ok((token, at + length));
    }
    if let Some((attribute, length)) = attribute::attribute(rest)? {
        return Ok((Token::Attribute(attribute), at + length));
    }
    if first == '"' || first == '`' {
        let (value, length) = text::text(rest)?;
        return Ok((Token::Text(value), at + length));
    }
    if is_word_char(first) {
        let length = rest.find(|c| !is_word_char(c)).unwrap_or(rest.len());
        return Ok((Token::Word(&rest[..length]), at + length));
    }
    SYMBOLS
        .iter()
        .find(|(symbol, _)| rest.starts_with(symbol))
        .map(|(symbol, token)| (Token::Symbol(*token), at + symbol.len()))
        .ok_or_else(|| format!("unexpected character {first:?}"))
}

fn is_word_char(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == ':'
}

/// The attribute that is the whole text.
pub(crate) fn whole_attribute(text: &str) -> Option<Attribute> {
    match next(text, 0) {
        Ok((Token::Attribute(attribute), end)) if end == text.len() => Some(attribute),
        _ => None,
    }
}
