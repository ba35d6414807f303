//! Lanes tested as a whole against an interpreter that goes row by row and knows three truth values.

use arrow::array::BooleanArray;
use arrow::buffer::NullBuffer;
use proptest::prelude::*;

use super::{compare, compute};
use crate::ast::{Attribute, BinaryOp, FieldExpr, Intrinsic, Literal, Status, Target};
use crate::testing::{Event, TestSpan, attribute, batch, runs, span};
use crate::{EvalError, Spans, Value, eval};
use vivace_model::schema::AttributeScope;

const COMPARISONS: [BinaryOp; 6] = [
    BinaryOp::Equal,
    BinaryOp::NotEqual,
    BinaryOp::Less,
    BinaryOp::LessOrEqual,
    BinaryOp::Greater,
    BinaryOp::GreaterOrEqual,
];

fn targets() -> Vec<Target> {
    let scoped = |scope| Target::Scoped(scope, "a".into());
    vec![
        scoped(AttributeScope::Span),
        scoped(AttributeScope::Resource),
        Target::Unscoped("a".into()),
        Target::Unscoped("b".into()),
        Target::Event("a".into()),
        Target::Intrinsic(Intrinsic::Duration),
        Target::Intrinsic(Intrinsic::Status),
        Target::Intrinsic(Intrinsic::Name),
        Target::Intrinsic(Intrinsic::NestedSetParent),
        Target::Intrinsic(Intrinsic::ChildCount),
    ]
}

fn attributes() -> impl Strategy<Value = FieldExpr> {
    (prop::sample::select(targets()), prop::bool::weighted(0.2))
        .prop_map(|(target, parent)| FieldExpr::Attribute(Attribute { parent, ..Attribute::new(target) }))
}

fn literal() -> impl Strategy<Value = FieldExpr> {
    prop::sample::select(vec![
        Literal::Bool(true),
        Literal::Int(1),
        Literal::Int(-1),
        Literal::Float(1.5),
        Literal::Duration(2),
        Literal::Text("x".into()),
        Literal::Text("y".into()),
        Literal::Status(Status::Error),
    ])
    .prop_map(FieldExpr::Literal)
}

fn binary(op: BinaryOp, left: FieldExpr, right: FieldExpr) -> FieldExpr {
    FieldExpr::Binary { op, left: Box::new(left), right: Box::new(right) }
}

fn expr() -> impl Strategy<Value = FieldExpr> {
    let number = prop_oneof![
        attributes(),
        literal(),
        (attributes(), literal()).prop_map(|(left, right)| binary(BinaryOp::Add, left, right)),
        attributes().prop_map(|inner| FieldExpr::Negate(Box::new(inner))),
    ];
    let comparison = prop_oneof![
        4 => (prop::sample::select(COMPARISONS.to_vec()), attributes(), literal())
            .prop_map(|(op, left, right)| binary(op, left, right)),
        2 => (prop::sample::select(COMPARISONS.to_vec()), number.clone(), number)
            .prop_map(|(op, left, right)| binary(op, left, right)),
        1 => (prop::sample::select(COMPARISONS[..2].to_vec()), attributes())
            .prop_map(|(op, left)| binary(op, left, FieldExpr::Literal(Literal::Nil))),
        1 => (prop::sample::select(vec![BinaryOp::Matches, BinaryOp::NotMatches]), attributes())
            .prop_map(|(op, left)| binary(op, left, FieldExpr::Literal(Literal::Text("x|z".into())))),
        1 => attributes(),
    ];
    comparison.prop_recursive(4, 24, 2, |inner| {
        prop_oneof![
            inner.clone().prop_map(|inner| FieldExpr::Not(Box::new(inner))),
            (prop::sample::select(vec![BinaryOp::And, BinaryOp::Or]), inner.clone(), inner)
                .prop_map(|(op, left, right)| binary(op, left, right)),
        ]
    })
}

fn spans() -> impl Strategy<Value = Vec<TestSpan>> {
    let value = || {
        prop::option::of(prop_oneof![
            Just(attribute("a", 1_i64)),
            Just(attribute("a", 1.5)),
            Just(attribute("a", true)),
            Just(attribute("a", "x")),
            Just(attribute("a", "y")),
            Just(attribute("a", vec!["x", "y"])),
            Just(attribute("a", vec![1_i64, 2])),
            Just(attribute("b", "x")),
        ])
    };
    let one = (value(), value(), value(), value(), 0..4_u64, 0..4_i32, 0..8_u8, 1..3_u8);
    prop::collection::vec(one, 1..12).prop_map(|list| {
        let span =
            |(index, (first, second, resource, event, duration, status, parent, trace)): (usize, _)| {
                let event: Option<_> = event;
                let event = event.map(|value| Event { attributes: vec![value], ..Event::default() });
                TestSpan {
                    trace,
                    attributes: [first, second].into_iter().flatten().collect(),
                    resource: Option::into_iter(resource).collect(),
                    events: event.into_iter().collect(),
                    duration,
                    status,
                    name: if duration == 1 { "x" } else { "z" },
                    ..span(index as u8 + 1, parent)
                }
            };
        list.into_iter().enumerate().map(span).collect()
    })
}

/// All values that the expression has in the row.
fn values<'a>(expr: &'a FieldExpr, spans: &Spans<'a>, row: usize) -> Result<Vec<Value<'a>>, EvalError> {
    let first = |expr| Ok::<_, EvalError>(values(expr, spans, row)?.first().copied());
    Ok(match expr {
        FieldExpr::Literal(literal) => literal.value().into_iter().collect(),
        FieldExpr::Attribute(attribute) => {
            let mut found = Vec::new();
            spans.values(attribute)?.each(row, |value| found.push(value));
            found
        }
        FieldExpr::Negate(inner) => first(inner)?.and_then(eval::arithmetic::negated).into_iter().collect(),
        FieldExpr::Binary { op, left, right } if op.is_arithmetic() => match (first(left)?, first(right)?) {
            (Some(left), Some(right)) => compute(*op, left, right)?.into_iter().collect(),
            _ => Vec::new(),
        },
        _ => truth(expr, spans, row)?.map(Value::Bool).into_iter().collect(),
    })
}

/// For which rows the expression is true: null where it is unknown, because an operand has no value.
fn evaluated(expr: &FieldExpr, spans: &Spans<'_>) -> Result<BooleanArray, EvalError> {
    let yes = eval::compile(expr, false)?.matches(spans, None)?;
    let mut known = eval::compile(expr, true)?.matches(spans, None)?;
    known.or(&yes);
    Ok(BooleanArray::new(yes.into_buffer(), Some(NullBuffer::new(known.into_buffer()))))
}

fn truth(expr: &FieldExpr, spans: &Spans<'_>, row: usize) -> Result<Option<bool>, EvalError> {
    Ok(match expr {
        FieldExpr::Not(inner) => truth(inner, spans, row)?.map(|value| !value),
        FieldExpr::Binary { op: op @ (BinaryOp::And | BinaryOp::Or), left, right } => {
            let decisive = Some(*op == BinaryOp::Or);
            match (truth(left, spans, row)?, truth(right, spans, row)?) {
                (left, right) if left == decisive || right == decisive => decisive,
                (Some(_), Some(_)) => decisive.map(|value| !value),
                _ => None,
            }
        }
        FieldExpr::Binary { op, left, right } => {
            let (lefts, rights) = (values(left, spans, row)?, values(right, spans, row)?);
            if matches!(**right, FieldExpr::Literal(Literal::Nil)) {
                return Ok(Some(lefts.is_empty() == (*op == BinaryOp::Equal)));
            }
            if lefts.is_empty() || rights.is_empty() {
                return Ok(None);
            }
            let holds = |left: Value<'_>, right: Value<'_>| match (op, left) {
                (BinaryOp::Matches, Value::Text(text)) => ["x", "z"].contains(&text),
                (BinaryOp::NotMatches, Value::Text(text)) => !["x", "z"].contains(&text),
                _ => compare(*op, left, right),
            };
            let mut pairs = lefts.iter().flat_map(|left| rights.iter().map(|right| holds(*left, *right)));
            let all = matches!(op, BinaryOp::NotEqual | BinaryOp::NotMatches);
            Some(if all { pairs.all(|holds| holds) } else { pairs.any(|holds| holds) })
        }
        // A truth value of its own; of several values one is enough, and for its negation too.
        FieldExpr::Attribute(_) => {
            let found = values(expr, spans, row)?;
            let has = |flag| found.contains(&Value::Bool(flag));
            if has(true) { Some(true) } else { has(false).then_some(false) }
        }
        _ => None,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn whole_lanes_say_what_rows_say(expr in expr(), spans in spans(), promoted: bool) {
        let batch = batch(&spans, promoted);
        let runs = runs(&batch);
        let spans = Spans::new(&batch, &runs);
        let found = evaluated(&expr, &spans).unwrap();
        for row in 0..spans.rows() {
            let expected = truth(&expr, &spans, row).unwrap();
            prop_assert_eq!(found.iter().nth(row).unwrap(), expected, "row {} of {}", row, expr);
        }
    }
}
