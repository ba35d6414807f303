//! Series: first and second stages of metrics, and math between them.

use super::climb::{Node, Operator, climb};
use super::outer::Outer;
use super::{Parser, Result};
use crate::ast::{
    Attribute, BinaryOp, Literal, MetricsExpr, MetricsFunction, Pipeline, ScalarExpr, SecondStage,
};
use crate::parse_error::ParseError;
use crate::lex::Symbol;
use crate::operator::{Level, binary_op};

/// Values that `compare` tells of each attribute unless the query says how many.
const COMPARE_TOP_N: usize = 10;

const FIRST_STAGES: [&str; 9] = [
    "rate",
    "count_over_time",
    "min_over_time",
    "max_over_time",
    "avg_over_time",
    "sum_over_time",
    "quantile_over_time",
    "histogram_over_time",
    "compare",
];

pub(super) fn is_first_stage(word: &str) -> bool {
    FIRST_STAGES.contains(&word)
}

/// Math between series, or series and a number; and a comparison with one.
pub(super) fn combine(parser: &Parser<'_>, operator: Operator, left: Outer, right: Outer) -> Result<Outer> {
    let op = match binary_op(operator.symbol) {
        Some(op @ (BinaryOp::Add | BinaryOp::Subtract | BinaryOp::Multiply | BinaryOp::Divide)) => op,
        Some(op) if op.is_comparison() => {
            let (Outer::Metrics(input), Outer::Scalar(constant)) = (left, right) else {
                return Err(
                    operator.fail(parser, "compares series with a constant, which stands on the right")
                );
            };
            return Ok(Outer::Metrics(filter(parser, operator, op, input, &constant)?));
        }
        _ => return Err(operator.fail(parser, "cannot stand between series")),
    };
    let left = Box::new(series(parser, operator, left)?);
    let right = Box::new(series(parser, operator, right)?);
    Ok(Outer::Metrics(MetricsExpr::Binary { op, left, right }))
}

fn filter(
    parser: &Parser<'_>,
    operator: Operator,
    op: BinaryOp,
    input: MetricsExpr,
    constant: &ScalarExpr,
) -> Result<MetricsExpr> {
    let constant = fold(constant).map_err(|why| ParseError::syntax(parser.text, operator.offset, why))?;
    Ok(MetricsExpr::Stage { input: Box::new(input), stage: SecondStage::Filter(op, constant) })
}

fn series(parser: &Parser<'_>, operator: Operator, side: Outer) -> Result<MetricsExpr> {
    match side {
        Outer::Metrics(series) => Ok(series),
        Outer::Scalar(constant) => match fold(&constant) {
            Ok(Literal::Duration(_)) => Err(ParseError::syntax(parser.text, operator.offset, NO_DURATIONS)),
            Ok(number) => Ok(MetricsExpr::Number(number)),
            Err(why) => Err(ParseError::syntax(parser.text, operator.offset, why)),
        },
        Outer::Spansets(_) | Outer::Filter { .. } => {
            Err(operator.fail(parser, "cannot stand between series and spansets"))
        }
    }
}

const NO_DURATIONS: &str =
    "durations cannot be calculated with in metrics: write a number, such as 0.1 for 100ms";

/// What constants come to. Integers stay integers.
fn fold(constant: &ScalarExpr) -> std::result::Result<Literal, String> {
    let (op, left, right) = match constant {
        ScalarExpr::Literal(literal) => return Ok(literal.clone()),
        ScalarExpr::Binary { op, left, right } => (*op, fold(left)?, fold(right)?),
        ScalarExpr::Aggregate(..) | ScalarExpr::Pipeline(..) => {
            return Err(format!("{constant} is no constant: series go with constants and other series only"));
        }
    };
    let result = match (left, right) {
        (Literal::Duration(_), _) | (_, Literal::Duration(_)) => return Err(NO_DURATIONS.to_owned()),
        (Literal::Int(left), Literal::Int(right)) => fold_ints(op, left, right).map(Literal::Int),
        (left, right) => fold_floats(op, float(&left), float(&right)).map(Literal::Float),
    };
    result.ok_or_else(|| format!("{constant} has no value"))
}

fn fold_ints(op: BinaryOp, left: i64, right: i64) -> Option<i64> {
    match op {
        BinaryOp::Add => left.checked_add(right),
        BinaryOp::Subtract => left.checked_sub(right),
        BinaryOp::Multiply => left.checked_mul(right),
        BinaryOp::Divide => left.checked_div(right),
        BinaryOp::Modulo => left.checked_rem(right),
        BinaryOp::Power => left.checked_pow(u32::try_from(right).ok()?),
        _ => None,
    }
}

fn fold_floats(op: BinaryOp, left: f64, right: f64) -> Option<f64> {
    let value = match op {
        BinaryOp::Add => left + right,
        BinaryOp::Subtract => left - right,
        BinaryOp::Multiply => left * right,
        BinaryOp::Divide => left / right,
        BinaryOp::Modulo => left % right,
        BinaryOp::Power => left.powf(right),
        _ => return None,
    };
    Some(value).filter(|value| value.is_finite())
}

fn float(literal: &Literal) -> f64 {
    match literal {
        Literal::Int(value) => *value as f64,
        Literal::Float(value) => *value,
        _ => f64::NAN,
    }
}

impl Parser<'_> {
    /// `rate() by(a, b)`
    pub(super) fn first_stage(&mut self, spans: Pipeline) -> Result<Node<MetricsExpr>> {
        let word = self.called().unwrap_or_default();
        self.call(word)?;
        if word == "compare" {
            return self.compare(spans);
        }
        let function = match word {
            "rate" => MetricsFunction::Rate,
            "count_over_time" => MetricsFunction::CountOverTime,
            _ => {
                let attribute = self.attribute("an attribute")?;
                self.of_attribute(word, attribute)?
            }
        };
        self.expect(Symbol::ParenClose, "\")\"")?;
        let by = if self.is_call("by") {
            self.call("by")?;
            self.attributes()?
        } else {
            Vec::new()
        };
        Ok(Node::leaf(MetricsExpr::Pipeline { spans, function, by }))
    }

    fn of_attribute(&mut self, word: &str, attribute: Attribute) -> Result<MetricsFunction> {
        Ok(match word {
            "min_over_time" => MetricsFunction::MinOverTime(attribute),
            "max_over_time" => MetricsFunction::MaxOverTime(attribute),
            "avg_over_time" => MetricsFunction::AvgOverTime(attribute),
            "sum_over_time" => MetricsFunction::SumOverTime(attribute),
            "histogram_over_time" => MetricsFunction::HistogramOverTime(attribute),
            _ => {
                let mut quantiles = Vec::new();
                while self.take(Symbol::Comma) {
                    quantiles.push(match self.literal()? {
                        number @ (Literal::Int(_) | Literal::Float(_)) => float(&number),
                        other => {
                            return Err(
                                self.fail(format!("{other} is no quantile, expected a number from 0 to 1"))
                            );
                        }
                    });
                }
                MetricsFunction::QuantileOverTime(attribute, quantiles)
            }
        })
    }

    /// `compare({ … }, 10, 1, 2)`, from the filter on.
    fn compare(&mut self, spans: Pipeline) -> Result<Node<MetricsExpr>> {
        let selection = self.filter()?;
        let mut top_n = COMPARE_TOP_N;
        let mut window = None;
        if self.take(Symbol::Comma) {
            top_n = self.count()?;
            if self.take(Symbol::Comma) {
                let start = self.int()?;
                self.expect(Symbol::Comma, "\",\" and the end of the window")?;
                // Clients that have no window send zeros.
                window = Some((start, self.int()?)).filter(|window| *window != (0, 0));
            }
        }
        self.expect(Symbol::ParenClose, "\",\" or \")\"")?;
        selection.above(self, |selection| {
            let function = MetricsFunction::Compare { selection, top_n, window };
            MetricsExpr::Pipeline { spans, function, by: Vec::new() }
        })
    }

    /// `… > 10 | topk(3) | …` as far as it goes.
    pub(super) fn second_stages(&mut self, series: Node<MetricsExpr>) -> Result<Node<MetricsExpr>> {
        let mut series = series;
        loop {
            let piped = self.take(Symbol::Pipe);
            let offset = self.offset();
            let comparison = self.symbol().filter(|symbol| Level::of(*symbol) == Some(Level::Comparison));
            if let Some((symbol, op)) = comparison.and_then(|symbol| Some((symbol, binary_op(symbol)?))) {
                self.advance();
                let operator = Operator { symbol, offset };
                let right = climb(self, Level::Sum)?;
                let Outer::Scalar(constant) = right.tree else {
                    return Err(operator.fail(self, "compares series with a constant"));
                };
                let filtered = filter(self, operator, op, series.tree, &constant)?;
                series = Node { tree: filtered, depth: series.depth }.above(self, |series| series)?;
            } else if piped {
                series = self.top(series)?;
            } else {
                return Ok(series);
            }
        }
    }

    /// `topk(3)`
    fn top(&mut self, series: Node<MetricsExpr>) -> Result<Node<MetricsExpr>> {
        let stage: fn(usize) -> SecondStage = match self.called() {
            Some("topk") => SecondStage::TopK,
            Some("bottomk") => SecondStage::BottomK,
            _ => return Err(self.unexpected("\"topk(\", \"bottomk(\" or a comparison with a constant")),
        };
        self.at += 2;
        let stage = stage(self.count()?);
        self.expect(Symbol::ParenClose, "\")\"")?;
        series.above(self, |series| MetricsExpr::Stage { input: Box::new(series), stage })
    }

    fn int(&mut self) -> Result<i64> {
        let error = self.unexpected("an integer");
        match self.maybe_literal()? {
            Some(Literal::Int(value)) => Ok(value),
            _ => Err(error),
        }
    }

    /// How many of something: at least 1.
    fn count(&mut self) -> Result<usize> {
        let error = self.unexpected("an integer above 0");
        usize::try_from(self.int()?).ok().filter(|count| *count > 0).ok_or(error)
    }
}
