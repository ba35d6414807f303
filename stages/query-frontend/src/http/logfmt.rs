//! Reads `key=value other="with blanks"`, as old clients write attributes.

use std::collections::BTreeMap;

/// All pairs; a key alone has the value `true`.
///
/// # Errors
/// Says what is wrong: a key that comes twice, a quote that is never closed.
pub(super) fn parse(text: &str) -> Result<BTreeMap<String, String>, String> {
    let mut pairs = BTreeMap::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let end = rest.find(|char: char| char == '=' || char.is_whitespace()).unwrap_or(rest.len());
        let (key, after) = rest.split_at(end);
        if key.is_empty() {
            return Err("a value has no key".into());
        }
        let (value, after) = match after.strip_prefix('=') {
            None => ("true".to_owned(), after),
            Some(after) => value(after)?,
        };
        if pairs.insert(key.to_owned(), value).is_some() {
            return Err(format!("{key} comes twice"));
        }
        rest = after.trim_start();
    }
    Ok(pairs)
}

fn value(text: &str) -> Result<(String, &str), String> {
    let Some(quoted) = text.strip_prefix('"') else {
        let (value, rest) = text.split_at(text.find(char::is_whitespace).unwrap_or(text.len()));
        return Ok((value.to_owned(), rest));
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return Ok((value, &quoted[at + 1..])),
            '\\' => match chars.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, 't')) => value.push('\t'),
                Some((_, other)) => value.push(other),
                None => break,
            },
            other => value.push(other),
        }
    }
    Err("a quote is not closed".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_read() {
        let pairs = |text| parse(text).map(|pairs| pairs.into_iter().collect::<Vec<_>>());
        let expected = [("a", "1"), ("b.c", "x y"), ("d", "\"q\" \\"), ("e", "true"), ("f", "")];
        let expected: Vec<_> =
            expected.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        assert_eq!(pairs(r#" a=1  b.c="x y" d="\"q\" \\" e f="#), Ok(expected));
        assert_eq!(pairs(""), Ok(vec![]));
        for wrong in ["a=1 a=2", "=1", "a=\"x", "a=\"\\"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
