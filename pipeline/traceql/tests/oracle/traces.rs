//! Random traces: trees with orphans, several roots and none, values of mixed types, few enough that queries find them.

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use vivace_traceql::ast::{Kind, Status};

use crate::trace::{Attributes, Event, Held, Link, Span, Trace};

pub(crate) const START: u64 = 1_700_000_000_000_000_000;
const TICK: u64 = 100_000_000;
/// Ticks in which spans start.
pub(crate) const TICKS: u64 = 40;

pub(crate) const TEXTS: [&str; 5] = ["x", "y", "xy", "shop", ""];
pub(crate) const NAMES: [&str; 4] = ["GET /", "checkout", "x", "query"];
pub(crate) const KEYS: [&str; 4] = ["a", "b", "code", "flag"];
pub(crate) const INTS: [i64; 6] = [-2, 0, 1, 2, 3, 500];
pub(crate) const FLOATS: [f64; 4] = [0.5, 2.0, -1.5, 3.0];
pub(crate) const DURATIONS: [u64; 6] = [0, 1, 1_000_000, 100_000_000, 1_500_000_000, 2_000_000_000];

/// Moment number so many.
pub(crate) const fn moment(tick: u64) -> u64 {
    START + tick * TICK
}

/// Id of a span of a trace, by number.
pub(crate) const fn span_id(number: u8) -> [u8; 8] {
    [7, 0, 0, 0, 0, 0, 0, number.wrapping_mul(37).wrapping_add(11)]
}

pub(crate) const fn trace_id(number: u8) -> [u8; 16] {
    [number.wrapping_mul(83).wrapping_add(1), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9]
}

fn scalar() -> impl Strategy<Value = Held> {
    prop_oneof![
        4 => select(&TEXTS[..]).prop_map(|text| Held::Text(text.to_owned())),
        4 => select(&INTS[..]).prop_map(Held::Int),
        2 => select(&FLOATS[..]).prop_map(Held::Float),
        2 => any::<bool>().prop_map(Held::Bool),
        1 => Just(Held::Empty),
    ]
}

fn held() -> impl Strategy<Value = Held> {
    let ints = vec(select(&INTS[..]).prop_map(Held::Int), 0..4);
    let texts = vec(select(&TEXTS[..]).prop_map(|text| Held::Text(text.to_owned())), 1..4);
    prop_oneof![
        8 => scalar(),
        1 => ints.prop_map(Held::Array),
        1 => texts.prop_map(Held::Array),
        1 => vec(scalar(), 1..3).prop_filter("of several flags", |held| !of_flags(held)).prop_map(Held::Array),
    ]
}

/// Of several flags, `.a` and `!.a` may both hold, which no three values can say.
fn of_flags(held: &[Held]) -> bool {
    held.len() > 1 && held.iter().all(|held| matches!(held, Held::Bool(_)))
}

fn attributes() -> impl Strategy<Value = Attributes> {
    btree_map(select(&KEYS[..]).prop_map(str::to_owned), held(), 0..4)
}

fn resource() -> impl Strategy<Value = Attributes> {
    let service = prop_oneof![4 => select(vec!["shop", "cart", "db"]).prop_map(Some), 1 => Just(None)];
    (attributes(), service).prop_map(|(mut attributes, service)| {
        if let Some(service) = service {
            attributes.insert("service.name".to_owned(), Held::Text(service.to_owned()));
        }
        attributes
    })
}

/// When after the span's start, in ticks.
fn event() -> impl Strategy<Value = (i64, String, Attributes)> {
    (-1..5_i64, select(vec!["exception", "log", "x"]).prop_map(str::to_owned), attributes())
}

fn link() -> impl Strategy<Value = Link> {
    (0..4_u8, 0..4_u8, attributes()).prop_map(|(trace, span, attributes)| Link {
        trace_id: trace_id(trace),
        span_id: span_id(span),
        attributes,
    })
}

/// What a span hangs on: a number below its own, modulo it; nothing; or a span that is not there.
#[derive(Clone, Copy, Debug)]
enum Parent {
    Span(u8),
    None,
    Missing(u8),
}

fn parent() -> impl Strategy<Value = Parent> {
    prop_oneof![
        6 => any::<u8>().prop_map(Parent::Span),
        1 => Just(Parent::None),
        1 => (200..203_u8).prop_map(Parent::Missing),
    ]
}

fn span() -> impl Strategy<Value = (Parent, Span)> {
    let times = (0..TICKS, select(&DURATIONS[..]));
    let what = (
        select(&NAMES[..]).prop_map(str::to_owned),
        select(&Kind::ALL[..]),
        select(&Status::ALL[..]),
        select(vec!["", "", "failed", "x"]).prop_map(str::to_owned),
    );
    let scope = (
        select(vec!["", "lib", "x"]).prop_map(str::to_owned),
        select(vec!["", "1.0"]).prop_map(str::to_owned),
        attributes(),
    );
    let rest = (resource(), attributes(), vec(event(), 0..3), vec(link(), 0..3));
    (parent(), times, what, scope, rest).prop_map(|(parent, (tick, duration), what, scope, rest)| {
        let start = moment(tick);
        let events = rest.2.into_iter().map(|(after, name, attributes)| Event {
            time: start.wrapping_add_signed(after * TICK as i64),
            name,
            attributes,
        });
        let span = Span {
            id: [0; 8],
            parent_id: None,
            start,
            duration,
            name: what.0,
            kind: what.1,
            status: what.2,
            status_message: what.3,
            resource: rest.0,
            scope_name: scope.0,
            scope_version: scope.1,
            scope: scope.2,
            attributes: rest.1,
            events: events.collect(),
            links: rest.3,
        };
        (parent, span)
    })
}

fn trace() -> impl Strategy<Value = Trace> {
    (vec(span(), 1..9), option::weighted(0.2, 0..1_u8)).prop_map(|(spans, no_root)| {
        let spans = spans.into_iter().zip(0_u8..).map(|((parent, mut span), number)| {
            span.id = span_id(number);
            span.parent_id = match parent {
                Parent::Span(other) if number > 0 => Some(span_id(other % number)),
                Parent::Missing(other) => Some(span_id(other)),
                Parent::Span(_) | Parent::None if no_root.is_some() => Some(span_id(210)),
                Parent::Span(_) | Parent::None => None,
            };
            span
        });
        let mut spans: Vec<Span> = spans.collect();
        spans.sort_by_key(|span| (span.start, span.id));
        Trace { id: [0; 16], spans }
    })
}

/// Traces, by id ascending.
pub(crate) fn traces() -> impl Strategy<Value = Vec<Trace>> {
    vec(trace(), 1..6).prop_map(|mut traces| {
        for (trace, number) in traces.iter_mut().zip(0..) {
            trace.id = trace_id(number);
        }
        traces.sort_by_key(|trace| trace.id);
        traces
    })
}
