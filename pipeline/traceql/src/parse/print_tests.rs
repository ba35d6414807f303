//! What is printed parses to the same tree, and nothing that is typed makes the parser panic.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::{Parser, parse, parse_lenient_filter};
use crate::ast::*;

fn reparse(query: &Query) -> Query {
    let text = query.to_string();
    let parsed = Parser::new(&text).and_then(|mut parser| parser.query());
    parsed.unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn key() -> BoxedStrategy<String> {
    prop_oneof![
        "[a-z][a-zA-Z0-9_./:-]{0,8}",
        "[ -~]{1,6}",
        "\\PC{1,4}",
        Just("5".to_owned()),
        Just("span.x".to_owned())
    ]
    .boxed()
}

fn attribute() -> BoxedStrategy<Attribute> {
    let written = proptest::sample::select(vec![
        "parent.span.x",
        "parent.resource.service.name",
        "parent.x",
        "parent.\"duration\"",
        "parent.duration",
        "parent.event.x",
        "span:duration",
        "trace:rootService",
        "resource.\"a b\".c",
        ".5xx",
    ]);
    let scoped = (0..7u8, key()).prop_map(|(scope, key)| {
        let key = key.into();
        Attribute::new(match scope {
            0 => Target::Event(key),
            1 => Target::Link(key),
            2 | 3 => Target::Unscoped(key),
            other => Target::Scoped(vivace_model::schema::AttributeScope::ALL[usize::from(other) - 4], key),
        })
    });
    let intrinsic = proptest::sample::select(crate::INTRINSIC_TAG_NAMES.to_vec());
    prop_oneof![prop_oneof![written, intrinsic].prop_map(|name| Attribute::parse(name).unwrap()), scoped]
        .boxed()
}

fn number() -> BoxedStrategy<Literal> {
    prop_oneof![
        any::<i64>().prop_map(Literal::Int),
        (-3..100i64).prop_map(Literal::Int),
        Just(Literal::Int(i64::MIN)),
        any::<f64>().prop_filter("finite", |value| value.is_finite()).prop_map(Literal::Float),
    ]
    .boxed()
}

fn number_or_duration() -> BoxedStrategy<Literal> {
    prop_oneof![
        number(),
        (-i64::MAX..i64::MAX).prop_map(Literal::Duration),
        (-9..9i64).prop_map(Literal::Duration)
    ]
    .boxed()
}

fn literal() -> BoxedStrategy<Literal> {
    prop_oneof![
        number_or_duration(),
        any::<String>().prop_map(|text| Literal::Text(text.into())),
        any::<bool>().prop_map(Literal::Bool),
        Just(Literal::Nil),
        proptest::sample::select(Status::ALL.to_vec()).prop_map(Literal::Status),
        proptest::sample::select(Kind::ALL.to_vec()).prop_map(Literal::Kind),
    ]
    .boxed()
}

use BinaryOp::*;
const LOGIC: [BinaryOp; 2] = [And, Or];
const COMPARISONS: [BinaryOp; 8] =
    [Equal, NotEqual, Less, LessOrEqual, Greater, GreaterOrEqual, Matches, NotMatches];
const ARITHMETIC: [BinaryOp; 6] = [Add, Subtract, Multiply, Divide, Modulo, Power];

fn one_of(ops: &[BinaryOp]) -> BoxedStrategy<BinaryOp> {
    proptest::sample::select(ops.to_vec()).boxed()
}

fn field() -> BoxedStrategy<FieldExpr> {
    let leaf =
        prop_oneof![literal().prop_map(FieldExpr::Literal), attribute().prop_map(FieldExpr::Attribute)];
    leaf.prop_recursive(5, 24, 2, |inner| {
        let op = prop_oneof![one_of(&LOGIC), one_of(&COMPARISONS), one_of(&ARITHMETIC)];
        prop_oneof![
            inner.clone().prop_map(|operand| FieldExpr::Not(Box::new(operand))),
            inner.clone().prop_map(|operand| match &operand {
                FieldExpr::Literal(literal) => match literal.negated() {
                    Some(negated) => FieldExpr::Literal(negated),
                    None => FieldExpr::Negate(Box::new(operand)),
                },
                _ => FieldExpr::Negate(Box::new(operand)),
            }),
            (op, inner.clone(), inner).prop_map(|(op, left, right)| FieldExpr::Binary {
                op,
                left: Box::new(left),
                right: Box::new(right)
            }),
        ]
    })
    .boxed()
}

fn spanset_op() -> BoxedStrategy<SpansetOp> {
    use Relation::*;
    let relation = proptest::sample::select(vec![Child, Parent, Descendant, Ancestor, Sibling]);
    let structural = (relation, 0..3u8).prop_map(|(relation, form)| SpansetOp::Structural {
        relation,
        negated: form == 1,
        union: form == 2,
    });
    prop_oneof![Just(SpansetOp::And), Just(SpansetOp::Or), structural].boxed()
}

fn spansets(depth: u32) -> BoxedStrategy<SpansetExpr> {
    let filter = field().prop_map(SpansetExpr::Filter).boxed();
    if depth == 0 {
        return filter;
    }
    let binary = (spanset_op(), spansets(depth - 1), spansets(depth - 1)).prop_map(|(op, left, right)| {
        SpansetExpr::Binary { op, left: Box::new(left), right: Box::new(right) }
    });
    // Brackets around one expression are not in the tree.
    let piped =
        pipeline(depth - 1).prop_map(|mut pipeline| match (pipeline.stages.len(), pipeline.stages.pop()) {
            (1, Some(Stage::Spansets(spansets))) => spansets,
            (_, last) => {
                pipeline.stages.extend(last);
                SpansetExpr::Pipeline(Box::new(pipeline))
            }
        });
    prop_oneof![filter, binary, piped].boxed()
}

fn pipeline(depth: u32) -> BoxedStrategy<Pipeline> {
    let filter = (one_of(&COMPARISONS), scalar(depth), scalar(depth))
        .prop_map(|(op, left, right)| Stage::ScalarFilter { op, left, right });
    let stage = prop_oneof![
        spansets(depth).prop_map(Stage::Spansets),
        filter,
        field().prop_map(Stage::By),
        Just(Stage::Coalesce),
        vec(attribute(), 1..4).prop_map(Stage::Select),
    ];
    (spansets(depth), vec(stage, 0..3))
        .prop_map(|(first, rest)| Pipeline {
            stages: std::iter::once(Stage::Spansets(first)).chain(rest).collect(),
        })
        .boxed()
}

fn scalar(depth: u32) -> BoxedStrategy<ScalarExpr> {
    let function =
        proptest::sample::select(vec![Aggregate::Sum, Aggregate::Min, Aggregate::Max, Aggregate::Avg]);
    let leaf = prop_oneof![
        number_or_duration().prop_map(ScalarExpr::Literal),
        Just(ScalarExpr::Aggregate(Aggregate::Count, None)),
        (function, field()).prop_map(|(function, field)| ScalarExpr::Aggregate(function, Some(field))),
    ]
    .boxed();
    if depth == 0 {
        return leaf;
    }
    let binary = (one_of(&ARITHMETIC), scalar(depth - 1), scalar(depth - 1)).prop_map(|(op, left, right)| {
        ScalarExpr::Binary { op, left: Box::new(left), right: Box::new(right) }
    });
    let piped = (pipeline(depth - 1), scalar(depth - 1))
        .prop_map(|(pipeline, scalar)| ScalarExpr::Pipeline(Box::new(pipeline), Box::new(scalar)));
    prop_oneof![leaf, binary, piped].boxed()
}

fn function() -> BoxedStrategy<MetricsFunction> {
    let window = option::of((any::<i64>(), 1..i64::MAX));
    prop_oneof![
        Just(MetricsFunction::Rate),
        Just(MetricsFunction::CountOverTime),
        attribute().prop_map(MetricsFunction::MinOverTime),
        attribute().prop_map(MetricsFunction::MaxOverTime),
        attribute().prop_map(MetricsFunction::AvgOverTime),
        attribute().prop_map(MetricsFunction::SumOverTime),
        attribute().prop_map(MetricsFunction::HistogramOverTime),
        (attribute(), vec(0.0..=1.0, 0..3))
            .prop_map(|(a, quantiles)| MetricsFunction::QuantileOverTime(a, quantiles)),
        (field(), 1..99usize, window).prop_map(|(selection, top_n, window)| MetricsFunction::Compare {
            selection,
            top_n,
            window
        }),
    ]
    .boxed()
}

fn metrics(depth: u32) -> BoxedStrategy<MetricsExpr> {
    let leaf = (pipeline(1), function(), vec(attribute(), 0..3))
        .prop_map(|(spans, function, by)| {
            let by = if matches!(function, MetricsFunction::Compare { .. }) { Vec::new() } else { by };
            MetricsExpr::Pipeline { spans, function, by }
        })
        .boxed();
    if depth == 0 {
        return leaf;
    }
    let stage = prop_oneof![
        (1..9usize).prop_map(SecondStage::TopK),
        (1..9usize).prop_map(SecondStage::BottomK),
        (one_of(&COMPARISONS), number_or_duration())
            .prop_map(|(op, constant)| SecondStage::Filter(op, constant)),
    ];
    let staged = (metrics(depth - 1), stage)
        .prop_map(|(input, stage)| MetricsExpr::Stage { input: Box::new(input), stage });
    let side = prop_oneof![metrics(depth - 1), number().prop_map(MetricsExpr::Number)];
    let binary = (one_of(&ARITHMETIC[..4]), metrics(depth - 1), side, any::<bool>()).prop_map(
        |(op, one, other, swap)| {
            let (left, right) = if swap { (other, one) } else { (one, other) };
            MetricsExpr::Binary { op, left: Box::new(left), right: Box::new(right) }
        },
    );
    prop_oneof![leaf, staged, binary].boxed()
}

fn query() -> BoxedStrategy<Query> {
    let spans = pipeline(2).prop_map(|mut pipeline| {
        // Brackets around a whole query are not in the tree.
        while let [Stage::Spansets(SpansetExpr::Pipeline(inner))] = pipeline.stages.as_slice() {
            pipeline = (**inner).clone();
        }
        Body::Spans(pipeline)
    });
    let body = prop_oneof![spans, metrics(3).prop_map(Body::Metrics)];
    (body, vec(("[a-z_]{1,8}", literal()), 0..3)).prop_map(|(body, hints)| Query { body, hints }).boxed()
}

/// Any tokens in any order, as people who type leave them.
fn soup() -> BoxedStrategy<String> {
    let words = "{ } ( ) , | || && ! - + * / % ^ = != < <= > >= =~ !~ ~ >> << !> !< !>> !<< &> &< &>> &<< &~ 1 2.5 10ms \
        .5 \"a\" `b` nil true minInt ok server name duration span:kind parent .foo span.a-b resource.service.name \
        count() avg( by( select( coalesce() rate() topk(3) compare( quantile_over_time( with( sample \" // é \\";
    let word = proptest::sample::select(words.split_whitespace().collect::<Vec<_>>());
    (vec(word, 0..40), any::<bool>())
        .prop_map(|(words, blanks)| words.join(if blanks { " " } else { "" }))
        .boxed()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, ..ProptestConfig::default() })]

    #[test]
    fn what_is_printed_parses_to_the_same(query in query()) {
        prop_assert_eq!(reparse(&query), query);
    }

    #[test]
    fn no_text_makes_it_panic(text in prop_oneof![any::<String>(), soup(), soup().prop_map(|s| format!("{{{s}}}"))]) {
        if let Ok(query) = parse(&text) {
            prop_assert_eq!(reparse(&query), query);
        }
        if let Some(filter) = parse_lenient_filter(&text) {
            let text = format!("{{{filter}}}");
            prop_assert!(parse(&text).is_ok(), "{}", text);
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in vec(any::<u8>(), 0..64)) {
        let text = String::from_utf8_lossy(&bytes);
        prop_assert!(parse(&text).is_err() || !text.is_empty());
        let _ignored = (parse_lenient_filter(&text), Attribute::parse(&text));
    }
}
