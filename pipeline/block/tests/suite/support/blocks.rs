//! Blocks in a store that counts what is read and fails when told.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use prost::Message;
use vivace_block::{BlockConfig, Description, DuplicateFilter, OpenBlock, write_block};
use vivace_model::{Offset, OffsetRange, Partition, Spread, TenantId, TraceId, UnixNanos};
use vivace_proto::otlp::common::any_value::Value;
use vivace_proto::otlp::common::{AnyValue, KeyValue};
use vivace_proto::otlp::trace::span::Event;
use vivace_proto::otlp::trace::{ResourceSpans, ScopeSpans, Span, TracesData};

/// In memory; counts requests for ranges.
#[derive(Debug, Default)]
pub(crate) struct WatchedStore {
    inner: InMemory,
    reads: AtomicU64,
    failing: AtomicBool,
}

impl WatchedStore {
    /// Stores a file at `path`; returns its length.
    pub(crate) async fn store(&self, path: &Path, bytes: impl Into<Bytes>) -> u64 {
        let bytes = bytes.into();
        let length = bytes.len() as u64;
        self.inner.put(path, bytes.into()).await.expect("memory takes it");
        length
    }

    /// Requests since the last call.
    pub(crate) fn take_reads(&self) -> u64 {
        self.reads.swap(0, Ordering::Relaxed)
    }

    /// From now on requests fail, or no longer.
    pub(crate) fn fail(&self, failing: bool) {
        self.failing.store(failing, Ordering::Relaxed);
    }
}

impl fmt::Display for WatchedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WatchedStore")
    }
}

#[async_trait]
impl ObjectStore for WatchedStore {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.inner.put_opts(path, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(path, options).await
    }

    async fn get_ranges(&self, path: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        if self.failing.load(Ordering::Relaxed) {
            return Err(object_store::Error::Generic {
                store: "WatchedStore",
                source: "told to fail".into(),
            });
        }
        self.inner.get_ranges(path, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

/// The id of trace `number`; even numbers only are stored, so that odd ones lie between them.
pub(crate) fn trace_id(number: u32) -> TraceId {
    let mut bytes = [0x11; 16];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    TraceId::from_bytes(bytes)
}

/// Traces 2, 4, … of that many spans each; a few attributes, an event here and there.
pub(crate) fn traces(traces: u32, spans: u32) -> TracesData {
    let attribute = |key: &str, value| KeyValue {
        key: key.into(),
        value: Some(AnyValue { value: Some(value) }),
        key_strindex: 0,
    };
    let span = |trace: u32, span: u32| Span {
        trace_id: trace_id(trace * 2).as_bytes().to_vec(),
        span_id: (u64::from(trace) << 32 | u64::from(span)).to_be_bytes().to_vec(),
        name: format!("span {}", span % 7),
        start_time_unix_nano: 1_700_000_000_000_000_000 + u64::from(span),
        end_time_unix_nano: 1_700_000_000_000_001_000,
        attributes: vec![
            attribute("number", Value::IntValue(span.into())),
            attribute("url", Value::StringValue(format!("/things/{trace}/{span}"))),
        ],
        events: if span % 5 == 4 {
            vec![Event { attributes: vec![attribute("e", Value::BoolValue(true))], ..Event::default() }]
        } else {
            Vec::new()
        },
        ..Span::default()
    };
    let spans = (1..=traces).flat_map(|trace| (1..=spans).map(move |number| span(trace, number)));
    let scope_spans = vec![ScopeSpans { spans: spans.collect(), ..ScopeSpans::default() }];
    TracesData { resource_spans: vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }] }
}

/// The message as a block's file.
pub(crate) fn file(data: &TracesData, config: &BlockConfig) -> Vec<u8> {
    let mut block = OpenBlock::new(TenantId::default(), config);
    let appended = block.append(&data.encode_to_vec(), &mut DuplicateFilter::new(1));
    assert!(appended.rejected.is_empty(), "{:?}", appended.rejected);
    let description = Description {
        tenant: TenantId::default(),
        partition: Partition(0),
        spread: Spread::all(1),
        offsets: OffsetRange::new(Offset(0), Offset(1)),
        level: 0,
        created: UnixNanos(0),
    };
    write_block(&block.seal(), &description, config).expect("it is a valid block").to_vec()
}

/// A shared store and the file at `path` in it.
pub(crate) async fn stored(path: &Path, bytes: impl Into<Bytes>) -> (Arc<WatchedStore>, u64) {
    let store = Arc::new(WatchedStore::default());
    let length = store.store(path, bytes).await;
    (store, length)
}
