//! The question for the spans of one trace in recent data.
//! Owns: the form of what is found. Does not own: where recent data is looked for (`recent`).

use std::sync::Arc;

use tonic::{Request, Status};
use vivace_block::to_traces_data;
use vivace_memory::Governor;
use vivace_model::{Offset, TenantId, TraceId, WorkBudget};
use vivace_proto::internal::{PartStream, RecentService, RecentTracePart, RecentTraceRequest};
use vivace_proto::parts::{self, PART_BYTES_MAX};

use crate::JobError;
use crate::answer::Answer;
use crate::compute::compute;
use crate::recent::{From, Question};
use crate::tail::TailPart;

/// Rows turned into OTLP at once: bounds what is there twice.
const SLICE_ROWS: usize = 2048;

/// Whose spans of which trace.
#[derive(Clone, Debug)]
pub(crate) struct TraceQuestion {
    pub(crate) memory: Arc<Governor>,
    pub(crate) tenant: TenantId,
    pub(crate) trace_id: TraceId,
    /// The answer ends with so many bytes.
    pub(crate) bytes_max: usize,
    /// Of the job.
    pub(crate) budget: WorkBudget,
}

impl Question for TraceQuestion {
    type Part = RecentTracePart;
    type Answer = Answer;

    fn empty(&self) -> Answer {
        Answer::new(self.bytes_max, &self.memory)
    }

    async fn ask(&self, owner: &RecentService, from: From) -> Result<PartStream<RecentTracePart>, Status> {
        let request = RecentTraceRequest {
            tenant: self.tenant.as_str().to_owned(),
            trace_id: self.trace_id.as_bytes().to_vec(),
            partition: from.partition.0,
            from_offset: from.offset.0,
        };
        Ok(owner.trace(Request::new(request)).await?.into_inner())
    }

    fn through(part: &RecentTracePart) -> Offset {
        Offset(part.through_offset)
    }

    async fn take(&self, mut answer: Answer, part: RecentTracePart) -> Result<(Answer, bool), Status> {
        answer.metrics.spans += part.spans;
        let more = answer.push(part.traces_data);
        Ok((answer, more))
    }

    async fn read(&self, mut answer: Answer, part: TailPart) -> Result<(Answer, bool), JobError> {
        let (tenant, trace_id) = (self.tenant.clone(), self.trace_id);
        // No larger than the answer, so that it is cut where it is full.
        let part_bytes = PART_BYTES_MAX.min(self.bytes_max);
        let work = move || {
            let TailPart { segment, range } = part;
            answer.metrics.bytes_read += segment.bytes_of(&range);
            let Some(batch) = segment.trace(&tenant, &range, &trace_id) else {
                return Ok((answer, true));
            };
            for start in (0..batch.num_rows()).step_by(SLICE_ROWS) {
                let slice = batch.slice(start, SLICE_ROWS.min(batch.num_rows() - start));
                answer.metrics.spans += slice.num_rows() as u64;
                let traces = to_traces_data(&[slice]);
                let traces = traces.map_err(|error| JobError::Recent(error.to_string()))?;
                for part in parts::split(traces, part_bytes) {
                    if !answer.push(part) {
                        return Ok((answer, false));
                    }
                }
            }
            Ok((answer, true))
        };
        compute(&self.budget, work).await
    }
}
