//! Where a sealed block is cut into row groups: by rows, and by the bytes of what rows do not share.
//! Owns: what a row's lists take in memory. Does not own: how many rows a row group has at most (the configuration).

use std::ops::Range;

use super::OpenBlock;
use super::attributes::Values;
use super::fold::Folded;
use super::items::item_bytes;
use super::origins::Origins;
use super::promote::Promotion;
use super::value::AnyValue;
use crate::schema::AttributeScope;

/// Bytes of the lists of a row group at most, unless one row has more. Offsets in a column end at 2 GiB, and memory
/// earlier.
pub(crate) const ROW_GROUP_BYTES_MAX: usize = 128 << 20;

/// Ranges of rows in the order of the block, each of at most `rows_max` rows and about [`ROW_GROUP_BYTES_MAX`].
pub(super) fn row_groups(block: &OpenBlock, rows: &[u32], promotion: &Promotion) -> Vec<Range<usize>> {
    let bytes = list_bytes(block, promotion);
    let rows_max = block.config.row_group_rows_max;
    let mut groups = Vec::with_capacity(rows.len().div_ceil(rows_max));
    let (mut start, mut sum) = (0, 0);
    for (at, &row) in rows.iter().enumerate() {
        let own = bytes[row as usize] as usize;
        if at > start && (at - start == rows_max || sum + own > ROW_GROUP_BYTES_MAX) {
            groups.push(start..at);
            (start, sum) = (at, 0);
        }
        sum += own;
    }
    groups.push(start..rows.len());
    groups
}

/// Bytes of the lists of each row, in the order in which rows came.
fn list_bytes(block: &OpenBlock, promotion: &Promotion) -> Vec<u32> {
    let resources = origin_bytes(AttributeScope::Resource, &block.resources, promotion);
    let scopes = origin_bytes(AttributeScope::Instrumentation, &block.scopes, promotion);
    let origins = block.spans.resource.iter().zip(&block.spans.scope);
    let origins = origins.map(|(resource, scope)| resources[*resource as usize] + scopes[*scope as usize]);
    let mut bytes: Vec<u32> = origins.map(saturated).collect();
    let mut add = |row: u32, more: usize| {
        let sum = &mut bytes[row as usize];
        *sum = sum.saturating_add(saturated(more));
    };
    let attributes = &block.attributes;
    for (item, &row) in (0..).zip(&attributes.overflow_rows) {
        add(row, attributes.overflow.column_bytes(item));
    }
    let mut promoted = vec![false; attributes.columns.len()];
    for column in promotion.list.iter().filter(|promoted| promoted.scope == AttributeScope::Span) {
        promoted[column.column] = true;
    }
    for (column, _) in attributes.columns.iter().zip(promoted).filter(|(_, promoted)| !promoted) {
        let text = matches!(column.values, Values::Strings(..));
        for (index, &row) in column.rows.iter().enumerate() {
            let value = if text { column.values.get(index) } else { AnyValue::Empty };
            add(row, item_bytes(&column.key, &value));
        }
    }
    block.events.each_bytes(&mut add);
    block.links.each_bytes(&mut add);
    bytes
}

/// Bytes that each origin takes in each of its rows.
fn origin_bytes(scope: AttributeScope, origins: &Origins, promotion: &Promotion) -> Vec<usize> {
    let bytes = |origin: &super::origins::Origin| {
        let attributes = origin.attributes.iter();
        Folded::new(attributes.filter(|attribute| !promotion.holds(scope, attribute))).row_bytes()
    };
    origins.list.iter().map(bytes).collect()
}

fn saturated(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}
