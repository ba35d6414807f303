//! For tests: small traces as batches, made by the code that makes blocks, and what queries find in them.
//! Each search runs with attributes as columns and again with all of them in overflow lists, on the columns that the plan
//! asks for alone, and the plan's condition is checked to be met.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float64Type, Int32Type, Int64Type};
use prost::Message;
use vivace_block::{BlockConfig, DuplicateFilter, OpenBlock};
use vivace_model::TenantId;
use vivace_model::scan::{Condition, Projection, ScanColumn, Test, TraceRuns};
use vivace_model::schema::{self, AttributeScope};
use vivace_proto::internal::search::Kind;
use vivace_proto::internal::{Search, TracesKind};
use vivace_proto::otlp::common::any_value::Value as Otlp;
use vivace_proto::otlp::common::{AnyValue, ArrayValue, InstrumentationScope, KeyValue};
use vivace_proto::otlp::resource::Resource;
use vivace_proto::otlp::trace::{ResourceSpans, ScopeSpans, Span, Status, TracesData};

use crate::ast::{Attribute, FieldExpr, Target};
use crate::{EvalError, ScanPlan, Selected, Spans, Value, parse_lenient_filter};

pub(crate) use vivace_proto::otlp::trace::span::{Event, Link};

/// Second 0 of all tests.
pub(crate) const START: u64 = 1_700_000_000_000_000_000;

/// A span; number 0 is no parent.
#[derive(Clone, Debug, Default)]
pub(crate) struct TestSpan {
    pub(crate) trace: u8,
    pub(crate) id: u8,
    pub(crate) parent: u8,
    /// Nanoseconds from [`START`].
    pub(crate) start: u64,
    pub(crate) duration: u64,
    pub(crate) name: &'static str,
    pub(crate) kind: i32,
    pub(crate) status: i32,
    pub(crate) message: &'static str,
    pub(crate) attributes: Vec<KeyValue>,
    pub(crate) resource: Vec<KeyValue>,
    pub(crate) scope: (&'static str, &'static str, Vec<KeyValue>),
    pub(crate) events: Vec<Event>,
    pub(crate) links: Vec<Link>,
}

/// A span of trace 1.
pub(crate) fn span(id: u8, parent: u8) -> TestSpan {
    TestSpan { trace: 1, id, parent, start: id.into(), name: "span", ..TestSpan::default() }
}

/// Something that an attribute may be.
pub(crate) trait IntoValue {
    fn into_value(self) -> Option<Otlp>;
}

impl IntoValue for &str {
    fn into_value(self) -> Option<Otlp> {
        Some(Otlp::StringValue(self.to_owned()))
    }
}

impl IntoValue for i64 {
    fn into_value(self) -> Option<Otlp> {
        Some(Otlp::IntValue(self))
    }
}

impl IntoValue for f64 {
    fn into_value(self) -> Option<Otlp> {
        Some(Otlp::DoubleValue(self))
    }
}

impl IntoValue for bool {
    fn into_value(self) -> Option<Otlp> {
        Some(Otlp::BoolValue(self))
    }
}

impl IntoValue for Otlp {
    fn into_value(self) -> Option<Otlp> {
        Some(self)
    }
}

impl<T: IntoValue> IntoValue for Vec<T> {
    fn into_value(self) -> Option<Otlp> {
        let values = self.into_iter().map(|value| AnyValue { value: value.into_value() });
        Some(Otlp::ArrayValue(ArrayValue { values: values.collect() }))
    }
}

pub(crate) fn attribute(key: &str, value: impl IntoValue) -> KeyValue {
    KeyValue { key: key.into(), value: Some(AnyValue { value: value.into_value() }), key_strindex: 0 }
}

pub(crate) fn trace_id(number: u8) -> [u8; 16] {
    let mut id = [0; 16];
    id[0] = number;
    id[15] = 1;
    id
}

fn id(number: u8) -> Vec<u8> {
    if number == 0 { Vec::new() } else { vec![0, 0, 0, 0, 0, 0, 0, number] }
}

fn message(spans: &[TestSpan]) -> TracesData {
    let resource_spans = spans.iter().map(|span| {
        let resource = Some(Resource { attributes: span.resource.clone(), ..Resource::default() });
        let (name, version, attributes) = span.scope.clone();
        let scope = Some(InstrumentationScope {
            name: name.into(),
            version: version.into(),
            attributes,
            ..InstrumentationScope::default()
        });
        let span = Span {
            trace_id: trace_id(span.trace).to_vec(),
            span_id: id(span.id),
            parent_span_id: id(span.parent),
            start_time_unix_nano: START + span.start,
            end_time_unix_nano: START + span.start + span.duration,
            name: span.name.into(),
            kind: span.kind,
            status: Some(Status { code: span.status, message: span.message.into() }),
            attributes: span.attributes.clone(),
            events: span.events.clone(),
            links: span.links.clone(),
            ..Span::default()
        };
        let scope_spans = vec![ScopeSpans { scope, spans: vec![span], ..ScopeSpans::default() }];
        ResourceSpans { resource, scope_spans, ..ResourceSpans::default() }
    });
    TracesData { resource_spans: resource_spans.collect() }
}

/// The spans as one batch, with attributes as columns or not.
pub(crate) fn batch(spans: &[TestSpan], promoted: bool) -> RecordBatch {
    let config = BlockConfig {
        columns_max: if promoted { 256 } else { 0 },
        promote_one_in: 1_000_000,
        ..BlockConfig::default()
    };
    let mut block = OpenBlock::new(TenantId::default(), &config);
    let appended = block.append(&message(spans).encode_to_vec(), &mut DuplicateFilter::new(1));
    assert!(appended.rejected.is_empty(), "{:?}", appended.rejected);
    block.seal().batches.remove(0)
}

pub(crate) fn runs(batch: &RecordBatch) -> TraceRuns {
    let ids = batch.column_by_name(schema::TRACE_ID).unwrap().as_fixed_size_binary();
    let ids: Vec<[u8; 16]> = ids.iter().map(|id| id.unwrap().try_into().unwrap()).collect();
    TraceRuns::new(&ids)
}

/// Only the columns that are asked for.
pub(crate) fn projected(batch: &RecordBatch, columns: &Projection) -> RecordBatch {
    let wanted = |name: &str| {
        let overflow = AttributeScope::ALL.into_iter().any(|scope| {
            let any = columns.attributes.iter().any(|(other, _)| *other == scope);
            scope.overflow() == name && (any || columns.scopes.contains(&scope))
        });
        let promoted =
            AttributeScope::parse_column(name).is_some_and(|(scope, key)| columns.wants(scope, key));
        overflow || promoted || columns.fixed.contains(name)
    };
    let schema = batch.schema();
    let kept = (0..batch.num_columns()).filter(|index| wanted(schema.field(*index).name()));
    batch.project(&kept.collect::<Vec<_>>()).unwrap()
}

pub(crate) fn search(query: &str) -> Search {
    let kind = Some(Kind::Traces(TracesKind { limit: 20, spans_max: 3 }));
    Search { query: query.into(), kind, ..Search::default() }
}

/// What a search selects, and the number of each row's span.
pub(crate) fn select(search: &Search, spans: &[TestSpan]) -> Result<(Vec<Selected>, Vec<u8>), EvalError> {
    let plan = ScanPlan::new(search)?;
    let run = |promoted| {
        let whole = batch(spans, promoted);
        let runs = runs(&whole);
        let first = projected(&whole, plan.first());
        let selected = plan.select(&Spans::new(&first, &runs))?;
        for (spanset, rows) in selected.iter().flat_map(Selected::iter) {
            let meets = |row| meets(plan.condition(), &whole, row);
            let met = if plan.whole() {
                runs.rows_of(spanset.trace as usize).any(meets)
            } else {
                rows.iter().all(|row| meets(*row as usize))
            };
            assert!(met, "{:?} is not met by what {} finds", plan.condition(), search.query);
        }
        let ids = whole.column_by_name(schema::SPAN_ID).unwrap().as_fixed_size_binary();
        Ok::<_, EvalError>((selected, ids.iter().map(|id| id.unwrap()[7]).collect()))
    };
    let (promoted, overflow) = (run(true)?, run(false)?);
    assert_eq!(promoted, overflow, "{} with attributes as columns, and without", search.query);
    Ok(promoted)
}

/// The spans that a query finds, by number.
pub(crate) fn found(query: &str, spans: &[TestSpan]) -> Vec<u8> {
    let (selected, ids) = select(&search(query), spans).unwrap_or_else(|error| panic!("{query}: {error}"));
    let mut found: Vec<u8> = selected[0].rows.iter().map(|row| ids[*row as usize]).collect();
    found.sort_unstable();
    found
}

/// The spansets that a query finds: numbers of spans, and attributes as text.
pub(crate) fn spansets(query: &str, spans: &[TestSpan]) -> Vec<(Vec<u8>, Vec<String>)> {
    let (selected, ids) = select(&search(query), spans).unwrap_or_else(|error| panic!("{query}: {error}"));
    let told = selected[0].iter().map(|(spanset, rows)| {
        let attributes = spanset.attributes.iter().map(|(key, value)| format!("{key}={value}"));
        (rows.iter().map(|row| ids[*row as usize]).collect(), attributes.collect())
    });
    told.collect()
}

/// Why a query fails on the spans.
pub(crate) fn failure(query: &str, spans: &[TestSpan]) -> String {
    match select(&search(query), spans) {
        Ok((selected, _)) => panic!("{query} finds {selected:?}"),
        Err(error) => error.to_string(),
    }
}

/// The expression in braces.
pub(crate) fn expression(text: &str) -> FieldExpr {
    parse_lenient_filter(text).unwrap_or_else(|| panic!("{text} is no filter"))
}

fn meets(condition: &Condition, batch: &RecordBatch, row: usize) -> bool {
    match condition {
        Condition::Always => true,
        Condition::All(parts) => parts.iter().all(|part| meets(part, batch, row)),
        Condition::Any(parts) => parts.iter().any(|part| meets(part, batch, row)),
        Condition::Leaf(ScanColumn::Attribute(scope, key), test) => {
            let attribute = Attribute::new(Target::Scoped(*scope, key.as_str().into()));
            let mut met = false;
            let values = Spans::picked(batch).values(&attribute).unwrap();
            values.each(row, |value| met |= passes(test, value));
            met
        }
        Condition::Leaf(ScanColumn::Fixed(name), test) => {
            let column = batch.column_by_name(name).unwrap();
            if column.is_null(row) {
                return false;
            }
            match (test, column.data_type()) {
                (Test::Exists, _) => true,
                (_, DataType::Dictionary(..)) => {
                    let texts = column.as_dictionary::<Int32Type>();
                    let key = texts.key(row).unwrap();
                    passes(test, Value::Text(texts.values().as_string::<i32>().value(key)))
                }
                (_, DataType::Int32) => {
                    passes(test, Value::Int(column.as_primitive::<Int32Type>().value(row).into()))
                }
                (_, DataType::Int64) => {
                    passes(test, Value::Int(column.as_primitive::<Int64Type>().value(row)))
                }
                (_, DataType::Float64) => {
                    passes(test, Value::Float(column.as_primitive::<Float64Type>().value(row)))
                }
                (test, other) => panic!("{test:?} on {name} of {other}"),
            }
        }
    }
}

fn passes(test: &Test, value: Value<'_>) -> bool {
    match (test, value) {
        (Test::Exists, _) => true,
        (Test::Text(wanted), Value::Text(text)) => wanted == text,
        (Test::TextMatches(matches), Value::Text(text)) => matches(text),
        (Test::Between(least, most), Value::Int(number)) => (*least..=*most).contains(&(number as f64)),
        (Test::Between(least, most), Value::Float(number)) => (*least..=*most).contains(&number),
        (Test::Bool(wanted), Value::Bool(flag)) => *wanted == flag,
        _ => false,
    }
}
