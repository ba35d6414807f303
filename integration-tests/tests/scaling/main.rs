//! Scaling: ingesters come and go under load, on a real broker and S3 server, with 16 partitions. At each move the
//! partitions that change hands are counted, and how long each was without fresh data: how long at worst a marker span took
//! from its acknowledgement to an answer that has it. Answers may take time meanwhile; none may be wrong.
//!
//! `VIVACE_SCALING=long` takes the steps of `docs/scaling.md` with the settings that Vivace has by itself, and
//! `VIVACE_SCALING_PAGE` names the page that gets the table; without them it is from one ingester to two and back.

mod markers;
mod owners;
mod run;
mod table;

use std::time::Duration;

use vivace_integration_tests::{bounded, publish_table};

use crate::run::{Form, Move, Run};

/// For one step, and for the start and the end of a run.
const STEP_LIMIT: Duration = Duration::from_secs(120);
/// The worst that a marker may take in the normal lane, on machines of any speed. `make scaling` tells the real figure.
const DELAY_MAX: Duration = Duration::from_secs(20);
/// The same for an ingester that is asked to stop.
const HANDOVER_MAX: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the binary, Kafka and S3"]
async fn ingesters_come_and_go_and_answers_stay_exact() {
    let long = std::env::var("VIVACE_SCALING").is_ok_and(|form| form == "long");
    let form = if long { Form::LONG } else { Form::SHORT };
    let limit = STEP_LIMIT * u32::try_from(form.steps.len() + 2).expect("few steps");
    bounded(limit, Box::pin(take(form))).await;
}

async fn take(form: Form) {
    let mut run = Run::start(form).await.expect("the cluster starts");
    let calm = run.calm().await.expect("answers are right while nothing happens");
    let mut moves = Vec::new();
    for step in form.steps {
        let moved = run.step(*step).await.unwrap_or_else(|error| panic!("{step:?}: {error:#}"));
        eprintln!("scaling: {moved:.2?}");
        moves.push(moved);
    }
    let exact = run.finish().await.expect("what is stored is what was acknowledged");
    let text = table::text(&form, &calm, &moves, &exact);
    eprintln!("{text}");
    if let Ok(page) = std::env::var("VIVACE_SCALING_PAGE") {
        publish_table(&page, &text).expect("the page can be written");
    }
    for moved in &moves {
        check(moved, form.partitions as usize);
    }
    assert!(exact.counts > 0 && exact.tally.counts > 0, "nothing was counted: {exact:?}");
}

fn check(moved: &Move, partitions: usize) {
    // Half of them, from one ingester to two and back; the more ingesters, the fewer.
    let fair = partitions / moved.ingesters.0.max(moved.ingesters.1);
    assert!((fair..=partitions).contains(&moved.changed.len()), "as many move as must: {moved:?}");
    assert!(moved.worst() < DELAY_MAX, "{moved:?}");
    assert!(moved.handovers.iter().all(|took| *took < HANDOVER_MAX), "{moved:?}");
}
