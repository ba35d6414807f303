//! Spans under the resources and scopes that sent them.
//! Owns: finding the group of a resource and scope among those there are, and the OTLP message made of all.
//! Does not own: what equal means (`equality`).

use hashbrown::HashTable;
use vivace_proto::otlp::common::InstrumentationScope;
use vivace_proto::otlp::resource::Resource;
use vivace_proto::otlp::trace::{ResourceSpans, ScopeSpans, Span, TracesData};

use crate::equality::Equality;

/// Groups in the order in which they were first seen; no two of them are equal.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    pub(crate) equality: Equality,
    resources: Vec<ResourceGroup>,
    by_resource: HashTable<usize>,
    by_scope: HashTable<ScopeAt>,
}

#[derive(Debug)]
struct ResourceGroup {
    hash: u64,
    resource: Resource,
    schema_url: String,
    scopes: Vec<ScopeGroup>,
}

#[derive(Debug)]
struct ScopeGroup {
    hash: u64,
    scope: InstrumentationScope,
    schema_url: String,
    spans: Vec<Span>,
}

/// Where a scope's group is; numbers stay valid as groups are added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ScopeAt {
    resource: usize,
    scope: usize,
}

/// Where a span is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SpanAt {
    pub(crate) group: ScopeAt,
    index: usize,
}

impl Groups {
    /// The number of the group of this resource.
    pub(crate) fn resource(&mut self, resource: Resource, schema_url: String) -> usize {
        let Self { equality, resources, by_resource, .. } = self;
        let hash = equality.hash_one((equality.hash_resource(&resource), &schema_url));
        let same = |&at: &usize| {
            let group = &resources[at];
            group.schema_url == schema_url && equality.same_resource(&group.resource, &resource)
        };
        if let Some(&at) = by_resource.find(hash, same) {
            return at;
        }
        let at = resources.len();
        resources.push(ResourceGroup { hash, resource, schema_url, scopes: Vec::new() });
        by_resource.insert_unique(hash, at, |&at| resources[at].hash);
        at
    }

    /// The place of the group of this scope within a resource's group.
    pub(crate) fn scope(
        &mut self,
        resource: usize,
        scope: InstrumentationScope,
        schema_url: String,
    ) -> ScopeAt {
        let Self { equality, resources, by_scope, .. } = self;
        let hash = equality.hash_one((resource, equality.hash_scope(&scope), &schema_url));
        let same = |at: &ScopeAt| {
            let group = &resources[at.resource].scopes[at.scope];
            at.resource == resource
                && group.schema_url == schema_url
                && equality.same_scope(&group.scope, &scope)
        };
        if let Some(&at) = by_scope.find(hash, same) {
            return at;
        }
        let scopes = &mut resources[resource].scopes;
        let at = ScopeAt { resource, scope: scopes.len() };
        scopes.push(ScopeGroup { hash, scope, schema_url, spans: Vec::new() });
        by_scope.insert_unique(hash, at, |at| resources[at.resource].scopes[at.scope].hash);
        at
    }

    /// Adds a span to a group.
    pub(crate) fn push(&mut self, group: ScopeAt, span: Span) -> SpanAt {
        let spans = &mut self.resources[group.resource].scopes[group.scope].spans;
        spans.push(span);
        SpanAt { group, index: spans.len() - 1 }
    }

    pub(crate) fn span(&self, at: SpanAt) -> &Span {
        &self.resources[at.group.resource].scopes[at.group.scope].spans[at.index]
    }

    /// The message, with spans in order of their start and groups in order of their first spans.
    pub(crate) fn into_sorted_traces_data(mut self) -> TracesData {
        for group in &mut self.resources {
            for scope in &mut group.scopes {
                scope.spans.sort_by_cached_key(order);
            }
            group.scopes.sort_by_cached_key(|scope| scope.spans.first().map(order));
        }
        self.resources.sort_by_cached_key(|group| {
            group.scopes.iter().filter_map(|scope| scope.spans.first()).map(order).min()
        });
        self.into_traces_data()
    }

    /// The message; groups without spans are left out.
    pub(crate) fn into_traces_data(self) -> TracesData {
        let scope_spans = |scopes: Vec<ScopeGroup>| {
            let filled = scopes.into_iter().filter(|group| !group.spans.is_empty());
            filled
                .map(|group| ScopeSpans {
                    scope: Some(group.scope),
                    spans: group.spans,
                    schema_url: group.schema_url,
                })
                .collect::<Vec<_>>()
        };
        let resource_spans = self.resources.into_iter().map(|group| ResourceSpans {
            resource: Some(group.resource),
            scope_spans: scope_spans(group.scopes),
            schema_url: group.schema_url,
        });
        let filled = resource_spans.filter(|group| !group.scope_spans.is_empty());
        TracesData { resource_spans: filled.collect() }
    }
}

/// By start; the id makes it the same however the spans came.
fn order(span: &Span) -> (u64, u64) {
    let id = span.span_id.first_chunk().map_or(0, |id| u64::from_be_bytes(*id));
    (span.start_time_unix_nano, id)
}
