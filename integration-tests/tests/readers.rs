//! Blocks are plain Parquet: DuckDB and pyarrow count the same spans in them, in all and by service.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::ResourceSpans;
use serde::Deserialize;
use vivace_integration_tests::{
    Acknowledged, Sender, Vivace, VivaceOptions, all_stored_once, bounded, run_python,
};
use vivace_sample::{Options, Shop};

const TEST_LIMIT: Duration = Duration::from_secs(120);
const PARTITIONS: u32 = 2;
/// As many as make blocks with strings that hardly repeat.
const REQUESTS: usize = 300;

/// What one reader counted.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
struct Counts {
    spans: usize,
    traces: usize,
    services: BTreeMap<String, usize>,
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the binary, DuckDB and pyarrow"]
async fn duckdb_and_pyarrow_count_the_spans_of_the_blocks() {
    bounded(TEST_LIMIT, async {
        let options = VivaceOptions::embedded().partitions(PARTITIONS).blocks_every(Duration::from_secs(3));
        let mut vivace = Vivace::start(options).await.expect("vivace starts");
        let noted = Arc::new(Acknowledged::default());
        let mut sender = Sender::new(&vivace.otlp_grpc(), &noted).expect("an address");
        let mut shop = Shop::new(Options::default());
        let mut sent = Counts::default();
        let mut traces = HashSet::new();
        for _ in 0..REQUESTS {
            let request = shop.next_request();
            for group in &request.resource_spans {
                let spans = group.scope_spans.iter().flat_map(|scoped| &scoped.spans);
                let ids: Vec<_> = spans.map(|span| span.trace_id.clone()).collect();
                sent.spans += ids.len();
                *sent.services.entry(service(group)).or_default() += ids.len();
                traces.extend(ids);
            }
            sender.send(request).await.expect("acknowledged");
        }
        sent.traces = traces.len();
        let store = vivace.store().expect("a store");
        all_stored_once(&store, &noted, PARTITIONS as usize).await.expect("stored once");
        vivace.sigterm().await.expect("it stops well");

        let folder = vivace.storage_folder().join("blocks");
        let printed = run_python("count_blocks.py", &[folder.to_str().expect("a plain path")]).await;
        let printed = printed.expect("the script counts");
        let found: BTreeMap<String, Counts> = serde_json::from_str(&printed).expect("the script prints JSON");
        eprintln!("sent {sent:?}");
        assert_eq!(found.keys().collect::<Vec<_>>(), ["duckdb", "pyarrow"]);
        for (reader, counts) in found {
            assert_eq!(counts, sent, "{reader}");
        }
    })
    .await;
}

fn service(group: &ResourceSpans) -> String {
    let attributes = group.resource.iter().flat_map(|resource| &resource.attributes);
    let name =
        attributes.filter(|pair| pair.key == "service.name").find_map(|pair| pair.value.clone()?.value);
    match name {
        Some(Value::StringValue(name)) => name,
        other => panic!("the shop's services have names, not {other:?}"),
    }
}
