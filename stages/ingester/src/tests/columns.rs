use std::collections::BTreeMap;
use std::time::Duration;

use arrow::array::{AsArray, RecordBatch};
use futures::TryStreamExt;
use tonic::{Code, Request, Status};
use vivace_block::decode_batches;
use vivace_block::schema::{SPAN_ID, TRACE_ID};
use vivace_ledger::faults::Faults;
use vivace_proto::internal::recent_server::Recent;
use vivace_proto::internal::search::Kind;
use vivace_proto::internal::{
    RecentColumnsRequest, Search, SeriesKind, SummariesKind, TagValuesKind, TracesKind,
};
use vivace_proto::otlp::trace::Span;

use crate::Config;
use crate::testing::{P, Rig, config, record_of, span, value};

const START: u64 = 1_780_000_000_000_000_000;

/// What came back: numbers of spans by the first byte of their trace, through where, and how many were looked at.
#[derive(Debug, PartialEq)]
struct Answered {
    spans: BTreeMap<u8, Vec<u64>>,
    through: u64,
    looked_at: u64,
}

fn search(query: &str, kind: Kind) -> RecentColumnsRequest {
    let search = Search {
        tenant: "single-tenant".into(),
        query: query.into(),
        start: START,
        end: START + 1_000_000,
        kind: Some(kind),
    };
    RecentColumnsRequest { search: Some(search), partition: P.0, ..RecentColumnsRequest::default() }
}

fn series(query: &str) -> RecentColumnsRequest {
    let kind = SeriesKind {
        step: 1_000_000,
        grid_start: START - 1,
        intervals: 2,
        exemplars_max: 0,
        series_max: 0,
        instant: false,
    };
    search(query, Kind::Series(kind))
}

fn traces(query: &str, limit: u32) -> RecentColumnsRequest {
    search(query, Kind::Traces(TracesKind { limit, spans_max: 3 }))
}

fn add(batch: &RecordBatch, spans: &mut BTreeMap<u8, Vec<u64>>) {
    let ids = batch.column_by_name(TRACE_ID).unwrap().as_fixed_size_binary();
    let numbers = batch.column_by_name(SPAN_ID).map(|column| column.as_fixed_size_binary());
    for row in 0..batch.num_rows() {
        let number = |ids: &arrow::array::FixedSizeBinaryArray| {
            u64::from_be_bytes(ids.value(row).try_into().unwrap()) - 1
        };
        spans.entry(ids.value(row)[0]).or_default().push(numbers.map_or(0, number));
    }
}

async fn ask(rig: &Rig, from: u64, request: &RecentColumnsRequest) -> Result<Answered, Status> {
    let request = RecentColumnsRequest { from_offset: from, ..request.clone() };
    let stream = rig.recent.columns(Request::new(request)).await?.into_inner();
    let parts: Vec<_> = stream.try_collect().await?;
    let through = parts.first().expect("there is always a part").through_offset;
    let mut answered = Answered { spans: BTreeMap::new(), through, looked_at: 0 };
    for part in parts {
        assert_eq!(part.through_offset, through);
        answered.looked_at += part.spans;
        if !part.arrow.is_empty() {
            decode_batches(part.arrow).unwrap().iter().for_each(|batch| add(batch, &mut answered.spans));
        }
    }
    answered.spans.values_mut().for_each(|numbers| numbers.sort_unstable());
    Ok(answered)
}

fn count(answered: &Answered) -> usize {
    answered.spans.values().map(Vec::len).sum()
}

/// A span of another trace.
fn of_trace(trace: u8, number: u64) -> Span {
    Span { trace_id: vec![trace; 16], ..span(number) }
}

#[tokio::test(start_paused = true)]
async fn all_pieces_answer_from_every_boundary_exactly() {
    let rig = Rig::start(config()).await;
    rig.append_spans(0..10).await;
    rig.listed(10).await;
    rig.store.set_faults(Faults::OUTAGE);
    rig.append_spans(10..20).await;
    rig.consumed(0, 20).await;
    rig.append_spans(20..25).await;
    rig.consumed(0, 25).await;
    let counting = series("{ } | count_over_time()");
    for (from, spans) in [(0, 25), (10, 15), (20, 5)] {
        let answered = ask(&rig, from, &counting).await.unwrap();
        assert_eq!((count(&answered), answered.looked_at, answered.through), (spans, spans as u64, 25));
    }
    for from in [5, 26] {
        assert_eq!(ask(&rig, from, &counting).await.unwrap_err().code(), Code::FailedPrecondition);
    }
    let whole = ask(&rig, 0, &traces("{ } >> { }", 10)).await.unwrap();
    assert_eq!(whole.spans[&7], (0..25).collect::<Vec<_>>());
    let refused = rig.metrics.recent_refused.get();
    let elsewhere = RecentColumnsRequest { partition: 3, ..counting };
    assert_eq!(ask(&rig, 0, &elsewhere).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(rig.metrics.recent_refused.get(), refused + 1);
}

#[tokio::test(start_paused = true)]
async fn a_question_that_takes_too_long_ends_and_names_the_setting() {
    let rig = Rig::start(Config { answer_cpu_max: Duration::from_nanos(1), ..config() }).await;
    rig.append_spans(0..5).await;
    // No question is answered here, so the records are seen in what was counted.
    crate::testing::wait_for("all records", async || (rig.metrics.spans.get() == 5).then_some(())).await;
    let refused = ask(&rig, 0, &series("{ name =~ `span .*` } | rate()")).await.unwrap_err();
    assert_eq!(refused.code(), Code::OutOfRange);
    assert!(refused.message().contains("VIVACE_INGESTER_ANSWER_CPU_MAX"), "{}", refused.message());
}

#[tokio::test(start_paused = true)]
async fn only_spans_that_match_go_out() {
    let rig = Rig::start(config()).await;
    rig.append_spans(0..25).await;
    rig.consumed(0, 25).await;
    let found = ask(&rig, 0, &series("{ name = `span 7` } | rate()")).await.unwrap();
    assert_eq!((count(&found), found.looked_at, found.through), (1, 25, 25));
    let nothing = ask(&rig, 0, &series("{ name = `no such` } | rate()")).await.unwrap();
    assert_eq!((count(&nothing), nothing.looked_at, nothing.through), (0, 25, 25));
    let values = search("", Kind::TagValues(TagValuesKind { tag: "name".into(), values_max: 100 }));
    assert_eq!(count(&ask(&rig, 0, &values).await.unwrap()), 25);
}

#[tokio::test(start_paused = true)]
async fn of_the_newest_traces_all_spans_go_out() {
    let rig = Rig::start(config()).await;
    // Traces 1 to 5, five spans each, over sealed pieces and the open one; the third of each is another one.
    for number in 0..25_u64 {
        let trace = (number % 5 + 1) as u8;
        let name = if number / 5 == 2 { "wanted" } else { "other" };
        let span = Span { name: name.into(), ..of_trace(trace, number) };
        rig.append(vec![record_of(value(vec![span]), None)]).await;
    }
    let wanted = traces("{ name = `wanted` }", 2);
    let answered = crate::testing::wait_for("all records", async || {
        let answered = ask(&rig, 0, &wanted).await.ok()?;
        (answered.through == 25).then_some(answered)
    })
    .await;
    let expected = [(4, vec![3, 8, 13, 18, 23]), (5, vec![4, 9, 14, 19, 24])];
    assert_eq!(answered.spans, expected.clone().into());
    assert_eq!(answered.looked_at, 25);
    let summaries = SummariesKind { trace_ids: vec![vec![4; 16], vec![9; 16]] };
    let summaries = ask(&rig, 0, &search("", Kind::Summaries(summaries))).await.unwrap();
    assert_eq!(summaries.spans, [expected[0].clone()].into());
}

#[tokio::test(start_paused = true)]
async fn traces_as_wholes_go_out_if_any_span_is_in_the_time() {
    let rig = Rig::start(config()).await;
    let spans = vec![of_trace(1, 1), of_trace(1, 50), of_trace(2, 60), of_trace(3, 2)];
    rig.append(vec![record_of(value(spans), None)]).await;
    crate::testing::wait_for("the record", async || {
        ask(&rig, 0, &series("{ } | rate()")).await.ok().filter(|it| it.through == 1)
    })
    .await;
    let mut request = traces("{ } >> { }", 10);
    (request.read_start, request.read_end) = (START + 40, START + 60);
    let answered = ask(&rig, 0, &request).await.unwrap();
    assert_eq!(answered.spans, [(1, vec![1, 50])].into());
    let one_by_one = RecentColumnsRequest { read_start: 1, read_end: 2, ..series("{ } | rate()") };
    assert_eq!(count(&ask(&rig, 0, &one_by_one).await.unwrap()), 4);
}

#[tokio::test(start_paused = true)]
async fn tenants_are_apart_and_queries_are_checked() {
    let rig = Rig::start(config()).await;
    rig.append(vec![record_of(value(vec![span(0)]), Some("a")), record_of(value(vec![span(1)]), None)]).await;
    crate::testing::wait_for("the records", async || {
        ask(&rig, 0, &series("{ } | rate()")).await.ok().filter(|it| it.through == 2)
    })
    .await;
    let of = |tenant: &str, query: &str| {
        let mut request = series(query);
        request.search.as_mut().unwrap().tenant = tenant.into();
        request
    };
    for (tenant, spans) in [("a", 1), ("single-tenant", 1), ("b", 0)] {
        let answered = ask(&rig, 0, &of(tenant, "{ } | rate()")).await.unwrap();
        assert_eq!((count(&answered), answered.through), (spans, 2), "{tenant}");
    }
    for wrong in [of("a/b", "{ } | rate()"), of("a", "{ name = "), of("a", "{ }")] {
        assert_eq!(ask(&rig, 0, &wrong).await.unwrap_err().code(), Code::InvalidArgument);
    }
    let empty = RecentColumnsRequest { partition: P.0, ..RecentColumnsRequest::default() };
    assert_eq!(ask(&rig, 0, &empty).await.unwrap_err().code(), Code::InvalidArgument);
}
