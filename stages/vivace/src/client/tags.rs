//! `vivace tags`.

use std::fmt::Write;

use anyhow::Result;
use serde_json::Value;
use vivace_model::{Clock, SystemClock};

use super::api::Api;
use super::{Period, list};

/// Names of attributes by scope, or the values of one.
pub(super) async fn run(api: &Api, name: Option<&str>, query: &str, period: &Period) -> Result<String> {
    let mut parameters = period.parameters(SystemClock.now().0 / 1_000_000_000);
    if !query.is_empty() {
        parameters.push(("q", query.to_owned()));
    }
    let answer = match name {
        None => api.json(&["api", "v2", "search", "tags"], &parameters).await?,
        Some(name) => api.json(&["api", "v2", "search", "tag", name, "values"], &parameters).await?,
    };
    if api.json {
        return Ok(format!("{answer:#}\n"));
    }
    Ok(if name.is_none() { names(&answer) } else { values(&answer) })
}

fn names(answer: &Value) -> String {
    let mut out = String::new();
    for scope in list(answer, "scopes") {
        let scope_name = scope["name"].as_str().unwrap_or_default();
        let prefix = if scope_name == "intrinsic" { String::new() } else { format!("{scope_name}.") };
        for tag in list(scope, "tags").iter().filter_map(Value::as_str) {
            // Writing to memory cannot fail.
            writeln!(out, "{prefix}{tag}").expect("memory takes everything");
        }
    }
    out
}

fn values(answer: &Value) -> String {
    let values = list(answer, "tagValues");
    let mut out = String::new();
    for value in values {
        let text = value["value"].as_str().unwrap_or_default();
        writeln!(out, "{text}").expect("memory takes everything");
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_carry_their_scope_and_values_stand_alone() {
        let answer = json!({"scopes": [
            {"name": "resource", "tags": ["service.name"]},
            {"name": "intrinsic", "tags": ["duration"]},
        ]});
        assert_eq!(names(&answer), "resource.service.name\nduration\n");
        let answer = json!({"tagValues": [{"type": "keyword", "value": "error"}]});
        assert_eq!(values(&answer), "error\n");
        assert_eq!(values(&json!({})), "");
    }
}
