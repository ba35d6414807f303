//! What rows must meet to matter, as far as columns can tell without reading rows.
//! Where traces are wholes, parts of a condition are met by different rows of a trace: by the span itself, by its root (of
//! which all spans of a piece know the name), by its parent. Only what one row meets is joined by "all".

use std::sync::Arc;

use vivace_model::WorkBudget;
use vivace_model::scan::{Condition, ScanColumn, Test};
use vivace_model::schema::{self, AttributeScope};

use crate::ast::{Attribute, Intrinsic, Kind, Status, Target};
use crate::eval::{Leaf, LeafTest, Node, Operand, Predicate, TextTest};
use crate::select::{Scalar, Selector, Spansets, Step};

/// Whose row meets a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Row {
    /// That of the span that is found.
    Own,
    /// That of the trace's root.
    Root,
    /// Some row of the trace.
    Some,
}

/// What matters to any of the pipelines.
pub(super) fn of_selectors(selectors: &[Selector], whole: bool) -> Condition {
    if selectors.is_empty() {
        return Condition::Always;
    }
    any(selectors.iter().map(|found| selector(found, whole)).collect())
}

/// The same, with patterns charged to the budget wherever the condition is looked at. When that is over, everything may
/// matter: who evaluates it next says so.
pub(super) fn within(condition: Condition, budget: &WorkBudget) -> Condition {
    let each = |parts: Vec<Condition>| parts.into_iter().map(|part| within(part, budget)).collect();
    match condition {
        Condition::All(parts) => Condition::All(each(parts)),
        Condition::Any(parts) => Condition::Any(each(parts)),
        Condition::Leaf(column, Test::TextMatches(matches)) => {
            let budget = budget.clone();
            let within = move |text: &str| budget.sampled(|| matches(text)).unwrap_or(true);
            Condition::Leaf(column, Test::TextMatches(Arc::new(within)))
        }
        other @ (Condition::Always | Condition::Leaf(..)) => other,
    }
}

fn selector(selector: &Selector, whole: bool) -> Condition {
    let mut conditions = Vec::new();
    for step in selector.steps() {
        match step {
            Step::Spansets(found) => conditions.push(spansets(found, whole)),
            // The spans it is about are those of its own pipelines.
            Step::Scalars { left, right, first: true, .. } => {
                let mut sides = Vec::new();
                scalar(left, whole, &mut sides);
                scalar(right, whole, &mut sides);
                conditions.push(any(sides));
            }
            Step::Scalars { .. } | Step::By(..) | Step::Coalesce => {}
        }
    }
    if whole { best(conditions) } else { all(conditions) }
}

fn scalar(found: &Scalar, whole: bool, conditions: &mut Vec<Condition>) {
    match found {
        Scalar::Constant(_) | Scalar::Aggregate { .. } => {}
        Scalar::Binary(_, left, right) => {
            scalar(left, whole, conditions);
            scalar(right, whole, conditions);
        }
        Scalar::Pipeline(inner, _) => conditions.push(selector(inner, whole)),
    }
}

fn spansets(found: &Spansets, whole: bool) -> Condition {
    match found {
        Spansets::Filter(filter) => node(filter).0,
        Spansets::Or(left, right) => any(vec![spansets(left, whole), spansets(right, whole)]),
        Spansets::And(left, right) | Spansets::Structural { negated: false, left, right, .. } => {
            best(vec![spansets(right, whole), spansets(left, whole)])
        }
        Spansets::Structural { right, .. } => spansets(right, whole),
        Spansets::Pipeline(inner) => selector(inner, whole),
    }
}

fn node(found: &Node) -> (Condition, Row) {
    match found {
        Node::Constant(true) => (Condition::Always, Row::Own),
        Node::Constant(false) => (Condition::Any(Vec::new()), Row::Own),
        Node::Leaf(found) => leaf(found),
        Node::Computed(operand, LeafTest::Values { .. } | LeafTest::Exists) => exist([operand].as_slice()),
        Node::Computed(_, LeafTest::Missing) => (Condition::Always, Row::Own),
        Node::Pair { left, right, .. } => exist([left, right].as_slice()),
        Node::All(nodes) => of_all(nodes.iter().map(node).collect()),
        Node::Any(nodes) => {
            let found: Vec<(Condition, Row)> = nodes.iter().map(node).collect();
            let row = match found.split_first() {
                Some(((_, first), rest)) if rest.iter().all(|(_, row)| row == first) => *first,
                _ => Row::Some,
            };
            (any(found.into_iter().map(|(condition, _)| condition).collect()), row)
        }
    }
}

/// Of what is met by the same row all; of different rows what rules out most.
fn of_all(found: Vec<(Condition, Row)>) -> (Condition, Row) {
    let mut joined: Vec<(Condition, Row)> = Vec::new();
    for row in [Row::Own, Row::Root] {
        let same = found.iter().filter(|(_, other)| *other == row).map(|(condition, _)| condition.clone());
        joined.push((all(same.collect()), row));
    }
    joined.extend(found.into_iter().filter(|(_, row)| *row == Row::Some));
    let strongest = joined.into_iter().rev().max_by_key(|(condition, _)| strength(condition));
    strongest.unwrap_or((Condition::Always, Row::Own))
}

/// All attributes that something is computed of must be there.
fn exist(operands: &[&Operand]) -> (Condition, Row) {
    fn attributes(operand: &Operand, found: &mut Vec<(Condition, Row)>) {
        match operand {
            Operand::Constant(_) | Operand::Truth(..) => {}
            Operand::Attribute(attribute) => {
                found.push(leaf(&Leaf { attribute: attribute.clone(), test: LeafTest::Exists }));
            }
            Operand::Negate(inner) => attributes(inner, found),
            Operand::Arithmetic(_, left, right) => {
                attributes(left, found);
                attributes(right, found);
            }
        }
    }
    let mut found = Vec::new();
    operands.iter().for_each(|operand| attributes(operand, &mut found));
    of_all(found)
}

fn leaf(found: &Leaf) -> (Condition, Row) {
    let row = match (&found.attribute.target, found.attribute.parent) {
        (_, true) => Row::Some,
        (Target::Intrinsic(Intrinsic::RootName | Intrinsic::RootServiceName), _) => Row::Root,
        _ => Row::Own,
    };
    let condition = match &found.test {
        LeafTest::Missing => Condition::Always,
        LeafTest::Exists => on(&found.attribute, &Test::Exists),
        // What does not meet it may be of any type.
        LeafTest::Values { invert: true, .. } => on(&found.attribute, &Test::Exists),
        LeafTest::Values { predicate, .. } => met(&found.attribute, predicate),
    };
    (condition, row)
}

fn met(attribute: &Attribute, predicate: &Predicate) -> Condition {
    match attribute.target {
        Target::Intrinsic(Intrinsic::Status) => {
            named(schema::STATUS_CODE, predicate.statuses, Status::ALL.len())
        }
        Target::Intrinsic(Intrinsic::Kind) => named(schema::KIND, predicate.kinds, Kind::ALL.len()),
        _ => {
            let tests = tests(predicate);
            any(tests.iter().map(|test| on(attribute, test)).collect())
        }
    }
}

/// One of which must hold for some value.
fn tests(predicate: &Predicate) -> Vec<Test> {
    let mut tests = Vec::new();
    if let Some(numbers) = &predicate.numbers {
        tests.push(numbers.bounds().map_or(Test::Exists, |(least, most)| Test::Between(least, most)));
    }
    match &predicate.texts {
        None => {}
        Some(TextTest::Equal(text)) => tests.push(Test::Text(text.to_string())),
        Some(test) => {
            let test = test.clone();
            tests.push(Test::TextMatches(Arc::new(move |text| test.holds(text))));
        }
    }
    match predicate.flags {
        [false, false] => {}
        [true, true] => tests.push(Test::Exists),
        [_, flag] => tests.push(Test::Bool(flag)),
    }
    tests
}

/// By a bit for each of the numbers that OTLP names; all others count as the first.
fn named(column: &'static str, met: u8, count: usize) -> Condition {
    let numbers = (0..count as i32).filter(|number| met >> number & 1 == 1);
    match (numbers.clone().min(), numbers.max()) {
        (None, _) | (_, None) => Condition::Any(Vec::new()),
        (Some(0), _) => Condition::Always,
        (Some(least), Some(most)) => {
            Condition::Leaf(ScanColumn::Fixed(column), Test::Between(least.into(), most.into()))
        }
    }
}

/// A test of a value of the attribute.
fn on(attribute: &Attribute, test: &Test) -> Condition {
    let fixed = |name| Condition::Leaf(ScanColumn::Fixed(name), test.clone());
    let exists = |name| Condition::Leaf(ScanColumn::Fixed(name), Test::Exists);
    let scoped =
        |scope, key: &str| Condition::Leaf(ScanColumn::Attribute(scope, key.to_owned()), test.clone());
    match &attribute.target {
        Target::Scoped(scope, key) => scoped(*scope, key),
        Target::Event(_) => exists(schema::EVENTS),
        Target::Link(_) => exists(schema::LINKS),
        Target::Unscoped(key) => {
            let mut places: Vec<Condition> = AttributeScope::ALL.map(|scope| scoped(scope, key)).into();
            places.extend([exists(schema::EVENTS), exists(schema::LINKS)]);
            Condition::Any(places)
        }
        Target::Intrinsic(intrinsic) => match intrinsic {
            Intrinsic::Duration => fixed(schema::DURATION_NANOS),
            Intrinsic::Name => fixed(schema::NAME),
            Intrinsic::StatusMessage => fixed(schema::STATUS_MESSAGE),
            Intrinsic::RootName => fixed(schema::ROOT_SPAN_NAME),
            Intrinsic::RootServiceName => fixed(schema::ROOT_SERVICE_NAME),
            Intrinsic::InstrumentationName => fixed(schema::SCOPE_NAME),
            Intrinsic::InstrumentationVersion => fixed(schema::SCOPE_VERSION),
            Intrinsic::ParentId => exists(schema::PARENT_SPAN_ID),
            Intrinsic::EventName | Intrinsic::EventTimeSinceStart => exists(schema::EVENTS),
            Intrinsic::LinkTraceId | Intrinsic::LinkSpanId => exists(schema::LINKS),
            // Other nested sets are not those of the whole trace.
            Intrinsic::NestedSetParent => match test {
                Test::Between(_, most) if *most < 0.0 => fixed(schema::NESTED_SET_PARENT),
                _ => Condition::Always,
            },
            _ => Condition::Always,
        },
    }
}

fn all(mut conditions: Vec<Condition>) -> Condition {
    conditions.retain(|condition| !matches!(condition, Condition::Always));
    match conditions.len() {
        0 => Condition::Always,
        1 => conditions.remove(0),
        _ => Condition::All(conditions),
    }
}

fn any(mut conditions: Vec<Condition>) -> Condition {
    if conditions.iter().any(|condition| matches!(condition, Condition::Always)) {
        return Condition::Always;
    }
    match conditions.len() {
        1 => conditions.remove(0),
        _ => Condition::Any(conditions),
    }
}

/// The one that rules out most; of equals the first.
fn best(conditions: Vec<Condition>) -> Condition {
    conditions.into_iter().rev().max_by_key(strength).unwrap_or(Condition::Always)
}

/// How much a condition rules out, about.
fn strength(condition: &Condition) -> u32 {
    match condition {
        Condition::Always => 0,
        Condition::All(parts) => 1 + parts.iter().map(strength).max().unwrap_or(0),
        Condition::Any(parts) => parts.iter().map(strength).min().unwrap_or(u32::MAX - 1_000),
        Condition::Leaf(_, test) => match test {
            Test::Text(_) => 80,
            Test::TextMatches(_) => 40,
            Test::Between(least, most) if least == most => 50,
            Test::Between(..) | Test::Bool(_) => 30,
            Test::Exists => 10,
        },
    }
}
