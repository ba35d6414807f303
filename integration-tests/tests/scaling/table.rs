//! The figures of a run as a table in Markdown.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use vivace_model::{Clock, Partition, SystemClock};

use crate::run::{Exact, Form, Move, Step};

/// All that is to be told of a run.
pub(crate) fn text(
    form: &Form,
    calm: &BTreeMap<Partition, Duration>,
    moves: &[Move],
    exact: &Exact,
) -> String {
    let mut text = format!(
        "Last run: {}. {} partitions, {} spans per second.\n\n\
        | ingesters | by | partitions moved | all served after | SIGTERM to end | moved, without fresh data: p50 | p99 | max \
        | not moved: max | errors |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n",
        SystemClock.now().date(),
        form.partitions,
        form.spans_per_second,
    );
    let still: Vec<_> = calm.values().copied().collect();
    writeln!(text, "| 1 | nothing | 0 | | | | | | {} | |", seconds(&still, 1.0)).expect("a string takes all");
    for moved in moves {
        let (went, stayed): (Vec<_>, Vec<_>) =
            moved.delays.iter().partition(|(partition, _)| moved.changed.contains(partition));
        let [went, stayed] =
            [went, stayed].map(|delays| delays.into_iter().map(|(_, it)| *it).collect::<Vec<_>>());
        let (before, after) = moved.ingesters;
        let by = match moved.step {
            Step::Start(_) => "start",
            Step::Stop(_) => "SIGTERM",
        };
        let line = [
            format!("{before} → {after}"),
            by.to_owned(),
            moved.changed.len().to_string(),
            seconds(&[moved.settled], 1.0),
            moved.handovers.iter().map(|took| seconds(&[*took], 1.0)).collect::<Vec<_>>().join(", "),
            seconds(&went, 0.5),
            seconds(&went, 0.99),
            seconds(&went, 1.0),
            seconds(&stayed, 1.0),
            moved.errors.to_string(),
        ];
        writeln!(text, "| {} |", line.join(" | ")).expect("a string takes all");
    }
    let all: Vec<_> = moves.iter().flat_map(gone).collect();
    let [p50, p99, max] = [0.5, 0.99, 1.0].map(|part| seconds(&all, part));
    let Exact { counts, tally, markers, stored } = exact;
    writeln!(
        text,
        "\nOf all {} moves of a partition: without fresh data for {p50} (p50), {p99} (p99), {max} (max).\n\n\
        Meanwhile {markers} markers, {counts} counts of all spans, and of the prober {} counts, {} traces by id and {} by \
        search were asked for: every answer was exact. At the end {stored} spans were in blocks, each once, and `vivace audit \
        --deep` was clean.",
        all.len(),
        tally.counts,
        tally.found_by_id,
        tally.found_by_search,
    )
    .expect("a string takes all");
    text
}

/// The delays of the partitions that moved.
fn gone(moved: &Move) -> impl Iterator<Item = Duration> {
    moved.changed.iter().filter_map(|partition| moved.delays.get(partition)).copied()
}

/// A part of them is no longer than that; nothing if there are none.
fn seconds(times: &[Duration], part: f64) -> String {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let rank = (sorted.len() as f64 * part).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).map_or_else(String::new, |time| format!("{:.2} s", time.as_secs_f64()))
}

#[test]
fn parts_are_by_nearest_rank() {
    let times: Vec<_> = (1..=200).rev().map(Duration::from_secs).collect();
    assert_eq!([0.5, 0.99, 1.0].map(|part| seconds(&times, part)), ["100.00 s", "198.00 s", "200.00 s"]);
    assert_eq!((seconds(&times[199..], 0.5), seconds(&[], 0.5)), ("1.00 s".to_owned(), String::new()));
}
