//! OTLP on the wire into columns: `TracesData > ResourceSpans > ScopeSpans > Span`.

use vivace_model::wire::{Fields, WireError, put_bytes_header};

use super::value::{DecodeError, key_value};
use super::{Appended, OpenBlock, RejectedSpans};
use crate::duplicates::DuplicateFilter;

/// The scalar fields of a span while it is read.
#[derive(Debug, Default)]
struct Scalars<'a> {
    trace_id: &'a [u8],
    span_id: &'a [u8],
    parent_span_id: &'a [u8],
    trace_state: &'a [u8],
    name: &'a [u8],
    status_message: &'a [u8],
    start: u64,
    end: u64,
    kind: i32,
    status_code: i32,
    flags: u32,
    dropped_attributes: u32,
    dropped_events: u32,
    dropped_links: u32,
}

/// A message of resources or scopes: what its spans share, by the number of its fields.
/// `ResourceSpans`: 1 resource, 2 scope_spans, 3 schema_url. `ScopeSpans`: 1 scope, 2 spans, 3 schema_url.
struct Group<'a> {
    origin: &'a [u8],
    schema_url: &'a [u8],
}

impl<'a> Group<'a> {
    fn read(message: &'a [u8]) -> Result<Self, WireError> {
        let mut group = Self { origin: &[], schema_url: &[] };
        for field in Fields::new(message) {
            let field = field?;
            match field.number {
                1 => group.origin = field.bytes()?,
                2 => {
                    field.bytes()?;
                }
                3 => group.schema_url = field.bytes()?,
                _ => {}
            }
        }
        Ok(group)
    }

    fn members(message: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        let fields = Fields::new(message).map_while(Result::ok).filter(|field| field.number == 2);
        fields.filter_map(|field| field.bytes().ok())
    }

    const fn parts(&self) -> [&'a [u8]; 2] {
        [self.origin, self.schema_url]
    }
}

/// Where a span belongs: numbers of its resource and scope, and the hash of both.
#[derive(Clone, Copy)]
struct Home {
    resource: u32,
    scope: u32,
    context: u64,
}

impl OpenBlock {
    /// Decodes a record (OTLP `TracesData`) into the columns. Spans that can't be stored are taken out and returned, the
    /// others stay; a span that `seen` knows already is dropped and counted.
    pub fn append(&mut self, record: &[u8], seen: &mut DuplicateFilter) -> Appended {
        let mut appended = Appended::default();
        for field in Fields::new(record) {
            let result = field.and_then(|field| match field.number {
                1 => field.bytes().map(Some),
                _ => Ok(None),
            });
            match result {
                Ok(Some(resource_spans)) => self.append_resource(resource_spans, seen, &mut appended),
                Ok(None) => {}
                Err(error) => {
                    let reason = error.to_string();
                    let rejected = RejectedSpans { reason, spans: 0, traces_data: record.to_vec() };
                    appended.rejected.push(rejected);
                }
            }
        }
        appended
    }

    fn append_resource(&mut self, message: &[u8], seen: &mut DuplicateFilter, appended: &mut Appended) {
        let group = Group::read(message).map_err(DecodeError::from);
        let interned = group.and_then(|group| {
            let number = self.resources.intern(group.origin, group.schema_url)?;
            Ok((group, number))
        });
        let (group, resource) = match interned {
            Ok(interned) => interned,
            Err(error) => return reject(appended, error, &[message], 0),
        };
        for scope_spans in Group::members(message) {
            self.append_scope(scope_spans, &group, resource, seen, appended);
        }
    }

    fn append_scope(
        &mut self,
        message: &[u8],
        parent: &Group<'_>,
        resource: u32,
        seen: &mut DuplicateFilter,
        appended: &mut Appended,
    ) {
        let group = Group::read(message).map_err(DecodeError::from);
        let interned = group.and_then(|group| {
            let number = self.scopes.intern(group.origin, group.schema_url)?;
            Ok((group, number))
        });
        let (group, scope) = match interned {
            Ok(interned) => interned,
            Err(error) => {
                let wrapped = wrap(parent, &[message]);
                let spans = Group::members(message).count();
                return reject(appended, error, &[&wrapped], spans);
            }
        };
        let context = seen.context(&self.tenant, parent.parts(), group.parts());
        let home = Home { resource, scope, context };
        for span in Group::members(message) {
            let fingerprint = DuplicateFilter::fingerprint(home.context, span);
            if !seen.insert(fingerprint) {
                appended.duplicates += 1;
                continue;
            }
            match self.append_span(span, home) {
                Ok(()) => appended.spans += 1,
                Err(error) => {
                    seen.remove(fingerprint);
                    let wrapped = wrap(parent, &[&wrap(&group, &[span])]);
                    reject(appended, error, &[&wrapped], 1);
                }
            }
        }
    }

    fn append_span(&mut self, message: &[u8], home: Home) -> Result<(), DecodeError> {
        let row = u32::try_from(self.rows()).expect("a block is sealed long before 2^32 rows");
        let result = self.read_span(message, row).and_then(|scalars| self.push_scalars(&scalars, home));
        if result.is_err() {
            self.attributes.rollback(row);
            self.events.rollback(row);
            self.links.rollback(row);
        }
        result
    }

    /// Reads a span: lists go straight to their columns, scalars are returned (the last of a kind counts).
    fn read_span<'a>(&mut self, message: &'a [u8], row: u32) -> Result<Scalars<'a>, DecodeError> {
        let mut scalars = Scalars::default();
        let mut previous = None;
        for field in Fields::new(message) {
            let field = field?;
            match field.number {
                1 => scalars.trace_id = field.bytes()?,
                2 => scalars.span_id = field.bytes()?,
                3 => scalars.trace_state = field.bytes()?,
                4 => scalars.parent_span_id = field.bytes()?,
                5 => scalars.name = field.bytes()?,
                6 => scalars.kind = field.varint()? as i32,
                7 => scalars.start = field.fixed64()?,
                8 => scalars.end = field.fixed64()?,
                9 => {
                    let (key, value) = key_value(field.bytes()?)?;
                    previous = self.attributes.push(row, key, value, previous)?;
                }
                10 => scalars.dropped_attributes = field.varint()? as u32,
                11 => self.events.push(row, field.bytes()?)?,
                12 => scalars.dropped_events = field.varint()? as u32,
                13 => self.links.push(row, field.bytes()?)?,
                14 => scalars.dropped_links = field.varint()? as u32,
                15 => (scalars.status_message, scalars.status_code) = read_status(field.bytes()?)?,
                16 => scalars.flags = field.fixed32()?,
                _ => {}
            }
        }
        Ok(scalars)
    }

    /// The last step of a span: everything that can fail comes before the first push.
    fn push_scalars(&mut self, scalars: &Scalars<'_>, home: Home) -> Result<(), DecodeError> {
        let trace_id = id("trace", scalars.trace_id)?;
        let span_id = id("span", scalars.span_id)?;
        let parent_span_id = match scalars.parent_span_id {
            [] => None,
            bytes => Some(bytes.try_into().map_err(|_| DecodeError::IdLength("parent span", bytes.len()))?),
        };
        let name = self.names.intern(scalars.name)?;
        let status_message = self.text(scalars.status_message)?;
        let trace_state = self.text(scalars.trace_state)?;
        let spans = &mut self.spans;
        spans.trace_id.push(trace_id);
        spans.span_id.push(span_id);
        spans.parent_span_id.push(parent_span_id);
        spans.start.push(scalars.start);
        spans.end.push(scalars.end);
        spans.name.push(name);
        spans.kind.push(scalars.kind);
        spans.status_code.push(scalars.status_code);
        spans.status_message.push(status_message);
        spans.trace_state.push(trace_state);
        spans.flags.push(scalars.flags);
        spans.dropped_attributes.push(scalars.dropped_attributes);
        spans.dropped_events.push(scalars.dropped_events);
        spans.dropped_links.push(scalars.dropped_links);
        spans.resource.push(home.resource);
        spans.scope.push(home.scope);
        Ok(())
    }

    fn text(&mut self, text: &[u8]) -> Result<u32, DecodeError> {
        if text.is_empty() { Ok(0) } else { Ok(self.texts.intern(text)?) }
    }
}

/// `Status`: 2 message, 3 code.
fn read_status(message: &[u8]) -> Result<(&[u8], i32), DecodeError> {
    let (mut text, mut code) = (&message[..0], 0);
    for field in Fields::new(message) {
        let field = field?;
        match field.number {
            2 => text = field.bytes()?,
            3 => code = field.varint()? as i32,
            _ => {}
        }
    }
    Ok((text, code))
}

fn id<const N: usize>(what: &'static str, bytes: &[u8]) -> Result<[u8; N], DecodeError> {
    let id: [u8; N] = bytes.try_into().map_err(|_| DecodeError::IdLength(what, bytes.len()))?;
    if id == [0; N] { Err(DecodeError::IdZero(what)) } else { Ok(id) }
}

/// A message of the group's kind with the given members only.
fn wrap(group: &Group<'_>, members: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    put_bytes_header(&mut out, 1, group.origin.len());
    out.extend_from_slice(group.origin);
    for member in members {
        put_bytes_header(&mut out, 2, member.len());
        out.extend_from_slice(member);
    }
    if !group.schema_url.is_empty() {
        put_bytes_header(&mut out, 3, group.schema_url.len());
        out.extend_from_slice(group.schema_url);
    }
    out
}

fn reject(appended: &mut Appended, error: DecodeError, resource_spans: &[&[u8]], spans: usize) {
    let mut traces_data = Vec::new();
    for message in resource_spans {
        put_bytes_header(&mut traces_data, 1, message.len());
        traces_data.extend_from_slice(message);
    }
    appended.rejected.push(RejectedSpans { reason: error.to_string(), spans, traces_data });
}
