//! Regular expressions of queries.
//! Owns: their dialect, how large each may be and all of a query together, and that each is compiled once.
//! Does not own: where they stand in a query.
//! Guarantee: a pattern takes [`SIZE_MAX`] bytes at most, and [`DFA_BYTES_MAX`] more for each thread that runs it.

mod shared;

use std::collections::HashSet;
use std::sync::Arc;

use regex_automata::Input;
use regex_automata::meta;
use regex_automata::nfa::thompson::WhichCaptures;
use regex_syntax::ParserBuilder;
use regex_syntax::hir::{Hir, Look};

/// Bytes of a compiled pattern in one direction. Refuses bombs such as `(a{1000}){1000}`.
const SIZE_MAX: usize = 1 << 20;

/// Bytes that a thread may keep of what it worked out while it ran a pattern. Patterns run once for each value of a
/// dictionary, so more would not make them faster.
const DFA_BYTES_MAX: usize = 256 << 10;

/// Groups within groups.
const NESTING_MAX: u32 = 64;

/// Patterns in one query.
const PATTERNS_MAX: usize = 100;

/// Bytes of all patterns of a query, once compiled.
const QUERY_BYTES_MAX: usize = 32 << 20;

/// A compiled pattern. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Pattern(Arc<Compiled>);

#[derive(Debug)]
struct Compiled {
    regex: meta::Regex,
    bytes: usize,
}

impl Pattern {
    /// The pattern as `=~` means it: of the whole text, and a dot matches line breaks too. Compiled only if it is not
    /// among those that were compiled before.
    ///
    /// # Errors
    /// Says in one line what is wrong with the pattern.
    pub(crate) fn new(pattern: &str) -> Result<Self, Arc<str>> {
        shared::PATTERNS.get(pattern, compile)
    }

    pub(crate) fn is_match(&self, text: &str) -> bool {
        self.0.regex.is_match(Input::new(text))
    }

    /// How long matching a text may take, as [`Spans::tick`](crate::Spans::tick) counts: where a pattern is too large for
    /// what threads keep, each byte goes through all of it.
    pub(crate) fn units(&self, text: &str) -> usize {
        8 + text.len().saturating_mul(self.0.bytes >> 14)
    }

    /// Memory that it takes, without what threads keep while they run it.
    fn bytes(&self) -> usize {
        self.0.bytes
    }
}

/// What is left to the patterns of one query.
#[derive(Debug, Default)]
pub(crate) struct PatternBudget {
    patterns: usize,
    /// Equal patterns are one.
    seen: HashSet<Arc<str>>,
    bytes: usize,
}

impl PatternBudget {
    /// Takes one more pattern.
    ///
    /// # Errors
    /// Says that the query has too many, or what is wrong with this one.
    pub(crate) fn take(&mut self, pattern: &Arc<str>) -> Result<(), PatternError> {
        self.patterns += 1;
        if self.patterns > PATTERNS_MAX {
            return Err(PatternError::TooMany(format!(
                "the query has more than {PATTERNS_MAX} regular expressions"
            )));
        }
        if self.bytes > QUERY_BYTES_MAX {
            return Err(Self::too_large());
        }
        if self.seen.contains(pattern) {
            return Ok(());
        }
        let compiled = Pattern::new(pattern).map_err(PatternError::Bad)?;
        self.seen.insert(Arc::clone(pattern));
        self.bytes = self.bytes.saturating_add(compiled.bytes());
        if self.bytes > QUERY_BYTES_MAX { Err(Self::too_large()) } else { Ok(()) }
    }

    fn too_large() -> PatternError {
        PatternError::TooMany(format!(
            "the regular expressions of the query take more than {} MiB once compiled: use fewer of them, or smaller repetitions",
            QUERY_BYTES_MAX >> 20
        ))
    }
}

/// Why a pattern is refused.
#[derive(Debug)]
pub(crate) enum PatternError {
    /// It is none, or too large by itself.
    Bad(Arc<str>),
    /// All of the query together are too much.
    TooMany(String),
}

fn compile(pattern: &str) -> Result<Pattern, String> {
    let mut parser = ParserBuilder::new();
    parser.dot_matches_new_line(true).nest_limit(NESTING_MAX);
    let parsed = parser.build().parse(pattern).map_err(|error| {
        // The message draws the pattern on several lines; its last one says what is wrong.
        error.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
    })?;
    let whole = Hir::concat(vec![Hir::look(Look::Start), parsed, Hir::look(Look::End)]);
    let config = meta::Config::new()
        .which_captures(WhichCaptures::None)
        .nfa_size_limit(Some(SIZE_MAX))
        .hybrid_cache_capacity(DFA_BYTES_MAX);
    let regex = meta::Builder::new().configure(config).build_from_hir(&whole).map_err(|error| match error
        .size_limit()
    {
        Some(_) => "it is too big".to_owned(),
        None => error.to_string(),
    })?;
    let bytes = regex.memory_usage();
    Ok(Pattern(Arc::new(Compiled { regex, bytes })))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, text: &str) -> bool {
        Pattern::new(pattern).unwrap().is_match(text)
    }

    #[test]
    fn patterns_are_of_the_whole_text() {
        let pattern = Pattern::new("a|b.c").unwrap();
        assert!(pattern.is_match("a") && pattern.is_match("b\nc"));
        assert!(!pattern.is_match("aa") && !pattern.is_match("a\n") && !pattern.is_match("xa"));
        assert!(matches("", "") && !matches("", "a"));
        assert!(matches("(?i)ABC", "abc") && matches("(?-s)a.c", "abc") && !matches("(?-s)a.c", "a\nc"));
        assert!(matches("^a$", "a") && matches(r"\bé+\b", "éé"));
    }

    #[test]
    fn what_is_no_pattern_or_a_bomb_is_refused() {
        let refused = |pattern: &str| Pattern::new(pattern).map(drop).unwrap_err();
        assert_eq!(&*refused("a)(b"), "unopened group");
        assert_eq!(&*refused("(a{1000}){1000}"), "it is too big");
        refused(&"(".repeat(1_000));
        refused(&format!("{}a{}", "(".repeat(1_000), ")".repeat(1_000)));
        assert!(Pattern::new(r"^Timeout after [0-9]+ at (?:[0-9]{1,3}\.){3}[0-9]{1,3}$").is_ok());
    }

    #[test]
    fn a_pattern_is_compiled_once() {
        let (first, again) = (Pattern::new("once (a|b)+").unwrap(), Pattern::new("once (a|b)+").unwrap());
        assert!(Arc::ptr_eq(&first.0, &again.0));
    }

    #[test]
    fn patterns_of_a_query_have_a_budget_of_bytes() {
        let mut budget = PatternBudget::default();
        let large = |number: usize| Arc::from(format!("(u|.){{0,800}}{number}"));
        let equal: Arc<str> = large(0);
        for _ in 0..50 {
            assert!(budget.take(&equal).is_ok(), "the same pattern counts once");
        }
        let refused = (1..50).find_map(|number| budget.take(&large(number)).err());
        let Some(PatternError::TooMany(text)) = refused else { panic!("all fit: {budget:?}") };
        assert!(text.contains("more than 32 MiB once compiled"), "{text}");
        assert!(budget.bytes < QUERY_BYTES_MAX + 4 * SIZE_MAX, "{} bytes", budget.bytes);
        assert!(budget.take(&Arc::from("x")).is_err(), "nothing is compiled for a query that is refused");
    }
}
