//! Which columns of a row group a projection needs.

use std::ops::Range;
use std::sync::Arc;

use vivace_model::scan::Projection;

use super::Block;
use super::facts::{Fact, Facts};
use crate::BlockError;
use crate::reader::source::blocking;
use crate::schema::{AttributeScope, EVENTS, FOLDED_KEY, LINKS};

/// Numbers in the schema of the columns to read, ascending. Attributes that have no value in the rows' pages are left
/// out, overflow lists also if they have none of the keys.
pub(super) async fn wanted(
    block: &Arc<Block>,
    group: usize,
    projection: &Projection,
    rows: &[Range<usize>],
) -> Result<Vec<usize>, BlockError> {
    let index = block.index.leaves(group);
    let any_value = |column: usize| block.leaves[column].clone().any(|leaf| index[leaf].any_value(rows));
    let mut wanted: Vec<usize> = projection.fixed.iter().filter_map(|name| block.column(name)).collect();
    for (number, field) in block.index.schema.fields().iter().enumerate() {
        if let Some((scope, key)) = AttributeScope::parse_column(field.name())
            && projection.wants(scope, key)
            && any_value(number)
        {
            wanted.push(number);
        }
    }
    let mut asked = Vec::new();
    for scope in AttributeScope::ALL {
        let Some(list) = block.column(scope.overflow()).filter(|&list| any_value(list)) else {
            continue;
        };
        let keys: Vec<String> = keys_of(projection, scope).map(str::to_owned).collect();
        if projection.scopes.contains(&scope) {
            wanted.push(list);
        } else if !keys.is_empty() {
            match block.attribute_keys(scope.overflow()).and_then(|leaf| block.dictionary(group, leaf)) {
                Some(fact) => asked.push((list, keys, fact)),
                None => wanted.push(list),
            }
        }
    }
    if !asked.is_empty() {
        let keys: Vec<_> = asked.iter().map(|(_, _, fact)| *fact).collect();
        let facts = load(block, &keys).await?;
        for (list, keys, fact) in asked {
            let folded = [FOLDED_KEY.to_owned()];
            let mut keys = keys.iter().chain(&folded);
            if facts.get(&fact).is_none_or(|known| keys.any(|key| known.may_have(key))) {
                wanted.push(list);
            }
        }
    }
    wanted.sort_unstable();
    wanted.dedup();
    Ok(wanted)
}

/// Attributes that have a value in the row group, by the list that holds such as have no column; none if only its rows
/// can tell.
pub(super) async fn names(
    block: &Arc<Block>,
    group: usize,
    projection: &Projection,
) -> Result<Option<Vec<(&'static str, String)>>, BlockError> {
    let any_value = |column: usize| block.leaves[column].clone().any(|leaf| block.any_value(group, leaf));
    let mut names = Vec::new();
    for (number, field) in block.index.schema.fields().iter().enumerate() {
        if let Some((scope, key)) = AttributeScope::parse_column(field.name())
            && projection.scopes.contains(&scope)
            && any_value(number)
        {
            names.push((scope.overflow(), key.to_owned()));
        }
    }
    let mut asked = Vec::new();
    let nested = [EVENTS, LINKS].into_iter().filter(|list| projection.fixed.contains(list));
    for list in projection.scopes.iter().map(|scope| scope.overflow()).chain(nested) {
        let keys = block.attribute_keys(list).filter(|&keys| block.any_value(group, keys));
        if let Some(keys) = keys {
            let Some(fact) = block.dictionary(group, keys) else { return Ok(None) };
            asked.push((list, fact));
        }
    }
    let keys: Vec<_> = asked.iter().map(|(_, fact)| *fact).collect();
    let facts = load(block, &keys).await?;
    for (list, fact) in asked {
        let Some(Fact::Dictionary(keys)) = facts.get(&fact).map(Arc::as_ref) else { return Ok(None) };
        if keys.iter().flatten().any(|key| key == FOLDED_KEY) {
            return Ok(None);
        }
        names.extend(keys.iter().flatten().map(|key| (list, key.to_owned())));
    }
    Ok(Some(names))
}

fn keys_of(projection: &Projection, scope: AttributeScope) -> impl Iterator<Item = &str> {
    projection.attributes.iter().filter(move |(of, _)| *of == scope).map(|(_, key)| key.as_str())
}

async fn load(block: &Arc<Block>, keys: &[super::facts::FactKey]) -> Result<Facts, BlockError> {
    let (mut facts, missing, fetched) = block.recall(keys).await?;
    if missing.is_empty() {
        return Ok(facts);
    }
    let (own, fetched) = (Arc::clone(block), Arc::new(fetched));
    let work = move || missing.into_iter().map(|key| Ok((key, Arc::new(own.fact(key, &fetched)?)))).collect();
    let learnt: Facts = blocking(&block.path, work).await?;
    facts.extend(learnt.iter().map(|(key, fact)| (*key, Arc::clone(fact))));
    block.remember(learnt).await;
    Ok(facts)
}

impl Block {
    /// The leaf column of the keys in a list of attributes, or of what has attributes.
    pub(super) fn attribute_keys(&self, list: &str) -> Option<usize> {
        let list = self.column(list)?;
        let descriptor = self.index.metadata.file_metadata().schema_descr();
        let is_key =
            |leaf: &usize| descriptor.column(*leaf).path().parts().last().is_some_and(|name| name == "key");
        self.leaves[list].clone().find(is_key)
    }
}
