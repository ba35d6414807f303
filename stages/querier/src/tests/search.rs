use std::sync::Arc;

use bytes::Bytes;
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutPayload};
use prost::Message;
use tonic::Code;
use vivace_block::schema::{AttributeScope, fixed_fields};
use vivace_block::{
    BlockConfig, Description, DuplicateFilter, OpenBlock, decode_batches, encode_batch, write_block,
};
use vivace_memory::{Governor, Part};
use vivace_model::scan::Projection;
use vivace_model::{ByteSize, Offset, OffsetRange, Spread, TenantId, UnixNanos};
use vivace_proto::internal::search::Kind;
use vivace_proto::internal::search_job_part::Found;
use vivace_proto::internal::{
    BlockRef, FoundTrace, FoundTraces, RecentColumnsPart, RecentSource, ScanBlock, Search, SearchJob,
    SearchJobMetrics, SeriesKind, SummariesKind, TagNamesKind, TagValuesKind, TracesKind,
};
use vivace_proto::otlp::common::any_value::Value;
use vivace_proto::otlp::common::{AnyValue, KeyValue};
use vivace_proto::otlp::resource::Resource;
use vivace_proto::otlp::trace::{ResourceSpans, ScopeSpans, Span, Status, TracesData};

use super::fixture::{FakeIngester, Fixture, PARTITION};
use crate::Config;

/// Spans start so many seconds after this.
const START: u64 = 1_780_000_000_000_000_000;
const SECOND: u64 = 1_000_000_000;

/// A span of these tests.
#[derive(Clone, Debug)]
pub(super) struct Made {
    trace: u8,
    id: u8,
    parent: u8,
    /// Seconds.
    start: u64,
    name: &'static str,
    service: &'static str,
    number: i64,
}

pub(super) fn made(trace: u8, id: u8, parent: u8, start: u64, name: &'static str) -> Made {
    Made { trace, id, parent, start, name, service: "shop", number: i64::from(id) }
}

fn text(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.into(), value: Some(AnyValue { value: Some(value) }), key_strindex: 0 }
}

fn encoded(spans: &[Made]) -> Bytes {
    let resource_spans = spans.iter().map(|made| {
        let start = START + made.start * SECOND;
        let span = Span {
            trace_id: vec![made.trace; 16],
            span_id: vec![made.id; 8],
            parent_span_id: if made.parent == 0 { Vec::new() } else { vec![made.parent; 8] },
            name: made.name.into(),
            start_time_unix_nano: start,
            end_time_unix_nano: start + u64::from(made.id) * 1_000_000,
            attributes: vec![text("number", Value::IntValue(made.number))],
            status: Some(Status { code: i32::from(made.id % 5 == 0) * 2, ..Status::default() }),
            ..Span::default()
        };
        let service = text("service.name", Value::StringValue(made.service.into()));
        ResourceSpans {
            resource: Some(Resource { attributes: vec![service], ..Resource::default() }),
            scope_spans: vec![ScopeSpans { spans: vec![span], ..ScopeSpans::default() }],
            ..ResourceSpans::default()
        }
    });
    TracesData { resource_spans: resource_spans.collect() }.encode_to_vec().into()
}

fn open(spans: &[Made], config: &BlockConfig) -> OpenBlock {
    let mut open = OpenBlock::new(TenantId::default(), config);
    assert_eq!(open.append(&encoded(spans), &mut DuplicateFilter::new(1)).spans, spans.len());
    open
}

/// A block of these spans, stored, in row groups of so many rows.
async fn store(fixture: &Fixture, path: &str, spans: &[Made], rows: usize) -> ScanBlock {
    let config = BlockConfig { row_group_rows_max: rows, ..BlockConfig::default() };
    let description = Description {
        tenant: TenantId::default(),
        partition: PARTITION,
        spread: Spread::all(4),
        offsets: OffsetRange::new(Offset(0), Offset(1)),
        level: 0,
        created: UnixNanos(1),
    };
    let file = write_block(&open(spans, &config).seal(), &description, &config).unwrap();
    let bytes = file.len() as u64;
    fixture.store.put(&Path::from(path), PutPayload::from(file)).await.unwrap();
    let block = BlockRef { path: path.into(), bytes, rows: spans.len() as u64 };
    ScanBlock { block: Some(block), row_groups: Vec::new() }
}

/// All columns of these spans, as an ingester sends them.
pub(super) fn columns(spans: &[Made], through: u64) -> Vec<RecentColumnsPart> {
    let fixed = fixed_fields();
    let names = ["trace_id", "span_id", "parent_span_id", "start_time", "duration_nanos", "name", "kind"];
    let more = ["status_code", "status_message", "nested_set_left", "nested_set_right", "nested_set_parent"];
    let roots = ["root_service_name", "root_span_name", "events", "links"];
    let all: Vec<&'static str> = names.into_iter().chain(more).chain(roots).collect();
    assert!(all.iter().all(|name| fixed.iter().any(|field| field.name() == name)));
    let projection = Projection {
        fixed: all.into_iter().collect(),
        scopes: AttributeScope::ALL.into(),
        ..Projection::default()
    };
    let batch = open(spans, &BlockConfig::default()).scan(&projection, None).unwrap();
    let streams = encode_batch(&batch, 4096).unwrap();
    assert!(streams.iter().all(|stream| !decode_batches(stream.clone()).unwrap().is_empty()));
    streams.into_iter().map(|arrow| RecentColumnsPart { arrow, through_offset: through, spans: 0 }).collect()
}

fn search(query: &str, kind: Kind) -> Search {
    let end = START + 1_000_000 * SECOND;
    Search { tenant: "single-tenant".into(), query: query.into(), start: START, end, kind: Some(kind) }
}

pub(super) fn traces(query: &str, limit: u32) -> Search {
    search(query, Kind::Traces(TracesKind { limit, spans_max: 3 }))
}

fn series(query: &str) -> Search {
    let kind = SeriesKind {
        step: 1_000_000 * SECOND,
        grid_start: START - SECOND,
        intervals: 2,
        exemplars_max: 0,
        series_max: 0,
        instant: false,
    };
    search(query, Kind::Series(kind))
}

pub(super) fn job(search: &Search, blocks: &[ScanBlock]) -> SearchJob {
    SearchJob { search: Some(search.clone()), blocks: blocks.to_vec(), ..SearchJob::default() }
}

pub(super) fn with_recent(job: SearchJob) -> SearchJob {
    let recent = RecentSource { partition: PARTITION.0, from_offset: 0, log_only: false };
    SearchJob { recent: Some(recent), ..job }
}

/// What a job found, its parts together, and what it took.
async fn run(fixture: &Fixture, job: SearchJob) -> (Found, SearchJobMetrics, u64) {
    let mut parts = fixture.search(job).await.unwrap();
    assert_eq!(parts.len(), 1, "these answers are small");
    let part = parts.remove(0);
    (part.found.unwrap(), part.metrics.unwrap(), part.through_offset)
}

async fn found(fixture: &Fixture, job: SearchJob) -> FoundTraces {
    match run(fixture, job).await.0 {
        Found::Traces(traces) => traces,
        other => panic!("{other:?}"),
    }
}

fn ids(found: &FoundTraces) -> Vec<u8> {
    found.traces.iter().map(|trace| trace.trace_id[0]).collect()
}

fn matched(trace: &FoundTrace) -> u32 {
    trace.spansets.iter().map(|spanset| spanset.matched).sum()
}

fn spans_of(trace: &FoundTrace) -> u32 {
    trace.summary.as_ref().unwrap().services.iter().map(|service| service.spans).sum()
}

/// Counts of a count_over_time() without labels.
async fn counted(fixture: &Fixture, job: SearchJob) -> u64 {
    match run(fixture, job).await.0 {
        Found::Series(series) => series.series.iter().flat_map(|series| &series.counts).sum(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_newest_traces_come_first_and_are_told_of_as_a_whole() {
    let fixture = Fixture::new(Config::default(), &[]).await;
    // Row groups of two rows: traces 1 and 3 are cut.
    let older =
        [made(1, 1, 0, 10, "a"), made(1, 2, 1, 11, "b"), made(1, 3, 1, 12, "b"), made(2, 1, 0, 13, "c")];
    let newer =
        [made(3, 1, 0, 20, "b"), made(3, 2, 1, 21, "x"), made(3, 3, 1, 22, "y"), made(4, 1, 0, 23, "c")];
    let blocks = [store(&fixture, "newer", &newer, 2).await, store(&fixture, "older", &older, 2).await];
    let all = found(&fixture, job(&traces("{ name = `b` }", 10), &blocks)).await;
    assert_eq!(ids(&all), [3, 1]);
    let told: Vec<_> = all.traces.iter().map(|trace| (matched(trace), spans_of(trace))).collect();
    assert_eq!(told, [(1, 3), (2, 3)], "spans that do not match are told of, wherever they lie");
    assert_eq!(all.traces[1].summary.as_ref().unwrap().start, START + 10 * SECOND);
    assert_eq!(all.traces[1].summary.as_ref().unwrap().root.as_ref().unwrap().name, "a");
    let one = found(&fixture, job(&traces("{ name = `b` }", 1), &blocks)).await;
    assert_eq!((ids(&one), one.more), (vec![3], true));
    let (_, metrics, _) = run(&fixture, job(&traces("{ name = `nowhere` }", 10), &blocks)).await;
    assert_eq!((metrics.blocks_inspected, metrics.blocks_skipped), (2, 2));
    assert_eq!((metrics.row_groups_inspected, metrics.row_groups_skipped), (0, 4));
    assert_eq!(metrics.spans_inspected, 0);
}

#[tokio::test]
async fn parts_that_do_not_match_are_told_of_whatever_the_order_of_traces() {
    let fixture = Fixture::new(Config::default(), &[]).await;
    let matching: Vec<_> = (1..9).map(|trace| made(trace, 1, 0, 50 + u64::from(trace), "b")).collect();
    let others: Vec<_> = (0..24).map(|at| made(1 + at / 3, 2 + at % 3, 1, 40 + u64::from(at), "x")).collect();
    let blocks = [store(&fixture, "1", &matching, 100).await, store(&fixture, "2", &others, 100).await];
    let all = found(&fixture, job(&traces("{ name = `b` }", 10), &blocks)).await;
    let told: Vec<_> = all.traces.iter().map(|trace| (trace.trace_id[0], spans_of(trace))).collect();
    assert_eq!(told, [(8, 4), (7, 4), (6, 4), (5, 4), (4, 4), (3, 4), (2, 4), (1, 4)]);
    let trace_ids = [7, 2, 2, 5].map(|id| vec![id; 16]).into();
    let asked = Search { start: 0, end: 0, ..search("", Kind::Summaries(SummariesKind { trace_ids })) };
    let summaries = found(&fixture, job(&asked, &blocks)).await;
    assert_eq!(summaries.traces.iter().map(spans_of).collect::<Vec<_>>(), [4, 4, 4]);
}

#[tokio::test]
async fn blocks_older_than_the_newest_traces_are_not_read() {
    let fixture = Fixture::new(Config { search_job_pieces_max: 1, ..Config::default() }, &[]).await;
    let newer: Vec<_> = (1..9).map(|trace| made(trace, 1, 0, 100 + u64::from(trace), "a")).collect();
    let older: Vec<_> = (11..19).map(|trace| made(trace, 1, 0, u64::from(trace), "a")).collect();
    let mut blocks = vec![store(&fixture, "newer", &newer, 100).await];
    for number in 0..8 {
        blocks.push(store(&fixture, &format!("older {number}"), &older, 100).await);
    }
    let (found, metrics, _) = run(&fixture, job(&traces("{ }", 3), &blocks)).await;
    let Found::Traces(found) = found else { panic!("{found:?}") };
    assert_eq!(ids(&found), [8, 7, 6]);
    // Some are read ahead.
    assert!(metrics.row_groups_skipped >= 5, "{metrics:?}");
    assert!(found.more, "nobody looked at what is older");
}

#[tokio::test]
async fn chosen_row_groups_are_looked_at_alone() {
    let fixture = Fixture::new(Config::default(), &[]).await;
    let spans: Vec<_> = (1..7).map(|trace| made(trace, 1, 0, 1, "a")).collect();
    let mut block = store(&fixture, "block", &spans, 2).await;
    block.row_groups = vec![2, 0];
    assert_eq!(
        counted(&fixture, job(&series("{ } | count_over_time()"), std::slice::from_ref(&block))).await,
        4
    );
    block.row_groups = vec![3];
    let status = fixture.search(job(&series("{ } | count_over_time()"), &[block])).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn each_span_counts_once_wherever_it_is() {
    let stored: Vec<_> = (1..20).map(|id| made(1, id, 0, u64::from(id), "a")).collect();
    let held: Vec<_> = (20..25).map(|id| made(1, id, 0, u64::from(id), "a")).collect();
    let (answered, through) = (held.clone(), 5);
    let ingester = FakeIngester::of_columns(move |_| Ok(columns(&answered, through)));
    let fixture = Fixture::new(
        Config { catch_up_wait: std::time::Duration::ZERO, ..Config::default() },
        &[("local", &ingester)],
    )
    .await;
    fixture.announce(Some("local")).await;
    fixture.append_values(held.iter().map(|made| encoded(std::slice::from_ref(made)))).await;
    let tail: Vec<_> = (25..32).map(|id| made(1, id, 0, u64::from(id), "b")).collect();
    fixture.append_values(tail.iter().map(|made| encoded(std::slice::from_ref(made)))).await;
    let block = store(&fixture, "block", &stored, 4).await;
    let counting = series("{ } | count_over_time()");
    let whole = with_recent(job(&counting, std::slice::from_ref(&block)));
    assert_eq!(counted(&fixture, whole).await, 31);
    let (_, metrics, through) = run(&fixture, with_recent(job(&counting, &[]))).await;
    assert_eq!((through, metrics.spans_inspected), (12, 12));
    assert_eq!(
        counted(&fixture, with_recent(job(&series("{ name = `b` } | count_over_time()"), &[]))).await,
        7
    );
    // The owner left aside.
    let mut log_only = with_recent(job(&counting, &[block]));
    log_only.recent.as_mut().unwrap().log_only = true;
    assert_eq!(counted(&fixture, log_only).await, 31);
}

#[tokio::test]
async fn values_of_an_attribute_are_found() {
    let fixture = Fixture::new(Config::default(), &[]).await;
    let block = store(&fixture, "block", &[made(1, 1, 0, 1, "a"), made(1, 2, 1, 2, "b")], 100).await;
    let kind = Kind::TagValues(TagValuesKind { tag: "name".into(), values_max: 10 });
    let (found, ..) = run(&fixture, job(&search("", kind), &[block])).await;
    let Found::Tags(tags) = found else { panic!("{found:?}") };
    assert_eq!(tags.values.len(), 2);
}

#[tokio::test]
async fn names_of_attributes_are_found_with_and_without_a_query() {
    let fixture = Fixture::new(Config::default(), &[]).await;
    let spans: Vec<_> = (1..10).map(|id| made(1, id, 0, u64::from(id), "a")).collect();
    let block = store(&fixture, "block", &spans, 4).await;
    let mut answers = Vec::new();
    for query in ["", "{ span.number > 3 }"] {
        let kind = Kind::TagNames(TagNamesKind { scope: String::new(), names_max: 10 });
        let (found, ..) = run(&fixture, job(&search(query, kind), std::slice::from_ref(&block))).await;
        let Found::Tags(tags) = found else { panic!("{found:?}") };
        let scopes = tags.scopes.into_iter().filter(|scope| !scope.tags.is_empty());
        answers.push(scopes.map(|scope| (scope.name, scope.tags)).collect::<Vec<_>>());
    }
    let expected = [
        ("resource".to_owned(), vec!["service.name".to_owned()]),
        ("span".to_owned(), vec!["number".to_owned()]),
    ];
    assert_eq!(answers, [expected.clone(), expected]);
}

#[tokio::test]
async fn what_is_known_of_given_traces_is_told() {
    let fixture = Fixture::new(Config::default(), &[]).await;
    let first = [made(1, 1, 0, 1, "a"), made(2, 1, 0, 2, "b"), made(2, 2, 1, 3, "b"), made(3, 1, 0, 2, "c")];
    let second = [made(2, 3, 1, 9, "d"), made(4, 1, 0, 2, "b")];
    let blocks = [store(&fixture, "1", &first, 2).await, store(&fixture, "2", &second, 2).await];
    let trace_ids = vec![vec![2; 16], vec![3; 16], vec![9; 16]];
    let asked = Search { start: 0, end: 0, ..search("", Kind::Summaries(SummariesKind { trace_ids })) };
    let found = found(&fixture, job(&asked, &blocks)).await;
    let told: Vec<_> = found.traces.iter().map(|trace| (trace.trace_id[0], spans_of(trace))).collect();
    assert_eq!(told, [(3, 1), (2, 3)]);
}

#[tokio::test]
async fn errors_say_what_to_do() {
    let fixture = Fixture::new(Config::default(), &[]).await;
    let block = store(&fixture, "block", &[made(1, 1, 0, 1, "a")], 100).await;
    let code = async |job: SearchJob| fixture.search(job).await.unwrap_err().code();
    assert_eq!(code(job(&traces("{ name = ", 1), &[])).await, Code::InvalidArgument);
    assert_eq!(code(SearchJob::default()).await, Code::InvalidArgument);
    let search = traces("{ name = `a` }", 1);
    let tenant = Search { tenant: "a/b".into(), ..search.clone() };
    assert_eq!(code(job(&tenant, &[])).await, Code::InvalidArgument);
    let mut gone = block.clone();
    gone.block.as_mut().unwrap().path = "gone".into();
    assert_eq!(code(job(&search, &[block.clone(), gone])).await, Code::FailedPrecondition);
    let rubbish = vec![0; usize::try_from(block.block.as_ref().unwrap().bytes).unwrap()];
    fixture.store.put(&Path::from("rubbish"), PutPayload::from(rubbish)).await.unwrap();
    let mut damaged = block;
    damaged.block.as_mut().unwrap().path = "rubbish".into();
    assert_eq!(code(job(&search, &[damaged])).await, Code::DataLoss);
}

#[tokio::test]
async fn too_much_recent_data_is_refused() {
    let config = Config { search_recent_bytes_max: ByteSize(2000), ..Config::default() };
    let fixture = Fixture::new(config, &[]).await;
    let spans: Vec<_> = (1..200).map(|id| made(1, id, 0, u64::from(id), "a")).collect();
    fixture.append_values([encoded(&spans)]).await;
    let status = fixture.search(with_recent(job(&series("{ } | rate()"), &[]))).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange);
    assert!(status.message().contains("2000 bytes"), "{}", status.message());
}

/// Random traces, by a seed.
fn random_spans(mut seed: u64) -> Vec<Made> {
    let mut dice = move |sides: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % sides
    };
    let mut spans = Vec::new();
    for trace in 1..40 {
        let (count, begin) = (1 + dice(11) as u8, dice(1000));
        for id in 1..=count {
            let parent = if id == 1 || dice(12) == 0 { 0 } else { 1 + dice(u64::from(id) - 1) as u8 };
            let name = ["a", "b", "c", "d"][dice(4) as usize];
            let service = ["shop", "cart", "bank"][dice(3) as usize];
            let start = begin + u64::from(id) + dice(3);
            spans.push(Made { service, ..made(trace, id, parent, start, name) });
        }
    }
    spans
}

const WHOLES: [&str; 12] = [
    "{ name = `a` } >> { name = `b` }",
    "{ name = `a` } > { name = `b` }",
    "{ resource.service.name = `bank` } << { name = `c` }",
    "{ name = `a` } ~ { name = `b` }",
    "{ name = `a` } && { name = `d` }",
    "{ name = `a` } !>> { name = `b` }",
    "{ name = `a` } | count() > 2",
    "{ } | avg(duration) > 4ms",
    "{ } | by(resource.service.name) | count() > 1",
    "{ rootName = `a` && name = `b` }",
    "{ traceDuration > 8s }",
    "{ span.number = 11 } << { name = `b` }",
];

/// The same spans in one block, and all over the place.
#[tokio::test]
async fn too_many_groups_end_a_job() {
    let config = Config { search_group_bytes_max: ByteSize(4096), ..Config::default() };
    let memory = Governor::unlimited();
    let fixture = Fixture::within(Arc::clone(&memory), config, &[]).await;
    let spans: Vec<_> = (1..200).map(|id| made(1, id, 0, u64::from(id), "a")).collect();
    let block = store(&fixture, "block", &spans, 1000).await;
    let by = |query: &str| job(&series(query), std::slice::from_ref(&block));
    assert_eq!(counted(&fixture, by("{ } | count_over_time() by(resource.service.name)")).await, 199);
    let status = fixture.search(by("{ } | count_over_time() by(span.number)")).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange, "{}", status.message());
    assert!(status.message().contains("SEARCH_GROUP_BYTES_MAX"), "{}", status.message());
    assert!(memory.peak(Part::Groups) > 0);
    assert_eq!(memory.used(Part::Groups), 0);
}

#[tokio::test(start_paused = true)]
async fn recent_data_counts_as_much_as_it_takes() {
    let spans: Vec<Made> = (1..200).map(|id| made(id, 1, 0, 1, "a")).collect();
    let sent: usize = columns(&spans, 1).iter().map(|part| part.arrow.len()).sum();
    // All columns of a message lie in it, and it counts once, not thirty times. These messages are small, so that what
    // describes their arrays weighs as much.
    let config = Config { search_recent_bytes_max: ByteSize(10 * sent as u64), ..Config::default() };
    let ingester = FakeIngester::of_columns(move |_| Ok(columns(&spans, 1)));
    let fixture = Fixture::new(config, &[("local", &ingester)]).await;
    fixture.announce(Some("local")).await;
    let names = Kind::TagNames(TagNamesKind { scope: String::new(), names_max: 100 });
    let (found, ..) = run(&fixture, with_recent(job(&search("{ }", names), &[]))).await;
    let Found::Tags(tags) = &found else { panic!("{found:?}") };
    assert!(tags.scopes.iter().any(|scope| scope.tags.contains(&"service.name".to_owned())), "{tags:?}");
}

#[tokio::test]
async fn wholes_do_not_depend_on_how_traces_are_cut() {
    for seed in 0..3 {
        let spans = random_spans(seed);
        let place = |index: usize| (index as u64 * 7 + seed * 3 + index as u64 / 5) % 5;
        let at = |wanted: u64| -> Vec<Made> {
            let there = spans.iter().enumerate().filter(|(index, _)| place(*index) == wanted);
            there.map(|(_, made)| made.clone()).collect()
        };
        let (held, tail) = (at(3), at(4));
        let answered = held.clone();
        let ingester = FakeIngester::of_columns(move |_| Ok(columns(&answered, 1)));
        let config = Config {
            search_rows_max: 30,
            search_job_pieces_max: 2,
            catch_up_wait: std::time::Duration::ZERO,
            ..Config::default()
        };
        let fixture = Fixture::new(config, &[("local", &ingester)]).await;
        fixture.announce(Some("local")).await;
        fixture.append_values([encoded(&held), encoded(&tail)]).await;
        let one = store(&fixture, "one", &spans, 100_000).await;
        let small = store(&fixture, "small", &spans, 5).await;
        let mut cut = Vec::new();
        for block in 0..3 {
            cut.push(store(&fixture, &format!("cut {block}"), &at(block), 7).await);
        }
        for read in [(0, 0), (START + 300 * SECOND, START + 700 * SECOND)] {
            for query in WHOLES {
                let asked = |blocks: &[ScanBlock]| SearchJob {
                    read_start: read.0,
                    read_end: read.1,
                    ..job(&traces(query, 100), blocks)
                };
                let expected = found(&fixture, asked(std::slice::from_ref(&one))).await;
                let groups = found(&fixture, asked(std::slice::from_ref(&small))).await;
                assert_eq!(groups, expected, "{query} in small row groups, seed {seed}, read {read:?}");
                let pieces = found(&fixture, with_recent(asked(&cut))).await;
                assert_eq!(pieces, expected, "{query} in pieces, seed {seed}, read {read:?}");
            }
        }
        let asked = |blocks: &[ScanBlock]| job(&series("{ name = `a` } >> { } | count_over_time()"), blocks);
        let expected = counted(&fixture, asked(&[one])).await;
        assert!(expected > 0);
        assert_eq!(counted(&fixture, with_recent(asked(&cut))).await, expected);
    }
}

#[tokio::test]
async fn a_search_that_is_no_longer_wanted_gives_its_place_back() {
    let config = Config { jobs_max: 1, jobs_waiting_max: 0, ..Config::default() };
    let fixture = Arc::new(Fixture::new(config, &[]).await);
    let block = store(&fixture, "block", &random_spans(1), 5).await;
    for _ in 0..3 {
        let asked = fixture.search(job(&traces("{ } >> { }", 5), std::slice::from_ref(&block)));
        let mut asked = Box::pin(asked);
        assert!(futures::poll!(&mut asked).is_pending());
        drop(asked);
    }
    found(&fixture, job(&traces("{ } >> { }", 5), &[block])).await;
}
