//! `vivace query`: traces as a list, series as lines of blocks.

use std::fmt::Write;

use anyhow::Result;
use serde_json::Value;
use vivace_model::{Clock, SystemClock, UnixNanos};

use super::api::Api;
use super::{Period, duration, list};

/// A question.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) traceql: String,
    pub(super) period: Period,
    pub(super) limit: u32,
    pub(super) spans: u32,
    pub(super) step: Option<String>,
}

/// Eighths of a line, from nothing to full.
const BLOCKS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Characters of a drawn series at most.
const WIDTH: usize = 60;
/// Writing to memory cannot fail.
const MEMORY: &str = "memory takes everything";

/// Runs the query and shows what it found.
pub(super) async fn run(api: &Api, asked: &Asked) -> Result<String> {
    // Checked here first: an error then costs no request, and tells which of the two kinds of answer to ask for.
    let query = vivace_traceql::parse(&asked.traceql)?;
    let mut parameters = asked.period.parameters(SystemClock.now().0 / 1_000_000_000);
    parameters.push(("q", asked.traceql.clone()));
    let metrics = matches!(query.body, vivace_traceql::ast::Body::Metrics(_));
    let answer = if metrics {
        parameters.extend(asked.step.clone().map(|step| ("step", step)));
        api.json(&["api", "metrics", "query_range"], &parameters).await?
    } else {
        parameters.push(("limit", asked.limit.to_string()));
        parameters.push(("spss", asked.spans.to_string()));
        api.json(&["api", "search"], &parameters).await?
    };
    if api.json {
        return Ok(format!("{answer:#}\n"));
    }
    Ok(if metrics { series(&answer) } else { traces(&answer) })
}

/// A trace a paragraph: what it is, then its matching spans.
fn traces(answer: &Value) -> String {
    let mut out = String::new();
    for trace in list(answer, "traces") {
        let text = |name: &str| trace[name].as_str().unwrap_or_default();
        let started = UnixNanos(number(&trace["startTimeUnixNano"]) as u64);
        let millis = number(&trace["durationMs"]);
        let took = if millis == 0.0 { "<1 ms".to_owned() } else { duration(millis * 1e6) };
        let (id, service, name) = (text("traceID"), text("rootServiceName"), text("rootTraceName"));
        writeln!(out, "{id:0>32}  {}  {took:>8}  {service}: {name}", time(started)).expect(MEMORY);
        for spanset in list(trace, "spanSets") {
            spans(&mut out, spanset);
        }
    }
    if out.is_empty() {
        out.push_str("no traces found\n");
    }
    out
}

fn spans(out: &mut String, spanset: &Value) {
    let shown = list(spanset, "spans");
    let of_set = attributes(list(spanset, "attributes"));
    if !of_set.is_empty() {
        writeln!(out, "    {of_set}").expect(MEMORY);
    }
    for span in shown {
        let (id, name) =
            (span["spanID"].as_str().unwrap_or_default(), span["name"].as_str().unwrap_or_default());
        let took = duration(number(&span["durationNanos"]));
        let more = attributes(list(span, "attributes"));
        writeln!(out, "    {id}  {took:>8}  {name}  {more}").expect(MEMORY);
    }
    let hidden = number(&spanset["matched"]) as usize - shown.len().min(number(&spanset["matched"]) as usize);
    if hidden > 0 {
        writeln!(out, "    … and {hidden} more").expect(MEMORY);
    }
}

/// A series a line: labels, a drawing from nothing to its highest value, least, mean and highest value.
fn series(answer: &Value) -> String {
    let mut out = String::new();
    let all = list(answer, "series");
    for one in all {
        let labels = attributes(list(one, "labels"));
        let values: Vec<f64> = list(one, "samples").iter().map(|sample| number(&sample["value"])).collect();
        let (least, most) =
            values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), &value| {
                (least.min(value), most.max(value))
            });
        let mean = values.iter().sum::<f64>() / values.len().max(1) as f64;
        writeln!(out, "{{{labels}}}").expect(MEMORY);
        if !values.is_empty() {
            writeln!(out, "    {}  least {least:.4}  mean {mean:.4}  most {most:.4}", drawing(&values, most))
                .expect(MEMORY);
        }
    }
    if out.is_empty() {
        out.push_str("no data\n");
    }
    if let Some(message) = answer["message"].as_str().filter(|message| !message.is_empty()) {
        writeln!(out, "partial: {message}").expect(MEMORY);
    }
    out
}

/// Values as blocks of that height; neighbours share a character when there are too many.
fn drawing(values: &[f64], most: f64) -> String {
    let share = values.len().div_ceil(WIDTH);
    let height = |chunk: &[f64]| {
        let value = chunk.iter().copied().fold(0.0, f64::max);
        let eighths = if most > 0.0 { (value / most * 8.0).ceil() } else { 0.0 };
        BLOCKS[(eighths as usize).min(8)]
    };
    values.chunks(share).map(height).collect()
}

/// `name=value` of each, one after the other.
fn attributes(labels: &[Value]) -> String {
    let one = |label: &Value| {
        let key = label["key"].as_str().unwrap_or_default();
        let value = label["value"].as_object().and_then(|value| value.values().next());
        match value {
            Some(Value::String(text)) => format!("{key}={text}"),
            Some(other) => format!("{key}={other}"),
            None => format!("{key}=nil"),
        }
    };
    labels.iter().map(one).collect::<Vec<_>>().join(" ")
}

/// UTC, to the second.
fn time(at: UnixNanos) -> String {
    let seconds = i64::try_from(at.0 / 1_000_000_000).unwrap_or_default();
    jiff::Timestamp::from_second(seconds).map_or_else(|_| "?".into(), |time| time.to_string())
}

/// A number, which JSON of 64-bit integers writes as a string.
fn number(value: &Value) -> f64 {
    match value {
        Value::String(text) => text.parse().unwrap_or_default(),
        other => other.as_f64().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn traces_show_their_spans() {
        let answer = json!({"traces": [{
            "traceID": "2f", "rootServiceName": "shop", "rootTraceName": "GET /", "durationMs": 12,
            "startTimeUnixNano": "1700000000000000000",
            "spanSets": [{"matched": 5, "spans": [{
                "spanID": "0102030405060708", "name": "query", "durationNanos": "1500000",
                "attributes": [{"key": "db.system", "value": {"stringValue": "mysql"}}],
            }]}],
        }]});
        let shown = traces(&answer);
        assert_eq!(
            shown,
            "0000000000000000000000000000002f  2023-11-14T22:13:20Z   12.0 ms  shop: GET /\n    \
             0102030405060708   1.50 ms  query  db.system=mysql\n    … and 4 more\n"
        );
        assert_eq!(traces(&json!({})), "no traces found\n");
    }

    #[test]
    fn series_are_drawn_to_scale() {
        assert_eq!(drawing(&[0.0, 1.0, 4.0, 8.0], 8.0), " ▁▄█");
        assert_eq!(drawing(&[0.0, 0.0], 0.0), "  ");
        assert_eq!(drawing(&vec![1.0; 200], 1.0).chars().count(), 50);
        let answer = json!({"series": [{
            "labels": [{"key": "name", "value": {"stringValue": "x"}}],
            "samples": [{"timestampMs": "1", "value": 2.0}, {"timestampMs": "2", "value": 4}],
        }], "message": "cut"});
        assert_eq!(
            series(&answer),
            "{name=x}\n    ▄█  least 2.0000  mean 3.0000  most 4.0000\npartial: cut\n"
        );
    }
}
