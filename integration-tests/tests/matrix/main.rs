//! The fault matrix: who fails, how, and while an ingester does what; on a real broker and S3 server, while a prober writes
//! unique traces and reads them back by id, by search and by exact counts, all the time. Answers may be errors for a while;
//! none may be wrong, and when a fault is over, lag and errors go away in bounded time.
//!
//! `VIVACE_MATRIX` chooses cells: none for the telling ones, `all`, `missing` for those without a good result yet, or parts
//! of names such as `ingester/zombie,broker`. Results are kept in `target/fault-matrix.jsonl`;
//! `VIVACE_MATRIX_PAGE` names the page that gets the table.

mod cell;
mod run;
mod table;

use std::time::Duration;

use vivace_integration_tests::bounded;

use crate::cell::Cell;
use crate::run::Run;
use crate::table::Results;

/// For one cell, and for the start and the end of a run.
const CELL_LIMIT: Duration = Duration::from_secs(120);
/// So many cells lie between two audits of what is running: each reads the whole ledger.
const AUDIT_EVERY: usize = 8;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the binary, Kafka and S3"]
async fn every_acknowledged_span_is_found_once_whatever_fails() {
    let results = Results::open().expect("a folder for results");
    let wanted = std::env::var("VIVACE_MATRIX").unwrap_or_default();
    let chosen = |cell: &Cell| match wanted.as_str() {
        "" => cell.telling(),
        "all" => true,
        "missing" => !results.good(*cell),
        parts => parts.split(',').any(|part| cell.to_string().contains(part)),
    };
    let cells: Vec<_> = Cell::all().filter(|cell| cell.possible().is_ok() && chosen(cell)).collect();
    assert!(!cells.is_empty(), "no cell is called {wanted}");
    let limit = CELL_LIMIT * u32::try_from(cells.len() + 2).expect("few cells");
    bounded(limit, async {
        let mut run = Run::start().await.expect("the cluster starts");
        for (number, cell) in cells.iter().enumerate() {
            eprintln!("matrix: {cell} ({} of {})", number + 1, cells.len());
            let outcome = run.cell(*cell).await;
            results.note(*cell, &outcome).expect("results can be kept");
            if let Ok(page) = std::env::var("VIVACE_MATRIX_PAGE") {
                results.publish(&page).expect("the page can be written");
            }
            match outcome {
                Ok(outcome) => eprintln!("matrix: {cell}: {outcome:.1?}"),
                Err(error) => panic!("{cell}: {error:#}"),
            }
            if (number + 1) % AUDIT_EVERY == 0 {
                run.audit(&[]).await.expect("the audit is clean while everything runs");
            }
        }
        let tally = run.finish().await.expect("what is stored is what was acknowledged");
        eprintln!("matrix: {tally:?}\n{}", results.table());
    })
    .await;
}
