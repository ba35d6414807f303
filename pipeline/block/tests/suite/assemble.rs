//! Spans of a trace from several places, put together.

use std::ops::Range;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::Int32Type;
use proptest::prelude::*;
use prost::Message;
use vivace_block::schema::{self, AttributeScope};
use vivace_block::{BlockConfig, BlockError, DuplicateFilter, OpenBlock, assemble, to_traces_data};
use vivace_model::TenantId;
use vivace_model::scan::{Projection, TraceRuns};
use vivace_proto::otlp::trace::TracesData;

use crate::support::otlp::{normal, traces_data};
use crate::support::rows::{everything, rows};

fn open(data: &TracesData) -> OpenBlock {
    let config = BlockConfig { promote_one_in: 4, ..BlockConfig::default() };
    let mut block = OpenBlock::new(TenantId::default(), &config);
    let appended = block.append(&data.encode_to_vec(), &mut DuplicateFilter::new(1));
    assert!(appended.rejected.is_empty(), "{:?}", appended.rejected);
    block
}

/// The spans for whose number among all the function says yes.
fn only(data: &TracesData, keep: impl Fn(usize) -> bool) -> TracesData {
    let (mut data, mut number) = (data.clone(), 0);
    let scopes = data.resource_spans.iter_mut().flat_map(|group| &mut group.scope_spans);
    scopes.for_each(|group| {
        group.spans.retain(|_| {
            number += 1;
            keep(number - 1)
        });
    });
    data
}

fn all(batch: &RecordBatch) -> Vec<Range<usize>> {
    std::iter::once(0..batch.num_rows()).collect()
}

/// Of arbitrary spans hardly any has a parent that is there; this gives most of them one of their trace.
fn related(mut data: TracesData, parents: &[u8]) -> TracesData {
    let spans = data.resource_spans.iter_mut().flat_map(|group| &mut group.scope_spans);
    for (span, parent) in spans.flat_map(|group| &mut group.spans).zip(parents.iter().cycle()) {
        span.parent_span_id = match parent % 20 {
            0..4 => Vec::new(),
            parent => u64::from(parent - 3).to_be_bytes().to_vec(),
        };
    }
    data
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    /// Each span is in one of three pieces or in several; together they are what one block of all is.
    #[test]
    fn pieces_are_the_whole(
        data in traces_data(),
        parents in prop::collection::vec(any::<u8>(), 1..40),
        places in prop::collection::vec(1_u8..8, 1..40),
    ) {
        let data = related(data, &parents);
        let whole = open(&data).scan(&everything(), None).unwrap();
        let place = |number: usize| places[number % places.len()];
        let pieces: Vec<RecordBatch> = (0..3)
            .filter_map(|piece| {
                let part = open(&only(&data, |number| place(number) >> piece & 1 == 1));
                part.scan(&everything(), None)
            })
            .collect();
        let ranges: Vec<_> = pieces.iter().map(all).collect();
        let pieces: Vec<_> = pieces.iter().zip(&ranges).map(|(batch, ranges)| (batch, ranges.as_slice())).collect();
        let (batch, runs) = assemble(&pieces).unwrap();
        prop_assert_eq!(rows(&batch, &everything()), rows(&whole, &everything()));
        prop_assert_eq!(normal(&to_traces_data(std::slice::from_ref(&batch)).unwrap()), normal(&data));
        let ids = batch.column_by_name(schema::TRACE_ID).unwrap().as_fixed_size_binary();
        let ids: Vec<[u8; 16]> = ids.iter().map(|id| id.unwrap().try_into().unwrap()).collect();
        prop_assert_eq!(runs, TraceRuns::new(&ids));
    }

    /// A block that was cut by rows gives itself, whatever the order of the parts.
    #[test]
    fn slices_are_the_whole(data in traces_data(), cuts: [prop::sample::Index; 3]) {
        let whole = open(&data).scan(&everything(), None).unwrap();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(whole.num_rows() + 1)).collect();
        cuts.extend([0, whole.num_rows()]);
        cuts.sort_unstable();
        let parts: Vec<Vec<_>> = cuts.windows(2).map(|pair| std::iter::once(pair[0]..pair[1]).collect()).rev().collect();
        let pieces: Vec<_> = parts.iter().map(|ranges| (&whole, ranges.as_slice())).collect();
        let (batch, _) = assemble(&pieces).unwrap();
        prop_assert_eq!(rows(&batch, &everything()), rows(&whole, &everything()));
    }
}

#[test]
fn nothing_makes_nothing() {
    let (batch, runs) = assemble(&[]).unwrap();
    assert_eq!((batch.num_rows(), runs.len(), runs.rows()), (0, 0, 0));
}

#[test]
fn what_it_needs_must_be_there() {
    let data = TracesData::decode(&*record(&[(1, 1, 0)])).unwrap();
    let open = open(&data);
    let needed = [schema::TRACE_ID, schema::SPAN_ID, schema::PARENT_SPAN_ID, schema::START_TIME];
    for absent in needed {
        let fixed = needed.into_iter().filter(|name| *name != absent).collect();
        let batch = open.scan(&Projection { fixed, ..Projection::default() }, None).unwrap();
        let error = assemble(&[(&batch, &all(&batch))]).unwrap_err();
        assert!(matches!(&error, BlockError::Value { column, .. } if column == absent), "{error:?}");
    }
    let batch = open.scan(&everything(), None).unwrap();
    let beyond = 0..2_usize;
    assert!(assemble(&[(&batch, std::slice::from_ref(&beyond))]).is_err());
}

/// Spans given as (trace, span, parent).
fn record(spans: &[(u8, u8, u8)]) -> Vec<u8> {
    use vivace_proto::otlp::trace::{ResourceSpans, ScopeSpans, Span};
    let spans = spans.iter().map(|&(trace, span, parent)| Span {
        trace_id: vec![trace; 16],
        span_id: vec![span; 8],
        parent_span_id: if parent == 0 { Vec::new() } else { vec![parent; 8] },
        start_time_unix_nano: span.into(),
        name: format!("span {span}"),
        ..Span::default()
    });
    let scope_spans = vec![ScopeSpans { spans: spans.collect(), ..ScopeSpans::default() }];
    TracesData { resource_spans: vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }] }
        .encode_to_vec()
}

#[test]
fn columns_that_a_piece_lacks_are_null_in_its_rows() {
    let piece = |record: Vec<u8>, fixed: &[&'static str]| {
        let mut projection = Projection { fixed: fixed.iter().copied().collect(), ..Projection::default() };
        projection.fixed.extend([
            schema::TRACE_ID,
            schema::SPAN_ID,
            schema::PARENT_SPAN_ID,
            schema::START_TIME,
        ]);
        projection.scopes.insert(AttributeScope::Span);
        open(&TracesData::decode(&*record).unwrap()).scan(&projection, None).unwrap()
    };
    let (full, bare) =
        (piece(record(&[(1, 1, 0)]), &[schema::NAME, schema::KIND]), piece(record(&[(1, 2, 1)]), &[]));
    let (batch, _) = assemble(&[(&bare, &all(&bare)), (&full, &all(&full))]).unwrap();
    let kinds = batch.column_by_name(schema::KIND).unwrap().as_primitive::<Int32Type>();
    assert_eq!(kinds.iter().collect::<Vec<_>>(), [Some(0), None]);
    assert!(batch.column_by_name(schema::NAME).unwrap().is_null(1));
    assert!(batch.column_by_name(schema::NESTED_SET_LEFT).is_none(), "nobody asked for it");
}

#[test]
fn values_of_other_types_go_to_the_overflow_list() {
    use vivace_proto::otlp::common::any_value::Value;
    use vivace_proto::otlp::common::{AnyValue, KeyValue};
    let piece = |spans: &[(u8, u8, u8)], value: Value| {
        let mut data = TracesData::decode(&*record(spans)).unwrap();
        for span in &mut data.resource_spans[0].scope_spans[0].spans {
            let value = Some(AnyValue { value: Some(value.clone()) });
            span.attributes = vec![KeyValue { key: "code".into(), value, key_strindex: 0 }];
        }
        open(&data).scan(&everything(), None).unwrap()
    };
    let number = piece(&[(1, 1, 0), (1, 3, 1)], Value::IntValue(7));
    let text = piece(&[(1, 2, 1)], Value::StringValue("teapot".into()));
    let (batch, _) = assemble(&[(&text, &all(&text)), (&number, &all(&number))]).unwrap();
    assert_eq!(batch.column_by_name("span.code").unwrap().null_count(), 1);
    let lists = batch.column_by_name(schema::SPAN_ATTRIBUTES).unwrap().as_list::<i32>();
    assert_eq!((0..3).map(|row| lists.is_valid(row)).collect::<Vec<_>>(), [false, true, false]);
    let value =
        lists.value(1).as_struct().column_by_name("string").unwrap().as_string::<i32>().value(0).to_owned();
    assert_eq!(value, "teapot");
}
