//! The tree of a TraceQL query, as it was written.
//! Owns: the nodes and their names. Does not own: how text becomes a tree (`parse`), which trees make sense
//! (`validate`), what they mean (`plan` and what follows).

use std::sync::Arc;

use vivace_model::schema::AttributeScope;

/// A query: what it selects and how it should be run.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    /// What is asked for.
    pub body: Body,
    /// `with(key = value, …)`, in order. Unknown ones are kept and have no effect.
    pub hints: Vec<(String, Literal)>,
}

/// What a query asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// Spansets.
    Spans(Pipeline),
    /// Series.
    Metrics(MetricsExpr),
}

/// Stages that each take spansets and give spansets: `a | b | c`. Never empty.
#[derive(Clone, Debug, PartialEq)]
pub struct Pipeline {
    /// From first to last.
    pub stages: Vec<Stage>,
}

/// One stage of a pipeline.
#[derive(Clone, Debug, PartialEq)]
pub enum Stage {
    /// `{ … }` and what combines them.
    Spansets(SpansetExpr),
    /// `count() > 2`: keeps spansets for which the comparison holds.
    ScalarFilter {
        /// A comparison.
        op: BinaryOp,
        /// Left side.
        left: ScalarExpr,
        /// Right side.
        right: ScalarExpr,
    },
    /// `by(expr)`: splits each spanset by the value.
    By(FieldExpr),
    /// `coalesce()`: all spansets of a trace become one.
    Coalesce,
    /// `select(a, b)`: adds attributes to the answer.
    Select(Vec<Attribute>),
}

/// Spansets of one trace.
#[derive(Clone, Debug, PartialEq)]
pub enum SpansetExpr {
    /// `{ expr }`; `{ }` is `{ true }`.
    Filter(FieldExpr),
    /// Two sides and how they relate.
    Binary {
        /// How.
        op: SpansetOp,
        /// Left side.
        left: Box<Self>,
        /// Right side.
        right: Box<Self>,
    },
    /// `( pipeline )` as an operand.
    Pipeline(Box<Pipeline>),
}

/// How two sides of a spanset expression relate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SpansetOp {
    /// `&&`: both sides have spans in the trace; the result is the spans of both.
    And,
    /// `||`: one side has; the result is the spans of both.
    Or,
    /// `>`, `>>`, `<`, `<<`, `~`, negated (`!>`) or as a union (`&>`). Without union the result is spans of the right side.
    Structural {
        /// Which relation.
        relation: Relation,
        /// `!`: spans of the right side that have no such relative on the left side.
        negated: bool,
        /// `&`: spans of both sides that take part.
        union: bool,
    },
}

/// What the span of the right side is to the span of the left side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Relation {
    /// `>`: right is a child of left.
    Child,
    /// `<`: right is the parent of left.
    Parent,
    /// `>>`: right is a descendant of left.
    Descendant,
    /// `<<`: right is an ancestor of left.
    Ancestor,
    /// `~`: another child of the same parent.
    Sibling,
}

/// An expression over one span.
#[derive(Clone, Debug, PartialEq)]
pub enum FieldExpr {
    /// A constant.
    Literal(Literal),
    /// A property of the span.
    Attribute(Attribute),
    /// `!a`.
    Not(Box<Self>),
    /// `-a`.
    Negate(Box<Self>),
    /// Two operands.
    Binary {
        /// Operator.
        op: BinaryOp,
        /// Left operand.
        left: Box<Self>,
        /// Right operand.
        right: Box<Self>,
    },
}

/// Operators between values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "their names say it")]
pub enum BinaryOp {
    And,
    Or,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Matches,
    NotMatches,
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
    Power,
}

/// A constant.
#[derive(Clone, Debug, PartialEq)]
pub enum Literal {
    /// `nil`: no value.
    Nil,
    /// `true`, `false`.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A number with a fraction or exponent.
    Float(f64),
    /// Text.
    Text(Arc<str>),
    /// Nanoseconds.
    Duration(i64),
    /// `ok`, `error`, `unset`.
    Status(Status),
    /// `server`, `client`, ….
    Kind(Kind),
}

/// Status of a span, by OTLP's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs, reason = "their names say it")]
#[repr(u8)]
pub enum Status {
    Unset = 0,
    Ok = 1,
    Error = 2,
}

/// Kind of a span, by OTLP's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs, reason = "their names say it")]
#[repr(u8)]
pub enum Kind {
    Unspecified = 0,
    Internal = 1,
    Server = 2,
    Client = 3,
    Producer = 4,
    Consumer = 5,
}

/// A property of a span, as it was written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Attribute {
    /// Of the span's parent instead: `parent.span.foo`, `parent.foo`, `parent.duration`.
    pub parent: bool,
    /// Which property.
    pub target: Target,
    /// The text in the query, without blanks around: labels and columns of answers are named by it.
    pub written: Arc<str>,
}

/// Which property of a span.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Target {
    /// Built in.
    Intrinsic(Intrinsic),
    /// `resource.x`, `span.x`, `instrumentation.x`.
    Scoped(AttributeScope, Arc<str>),
    /// `event.x`: of any event of the span.
    Event(Arc<str>),
    /// `link.x`: of any link of the span.
    Link(Arc<str>),
    /// `.x`: the first that has it of span, resource, event, link, instrumentation.
    Unscoped(Arc<str>),
}

/// What every span has without attributes. `duration` and `span:duration` are one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Intrinsic {
    /// `duration`, `span:duration`.
    Duration,
    /// `name`, `span:name`.
    Name,
    /// `kind`, `span:kind`.
    Kind,
    /// `status`, `span:status`.
    Status,
    /// `statusMessage`, `span:statusMessage`.
    StatusMessage,
    /// `span:id`: 16 hex digits.
    SpanId,
    /// `span:parentID`: 16 hex digits, nil for a root.
    ParentId,
    /// `span:childCount`.
    ChildCount,
    /// `trace:id`: hex digits.
    TraceId,
    /// `traceDuration`, `trace:duration`.
    TraceDuration,
    /// `rootName`, `trace:rootName`.
    RootName,
    /// `rootServiceName`, `trace:rootService`.
    RootServiceName,
    /// `nestedSetLeft`.
    NestedSetLeft,
    /// `nestedSetRight`.
    NestedSetRight,
    /// `nestedSetParent`: -1 for a root.
    NestedSetParent,
    /// `event:name`.
    EventName,
    /// `event:timeSinceStart`.
    EventTimeSinceStart,
    /// `link:traceID`.
    LinkTraceId,
    /// `link:spanID`.
    LinkSpanId,
    /// `instrumentation:name`.
    InstrumentationName,
    /// `instrumentation:version`.
    InstrumentationVersion,
    /// `parent` alone: parses, and validation refuses it.
    Parent,
}

/// A number of a spanset.
#[derive(Clone, Debug, PartialEq)]
pub enum ScalarExpr {
    /// A constant.
    Literal(Literal),
    /// `count()`, `avg(duration)`, ….
    Aggregate(Aggregate, Option<FieldExpr>),
    /// Arithmetic.
    Binary {
        /// Operator.
        op: BinaryOp,
        /// Left operand.
        left: Box<Self>,
        /// Right operand.
        right: Box<Self>,
    },
    /// `({ … } | count())`: a pipeline of its own on the same trace, whose last step is a number.
    Pipeline(Box<Pipeline>, Box<Self>),
}

/// Aggregates of a spanset. All but `Count` have a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "their names say it")]
pub enum Aggregate {
    Count,
    Sum,
    Min,
    Max,
    Avg,
}

/// Series.
#[derive(Clone, Debug, PartialEq)]
pub enum MetricsExpr {
    /// Spans, and what is counted of them over time.
    Pipeline {
        /// Which spans.
        spans: Pipeline,
        /// What of them.
        function: MetricsFunction,
        /// `by(a, b)`; empty without.
        by: Vec<Attribute>,
    },
    /// A second stage on series: `… | topk(3)`.
    Stage {
        /// The series.
        input: Box<Self>,
        /// What is done to them.
        stage: SecondStage,
    },
    /// A number in math.
    Number(Literal),
    /// `(a) + (b)`.
    Binary {
        /// An arithmetic operator.
        op: BinaryOp,
        /// Left operand.
        left: Box<Self>,
        /// Right operand.
        right: Box<Self>,
    },
}

/// First stages of metrics.
#[derive(Clone, Debug, PartialEq)]
pub enum MetricsFunction {
    /// `rate()`.
    Rate,
    /// `count_over_time()`.
    CountOverTime,
    /// `min_over_time(a)`.
    MinOverTime(Attribute),
    /// `max_over_time(a)`.
    MaxOverTime(Attribute),
    /// `avg_over_time(a)`.
    AvgOverTime(Attribute),
    /// `sum_over_time(a)`.
    SumOverTime(Attribute),
    /// `quantile_over_time(a, 0.5, 0.9)`.
    QuantileOverTime(Attribute, Vec<f64>),
    /// `histogram_over_time(a)`.
    HistogramOverTime(Attribute),
    /// `compare({ … }, top_n, start, end)`.
    Compare {
        /// Spans that match it are the selection, the others the baseline.
        selection: FieldExpr,
        /// Values of each attribute that are told. Default 10.
        top_n: usize,
        /// Selection only in this window, Unix nanoseconds.
        window: Option<(i64, i64)>,
    },
}

/// Second stages of metrics.
#[derive(Clone, Debug, PartialEq)]
pub enum SecondStage {
    /// `topk(n)`.
    TopK(usize),
    /// `bottomk(n)`.
    BottomK(usize),
    /// `> 10`.
    Filter(BinaryOp, Literal),
}
