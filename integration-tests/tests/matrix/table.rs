//! The results of all runs, kept in a file, and the table made of the newest of each cell.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Context;
use serde_json::{Value, json};
use vivace_integration_tests::publish_table;
use vivace_model::{Clock, SystemClock};

use crate::cell::{Cell, Fault, NOTES, Step, Target};
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
        Ok(Self { path: folder.join("fault-matrix.jsonl") })
    }

    /// Adds one.
    pub(crate) fn note(&self, cell: Cell, outcome: &anyhow::Result<Outcome>) -> anyhow::Result<()> {
        let date = SystemClock.now().date();
        let line = match outcome {
            Ok(outcome) => json!({
                "cell": cell.to_string(), "date": date, "ok": true, "recovered_seconds": outcome.recovered.as_secs_f64(),
                "errors": outcome.errors, "refused": outcome.refused,
            }),
            Err(error) => {
                json!({ "cell": cell.to_string(), "date": date, "ok": false, "error": format!("{error:#}") })
            }
        };
        let mut file = OpenOptions::new().create(true).append(true).open(&self.path)?;
        Ok(writeln!(file, "{line}")?)
    }

    /// The newest result of each cell.
    fn newest(&self) -> BTreeMap<String, Value> {
        let text = fs::read_to_string(&self.path).unwrap_or_default();
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter_map(|line| Some((line.get("cell")?.as_str()?.to_owned(), line))).collect()
    }

    /// Whether a cell went well when it ran last.
    pub(crate) fn good(&self, cell: Cell) -> bool {
        self.newest().get(&cell.to_string()).is_some_and(|result| result["ok"] == true)
    }

    /// Puts the table into a page of the documentation, in place of all that follows its mark.
    pub(crate) fn publish(&self, page: &str) -> anyhow::Result<()> {
        publish_table(page, &self.table())
    }

    /// The table in Markdown.
    pub(crate) fn table(&self) -> String {
        let results = self.newest();
        let dates: Vec<_> = results.values().filter_map(|result| result["date"].as_str()).collect();
        let good = results.values().filter(|result| result["ok"] == true).count();
        let possible = Cell::all().filter(|cell| cell.possible().is_ok()).count();
        let (first, last) = (dates.iter().min().unwrap_or(&"never"), dates.iter().max().unwrap_or(&"never"));
        let when = if first == last { (*first).to_owned() } else { format!("{first} to {last}") };
        let mut text = format!("Last run: {when}. {good} of {possible} cells went well.\n\n| who | fault |");
        for step in Step::ALL {
            write!(text, " {} |", step.name()).expect("a string takes all");
        }
        text.push_str("\n| --- | --- |");
        text.push_str(&" --- |".repeat(Step::ALL.len()));
        for target in Target::ALL {
            for fault in Fault::ALL {
                write!(text, "\n| {} | {} |", target.name(), fault.name()).expect("a string takes all");
                for step in Step::ALL {
                    let shown = shown(Cell { target, fault, step }, &results);
                    write!(text, " {shown} |").expect("a string takes all");
                }
            }
        }
        text.push_str("\n\n");
        for (mark, note) in NOTES {
            writeln!(text, "- {mark}: {note}").expect("a string takes all");
        }
        text
    }
}

fn shown(cell: Cell, results: &BTreeMap<String, Value>) -> String {
    if let Err(mark) = cell.possible() {
        return mark.to_owned();
    }
    match results.get(&cell.to_string()) {
        None => "not run".to_owned(),
        Some(result) if result["ok"] == true => {
            format!("{:.1} s", result["recovered_seconds"].as_f64().unwrap_or_default())
        }
        Some(_) => "**FAILED**".to_owned(),
    }
}
