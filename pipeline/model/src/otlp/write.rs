//! Writes the records that a plan decided on: one allocation of the exact size for each, one copy of each span.

use bytes::Bytes;

use super::plan::{Layout, Plan};
use super::scan::{Header, Scan};
use super::{SpansRecord, Walked};
use crate::wire::put_bytes_header;

/// `TracesData.resource_spans`.
const RESOURCE_SPANS: u32 = 1;
/// `ResourceSpans.scope_spans`.
const SCOPE_SPANS: u32 = 2;

impl Plan {
    /// Makes the records.
    #[must_use]
    pub fn into_records(self) -> Walked {
        let whole = self.output_bytes() == 0;
        let Self { request, scan, layout, .. } = self;
        let Layout { records: plans, resources, scopes, spans, rejected } = layout;
        let mut resources = resources.into_iter();
        let mut scopes = scopes.into_iter();
        let mut spans = spans.into_iter();
        let mut records = Vec::with_capacity(plans.len());
        for plan in plans {
            if whole {
                records.push(SpansRecord { partition: plan.partition, value: request, spans: plan.spans });
                break;
            }
            let mut out = Vec::with_capacity(plan.bytes);
            for resource in resources.by_ref().take(plan.children) {
                put_bytes_header(&mut out, RESOURCE_SPANS, resource.bytes);
                put_header(&mut out, &request, &scan, scan.resources[resource.source as usize]);
                for scope in scopes.by_ref().take(resource.children) {
                    put_bytes_header(&mut out, SCOPE_SPANS, scope.bytes);
                    put_header(&mut out, &request, &scan, scan.scopes[scope.source as usize].header);
                    for span in spans.by_ref().take(scope.children) {
                        out.extend_from_slice(span.of(&request));
                    }
                }
            }
            assert_eq!(out.len(), plan.bytes, "a record has the size that was planned");
            records.push(SpansRecord {
                partition: plan.partition,
                value: Bytes::from(out),
                spans: plan.spans,
            });
        }
        Walked { records, rejected }
    }
}

fn put_header(out: &mut Vec<u8>, request: &[u8], scan: &Scan, header: Header) {
    for fragment in scan.fragments(header) {
        out.extend_from_slice(fragment.of(request));
    }
}
