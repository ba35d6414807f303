//! Texts: `"with \"escapes\""` as in Go, and `` `raw` ``.

use std::sync::Arc;

/// The text that starts here, and its length with quotes.
pub(super) fn text(rest: &str) -> Result<(Arc<str>, usize), String> {
    if let Some(raw) = rest.strip_prefix('`') {
        let end = raw.find('`').ok_or("unterminated string: the closing \"`\" is missing")?;
        return Ok((Arc::from(&raw[..end]), end + 2));
    }
    let mut value = Vec::new();
    let mut at = 1;
    loop {
        let length =
            rest[at..].find(['"', '\\']).ok_or("unterminated string: the closing '\"' is missing")?;
        value.extend_from_slice(&rest.as_bytes()[at..at + length]);
        at += length;
        if rest[at..].starts_with('"') {
            break;
        }
        at += escape(&rest[at..], &mut value)?;
    }
    let value = String::from_utf8(value).map_err(|_| "string is not UTF-8 once its escapes are read")?;
    Ok((Arc::from(value), at + 1))
}

/// Reads what starts with a backslash and gives its length.
fn escape(rest: &str, value: &mut Vec<u8>) -> Result<usize, String> {
    let Some(kind) = rest[1..].chars().next() else {
        return Err("unterminated string: the closing '\"' is missing".to_owned());
    };
    let byte = match kind {
        'a' => 0x07,
        'b' => 0x08,
        'f' => 0x0c,
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        'v' => 0x0b,
        '\\' | '"' | '\'' => kind as u8,
        'x' => digits(&rest[2..], 2, 16)?.try_into().map_err(|_| "escape is no byte")?,
        '0'..='7' => digits(&rest[1..], 3, 8)?.try_into().map_err(|_| "escape is no byte")?,
        'u' | 'U' => {
            let length = if kind == 'u' { 4 } else { 8 };
            let c = char::from_u32(digits(&rest[2..], length, 16)?).ok_or("escape is no character")?;
            value.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            return Ok(2 + length);
        }
        other => {
            return Err(format!(
                "unknown escape \"\\{other}\" in a string: write \"\\\\{other}\", or put the string in backticks"
            ));
        }
    };
    value.push(byte);
    Ok(match kind {
        'x' | '0'..='7' => 4,
        _ => 2,
    })
}

fn digits(rest: &str, length: usize, radix: u32) -> Result<u32, String> {
    rest.get(..length)
        .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
        .and_then(|digits| u32::from_str_radix(digits, radix).ok())
        .ok_or_else(|| format!("escape in a string has not {length} digits"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(source: &str) -> Option<String> {
        text(source).ok().filter(|(_, length)| *length == source.len()).map(|(value, _)| value.to_string())
    }

    #[test]
    fn escapes_are_those_of_go() {
        assert_eq!(read(r#""""#).unwrap(), "");
        assert_eq!(read(r#""a\.b""#), None);
        assert_eq!(read(r#""a\\.b\n\t\"\x41\101\u00e9\U0001F600""#).unwrap(), "a\\.b\n\t\"AAé😀");
        assert_eq!(read("`a\\.b\"`").unwrap(), "a\\.b\"");
        assert_eq!(read(r#""\xc3\xa9""#).unwrap(), "é");
        for bad in
            [r#"""#, r#""a"#, r#""\"#, r#""\x4""#, r#""\xff""#, r#""\ud800""#, r#""\777""#, r#""\+12""#, "`a"]
        {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
