//! What queries, and a query-frontend without any, ask of the store.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use vivace_block::ReaderConfig;
use vivace_log::NewRecord;
use vivace_log::memory::Faults;
use vivace_model::{ByteSize, Offset, Partition, partition_of};
use vivace_proto::otlp::common::any_value::Value;
use vivace_proto::otlp::trace::TracesData;
use vivace_sample::Shop;

use super::counting::CountingStore;
use super::fixture::{Fixture, LEDGER, NOW, Options, PARTITIONS, span, traces};

const BLOCKS: usize = 100;
const TRACES_PER_BLOCK: usize = 20;
/// Where the table is, and where it begins.
const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/store-requests.md");
const MARK: &str = "<!-- table -->\n\n";

/// Blocks of the last minutes, in a store that counts.
struct Stored {
    store: Arc<CountingStore>,
    request_id: String,
    trace_id: String,
}

async fn stored() -> Stored {
    let store = Arc::<CountingStore>::default();
    let writer = Fixture::new(Options { store: Some(Arc::clone(&store) as _), ..Options::default() }).await;
    let mut shop = Shop::new(vivace_sample::Options {
        start: NOW.0 - 900_000_000_000,
        trace_interval: Duration::from_millis(300),
        ..vivace_sample::Options::default()
    });
    let mut waiting: Vec<Vec<TracesData>> = vec![Vec::new(); PARTITIONS as usize];
    let (mut blocks, mut request_id, mut trace_id) = (0, String::new(), String::new());
    while blocks < BLOCKS {
        let trace = shop.next_trace();
        let id = spans(&trace).next().unwrap().trace_id.clone();
        let partition = partition_of(id.as_slice().try_into().unwrap(), PARTITIONS);
        let own = &mut waiting[partition.0 as usize];
        own.push(trace);
        if own.len() < TRACES_PER_BLOCK {
            continue;
        }
        let full = std::mem::take(own);
        trace_id = id.iter().map(|byte| format!("{byte:02x}")).collect();
        request_id = full.iter().find_map(request_id_of).unwrap_or(request_id);
        let resource_spans = full.into_iter().flat_map(|trace| trace.resource_spans).collect();
        writer.ingest(partition, 1, &TracesData { resource_spans }).await;
        blocks += 1;
    }
    Stored { store, request_id, trace_id }
}

fn spans(trace: &TracesData) -> impl Iterator<Item = &vivace_proto::otlp::trace::Span> {
    let scopes = trace.resource_spans.iter().flat_map(|resource| &resource.scope_spans);
    scopes.flat_map(|scope| &scope.spans)
}

fn request_id_of(trace: &TracesData) -> Option<String> {
    let attribute = spans(trace).flat_map(|span| &span.attributes).find(|it| it.key == "request.id")?;
    match attribute.value.as_ref()?.value.as_ref()? {
        Value::StringValue(value) => Some(value.clone()),
        _ => None,
    }
}

/// Name and path of each query of the list.
fn queries(stored: &Stored) -> Vec<(&'static str, String)> {
    let range = format!("start={}&end={}", NOW.0 / 1_000_000_000 - 1000, NOW.0 / 1_000_000_000);
    let encoded = |query: &str| utf8_percent_encode(query, NON_ALPHANUMERIC).to_string();
    let search = |query: &str| format!("/api/search?{range}&q={}", encoded(query));
    let series = |query: &str, step: &str| {
        format!("/api/metrics/query_range?{range}&step={step}&q={}", encoded(query))
    };
    let by_service = "{ } | rate() by (resource.service.name)";
    let quantiles = "{ } | quantile_over_time(duration, 0.5, 0.9) by (resource.service.name)";
    let below = r#"{ resource.service.name = "frontend" } >> { resource.service.name = "payment" && status = error }"#;
    let two = r#"{ span.shop.order.total > 399 && span.shop.order.country = "JP" }"#;
    vec![
        ("a trace by its id", format!("/api/traces/{}", stored.trace_id)),
        ("`{ resource.service.name = \"checkout\" }`", search(r#"{ resource.service.name = "checkout" }"#)),
        (
            "`{ span.request.id = \"…\" }`, found",
            search(&format!(r#"{{ span.request.id = "{}" }}"#, stored.request_id)),
        ),
        ("`{ span.request.id = \"…\" }`, not there", search(r#"{ span.request.id = "not-there" }"#)),
        ("`{ status = error }`", search("{ status = error }")),
        ("`{ duration > 900ms }`", search("{ duration > 900ms }")),
        ("`{ span.http.route =~ \"/.*product.*\" }`", search(r#"{ span.http.route =~ "/.*product.*" }"#)),
        ("`{ span.shop.order.total > 399 && … }`", search(two)),
        ("`{ frontend } >> { payment, error }`", search(below)),
        ("`{ kind = server } \\| count() > 8`", search("{ kind = server } | count() > 8")),
        (
            "`{ kind = server } \\| by(service) \\| avg(duration) > 500ms`",
            search("{ kind = server } | by(resource.service.name) | avg(duration) > 500ms"),
        ),
        (
            "`{ status = error } \\| select(…)`",
            search("{ status = error } | select(resource.service.name, span.http.route)"),
        ),
        ("an event's attribute by a pattern", search(r#"{ event.exception.type =~ ".*Timeout.*" }"#)),
        ("names of attributes", format!("/api/v2/search/tags?{range}")),
        (
            "values of `resource.service.name`",
            format!("/api/v2/search/tag/resource.service.name/values?{range}"),
        ),
        ("`{ } \\| rate() by (service)`", series(by_service, "10s")),
        ("`{ } \\| quantile_over_time(duration, …) by (service)`", series(quantiles, "10s")),
        (
            "`{ roots } \\| compare({ status = error })`",
            series("{ nestedSetParent < 0 } | compare({ status = error }, 10)", "7h"),
        ),
    ]
}

/// GETs of a query that is asked twice, the first time of stages that know nothing yet.
async fn gets(stored: &Stored, path: &str, reader: ReaderConfig) -> [u64; 2] {
    let querier = vivace_querier::Config { owner_wait: Duration::ZERO, ..Default::default() };
    let store = Some(Arc::clone(&stored.store) as _);
    let fixture = Fixture::new(Options { store, querier, reader: Some(reader), ..Options::default() }).await;
    stored.store.take_of_blocks();
    let mut texts = Vec::new();
    let mut gets = [0; 2];
    for count in &mut gets {
        let answer = fixture.get(path, &[]).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        *count = stored.store.take_of_blocks();
        let mut json = answer.json();
        // What it took differs.
        json.as_object_mut().unwrap().remove("metrics");
        texts.push(json);
    }
    assert_eq!(texts[0], texts[1], "{path}");
    gets
}

/// To take a new table over: `VIVACE_TEST_WRITE_PAGES=1 cargo test -p vivace-query-frontend requests`.
#[tokio::test]
async fn a_query_that_is_repeated_asks_nothing_of_the_store() {
    let stored = stored().await;
    let larger = ReaderConfig { small_file_bytes_max: ByteSize(0), ..ReaderConfig::default() };
    let mut table = String::from(
        "| query | small blocks: first | again | larger blocks: first | again |\n| --- | --- | --- | --- | --- |\n",
    );
    for (name, path) in queries(&stored) {
        let [small, again] = gets(&stored, &path, ReaderConfig::default()).await;
        let [large, large_again] = gets(&stored, &path, larger.clone()).await;
        assert!(small <= BLOCKS as u64, "{name}: a small block is read once, not {small} of {BLOCKS}");
        assert_eq!((again, large_again), (0, 0), "{name}");
        writeln!(table, "| {name} | {small} | {again} | {large} | {large_again} |").unwrap();
    }
    let page = std::fs::read_to_string(PAGE).unwrap();
    let (head, known) = page.split_once(MARK).unwrap();
    if std::env::var_os("VIVACE_TEST_WRITE_PAGES").is_some() {
        std::fs::write(PAGE, format!("{head}{MARK}{table}")).unwrap();
    } else {
        assert_eq!(known, table, "docs/store-requests.md says otherwise");
    }
}

#[tokio::test(start_paused = true)]
async fn a_query_frontend_without_queries_reads_the_ledger_rarely() {
    let store = Arc::<CountingStore>::default();
    let fixture = Fixture::new(Options { store: Some(Arc::clone(&store) as _), ..Options::default() }).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    store.take_of_ledger();
    tokio::time::sleep(Duration::from_secs(3600)).await;
    let hourly = u64::from(PARTITIONS) * 30;
    assert_eq!(store.take_of_ledger(), hourly, "each partition every two minutes");
    drop(fixture);
}

#[tokio::test(start_paused = true)]
async fn while_hints_cannot_be_read_the_ledger_is_read_often() {
    let store = Arc::<CountingStore>::default();
    let fixture = Fixture::new(Options { store: Some(Arc::clone(&store) as _), ..Options::default() }).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let partition = Partition(1);
    fixture.handle.set_faults(Faults { read_failed: 1.0, watermarks_failed: 1.0, ..Faults::default() });
    let record = NewRecord { partition, key: None, headers: vec![], value: "no hint".into() };
    fixture.log.append(LEDGER, vec![record]).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    fixture.ingest(partition, 1, &traces(vec![span("a", 1)])).await;
    assert_eq!(fixture.views.current().end(partition), Offset(0), "nobody said so");
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert_eq!(fixture.views.current().end(partition), Offset(1));
    // As soon as they can be read, what was missed is caught up with.
    fixture.ingest(partition, 1, &traces(vec![span("b", 2)])).await;
    fixture.handle.set_faults(Faults::default());
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(fixture.views.current().end(partition), Offset(2));
}
