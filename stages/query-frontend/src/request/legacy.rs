//! Searches as they were asked before there was TraceQL: attributes, their values, and how long the trace took.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use vivace_traceql::ast::Target;

use super::invalid;
use crate::QueryError;
use crate::duration::go_duration;

/// The query that finds spans with all these attributes, in traces that took at least and at most so long.
pub(crate) fn query_of_tags(
    tags: &BTreeMap<String, String>,
    least: Option<Duration>,
    most: Option<Duration>,
) -> Result<String, QueryError> {
    if least.zip(most).is_some_and(|(least, most)| most < least) {
        return Err(invalid("maxDuration must not be less than minDuration"));
    }
    let mut conditions: Vec<_> = tags.iter().map(|(key, value)| condition(key, value)).collect();
    conditions.extend(least.map(|least| format!("traceDuration >= {}", go_duration(least))));
    conditions.extend(most.map(|most| format!("traceDuration <= {}", go_duration(most))));
    Ok(format!("{{ {} }}", conditions.join(" && ")))
}

fn condition(key: &str, value: &str) -> String {
    match (key, value) {
        ("name", _) => return format!("name = {}", quoted(value)),
        ("root.name", _) => return format!("rootName = {}", quoted(value)),
        ("root.service.name", _) => return format!("rootServiceName = {}", quoted(value)),
        ("status.code", "ok" | "error" | "unset") => return format!("status = {value}"),
        ("error", "true") => return "status = error".to_owned(),
        _ => {}
    }
    let attribute = Target::Unscoped(Arc::from(key)).to_string();
    let text = format!("{attribute} = {}", quoted(value));
    // All values were text in such searches, whatever type they were sent with.
    let bare = value.parse::<f64>().is_ok_and(f64::is_finite)
        && value.starts_with(|first: char| first.is_ascii_digit())
        || matches!(value, "true" | "false");
    if bare { format!("({text} || {attribute} = {value})") } else { text }
}

fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for char in text.chars() {
        match char {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            char => quoted.push(char),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(tags: &[(&str, &str)], least: Option<u64>, most: Option<u64>) -> Result<String, String> {
        let tags = tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let query = query_of_tags(&tags, least.map(Duration::from_millis), most.map(Duration::from_millis));
        query.map_err(|error| error.to_string())
    }

    #[test]
    fn tags_become_a_query_that_parses() {
        for (tags, least, most, expected) in [
            (&[][..], None, None, "{  }"),
            (&[("service.name", "shop")], None, None, r#"{ .service.name = "shop" }"#),
            (
                &[("error", "true"), ("http.status_code", "500")],
                Some(100),
                Some(2500),
                r#"{ status = error && (.http.status_code = "500" || .http.status_code = 500) && traceDuration >= 100ms && traceDuration <= 2.5s }"#,
            ),
            (&[("name", "a \"b\"")], None, None, r#"{ name = "a \"b\"" }"#),
        ] {
            let query = query(tags, least, most).unwrap();
            assert_eq!(query, expected);
            vivace_traceql::parse(&query).unwrap();
        }
        assert!(query(&[], Some(2), Some(1)).is_err());
    }
}
