//! The results of all runs, kept in a file, and the table made of the newest of each load.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Context;
use serde_json::Value;
use vivace_integration_tests::publish_table;
use vivace_model::{Clock, SystemClock};

use crate::rows::{LONG, Row};
use crate::run::Outcome;

/// Results below the build's folder, one a line.
#[derive(Debug)]
pub(crate) struct Results {
    path: PathBuf,
}

impl Results {
    pub(crate) fn open() -> anyhow::Result<Self> {
        let own = std::env::current_exe().context("this program has no path")?;
        let folder = own.ancestors().find(|folder| folder.ends_with("target")).context("not in target/")?;
        Ok(Self { path: folder.join("limits.jsonl") })
    }

    /// Adds one.
    pub(crate) fn note(&self, row: &Row, outcome: &Outcome) -> anyhow::Result<()> {
        let mut line = outcome.to_json();
        line["load"] = row.name.into();
        line["date"] = SystemClock.now().date().to_string().into();
        let mut file = OpenOptions::new().create(true).append(true).open(&self.path)?;
        Ok(writeln!(file, "{line}")?)
    }

    /// Puts the table into a page of the documentation, in place of all that follows its mark.
    pub(crate) fn publish(&self, page: &str) -> anyhow::Result<()> {
        publish_table(page, &table(&fs::read_to_string(&self.path)?))
    }
}

/// The table in Markdown, of the newest result of each load in such a file.
fn table(text: &str) -> String {
    let results = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let newest: BTreeMap<_, _> =
        results.filter_map(|line| Some((line.get("load")?.as_str()?.to_owned(), line))).collect();
    let run = || LONG.iter().filter_map(|row| newest.get(row.name));
    let dates = || run().filter_map(|result| result["date"].as_str());
    let (first, last) = (dates().min().unwrap_or("never"), dates().max().unwrap_or("never"));
    let when = if first == last { first.to_owned() } else { format!("{first} to {last}") };
    let good = run().filter(|result| result["failures"] == Value::Array(Vec::new())).count();
    let mut text = format!(
        "Last run: {when}. {good} of {} loads went well.\n\n\
        | load | stage | limit | peak | anonymous | allocated | accounted | kills | wrong | errors |\n\
        | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n",
        LONG.len(),
    );
    for row in LONG {
        match newest.get(row.name) {
            None => writeln!(text, "| {} | not run | | | | | | | | |", row.name).expect("a string takes all"),
            Some(result) => text.push_str(&lines(row.name, result)),
        }
    }
    text
}

/// The lines of one load.
pub(crate) fn lines(name: &str, result: &Value) -> String {
    let stages = result["stages"].as_array().map_or(&[][..], Vec::as_slice);
    let (answers, spans) = (&result["answers"], &result["spans"]);
    let mut first = format!("{name}: {spans} spans, {answers} answers, {} s", result["seconds"]);
    let mut text = String::new();
    for stage in stages {
        let name = stage["stage"].as_str().unwrap_or_default();
        let (wrong, errors) = match name {
            "distributor" => (String::new(), counts(&result["refusals"])),
            "query-frontend" => (result["wrong"].to_string(), counts(&result["errors"])),
            _ => (String::new(), String::new()),
        };
        let [limit, peak, anonymous, allocated, reserved] =
            ["limit", "peak", "anonymous", "allocated", "reserved"].map(|field| mebibytes(&stage[field]));
        // Whoever ended by itself did so twice as often as is fine: it counts like a kill.
        let kills = stage["ended"].as_u64().max(stage["kills"].as_u64()).unwrap_or_default();
        let kills = if kills > 0 { format!("**{kills}**") } else { "0".to_owned() };
        writeln!(
            text,
            "| {first} | {name} | {limit} | {peak} | {anonymous} | {allocated} | {reserved} | {kills} | {wrong} | {errors} |"
        )
        .expect("a string takes all");
        first.clear();
    }
    for failure in result["failures"].as_array().into_iter().flatten() {
        let failure = failure.as_str().unwrap_or_default().replace(['|', '\n'], " ");
        let short: String = failure.chars().take(200).collect();
        writeln!(text, "| | **failed** | | | | | | | | {short} |").expect("a string takes all");
    }
    text
}

fn mebibytes(bytes: &Value) -> String {
    bytes.as_u64().map_or_else(String::new, |bytes| format!("{} MiB", bytes >> 20))
}

fn counts(codes: &Value) -> String {
    let codes = codes.as_object().into_iter().flatten().map(|(code, times)| format!("{code}: {times}"));
    codes.collect::<Vec<_>>().join(", ")
}

#[test]
fn the_newest_result_of_each_load_is_shown() {
    let result = |kills: u64| {
        serde_json::json!({
            "load": "5000 spans/s", "date": "2026-12-01", "seconds": 9, "spans": 100, "answers": 5, "wrong": 0,
            "errors": {"429": 2, "503": 1}, "refusals": {}, "failures": [],
            "stages": [
                {"stage": "query-frontend", "limit": 500 << 20, "peak": 77 << 20, "anonymous": 60 << 20,
                 "allocated": null, "reserved": 5 << 20, "kills": kills, "ended": kills},
            ],
        })
    };
    let text = table(&format!("{}\n{}\n", result(3), result(0)));
    assert!(
        text.starts_with(&format!("Last run: 2026-12-01. 1 of {} loads went well.", LONG.len())),
        "{text}"
    );
    let line = "| 5000 spans/s: 100 spans, 5 answers, 9 s | query-frontend | 500 MiB | 77 MiB | 60 MiB |  | 5 MiB | 0 | 0 \
        | 429: 2, 503: 1 |\n";
    assert!(text.contains(line), "{text}");
    assert!(text.contains("| 10000 spans/s | not run |"), "{text}");
}
