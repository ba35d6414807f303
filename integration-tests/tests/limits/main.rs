//! Memory limits: every stage runs in a control group of the size that its container would have, on a real broker and S3
//! server, while senders, queries, failures and operators do what takes the most memory. No stage may be killed or end, no
//! count may be wrong, errors may only be those that say that there is too much to do, and peaks stay below the limits.
//!
//! `VIVACE_LIMITS=long` takes the loads of `docs/limits.md`; a list of parts of their names, such as `fat,backlog`, takes some
//! of them. Without it a short form runs. All loads are run, whatever becomes of one of them. Results are kept in
//! `target/limits.jsonl`; `VIVACE_LIMITS_PAGE` names the page that gets the table.

mod kinds;
mod questions;
mod rows;
mod run;
mod spans;
mod stages;
mod table;

use crate::rows::{LONG, Row, SHORT};
use crate::run::Run;
use crate::table::Results;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the binary, Kafka, S3, root and control groups"]
async fn no_stage_takes_more_memory_than_its_limit() {
    let results = Results::open().expect("a folder for results");
    let wanted = std::env::var("VIVACE_LIMITS").unwrap_or_default();
    let rows: Vec<&Row> = match wanted.as_str() {
        "" => SHORT.iter().collect(),
        "long" => LONG.iter().collect(),
        parts => LONG.iter().filter(|row| parts.split(',').any(|part| row.name.contains(part))).collect(),
    };
    assert!(!rows.is_empty(), "no load is called {wanted}");
    let mut failed = Vec::new();
    for (number, row) in rows.iter().enumerate() {
        eprintln!("limits: {} ({} of {})", row.name, number + 1, rows.len());
        let outcome = take(row).await;
        results.note(row, &outcome).expect("results can be kept");
        if let Ok(page) = std::env::var("VIVACE_LIMITS_PAGE") {
            results.publish(&page).expect("the page can be written");
        }
        eprintln!("{}", table::lines(row.name, &outcome.to_json()));
        let failures = outcome.failures();
        failed.extend(failures.into_iter().map(|failure| format!("{}: {failure}", row.name)));
    }
    assert!(failed.is_empty(), "{} failures:\n{}", failed.len(), failed.join("\n"));
}

async fn take(row: &Row) -> run::Outcome {
    let run = Run::start(row).await.unwrap_or_else(|error| panic!("{}: {error:#}", row.name));
    Box::pin(run.row(row)).await
}
