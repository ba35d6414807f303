//! Fills one record after the other, in the order of the spans.

use super::plan::{Layout, RecordPlan, Run};
use super::scan::{Scan, SpanPlace};
use super::{Limits, RejectedSpan, WalkError};
use crate::wire::varint_len;

/// Bytes of a message as a field of another one, where its number is below 16.
const fn field_len(message: usize) -> usize {
    1 + varint_len(message as u64) + message
}

/// Fills one record after the other.
#[derive(Debug)]
pub(super) struct Packer<'a> {
    scan: &'a Scan,
    request: &'a [u8],
    limits: Limits,
    layout: Layout,
    /// The record being filled, if it has a span: the last of `layout.records`, whose last resource and scope are
    /// still open. This is what its finished resources take.
    closed: usize,
    open: bool,
    total: usize,
}

impl<'a> Packer<'a> {
    pub(super) fn new(scan: &'a Scan, request: &'a [u8], limits: Limits) -> Self {
        Self { scan, request, limits, layout: Layout::default(), closed: 0, open: false, total: 0 }
    }

    /// Puts the span into the open record, into a new one, or among the rejected.
    pub(super) fn add(&mut self, span: &SpanPlace) -> Result<(), WalkError> {
        let scope = self.scan.scopes[span.scope as usize];
        let bytes = span.field.len();
        let scope_alone = scope.header.len() + bytes;
        let resource_alone = self.scan.resources[scope.resource as usize].len() + field_len(scope_alone);
        if field_len(resource_alone) > self.limits.record_bytes_max {
            let trace_id = Scan::trace_id(self.request, span);
            let bytes = field_len(resource_alone);
            self.layout.rejected.push(RejectedSpan { index: span.index as usize, trace_id, bytes });
            return Ok(());
        }
        if !self.fits(span, scope.resource, scope_alone, resource_alone) {
            self.close_record()?;
        }
        if !self.open {
            self.open = true;
            let partition = span.partition;
            self.layout.records.push(RecordPlan { partition, bytes: 0, spans: 0, children: 0 });
            self.open_resource(scope.resource);
            self.open_scope(span.scope);
        } else if self.last_resource().source != scope.resource {
            self.close_scope();
            self.close_resource();
            self.open_resource(scope.resource);
            self.open_scope(span.scope);
        } else if self.last_scope().source != span.scope {
            self.close_scope();
            self.open_scope(span.scope);
        }
        let run = self.last_scope_mut();
        run.bytes += bytes;
        run.children += 1;
        self.layout.spans.push(span.field);
        self.last_record_mut().spans += 1;
        Ok(())
    }

    /// Whether the span can go into the open record, if there is one.
    fn fits(&self, span: &SpanPlace, resource: u32, scope_alone: usize, resource_alone: usize) -> bool {
        if !self.open {
            return true;
        }
        let (last_resource, last_scope) = (self.last_resource(), self.last_scope());
        let bytes = if last_resource.source != resource {
            let finished = last_resource.bytes + field_len(last_scope.bytes);
            self.closed + field_len(finished) + field_len(resource_alone)
        } else if last_scope.source != span.scope {
            let grown = last_resource.bytes + field_len(last_scope.bytes) + field_len(scope_alone);
            self.closed + field_len(grown)
        } else {
            let grown = last_resource.bytes + field_len(last_scope.bytes + span.field.len());
            self.closed + field_len(grown)
        };
        let same_partition = self.layout.records.last().is_some_and(|last| last.partition == span.partition);
        same_partition && bytes <= self.limits.record_bytes_max
    }

    fn open_resource(&mut self, source: u32) {
        let bytes = self.scan.resources[source as usize].len();
        self.layout.resources.push(Run { source, bytes, children: 0 });
        self.last_record_mut().children += 1;
    }

    fn open_scope(&mut self, source: u32) {
        let bytes = self.scan.scopes[source as usize].header.len();
        self.layout.scopes.push(Run { source, bytes, children: 0 });
        self.last_resource_mut().children += 1;
    }

    fn close_scope(&mut self) {
        let bytes = field_len(self.last_scope().bytes);
        self.last_resource_mut().bytes += bytes;
    }

    fn close_resource(&mut self) {
        self.closed += field_len(self.last_resource().bytes);
    }

    fn close_record(&mut self) -> Result<(), WalkError> {
        self.close_scope();
        self.close_resource();
        self.last_record_mut().bytes = self.closed;
        self.total += self.closed;
        self.closed = 0;
        self.open = false;
        let max = self.limits.output_bytes_max;
        if self.total > max { Err(WalkError::OutputTooLarge { max }) } else { Ok(()) }
    }

    pub(super) fn finish(mut self) -> Result<Layout, WalkError> {
        if self.open {
            self.close_record()?;
        }
        Ok(self.layout)
    }

    fn last_resource(&self) -> &Run {
        self.layout.resources.last().expect("an open record has a resource")
    }

    fn last_scope(&self) -> &Run {
        self.layout.scopes.last().expect("an open record has a scope")
    }

    fn last_record_mut(&mut self) -> &mut RecordPlan {
        self.layout.records.last_mut().expect("a record is open")
    }

    fn last_resource_mut(&mut self) -> &mut Run {
        self.layout.resources.last_mut().expect("an open record has a resource")
    }

    fn last_scope_mut(&mut self) -> &mut Run {
        self.layout.scopes.last_mut().expect("an open record has a scope")
    }
}
