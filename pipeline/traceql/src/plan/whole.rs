//! Whether spans can be looked at one by one, or only with their whole trace.

use crate::Value;
use crate::ast::{Attribute, Intrinsic, Target};
use crate::eval::{Leaf, LeafTest, Node, Operand};
use crate::select::{Selector, Spansets, Step};

pub(super) fn selector(selector: &Selector) -> bool {
    selector.steps().iter().any(|step| match step {
        Step::Spansets(found) => spansets(found),
        Step::Scalars { .. } | Step::By(..) | Step::Coalesce => true,
    })
}

fn spansets(found: &Spansets) -> bool {
    match found {
        Spansets::Filter(filter) => node(filter),
        Spansets::Or(left, right) => spansets(left) || spansets(right),
        Spansets::And(..) | Spansets::Structural { .. } => true,
        Spansets::Pipeline(inner) => selector(inner),
    }
}

pub(super) fn node(node: &Node) -> bool {
    match node {
        Node::Constant(_) => false,
        Node::Leaf(found) => leaf(found),
        Node::Computed(found, _) => operand(found),
        Node::Pair { left, right, .. } => operand(left) || operand(right),
        Node::All(nodes) | Node::Any(nodes) => nodes.iter().any(self::node),
    }
}

fn operand(found: &Operand) -> bool {
    match found {
        Operand::Constant(_) => false,
        Operand::Attribute(attribute) => attribute.needs_trace(),
        Operand::Truth(yes, no) => node(yes) || node(no),
        Operand::Negate(inner) => operand(inner),
        Operand::Arithmetic(_, left, right) => operand(left) || operand(right),
    }
}

fn leaf(found: &Leaf) -> bool {
    found.attribute.needs_trace() && !tells_roots_only(found)
}

/// Whether an attribute that was asked for makes wholes of traces by being told: of the parent's left, all but which spans
/// are roots depends on what else is asked.
pub(super) fn told(attribute: &Attribute) -> bool {
    let parents_left = Target::Intrinsic(Intrinsic::NestedSetParent);
    attribute.needs_trace() && (attribute.parent || attribute.target != parents_left)
}

/// A root is one in every piece of its trace: what only tells roots from other spans does not need the whole.
fn tells_roots_only(leaf: &Leaf) -> bool {
    const PARENT: Target = Target::Intrinsic(Intrinsic::NestedSetParent);
    if !matches!(&leaf.attribute, Attribute { parent: false, target, .. } if *target == PARENT) {
        return false;
    }
    match &leaf.test {
        LeafTest::Exists | LeafTest::Missing => true,
        LeafTest::Values { predicate, .. } => predicate.numbers.is_none_or(|test| {
            let (low, high) = test.ints;
            let all = low <= 0 && high >= i64::from(i32::MAX);
            all || low > high || high < 0 || low > i64::from(i32::MAX)
        }),
    }
}

/// Whether all spans that are found are certain to be roots.
pub(super) fn only_roots(selector: &Selector) -> bool {
    fn spansets(found: &Spansets) -> bool {
        match found {
            Spansets::Filter(filter) => node(filter),
            Spansets::Or(left, right) => spansets(left) && spansets(right),
            Spansets::Pipeline(inner) => only_roots(inner),
            Spansets::And(..) | Spansets::Structural { .. } => false,
        }
    }
    fn node(found: &Node) -> bool {
        match found {
            Node::Leaf(leaf) => tells_roots_only(leaf) && holds_for_roots_only(&leaf.test),
            Node::All(nodes) => nodes.iter().any(node),
            Node::Any(nodes) => nodes.iter().all(node),
            Node::Constant(value) => !value,
            Node::Computed(..) | Node::Pair { .. } => false,
        }
    }
    selector.steps().iter().any(|step| matches!(step, Step::Spansets(found) if spansets(found)))
}

/// Where a test tells roots from other spans: whether it is roots that pass.
fn holds_for_roots_only(test: &LeafTest) -> bool {
    match test {
        LeafTest::Exists => false,
        LeafTest::Missing => true,
        LeafTest::Values { predicate, invert, .. } => predicate.holds(Value::Int(0)) == *invert,
    }
}
