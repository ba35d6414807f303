//! What stands outside of `{ … }`: spansets and their operators, pipelines, numbers of spansets.
//! A bracket may hold spansets, a number or series, which only its inside tells: all are parsed as an [`Outer`].

use super::climb::{Node, Operands, Operator, climb};
use super::{Parser, Result, metrics};
use crate::ast::BinaryOp;
use crate::ast::{
    Aggregate, Body, FieldExpr, Literal, MetricsExpr, Pipeline, ScalarExpr, SpansetExpr, Stage,
};
use crate::parse_error::{ParseError, clip};
use crate::lex::Symbol;
use crate::operator::{Level, binary_op, spanset_op};

/// An operand outside of `{ … }`.
#[derive(Debug)]
pub(super) enum Outer {
    Spansets(SpansetExpr),
    Scalar(ScalarExpr),
    Filter { op: BinaryOp, left: ScalarExpr, right: ScalarExpr },
    Metrics(MetricsExpr),
}

impl Operands for Outer {
    fn operand(parser: &mut Parser<'_>) -> Result<Node<Self>> {
        if let Some(function) = parser.called().and_then(aggregate) {
            return parser.aggregate(function);
        }
        match parser.symbol() {
            Some(Symbol::BraceOpen) => {
                parser.filter()?.above(parser, |filter| Self::Spansets(SpansetExpr::Filter(filter)))
            }
            Some(Symbol::ParenOpen) => parser.nested(|parser| {
                parser.advance();
                let inside = parser.pipeline()?;
                parser.expect(Symbol::ParenClose, "an operator, \"|\" or \")\"")?;
                Ok(inside)
            }),
            _ => {
                let offset = parser.offset();
                match parser.maybe_literal()? {
                    Some(number) if number.is_number() => {
                        Ok(Node::leaf(Self::Scalar(ScalarExpr::Literal(number))))
                    }
                    Some(other) => {
                        let message =
                            format!("unexpected {other}, expected \"{{\", \"(\", a number or an aggregate");
                        Err(ParseError::syntax(parser.text, offset, message))
                    }
                    None => Err(parser.unexpected("\"{\", \"(\", a number or an aggregate")),
                }
            }
        }
    }

    fn combine(parser: &Parser<'_>, operator: Operator, left: Self, right: Self) -> Result<Self> {
        match (left, right) {
            (Self::Scalar(left), Self::Scalar(right)) => scalars(parser, operator, left, right),
            (left @ Self::Metrics(_), right) | (left, right @ Self::Metrics(_)) => {
                metrics::combine(parser, operator, left, right)
            }
            (left, right) => spansets(parser, operator, left, right),
        }
    }
}

fn scalars(parser: &Parser<'_>, operator: Operator, left: ScalarExpr, right: ScalarExpr) -> Result<Outer> {
    match binary_op(operator.symbol) {
        Some(op) if op.is_arithmetic() => {
            Ok(Outer::Scalar(ScalarExpr::Binary { op, left: Box::new(left), right: Box::new(right) }))
        }
        Some(op) if op.is_comparison() => Ok(Outer::Filter { op, left, right }),
        _ => Err(operator.fail(parser, "cannot stand between numbers")),
    }
}

fn spansets(parser: &Parser<'_>, operator: Operator, left: Outer, right: Outer) -> Result<Outer> {
    let Some(op) = spanset_op(operator.symbol) else {
        return Err(operator.fail(parser, "cannot stand between spansets"));
    };
    match (left.into_spansets(), right.into_spansets()) {
        (Some(left), Some(right)) => {
            Ok(Outer::Spansets(SpansetExpr::Binary { op, left: Box::new(left), right: Box::new(right) }))
        }
        _ => Err(operator.fail(parser, "cannot stand between spansets and a number")),
    }
}

impl Outer {
    /// As a side of an operator between spansets; none for numbers and series.
    fn into_spansets(self) -> Option<SpansetExpr> {
        match self {
            Self::Spansets(spansets) => Some(spansets),
            Self::Filter { op, left, right } => {
                let stages = with_spans(vec![Stage::ScalarFilter { op, left, right }]);
                Some(SpansetExpr::Pipeline(Box::new(Pipeline { stages })))
            }
            Self::Scalar(_) | Self::Metrics(_) => None,
        }
    }
}

/// A pipeline that does not say which spans it starts with starts with all.
fn with_spans(mut stages: Vec<Stage>) -> Vec<Stage> {
    let needed = match stages.first() {
        Some(Stage::ScalarFilter { left, right, .. }) => needs_spans(left) || needs_spans(right),
        Some(Stage::By(_) | Stage::Coalesce | Stage::Select(_)) => true,
        Some(Stage::Spansets(_)) | None => false,
    };
    if needed {
        stages.insert(0, Stage::Spansets(SpansetExpr::Filter(FieldExpr::Literal(Literal::Bool(true)))));
    }
    stages
}

fn needs_spans(scalar: &ScalarExpr) -> bool {
    match scalar {
        ScalarExpr::Aggregate(..) => true,
        ScalarExpr::Binary { left, right, .. } => needs_spans(left) || needs_spans(right),
        ScalarExpr::Literal(_) | ScalarExpr::Pipeline(..) => false,
    }
}

fn aggregate(word: &str) -> Option<Aggregate> {
    [Aggregate::Count, Aggregate::Sum, Aggregate::Min, Aggregate::Max, Aggregate::Avg]
        .into_iter()
        .find(|aggregate| aggregate.name() == word)
}

/// A step of a pipeline.
enum Step {
    Stage(Stage),
    Scalar(ScalarExpr),
    Metrics(MetricsExpr),
}

impl Parser<'_> {
    pub(super) fn body(&mut self) -> Result<Body> {
        match self.pipeline()?.tree {
            Outer::Metrics(series) => Ok(Body::Metrics(series)),
            Outer::Scalar(ScalarExpr::Pipeline(_, number)) => Err(self.only_number(&number)),
            Outer::Scalar(number) => Err(self.only_number(&number)),
            Outer::Spansets(SpansetExpr::Pipeline(pipeline)) => Ok(Body::Spans(*pipeline)),
            Outer::Spansets(spansets) => {
                Ok(Body::Spans(Pipeline { stages: vec![Stage::Spansets(spansets)] }))
            }
            Outer::Filter { op, left, right } => Ok(Body::Spans(Pipeline {
                stages: with_spans(vec![Stage::ScalarFilter { op, left, right }]),
            })),
        }
    }

    fn only_number(&self, number: &ScalarExpr) -> ParseError {
        let number = clip(&number.to_string());
        self.fail(format!("the query ends in a number, expected a comparison of it, such as {number} > 2"))
    }

    /// `a | b | c`, as a whole or in brackets.
    fn pipeline(&mut self) -> Result<Node<Outer>> {
        let mut stages = Vec::new();
        let mut depth = 0;
        loop {
            let step = self.step(&mut stages)?;
            depth = depth.max(step.depth);
            match step.tree {
                Step::Stage(stage) => stages.push(stage),
                Step::Scalar(scalar) => {
                    return Node { tree: scalar, depth }
                        .above(self, |scalar| Outer::Scalar(of_spans(stages, scalar)));
                }
                Step::Metrics(series) => {
                    let series = Node { tree: series, depth }.above(self, |series| series)?;
                    return self.second_stages(series)?.above(self, Outer::Metrics);
                }
            }
            if !self.take(Symbol::Pipe) {
                return Node { tree: stages, depth }.above(self, only_spansets);
            }
        }
    }

    /// What stands between two `|`. Metrics take the stages before them.
    fn step(&mut self, stages: &mut Vec<Stage>) -> Result<Node<Step>> {
        let Some(word) = self.called() else {
            return self.expression(stages);
        };
        match word {
            "by" => self.nested(|parser| {
                parser.call("by")?;
                let group = climb(parser, Level::Logic)?;
                parser.expect(Symbol::ParenClose, "an operator or \")\"")?;
                group.above(parser, |group| Step::Stage(Stage::By(group)))
            }),
            "coalesce" => {
                self.call("coalesce")?;
                self.expect(Symbol::ParenClose, "\")\"")?;
                Ok(Node::leaf(Step::Stage(Stage::Coalesce)))
            }
            "select" => {
                self.call("select")?;
                Ok(Node::leaf(Step::Stage(Stage::Select(self.attributes()?))))
            }
            _ if metrics::is_first_stage(word) => {
                if stages.is_empty() {
                    return Err(self.fail(format!("{word}() needs spans, such as {{ }} | {word}()")));
                }
                let spans = Pipeline { stages: with_spans(std::mem::take(stages)) };
                self.first_stage(spans)?.above(self, Step::Metrics)
            }
            "topk" | "bottomk" => {
                Err(self.fail(format!("{word}() needs series, such as {{ }} | rate() | {word}(3)")))
            }
            _ if aggregate(word).is_some() => self.expression(stages),
            _ => Err(self.fail(format!("unknown function {word}()"))),
        }
    }

    fn expression(&mut self, stages: &[Stage]) -> Result<Node<Step>> {
        let offset = self.offset();
        let outer = climb::<Outer>(self, Level::Logic)?;
        let step = match outer.tree {
            Outer::Spansets(spansets) => Step::Stage(Stage::Spansets(spansets)),
            Outer::Filter { op, left, right } => Step::Stage(Stage::ScalarFilter { op, left, right }),
            Outer::Scalar(scalar) => Step::Scalar(scalar),
            Outer::Metrics(series) if stages.is_empty() => Step::Metrics(series),
            Outer::Metrics(_) => {
                return Err(ParseError::syntax(
                    self.text,
                    offset,
                    "series in brackets cannot follow a \"|\"",
                ));
            }
        };
        Ok(Node { tree: step, depth: outer.depth })
    }

    /// `count()`, `avg(duration)`
    fn aggregate(&mut self, function: Aggregate) -> Result<Node<Outer>> {
        self.nested(|parser| {
            parser.call(function.name())?;
            if function == Aggregate::Count {
                parser.expect(Symbol::ParenClose, "\")\"")?;
                return Ok(Node::leaf(Outer::Scalar(ScalarExpr::Aggregate(function, None))));
            }
            let field = climb(parser, Level::Logic)?;
            parser.expect(Symbol::ParenClose, "an operator or \")\"")?;
            field.above(parser, |field| Outer::Scalar(ScalarExpr::Aggregate(function, Some(field))))
        })
    }
}

/// `({ … } | count())`; without stages the number is of the spansets where it stands.
fn of_spans(stages: Vec<Stage>, scalar: ScalarExpr) -> ScalarExpr {
    if stages.is_empty() {
        return scalar;
    }
    ScalarExpr::Pipeline(Box::new(Pipeline { stages: with_spans(stages) }), Box::new(scalar))
}

/// Brackets around one expression leave no trace in the tree.
fn only_spansets(mut stages: Vec<Stage>) -> Outer {
    match (stages.len(), stages.pop()) {
        (1, Some(Stage::Spansets(spansets))) => Outer::Spansets(spansets),
        (1, Some(Stage::ScalarFilter { op, left, right })) => Outer::Filter { op, left, right },
        (_, last) => {
            stages.extend(last);
            Outer::Spansets(SpansetExpr::Pipeline(Box::new(Pipeline { stages: with_spans(stages) })))
        }
    }
}
