//! Regular expressions of queries.
//! Owns: their dialect and how big they may be.

use regex::{Regex, RegexBuilder};

/// Bytes of a compiled pattern. Refuses bombs such as `(a{1000}){1000}`.
const SIZE_MAX: usize = 1 << 20;

/// Groups within groups.
const NESTING_MAX: u32 = 64;

/// The pattern as `=~` means it: of the whole text, and a dot matches line breaks too.
///
/// # Errors
/// Says in one line what is wrong with the pattern.
pub fn compile(pattern: &str) -> Result<Regex, String> {
    // Alone first: `a)(b` would be a pattern once it is put in brackets.
    build(pattern)?;
    build(&format!("^(?:{pattern})$"))
}

fn build(pattern: &str) -> Result<Regex, String> {
    RegexBuilder::new(pattern)
        .dot_matches_new_line(true)
        .size_limit(SIZE_MAX)
        .nest_limit(NESTING_MAX)
        .build()
        .map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => "it is too big".to_owned(),
            // The message draws the pattern on several lines; its last one says what is wrong.
            other => {
                other.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
            }
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_of_the_whole_text() {
        let pattern = compile("a|b.c").unwrap();
        assert!(pattern.is_match("a") && pattern.is_match("b\nc"));
        assert!(!pattern.is_match("aa") && !pattern.is_match("a\n"));
    }

    #[test]
    fn what_is_no_pattern_or_a_bomb_is_refused() {
        assert_eq!(compile("a)(b").unwrap_err(), "unopened group");
        assert_eq!(compile("(a{1000}){1000}").unwrap_err(), "it is too big");
        assert!(compile(&"(".repeat(1_000)).is_err());
        assert!(compile(&format!("{}a{}", "(".repeat(1_000), ")".repeat(1_000))).is_err());
        assert!(compile(r"^Timeout after [0-9]+ at (?:[0-9]{1,3}\.){3}[0-9]{1,3}$").is_ok());
    }
}
