//! Fixed columns of a scan, one by one.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, Int64Array, TimestampNanosecondArray, UInt32Array};

use super::{Source, text_column};
use crate::columns::batch::{Distinct, Local, NO_ROOT, fixed_binary};
use crate::columns::origins::{Origin, Origins};
use crate::columns::sources::{NULL, dictionary_column, nulls_of};
use crate::schema;

impl Source<'_> {
    /// The fixed column of that name; none for overflow lists.
    pub(super) fn fixed(&self, name: &str) -> Option<ArrayRef> {
        let (block, selection, tree) = (self.block, &self.selection, &self.tree);
        let spans = &block.spans;
        let rows = || selection.rows.iter().map(|&row| row as usize);
        let int32 = |values: &[i32]| -> ArrayRef { Arc::new(Int32Array::from(selection.gather(values))) };
        let uint32 = |values: &[u32]| -> ArrayRef { Arc::new(UInt32Array::from(selection.gather(values))) };
        let text = |numbers: &[u32]| {
            let number = |row: usize| if numbers[row] == 0 { NULL } else { numbers[row] as i32 };
            text_column(&block.texts, rows().map(number).collect())
        };
        let start = |row: usize| spans.start[row];
        Some(match name {
            schema::TRACE_ID => fixed_binary(&selection.gather(&spans.trace_id), None),
            schema::SPAN_ID => fixed_binary(&selection.gather(&spans.span_id), None),
            schema::PARENT_SPAN_ID => {
                let parents = selection.gather(&spans.parent_span_id);
                let nulls = nulls_of(parents.len(), |row| parents[row].is_some());
                let ids: Vec<_> = parents.into_iter().map(Option::unwrap_or_default).collect();
                fixed_binary(&ids, nulls)
            }
            schema::START_TIME => {
                Arc::new(TimestampNanosecondArray::from_iter_values(rows().map(|row| start(row) as i64)))
            }
            schema::DURATION_NANOS => {
                let duration = |row: usize| spans.end[row].wrapping_sub(start(row)) as i64;
                Arc::new(Int64Array::from_iter_values(rows().map(duration)))
            }
            schema::NAME => text_column(&block.names, rows().map(|row| spans.name[row] as i32).collect()),
            schema::KIND => int32(&spans.kind),
            schema::STATUS_CODE => int32(&spans.status_code),
            schema::STATUS_MESSAGE => text(&spans.status_message),
            schema::TRACE_STATE => text(&spans.trace_state),
            schema::FLAGS => uint32(&spans.flags),
            schema::DROPPED_ATTRIBUTES_COUNT => uint32(&spans.dropped_attributes),
            schema::DROPPED_EVENTS_COUNT => uint32(&spans.dropped_events),
            schema::DROPPED_LINKS_COUNT => uint32(&spans.dropped_links),
            schema::NESTED_SET_LEFT => Arc::new(Int32Array::from(tree.left.clone())),
            schema::NESTED_SET_RIGHT => Arc::new(Int32Array::from(tree.right.clone())),
            schema::NESTED_SET_PARENT => Arc::new(Int32Array::from(tree.parent.clone())),
            schema::ROOT_SERVICE_NAME => block.root_services(tree),
            schema::ROOT_SPAN_NAME => {
                let name =
                    |&root: &u32| if root == NO_ROOT { NULL } else { spans.name[root as usize] as i32 };
                text_column(&block.names, tree.root.iter().map(name).collect())
            }
            schema::EVENTS => block.events.to_array(selection.rows),
            schema::LINKS => block.links.to_array(selection.rows),
            _ => return self.origin(name),
        })
    }

    /// Columns of scopes and resources.
    fn origin(&self, name: &str) -> Option<ArrayRef> {
        let (resources, scopes) = (&self.block.resources, &self.block.scopes);
        Some(match name {
            schema::SCOPE_NAME => texts(self.scopes(), scopes, |origin| &origin.name),
            schema::SCOPE_VERSION => texts(self.scopes(), scopes, |origin| &origin.version),
            schema::SCOPE_SCHEMA_URL => texts(self.scopes(), scopes, |origin| &origin.schema_url),
            schema::SCOPE_DROPPED_ATTRIBUTES_COUNT => dropped(self.scopes(), scopes),
            schema::RESOURCE_SCHEMA_URL => texts(self.resources(), resources, |origin| &origin.schema_url),
            schema::RESOURCE_DROPPED_ATTRIBUTES_COUNT => dropped(self.resources(), resources),
            _ => return None,
        })
    }
}

fn texts(local: &Local, origins: &Origins, text: impl Fn(&Origin) -> &str) -> ArrayRef {
    let mut distinct = Distinct::default();
    let number = |&origin: &u32| match text(&origins.list[origin as usize]) {
        "" => NULL,
        found => distinct.number(found),
    };
    let numbers: Vec<i32> = local.used.iter().map(number).collect();
    dictionary_column(local.spread(&numbers), distinct.into_array())
}

fn dropped(local: &Local, origins: &Origins) -> ArrayRef {
    let counts = local.used.iter().map(|&origin| origins.list[origin as usize].dropped_attributes_count);
    Arc::new(UInt32Array::from(local.spread(&counts.collect::<Vec<_>>())))
}
