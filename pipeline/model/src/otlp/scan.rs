//! Finds every span of a request, and what of its resource and scope has to be copied with it.

use super::WalkError;
use super::check::{Kind, check_field, check_message};
use crate::wire::{Fields, WireError};
use crate::{Partition, SpanId, TenantSpread, TraceId};

/// Bytes `[start, end)` of the request.
#[derive(Clone, Copy, Debug)]
pub(super) struct ByteRange {
    start: u32,
    end: u32,
}

impl ByteRange {
    /// A range of a request whose size was checked to fit.
    fn new(start: usize, end: usize) -> Self {
        Self { start: start as u32, end: end as u32 }
    }

    pub(super) fn len(self) -> usize {
        (self.end - self.start) as usize
    }

    pub(super) fn of(self, request: &[u8]) -> &[u8] {
        &request[self.start as usize..self.end as usize]
    }
}

/// All fields of a `ResourceSpans` or `ScopeSpans` but its children. They are copied as they stand, so that fields
/// given twice merge in the copy just as they would have in the original, and fields of a newer OTLP pass through.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    fragments: (u32, u32),
    bytes: u32,
}

impl Header {
    pub(super) fn len(self) -> usize {
        self.bytes as usize
    }
}

/// One `ScopeSpans`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scope {
    /// Index of its `ResourceSpans`.
    pub(super) resource: u32,
    pub(super) header: Header,
}

/// One span.
#[derive(Clone, Copy, Debug)]
pub(super) struct SpanPlace {
    /// Its whole field in the `ScopeSpans`, tag and length included.
    pub(super) field: ByteRange,
    /// Index of its `ScopeSpans`.
    pub(super) scope: u32,
    pub(super) partition: Partition,
    /// Its place among all spans of the request.
    pub(super) index: u32,
}

/// What a request holds.
#[derive(Debug)]
pub(super) struct Scan {
    pub(super) resources: Vec<Header>,
    pub(super) scopes: Vec<Scope>,
    /// In the order of the request.
    pub(super) spans: Vec<SpanPlace>,
    fragments: Vec<ByteRange>,
    spread: TenantSpread,
}

impl Scan {
    pub(super) fn new(request: &[u8], spread: TenantSpread) -> Result<Self, WalkError> {
        if u32::try_from(request.len()).is_err() {
            return Err(WalkError::TooLarge { bytes: request.len() });
        }
        let (resources, scopes, spans, fragments) = Default::default();
        let mut scan = Self { resources, scopes, spans, fragments, spread };
        let wire = |source| WalkError::Wire { message: "TracesData", source };
        let mut fields = Fields::new(request);
        while let Some(field) = fields.next() {
            let field = field.map_err(wire)?;
            if field.number == 1 {
                let message = field.bytes().map_err(wire)?;
                scan.resource_spans(message, request.len() - fields.rest().len())?;
            }
        }
        Ok(scan)
    }

    /// The pieces of a header.
    pub(super) fn fragments(&self, header: Header) -> &[ByteRange] {
        &self.fragments[header.fragments.0 as usize..header.fragments.1 as usize]
    }

    /// The trace of a span that was scanned.
    pub(super) fn trace_id(request: &[u8], span: &SpanPlace) -> TraceId {
        let message = Fields::new(span.field.of(request)).next().and_then(Result::ok);
        let fields = Fields::new(message.as_ref().and_then(|field| field.bytes().ok()).unwrap_or_default());
        let ids = fields.flatten().filter(|field| field.number == 1).filter_map(|field| field.bytes().ok());
        ids.last().and_then(|id| TraceId::new(id).ok()).expect("the scan has checked the id")
    }

    /// `end` is where the message ends in the request.
    fn resource_spans(&mut self, message: &[u8], end: usize) -> Result<(), WalkError> {
        let wire = |source| WalkError::Wire { message: "ResourceSpans", source };
        let resource = self.resources.len() as u32;
        let mut header = Vec::with_capacity(2);
        let mut fields = Fields::new(message);
        let mut start = end - message.len();
        // Its place is taken now, its content is known at the end.
        self.resources.push(Header { fragments: (0, 0), bytes: 0 });
        while let Some(field) = fields.next() {
            let field = field.map_err(wire)?;
            let next = end - fields.rest().len();
            match field.number {
                1 => check_message(field.bytes().map_err(wire)?, Kind::Resource)?,
                2 => self.scope_spans(field.bytes().map_err(wire)?, next, resource)?,
                3 => field.bytes().map(drop).map_err(wire)?,
                _ => {}
            }
            if field.number != 2 {
                push_fragment(&mut header, ByteRange::new(start, next));
            }
            start = next;
        }
        self.resources[resource as usize] = self.header(&header);
        Ok(())
    }

    fn scope_spans(&mut self, message: &[u8], end: usize, resource: u32) -> Result<(), WalkError> {
        let wire = |source| WalkError::Wire { message: "ScopeSpans", source };
        let scope = self.scopes.len() as u32;
        let mut header = Vec::with_capacity(2);
        let mut fields = Fields::new(message);
        let mut start = end - message.len();
        while let Some(field) = fields.next() {
            let field = field.map_err(wire)?;
            let next = end - fields.rest().len();
            match field.number {
                1 => check_message(field.bytes().map_err(wire)?, Kind::Scope)?,
                2 => self.span(field.bytes().map_err(wire)?, ByteRange::new(start, next), scope)?,
                3 => field.bytes().map(drop).map_err(wire)?,
                _ => {}
            }
            if field.number != 2 {
                push_fragment(&mut header, ByteRange::new(start, next));
            }
            start = next;
        }
        let header = self.header(&header);
        self.scopes.push(Scope { resource, header });
        Ok(())
    }

    fn span(&mut self, message: &[u8], place: ByteRange, scope: u32) -> Result<(), WalkError> {
        let index = self.spans.len();
        let (mut trace_id, mut span_id, mut parent): (&[u8], &[u8], &[u8]) = (&[], &[], &[]);
        for field in Fields::new(message) {
            let field = field.map_err(span_wire)?;
            // Of a field given twice the last counts, as protobuf has it.
            match field.number {
                1 => trace_id = field.bytes().map_err(span_wire)?,
                2 => span_id = field.bytes().map_err(span_wire)?,
                4 => parent = field.bytes().map_err(span_wire)?,
                _ => check_field(&field, Kind::Span)?,
            }
        }
        let wrong = |source| WalkError::Id { index, source };
        let trace_id = TraceId::new(trace_id).map_err(wrong)?;
        SpanId::new(span_id).map_err(wrong)?;
        // A root has no parent id; some senders write eight zeros instead.
        if !matches!(parent.len(), 0 | 8) {
            let what = "parent span";
            return Err(wrong(crate::IdError::Length { what, expected: 8, actual: parent.len() }));
        }
        let partition = self.spread.partition_of(trace_id.as_bytes());
        self.spans.push(SpanPlace { field: place, scope, partition, index: index as u32 });
        Ok(())
    }

    fn header(&mut self, fragments: &[ByteRange]) -> Header {
        let first = self.fragments.len() as u32;
        self.fragments.extend_from_slice(fragments);
        let bytes = fragments.iter().map(|fragment| fragment.len() as u32).sum();
        Header { fragments: (first, self.fragments.len() as u32), bytes }
    }
}

const fn span_wire(source: WireError) -> WalkError {
    WalkError::Wire { message: Kind::Span.name(), source }
}

fn push_fragment(fragments: &mut Vec<ByteRange>, fragment: ByteRange) {
    match fragments.last_mut() {
        Some(last) if last.end == fragment.start => last.end = fragment.end,
        _ => fragments.push(fragment),
    }
}
