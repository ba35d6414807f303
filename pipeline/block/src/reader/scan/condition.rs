//! Ruling row groups out without reading their rows.
//! Owns: what bounds, dictionaries and filters of columns say about a condition.
//! Guarantee: what is ruled out has no row that meets the condition. In doubt nothing is ruled out.

use std::sync::Arc;

use arrow::datatypes::DataType;
use parquet::file::statistics::Statistics;
use vivace_model::scan::{Condition, ScanColumn, Test};

use super::Block;
use super::facts::{Fact, FactKey, Facts};
use crate::BlockError;
use crate::reader::source::blocking;
use crate::schema::{AttributeScope, START_TIME};

/// Whether a value may be somewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    No,
    Maybe,
    /// This fact tells.
    Ask(FactKey),
}

/// A test of a column, and where a value that meets it might be.
#[derive(Debug)]
struct Leaf {
    test: Test,
    /// The column itself.
    column: Side,
    /// Key of the attribute, and the overflow list of its scope.
    overflow: (String, Side),
}

/// Whether any row of the row group may meet the condition.
pub(super) async fn may_match(
    block: &Arc<Block>,
    group: usize,
    condition: &Condition,
) -> Result<bool, BlockError> {
    let mut leaves = Vec::new();
    collect(block, group, condition, &mut leaves);
    let none = |leaf: &Leaf| leaf.column == Side::No && leaf.overflow.1 == Side::No;
    if !possible(condition, &mut leaves.iter().map(none)) {
        return Ok(false);
    }
    let mut keys = Vec::new();
    for leaf in leaves.iter().filter(|leaf| leaf.column != Side::Maybe && leaf.overflow.1 != Side::Maybe) {
        for side in [leaf.column, leaf.overflow.1] {
            if let Side::Ask(key) = side {
                keys.push(key);
            }
        }
    }
    if keys.is_empty() {
        return Ok(true);
    }
    let (mut facts, missing, fetched) = block.recall(&keys).await?;
    let (own, condition, fetched) = (Arc::clone(block), condition.clone(), Arc::new(fetched));
    let work = move || {
        let mut learnt = Facts::new();
        for key in missing {
            let fact = Arc::new(own.fact(key, &fetched)?);
            facts.insert(key, Arc::clone(&fact));
            learnt.insert(key, fact);
        }
        let excluded = leaves.iter().map(|leaf| leaf.excluded(&facts));
        Ok((possible(&condition, &mut excluded.collect::<Vec<_>>().into_iter()), learnt))
    };
    let (matches, learnt) = blocking(&block.path, work).await?;
    block.remember(learnt).await;
    Ok(matches)
}

/// Whether the condition may hold if its leaves, in their order, are excluded or not. All of them are taken.
fn possible(condition: &Condition, excluded: &mut impl Iterator<Item = bool>) -> bool {
    let mut each = |parts: &[Condition]| -> Vec<bool> {
        parts.iter().map(|part| possible(part, &mut *excluded)).collect()
    };
    match condition {
        Condition::Always => true,
        Condition::All(parts) => !each(parts).contains(&false),
        Condition::Any(parts) => each(parts).contains(&true),
        Condition::Leaf(..) => !excluded.next().unwrap_or(false),
    }
}

fn collect(block: &Block, group: usize, condition: &Condition, leaves: &mut Vec<Leaf>) {
    match condition {
        Condition::Always => {}
        Condition::All(parts) | Condition::Any(parts) => {
            parts.iter().for_each(|part| collect(block, group, part, leaves));
        }
        Condition::Leaf(column, test) => leaves.push(Leaf::new(block, group, column, test)),
    }
}

impl Leaf {
    fn new(block: &Block, group: usize, column: &ScanColumn, test: &Test) -> Self {
        let test = test.clone();
        match column {
            ScanColumn::Fixed(name) => {
                let column =
                    block.column(name).map_or(Side::Maybe, |column| block.side(group, column, &test));
                Self { test, column, overflow: (String::new(), Side::No) }
            }
            ScanColumn::Attribute(scope, key) => {
                let column = block.column(&scope.column(key));
                let column = column.map_or(Side::No, |column| block.side(group, column, &test));
                Self { test, column, overflow: (key.clone(), block.overflow(group, *scope)) }
            }
        }
    }

    fn excluded(&self, facts: &Facts) -> bool {
        let absent = |side: Side, may_have: &dyn Fn(&Fact) -> bool| match side {
            Side::No => true,
            Side::Maybe => false,
            Side::Ask(key) => facts.get(&key).is_some_and(|fact| !may_have(fact)),
        };
        absent(self.overflow.1, &|keys| keys.may_have(&self.overflow.0))
            && absent(self.column, &|values| match (&self.test, values) {
                (Test::Text(text), values) => values.may_have(text),
                (Test::TextMatches(matches), Fact::Dictionary(values)) => {
                    values.iter().flatten().any(|v| matches(v))
                }
                _ => true,
            })
    }
}

impl Block {
    /// Where the keys of a scope's overflow list stand.
    fn overflow(&self, group: usize, scope: AttributeScope) -> Side {
        let Some(leaf) = self.attribute_keys(scope.overflow()) else {
            return Side::No;
        };
        if !self.any_value(group, leaf) {
            return Side::No;
        }
        self.dictionary(group, leaf).map_or(Side::Maybe, Side::Ask)
    }

    /// Whether a column may hold a value that meets the test.
    fn side(&self, group: usize, column: usize, test: &Test) -> Side {
        let (leaves, field) = (self.leaves[column].clone(), self.index.schema.field(column));
        if !leaves.clone().any(|leaf| self.any_value(group, leaf)) {
            return Side::No;
        }
        let leaf = leaves.start;
        let attribute = AttributeScope::parse_column(field.name()).is_some();
        let maybe = |maybe: bool| if maybe { Side::Maybe } else { Side::No };
        match (field.data_type(), test) {
            (_, Test::Exists) => Side::Maybe,
            (DataType::Dictionary(..), Test::Text(text)) => {
                if !self.text_within(group, leaf, text) {
                    return Side::No;
                }
                let fact = self.bloom(group, leaf).or_else(|| self.dictionary(group, leaf));
                fact.map_or(Side::Maybe, Side::Ask)
            }
            (DataType::Dictionary(..), Test::TextMatches(_)) => {
                self.dictionary(group, leaf).map_or(Side::Maybe, Side::Ask)
            }
            (DataType::Boolean, Test::Bool(value)) => maybe(match self.statistics(group, leaf) {
                Some(Statistics::Boolean(bounds)) => match (bounds.min_opt(), bounds.max_opt()) {
                    (Some(min), Some(max)) => min <= value && value <= max,
                    _ => true,
                },
                _ => true,
            }),
            (_, Test::Between(least, most))
                if field.data_type().is_numeric() || field.name() == START_TIME =>
            {
                // Rounding keeps order, so what is outside after it was outside before.
                let bounds = self.number_bounds(group, leaf, field.data_type());
                maybe(bounds.is_none_or(|(min, max)| !(max < *least || min > *most)))
            }
            // Strings are never equal to numbers, nor truth values to either.
            _ => maybe(!attribute),
        }
    }

    fn text_within(&self, group: usize, leaf: usize, text: &str) -> bool {
        let Some(Statistics::ByteArray(bounds)) = self.statistics(group, leaf) else {
            return true;
        };
        // Bounds may be cut short, but never so that a value is outside.
        bounds.min_opt().is_none_or(|min| min.data() <= text.as_bytes())
            && bounds.max_opt().is_none_or(|max| text.as_bytes() <= max.data())
    }

    fn number_bounds(&self, group: usize, leaf: usize, data_type: &DataType) -> Option<(f64, f64)> {
        match (self.statistics(group, leaf)?, data_type) {
            (Statistics::Int32(bounds), DataType::Int32) => {
                Some((f64::from(*bounds.min_opt()?), f64::from(*bounds.max_opt()?)))
            }
            (Statistics::Int32(bounds), DataType::UInt32) => {
                Some((f64::from(*bounds.min_opt()? as u32), f64::from(*bounds.max_opt()? as u32)))
            }
            (Statistics::Int64(bounds), DataType::Int64) => {
                Some((*bounds.min_opt()? as f64, *bounds.max_opt()? as f64))
            }
            (Statistics::Int64(bounds), DataType::Timestamp(..)) => {
                let (min, max) = (*bounds.min_opt()?, *bounds.max_opt()?);
                (min >= 0).then_some((min as f64, max as f64))
            }
            (Statistics::Double(bounds), DataType::Float64) => Some((*bounds.min_opt()?, *bounds.max_opt()?)),
            _ => None,
        }
    }
}
