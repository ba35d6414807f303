//! Why a text is not a query.
//! Owns: the one error of this front, and how it reads. Whoever serves it answers HTTP 400.

/// Why a text is not a query, in a sentence for who typed it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// The text does not follow the grammar.
    #[error("parse error at line {}, col {}: {message}", position.line, position.column)]
    Syntax {
        /// Where.
        position: Position,
        /// What was found and what was expected.
        message: String,
    },
    /// The text follows the grammar and makes no sense: it compares a duration with a text, say.
    #[error("invalid query: {message}")]
    Invalid {
        /// What makes no sense.
        message: String,
    },
}

/// A place in the text of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// In bytes, from 0.
    pub offset: usize,
}

impl ParseError {
    pub(crate) fn syntax(text: &str, offset: usize, message: impl Into<String>) -> Self {
        Self::Syntax { position: Position::of(text, offset), message: message.into() }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::Invalid { message: message.into() }
    }

    /// Where it is; none for texts that follow the grammar.
    #[must_use]
    pub const fn position(&self) -> Option<Position> {
        match self {
            Self::Syntax { position, .. } => Some(*position),
            Self::Invalid { .. } => None,
        }
    }
}

impl Position {
    fn of(text: &str, offset: usize) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Self {
            line: before.bytes().filter(|byte| *byte == b'\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            offset,
        }
    }
}

/// The start of a text that may be long, for messages.
pub(crate) fn clip(text: &str) -> String {
    const CHARS_MAX: usize = 60;
    match text.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
