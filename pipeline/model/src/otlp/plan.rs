//! Decides which span goes into which record. All sizes are known before a byte is copied.

use bytes::Bytes;

use super::pack::Packer;
use super::scan::{ByteRange, Scan, SpanPlace};
use super::{Limits, RejectedSpan, WalkError};
use crate::{Partition, TenantSpread};

/// A checked request and how it splits into records. Its memory is in proportion to the number of spans.
#[derive(Debug)]
pub struct Plan {
    pub(super) request: Bytes,
    pub(super) scan: Scan,
    pub(super) layout: Layout,
    spans: usize,
    output_bytes: usize,
}

/// The records, flattened: each record has some runs of resources, each of these some runs of scopes, each of these
/// some spans, in this order.
#[derive(Debug, Default)]
pub(super) struct Layout {
    pub(super) records: Vec<RecordPlan>,
    pub(super) resources: Vec<Run>,
    pub(super) scopes: Vec<Run>,
    pub(super) spans: Vec<ByteRange>,
    pub(super) rejected: Vec<RejectedSpan>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct RecordPlan {
    pub(super) partition: Partition,
    pub(super) bytes: usize,
    pub(super) spans: usize,
    /// Number of runs of resources.
    pub(super) children: usize,
}

/// A message of a record: the header it starts with, and how much follows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    /// Index of the resource or scope in the [`Scan`].
    pub(super) source: u32,
    /// Bytes of the message, without tag and length.
    pub(super) bytes: usize,
    /// Number of runs of scopes, or of spans.
    pub(super) children: usize,
}

impl Plan {
    /// Checks a request and decides on its records.
    ///
    /// # Errors
    /// [`WalkError`] refuses the request as a whole.
    pub fn new(request: Bytes, spread: TenantSpread, limits: Limits) -> Result<Self, WalkError> {
        let mut scan = Scan::new(&request, spread)?;
        let spans = sorted_by_partition(std::mem::take(&mut scan.spans), spread.partition_count());
        let mut packer = Packer::new(&scan, &request, limits);
        for span in &spans {
            packer.add(span)?;
        }
        let layout = packer.finish()?;
        let mut plan = Self { request, scan, layout, spans: spans.len(), output_bytes: 0 };
        if !plan.is_whole_request(limits) {
            plan.output_bytes = plan.layout.records.iter().map(|record| record.bytes).sum();
        }
        Ok(plan)
    }

    /// Number of spans in the request, rejected ones included.
    #[must_use]
    pub const fn spans(&self) -> usize {
        self.spans
    }

    /// Spans that will be in no record.
    #[must_use]
    pub fn rejected(&self) -> &[RejectedSpan] {
        &self.layout.rejected
    }

    /// Bytes that the records will take, besides the request itself. Zero if it is passed on as it is.
    #[must_use]
    pub const fn output_bytes(&self) -> usize {
        self.output_bytes
    }

    fn is_whole_request(&self, limits: Limits) -> bool {
        self.layout.records.len() == 1
            && self.layout.rejected.is_empty()
            && self.request.len() <= limits.record_bytes_max
    }
}

/// Sorts by partition and keeps the order within each, so that spans of one scope stay together.
fn sorted_by_partition(spans: Vec<SpanPlace>, partitions: u32) -> Vec<SpanPlace> {
    if partitions == 1 || spans.len() < 2 {
        return spans;
    }
    // A counting sort pays while there are not many more partitions than spans.
    if partitions as usize > 4 * spans.len() + 64 {
        let mut spans = spans;
        spans.sort_by_key(|span| span.partition);
        return spans;
    }
    let mut next = vec![0_u32; partitions as usize + 1];
    for span in &spans {
        next[span.partition.0 as usize + 1] += 1;
    }
    for index in 1..next.len() {
        next[index] += next[index - 1];
    }
    let mut sorted = spans.clone();
    for span in spans {
        let place = &mut next[span.partition.0 as usize];
        sorted[*place as usize] = span;
        *place += 1;
    }
    sorted
}
