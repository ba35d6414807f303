//! Which spans of two sets are related, by the nested sets of their trace.

use vivace_model::schema;

use super::sets::Units;
use crate::ast::Relation;
use crate::eval::Mask;
use crate::{EvalError, Spans};

/// The nested sets of a batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tree<'a> {
    left: &'a [i32],
    right: &'a [i32],
    parent: &'a [i32],
}

/// What a span needs among others.
#[derive(Clone, Copy, Debug)]
enum Need {
    Parent,
    Child,
    Ancestor,
    Descendant,
    Sibling,
}

impl Need {
    /// What spans of the right side need on the left one.
    const fn of_right(relation: Relation) -> Self {
        match relation {
            Relation::Child => Self::Parent,
            Relation::Parent => Self::Child,
            Relation::Descendant => Self::Ancestor,
            Relation::Ancestor => Self::Descendant,
            Relation::Sibling => Self::Sibling,
        }
    }

    /// What spans of the left side need on the right one.
    const fn of_left(relation: Relation) -> Self {
        match relation {
            Relation::Child => Self::Child,
            Relation::Parent => Self::Parent,
            Relation::Descendant => Self::Descendant,
            Relation::Ancestor => Self::Ancestor,
            Relation::Sibling => Self::Sibling,
        }
    }
}

/// Spans among which relatives are looked for; re-uses its memory.
#[derive(Debug, Default)]
struct Among {
    /// Lefts, or parents' lefts, ascending.
    keys: Vec<i32>,
    /// For lefts: the greatest right so far.
    reach: Vec<i32>,
}

impl<'a> Tree<'a> {
    pub(super) fn new(spans: &Spans<'a>) -> Result<Self, EvalError> {
        let column = |name| {
            let column = spans.smalls(name)?;
            column.ok_or_else(|| EvalError::Batch(format!("column {name} is missing")))
        };
        Ok(Self {
            left: column(schema::NESTED_SET_LEFT)?.values(),
            right: column(schema::NESTED_SET_RIGHT)?.values(),
            parent: column(schema::NESTED_SET_PARENT)?.values(),
        })
    }

    /// The result of a structural operator: spans of the right side that have (or, negated, lack) the relative on the left
    /// side; for a union also those of the left side.
    pub(super) fn relate(
        &self,
        spans: &Spans<'_>,
        (relation, negated, union): (Relation, bool, bool),
        units: &Units<'_>,
        (left, right): (&Mask, &Mask),
    ) -> Result<Mask, EvalError> {
        let mut result = Mask::none(right.len());
        let (mut lefts, mut rights) = (Vec::new(), Vec::new());
        let mut among = Among::default();
        for unit in 0..units.len() {
            units.rows(unit, right, &mut rights);
            spans.tick(1 + rights.len())?;
            if rights.is_empty() {
                continue;
            }
            units.rows(unit, left, &mut lefts);
            if lefts.is_empty() && !negated {
                continue;
            }
            self.find(Need::of_right(relation), &rights, &lefts, &mut among, |row, found| {
                if found != negated {
                    result.set(row as usize);
                }
            });
            if union {
                self.find(Need::of_left(relation), &lefts, &rights, &mut among, |row, found| {
                    if found {
                        result.set(row as usize);
                    }
                });
            }
        }
        Ok(result)
    }

    /// Tells of each row whether what it needs is among the others.
    fn find(
        &self,
        need: Need,
        rows: &[u32],
        others: &[u32],
        among: &mut Among,
        mut tell: impl FnMut(u32, bool),
    ) {
        self.index(need, others, among);
        let below = |key: i32| among.keys.partition_point(|other| *other < key);
        for row in rows {
            let at = *row as usize;
            let (left, right, parent) = (self.left[at], self.right[at], self.parent[at]);
            let found = match need {
                Need::Parent => parent > 0 && among.keys.binary_search(&parent).is_ok(),
                Need::Child => among.keys.binary_search(&left).is_ok(),
                // Nested sets never cross: one that begins before and reaches behind this begin holds all of it.
                Need::Ancestor => match below(left) {
                    0 => false,
                    count => among.reach[count - 1] > left,
                },
                Need::Descendant => below(left + 1) < below(right),
                Need::Sibling => {
                    let own = usize::from(others.binary_search(row).is_ok());
                    parent > 0 && below(parent + 1) - below(parent) > own
                }
            };
            tell(*row, found);
        }
    }

    fn index(&self, need: Need, others: &[u32], among: &mut Among) {
        among.keys.clear();
        among.reach.clear();
        let others = others.iter().map(|row| *row as usize);
        match need {
            Need::Parent | Need::Descendant => among.keys.extend(others.map(|row| self.left[row])),
            Need::Child | Need::Sibling => {
                among.keys.extend(others.map(|row| self.parent[row]).filter(|parent| *parent > 0));
            }
            Need::Ancestor => {
                let mut pairs: Vec<(i32, i32)> =
                    others.map(|row| (self.left[row], self.right[row])).collect();
                pairs.sort_unstable();
                let mut reach = 0;
                for (left, right) in pairs {
                    reach = reach.max(right);
                    among.keys.push(left);
                    among.reach.push(reach);
                }
                return;
            }
        }
        among.keys.sort_unstable();
    }
}
