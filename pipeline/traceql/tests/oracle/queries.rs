//! Random queries: trees that make sense most of the time, about what random traces hold.

use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use vivace_model::schema::AttributeScope;
use vivace_traceql::ast::{
    Aggregate, Attribute, BinaryOp, FieldExpr, Intrinsic, Kind, Literal, Pipeline, Relation, ScalarExpr,
    SpansetExpr, SpansetOp, Stage, Status, Target,
};

use crate::lookup::hex;
use crate::traces::{DURATIONS, FLOATS, INTS, KEYS, NAMES, TEXTS, span_id, trace_id};

const ORDERED: [BinaryOp; 6] = [
    BinaryOp::Equal,
    BinaryOp::NotEqual,
    BinaryOp::Less,
    BinaryOp::LessOrEqual,
    BinaryOp::Greater,
    BinaryOp::GreaterOrEqual,
];
const EQUAL: [BinaryOp; 2] = [BinaryOp::Equal, BinaryOp::NotEqual];
const PATTERNS: [&str; 6] = ["x", "x|y", "x.*", ".*", ".+", "[a-z]+"];

pub(crate) fn attribute(parent: bool, target: Target) -> Attribute {
    let written = if !parent {
        target.to_string()
    } else if let Target::Unscoped(key) = &target {
        format!("parent.{key}")
    } else {
        format!("parent.{target}")
    };
    Attribute { parent, target, written: Arc::from(written) }
}

pub(crate) fn keyed() -> impl Strategy<Value = Attribute> {
    let key = select(&KEYS[..]).prop_map(Arc::<str>::from);
    let target = (0..8_u8, key).prop_map(|(scope, key)| match scope {
        0 | 1 => Target::Scoped(AttributeScope::Span, key),
        2 => Target::Scoped(AttributeScope::Resource, key),
        3 => Target::Scoped(AttributeScope::Instrumentation, key),
        4 => Target::Event(key),
        5 => Target::Link(key),
        _ => Target::Unscoped(key),
    });
    let service = Target::Scoped(AttributeScope::Resource, "service.name".into());
    let target = prop_oneof![9 => target, 1 => Just(service)];
    // Events and links have no parents.
    (target, 0..10_u8).prop_map(|(target, of_parent)| {
        let scoped = matches!(target, Target::Scoped(..) | Target::Unscoped(_));
        attribute(scoped && of_parent == 0, target)
    })
}

fn intrinsic(of: &'static [Intrinsic]) -> impl Strategy<Value = Attribute> {
    (select(of), 0..12_u8).prop_map(|(intrinsic, of_parent)| {
        use Intrinsic::{Duration, Kind, Name, Status, StatusMessage};
        let parent = of_parent == 0 && matches!(intrinsic, Duration | Kind | Name | Status | StatusMessage);
        attribute(parent, Target::Intrinsic(intrinsic))
    })
}

pub(crate) fn texts() -> impl Strategy<Value = Attribute> {
    const OF: [Intrinsic; 7] = [
        Intrinsic::Name,
        Intrinsic::StatusMessage,
        Intrinsic::RootName,
        Intrinsic::RootServiceName,
        Intrinsic::EventName,
        Intrinsic::InstrumentationName,
        Intrinsic::InstrumentationVersion,
    ];
    intrinsic(&OF)
}

fn ids() -> impl Strategy<Value = FieldExpr> {
    const SPANS: [Intrinsic; 3] = [Intrinsic::SpanId, Intrinsic::ParentId, Intrinsic::LinkSpanId];
    const TRACES: [Intrinsic; 2] = [Intrinsic::TraceId, Intrinsic::LinkTraceId];
    let span = (intrinsic(&SPANS), (0..6_u8).prop_map(|number| hex(&span_id(number))));
    let trace = (intrinsic(&TRACES), (0..4_u8).prop_map(|number| hex(&trace_id(number))));
    (prop_oneof![span, trace], select(&EQUAL[..])).prop_map(|((attribute, id), op)| {
        binary(op, FieldExpr::Attribute(attribute), FieldExpr::Literal(Literal::Text(id.into())))
    })
}

pub(crate) fn numbers() -> impl Strategy<Value = Attribute> {
    const OF: [Intrinsic; 7] = [
        Intrinsic::Duration,
        Intrinsic::Duration,
        Intrinsic::TraceDuration,
        Intrinsic::EventTimeSinceStart,
        Intrinsic::ChildCount,
        Intrinsic::NestedSetParent,
        Intrinsic::NestedSetLeft,
    ];
    prop_oneof![2 => intrinsic(&OF), 3 => keyed()]
}

fn text() -> impl Strategy<Value = Literal> {
    prop_oneof![select(&TEXTS[..]), select(&NAMES[..]), select(vec!["failed", "lib", "log", "cart"])]
        .prop_map(|text| Literal::Text(text.into()))
}

fn number() -> impl Strategy<Value = Literal> {
    prop_oneof![
        select(&INTS[..]).prop_map(Literal::Int),
        select(&FLOATS[..]).prop_map(Literal::Float),
        select(&DURATIONS[..]).prop_map(|nanos| Literal::Duration(nanos as i64)),
    ]
}

fn any_literal() -> impl Strategy<Value = Literal> {
    prop_oneof![
        3 => text(),
        4 => number(),
        1 => select(&Status::ALL[..]).prop_map(Literal::Status),
        1 => select(&Kind::ALL[..]).prop_map(Literal::Kind),
    ]
}

fn binary(op: BinaryOp, left: FieldExpr, right: FieldExpr) -> FieldExpr {
    FieldExpr::Binary { op, left: Box::new(left), right: Box::new(right) }
}

fn compared(
    left: impl Strategy<Value = Attribute>,
    ops: &'static [BinaryOp],
    right: impl Strategy<Value = Literal>,
) -> impl Strategy<Value = FieldExpr> {
    (left, select(ops), right, 0..8_u8).prop_map(|(left, op, right, turned)| {
        let (left, right) = (FieldExpr::Attribute(left), FieldExpr::Literal(right));
        if turned == 0 { binary(op, right, left) } else { binary(op, left, right) }
    })
}

fn matched(left: impl Strategy<Value = Attribute>) -> impl Strategy<Value = FieldExpr> {
    let ops = select(vec![BinaryOp::Matches, BinaryOp::NotMatches]);
    (left, ops, select(&PATTERNS[..])).prop_map(|(left, op, pattern)| {
        binary(op, FieldExpr::Attribute(left), FieldExpr::Literal(Literal::Text(pattern.into())))
    })
}

/// A number of a span: a property, or computed. Divided by floats alone: integers divided by zero are errors.
fn computed() -> impl Strategy<Value = FieldExpr> {
    let ops = select(vec![BinaryOp::Add, BinaryOp::Subtract, BinaryOp::Multiply]);
    let right = prop_oneof![
        numbers().prop_map(FieldExpr::Attribute),
        select(&INTS[..]).prop_map(|value| FieldExpr::Literal(Literal::Int(value))),
        select(&FLOATS[..]).prop_map(|value| FieldExpr::Literal(Literal::Float(value))),
    ];
    prop_oneof![
        (numbers(), ops, right).prop_map(|(left, op, right)| binary(op, FieldExpr::Attribute(left), right)),
        (numbers(), select(&FLOATS[..])).prop_map(|(left, right)| {
            let right = FieldExpr::Literal(Literal::Float(right));
            binary(BinaryOp::Divide, FieldExpr::Attribute(left), right)
        }),
        numbers().prop_map(|attribute| FieldExpr::Negate(Box::new(FieldExpr::Attribute(attribute)))),
    ]
}

fn leaf() -> impl Strategy<Value = FieldExpr> {
    const STATUS: [Intrinsic; 1] = [Intrinsic::Status];
    const KIND: [Intrinsic; 1] = [Intrinsic::Kind];
    let nil = (prop_oneof![keyed(), texts()], select(&EQUAL[..])).prop_map(|(attribute, op)| {
        binary(op, FieldExpr::Attribute(attribute), FieldExpr::Literal(Literal::Nil))
    });
    let pair = (keyed(), select(&ORDERED[..]), keyed())
        .prop_map(|(left, op, right)| binary(op, FieldExpr::Attribute(left), FieldExpr::Attribute(right)));
    let sums = (computed(), select(&ORDERED[..]), number())
        .prop_map(|(left, op, right)| binary(op, left, FieldExpr::Literal(right)));
    let status =
        prop_oneof![select(&Status::ALL[..]).prop_map(Literal::Status), (0..3_i64).prop_map(Literal::Int)];
    let flag = any::<bool>().prop_map(Literal::Bool);
    prop_oneof![
        4 => compared(texts(), &ORDERED, text()),
        8 => compared(keyed(), &ORDERED, any_literal()),
        4 => compared(numbers(), &ORDERED, number()),
        2 => compared(keyed(), &EQUAL, flag),
        2 => compared(intrinsic(&STATUS), &ORDERED, status),
        2 => compared(intrinsic(&KIND), &EQUAL, select(&Kind::ALL[..]).prop_map(Literal::Kind)),
        2 => matched(prop_oneof![texts(), keyed()]),
        2 => nil,
        1 => pair,
        2 => sums,
        2 => ids(),
        1 => flag_alone(),
        1 => Just(FieldExpr::Literal(Literal::Bool(true))),
    ]
}

/// `.a` for `.a = true`, where there cannot be several.
fn flag_alone() -> impl Strategy<Value = FieldExpr> {
    let alone = keyed().prop_filter("of several", |attribute| matches!(attribute.target, Target::Scoped(..)));
    alone.prop_map(FieldExpr::Attribute)
}

pub(crate) fn filter() -> impl Strategy<Value = FieldExpr> {
    leaf().prop_recursive(3, 8, 2, |inner| {
        prop_oneof![
            2 => inner.clone().prop_map(|inner| FieldExpr::Not(Box::new(inner))),
            3 => (inner.clone(), inner.clone()).prop_map(|(l, r)| binary(BinaryOp::And, l, r)),
            3 => (inner.clone(), inner).prop_map(|(l, r)| binary(BinaryOp::Or, l, r)),
        ]
    })
}

fn spanset_op() -> impl Strategy<Value = SpansetOp> {
    let relations =
        vec![Relation::Child, Relation::Parent, Relation::Descendant, Relation::Ancestor, Relation::Sibling];
    prop_oneof![
        2 => Just(SpansetOp::And),
        2 => Just(SpansetOp::Or),
        6 => (select(relations), 0..3_u8).prop_map(|(relation, form)| {
            SpansetOp::Structural { relation, negated: form == 1, union: form == 2 }
        }),
    ]
}

fn spansets() -> impl Strategy<Value = SpansetExpr> {
    let filter = prop_oneof![4 => filter(), 1 => Just(FieldExpr::Literal(Literal::Bool(true)))];
    filter.prop_map(SpansetExpr::Filter).prop_recursive(2, 6, 3, |inner| {
        prop_oneof![
            4 => (spanset_op(), inner.clone(), inner.clone()).prop_map(|(op, left, right)| {
                SpansetExpr::Binary { op, left: Box::new(left), right: Box::new(right) }
            }),
            1 => (inner, vec(later(), 1..3)).prop_map(|(first, later)| {
                let stages = std::iter::once(Stage::Spansets(first)).chain(later).collect();
                SpansetExpr::Pipeline(Box::new(Pipeline { stages }))
            }),
        ]
    })
}

fn aggregate() -> impl Strategy<Value = ScalarExpr> {
    let functions = vec![Aggregate::Sum, Aggregate::Min, Aggregate::Max, Aggregate::Avg];
    let field = prop_oneof![3 => numbers().prop_map(FieldExpr::Attribute), 1 => computed()];
    prop_oneof![
        2 => Just(ScalarExpr::Aggregate(Aggregate::Count, None)),
        3 => (select(functions), field)
            .prop_map(|(function, field)| ScalarExpr::Aggregate(function, Some(field))),
    ]
}

fn scalar() -> impl Strategy<Value = ScalarExpr> {
    let ops = select(vec![BinaryOp::Add, BinaryOp::Subtract, BinaryOp::Multiply]);
    let sum = (aggregate(), ops, prop_oneof![aggregate(), number().prop_map(ScalarExpr::Literal)]);
    prop_oneof![
        4 => aggregate(),
        1 => sum.prop_map(|(left, op, right)| {
            ScalarExpr::Binary { op, left: Box::new(left), right: Box::new(right) }
        }),
        1 => inner_scalar(),
    ]
}

/// `({ … } | count())`.
fn inner_scalar() -> impl Strategy<Value = ScalarExpr> {
    (filter(), aggregate()).prop_map(|(filter, number)| {
        let stages = vec![Stage::Spansets(SpansetExpr::Filter(filter))];
        ScalarExpr::Pipeline(Box::new(Pipeline { stages }), Box::new(number))
    })
}

fn later() -> impl Strategy<Value = Stage> {
    let ops = || select(&ORDERED[..]);
    let group = prop_oneof![
        3 => prop_oneof![keyed(), texts(), numbers()].prop_map(FieldExpr::Attribute),
        1 => computed(),
    ];
    prop_oneof![
        3 => (ops(), scalar(), number()).prop_map(|(op, left, right)| {
            Stage::ScalarFilter { op, left, right: ScalarExpr::Literal(right) }
        }),
        1 => (ops(), scalar(), scalar())
            .prop_map(|(op, left, right)| Stage::ScalarFilter { op, left, right }),
        2 => group.prop_map(Stage::By),
        1 => Just(Stage::Coalesce),
        1 => vec(prop_oneof![keyed(), texts(), numbers()], 1..3).prop_map(Stage::Select),
        2 => filter().prop_map(|filter| Stage::Spansets(SpansetExpr::Filter(filter))),
    ]
}

/// Pipelines of all forms; half of them look at spans one by one.
pub(crate) fn pipeline() -> impl Strategy<Value = Pipeline> {
    let simple = filter().prop_map(|filter| vec![Stage::Spansets(SpansetExpr::Filter(filter))]);
    let long = (spansets(), vec(later(), 0..4))
        .prop_map(|(first, later)| std::iter::once(Stage::Spansets(first)).chain(later).collect());
    let numbers = (
        select(&ORDERED[..]),
        inner_scalar(),
        prop_oneof![inner_scalar(), number().prop_map(ScalarExpr::Literal)],
    )
        .prop_map(|(op, left, right)| vec![Stage::ScalarFilter { op, left, right }]);
    prop_oneof![8 => simple, 8 => long, 1 => numbers].prop_map(|stages| Pipeline { stages })
}
