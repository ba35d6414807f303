//! Numbers compared with a constant, exactly, whether they are integers or not: as an interval for each.

use std::cmp::Ordering;

use crate::ast::BinaryOp;

/// A constant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Number {
    Int(i64),
    Float(f64),
}

/// Which numbers meet a comparison: those within both bounds, or, negated, all others and NaN.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct NumberTest {
    pub(crate) ints: (i64, i64),
    pub(crate) floats: (f64, f64),
    pub(crate) negate: bool,
}

const NO_INTS: (i64, i64) = (i64::MAX, i64::MIN);
const NO_FLOATS: (f64, f64) = (f64::INFINITY, f64::NEG_INFINITY);

impl NumberTest {
    /// None if the operator is no comparison of numbers.
    pub(crate) fn new(op: BinaryOp, constant: Number) -> Option<Self> {
        let (ints, floats) = match constant {
            Number::Int(value) => (ints_of(op, value.into(), value.into())?, of_int(op, value)?),
            Number::Float(value) if value.is_nan() => (NO_INTS, NO_FLOATS),
            // Casts saturate, so that beyond the integers no or all of them are within.
            Number::Float(value) => {
                (ints_of(op, value.ceil() as i128, value.floor() as i128)?, floats_of(op, value)?)
            }
        };
        Some(Self { ints, floats, negate: op == BinaryOp::NotEqual })
    }

    #[inline]
    pub(crate) const fn int(&self, value: i64) -> bool {
        ((self.ints.0 <= value) & (value <= self.ints.1)) ^ self.negate
    }

    #[inline]
    pub(crate) fn float(&self, value: f64) -> bool {
        ((self.floats.0 <= value) & (value <= self.floats.1)) ^ self.negate
    }

    /// Bounds of all numbers that meet it; none if it has none.
    pub(crate) fn bounds(&self) -> Option<(f64, f64)> {
        if self.negate {
            return None;
        }
        if self.ints.0 > self.ints.1 {
            return Some(self.floats);
        }
        let (low, high) = (at_most(self.ints.0), at_least(self.ints.1));
        Some((low.min(self.floats.0), high.max(self.floats.1)))
    }
}

/// Integers by a constant of which `up` is the least integer not below and `down` the greatest not above.
fn ints_of(op: BinaryOp, up: i128, down: i128) -> Option<(i64, i64)> {
    let (low, high) = match op {
        BinaryOp::Equal | BinaryOp::NotEqual => (up, down),
        BinaryOp::Less => (i128::MIN, up.saturating_sub(1)),
        BinaryOp::LessOrEqual => (i128::MIN, down),
        BinaryOp::Greater => (down.saturating_add(1), i128::MAX),
        BinaryOp::GreaterOrEqual => (up, i128::MAX),
        _ => return None,
    };
    let (least, most) = (i128::from(i64::MIN), i128::from(i64::MAX));
    if low > high || low > most || high < least {
        return Some(NO_INTS);
    }
    Some((low.max(least) as i64, high.min(most) as i64))
}

fn floats_of(op: BinaryOp, value: f64) -> Option<(f64, f64)> {
    Some(match op {
        BinaryOp::Equal | BinaryOp::NotEqual => (value, value),
        BinaryOp::Less if value == f64::NEG_INFINITY => NO_FLOATS,
        BinaryOp::Less => (f64::NEG_INFINITY, value.next_down()),
        BinaryOp::LessOrEqual => (f64::NEG_INFINITY, value),
        BinaryOp::Greater if value == f64::INFINITY => NO_FLOATS,
        BinaryOp::Greater => (value.next_up(), f64::INFINITY),
        BinaryOp::GreaterOrEqual => (value, f64::INFINITY),
        _ => return None,
    })
}

/// As [`floats_of`], but the constant may lie between two floats.
fn of_int(op: BinaryOp, value: i64) -> Option<(f64, f64)> {
    let (down, up) = (at_most(value), at_least(value));
    if down == up {
        return floats_of(op, down);
    }
    Some(match op {
        BinaryOp::Equal | BinaryOp::NotEqual => NO_FLOATS,
        BinaryOp::Less | BinaryOp::LessOrEqual => (f64::NEG_INFINITY, down),
        BinaryOp::Greater | BinaryOp::GreaterOrEqual => (up, f64::INFINITY),
        _ => return None,
    })
}

/// The greatest float that is not above.
fn at_most(value: i64) -> f64 {
    let near = value as f64;
    if near as i128 <= i128::from(value) { near } else { near.next_down() }
}

/// The least float that is not below.
fn at_least(value: i64) -> f64 {
    let near = value as f64;
    if near as i128 >= i128::from(value) { near } else { near.next_up() }
}

impl Number {
    /// The exact order; none with NaN.
    pub(crate) fn order(self, other: Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Int(left), Self::Int(right)) => Some(left.cmp(&right)),
            (Self::Float(left), Self::Float(right)) => left.partial_cmp(&right),
            (Self::Int(left), Self::Float(right)) => int_and_float(left, right),
            (Self::Float(left), Self::Int(right)) => int_and_float(right, left).map(Ordering::reverse),
        }
    }
}

fn int_and_float(int: i64, float: f64) -> Option<Ordering> {
    if float.is_nan() {
        return None;
    }
    let whole = i128::from(int).cmp(&(float.trunc() as i128));
    Some(whole.then_with(|| 0.0_f64.partial_cmp(&float.fract()).unwrap_or(Ordering::Equal)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OPS: [BinaryOp; 6] = [
        BinaryOp::Equal,
        BinaryOp::NotEqual,
        BinaryOp::Less,
        BinaryOp::LessOrEqual,
        BinaryOp::Greater,
        BinaryOp::GreaterOrEqual,
    ];

    fn number() -> impl Strategy<Value = Number> {
        let edges =
            vec![0, 1, -1, 1 << 53, (1 << 53) + 1, -(1 << 53) - 1, i64::MAX, i64::MIN, i64::MAX - 511];
        let floats =
            vec![0.0, -0.0, 0.5, -0.5, 9_007_199_254_740_992.0, 9.3e18, -9.3e18, 9_223_372_036_854_775_808.0];
        prop_oneof![
            prop::sample::select(edges).prop_map(Number::Int),
            prop::sample::select(floats).prop_map(Number::Float),
            prop::sample::select(vec![f64::NAN, f64::INFINITY, f64::NEG_INFINITY]).prop_map(Number::Float),
            (-3..3_i64).prop_map(Number::Int),
            any::<i64>().prop_map(Number::Int),
            any::<i64>().prop_map(|value| Number::Float(value as f64)),
            any::<f64>().prop_map(Number::Float),
        ]
    }

    proptest! {
        #[test]
        fn intervals_are_the_exact_order(constant in number(), value in number()) {
            for op in OPS {
                let order = value.order(constant);
                let expected = match op {
                    BinaryOp::Equal => order == Some(Ordering::Equal),
                    BinaryOp::NotEqual => order != Some(Ordering::Equal),
                    BinaryOp::Less => order == Some(Ordering::Less),
                    BinaryOp::LessOrEqual => order.is_some_and(Ordering::is_le),
                    BinaryOp::Greater => order == Some(Ordering::Greater),
                    _ => order.is_some_and(Ordering::is_ge),
                };
                let test = NumberTest::new(op, constant).unwrap();
                let found = match value {
                    Number::Int(value) => test.int(value),
                    Number::Float(value) => test.float(value),
                };
                prop_assert_eq!(found, expected, "{:?} {:?} {:?}", value, op, constant);
                if let (true, Some((low, high))) = (found, test.bounds()) {
                    prop_assert!(Number::Float(low).order(value).unwrap().is_le());
                    prop_assert!(Number::Float(high).order(value).unwrap().is_ge());
                }
            }
        }
    }
}
