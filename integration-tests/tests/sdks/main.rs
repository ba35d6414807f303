//! What official OpenTelemetry SDKs and plain OTLP clients send comes back equal: attribute by attribute, with events,
//! links and values of all types, from recent data, from blocks, and after a restart, in each form that the API has.

mod by_hand;
mod python_sdk;
mod rust_sdk;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, ensure};
use opentelemetry_proto::tonic::trace::v1::TracesData;
use vivace_integration_tests::{
    Canonical, TraceClient, Vivace, VivaceOptions, bounded, canonical, compare, eventually, stored_spans,
};
use vivace_model::{SpanId, TraceId};

const TEST_LIMIT: Duration = Duration::from_secs(180);

/// From acknowledgement to found; in truth it takes a fraction of a second.
const FOUND_LIMIT: Duration = Duration::from_secs(20);

/// Ages of blocks: so old that none is made unasked, and so young that all are soon in one.
const NO_BLOCKS: Duration = Duration::from_secs(3600);
const ALL_BLOCKS: Duration = Duration::from_millis(300);

/// A trace that was sent: by what, and what it is.
struct Sent {
    by: String,
    id: TraceId,
    trace: Canonical,
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the binary and the official Python SDK"]
async fn what_sdks_send_comes_back_equal() {
    bounded(TEST_LIMIT, async {
        let options = VivaceOptions::embedded().blocks_every(NO_BLOCKS);
        let mut vivace = Vivace::start(options).await.expect("vivace starts");
        let mut sent = Vec::new();
        for protocol in ["grpc", "http"] {
            sent.extend(python_sdk::send(&vivace, protocol).await.expect("the Python SDK sends"));
            sent.extend(rust_sdk::send(&vivace, protocol).await.expect("the Rust SDK sends"));
        }
        sent.extend(by_hand::send(&vivace).await.expect("plain clients send"));
        eprintln!("{} traces sent", sent.len());

        come_back(&vivace.client(), &sent).await.expect("from recent data");
        let blocks = stored_spans(&vivace.store().expect("a store"), None).await.expect("readable blocks");
        assert!(blocks.is_empty(), "no block was due, so that all came from recent data");
        eprintln!("equal from recent data");

        vivace.sigkill().expect("it runs");
        vivace.reconfigure(|options| options.blocks_every(ALL_BLOCKS));
        vivace.spawn().expect("it starts");
        vivace.wait_ready().await.expect("it is ready again");
        eventually(FOUND_LIMIT, || all_stored(&vivace, &sent)).await.expect("everything gets into blocks");
        // Recent data goes as soon, so that now and after the restart only blocks can answer.
        tokio::time::sleep(ALL_BLOCKS * 4).await;
        come_back(&vivace.client(), &sent).await.expect("from blocks");
        eprintln!("equal from blocks");

        vivace.sigterm().await.expect("it stops well");
        vivace.spawn().expect("it starts");
        vivace.wait_ready().await.expect("it is ready again");
        come_back(&vivace.client(), &sent).await.expect("after a restart");
        eprintln!("equal after a restart");
    })
    .await;
}

/// Asks for every trace in every form and compares it with what was sent.
async fn come_back(client: &TraceClient, sent: &[Sent]) -> anyhow::Result<()> {
    for Sent { by, id, trace } in sent {
        eventually(FOUND_LIMIT, || async {
            for (form, found) in client.every_form(*id).await? {
                compare(trace, &found).with_context(|| format!("in {form}"))?;
            }
            Ok(())
        })
        .await
        .with_context(|| format!("trace {id} sent by {by}"))?;
    }
    Ok(())
}

/// Whether each span lies in a block once.
async fn all_stored(vivace: &Vivace, sent: &[Sent]) -> anyhow::Result<()> {
    let stored = stored_spans(&vivace.store()?, None).await?;
    for Sent { id, trace, .. } in sent {
        for span in trace.keys() {
            let span: SpanId = span.parse()?;
            ensure!(stored.get(&(*id, span)) == Some(&1), "span {span} of {id} is not in one block");
        }
    }
    Ok(())
}

/// Takes what was sent apart by trace.
fn by_trace(by: &str, sent: TracesData) -> Vec<Sent> {
    let mut traces: BTreeMap<TraceId, TracesData> = BTreeMap::new();
    for group in sent.resource_spans {
        for scoped in &group.scope_spans {
            for span in &scoped.spans {
                let id = TraceId::new(&span.trace_id).expect("senders make trace ids of 16 bytes");
                let mut one = group.clone();
                one.scope_spans = vec![scoped.clone()];
                one.scope_spans[0].spans = vec![span.clone()];
                traces.entry(id).or_default().resource_spans.push(one);
            }
        }
    }
    let name = |id, trace: TracesData| Sent { by: by.to_owned(), id, trace: canonical(&trace) };
    traces.into_iter().map(|(id, trace)| name(id, trace)).collect()
}
