//! The work on one request between its last byte and its records, which may move to another thread half-way.

use bytes::Bytes;
use vivace_model::TenantSpread;
use vivace_model::otlp::{Limits, Plan, Walked};

use crate::encoding::{Encoding, Inflate};
use crate::error::RequestError;
use crate::inflight::Hold;
use crate::json;

// What stays below these takes about a millisecond at most and is done on the async thread.
const INLINE_COMPRESSED_MAX: usize = 64 * 1024;
const INLINE_INFLATED_MAX: usize = 512 * 1024;
const INLINE_WALK_MAX: usize = 1024 * 1024;
const INLINE_JSON_MAX: usize = 64 * 1024;

#[derive(Debug)]
pub(super) struct Job {
    input: Input,
    json: bool,
    limits: Limits,
    spread: TenantSpread,
    hold: Hold,
}

#[derive(Debug)]
enum Input {
    Compressed { inflate: Inflate, small: bool },
    Plain(Bytes),
}

/// A request whose records are ready.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) walked: Walked,
    /// Spans in the request.
    pub(super) spans: usize,
    /// Size of the request as plain protobuf.
    pub(super) bytes: usize,
    /// Holds the records.
    pub(super) hold: Hold,
}

#[derive(Debug)]
pub(super) enum Progress {
    Done(Prepared),
    /// The rest takes long.
    Paused(Job),
}

impl Job {
    pub(super) fn new(
        bytes: Bytes,
        encoding: Encoding,
        json: bool,
        max: usize,
        limits: Limits,
        spread: TenantSpread,
        hold: Hold,
    ) -> Result<Self, RequestError> {
        let input = match encoding {
            Encoding::Identity => Input::Plain(bytes),
            Encoding::Gzip | Encoding::Zstd => {
                let small = bytes.len() <= INLINE_COMPRESSED_MAX;
                Input::Compressed { inflate: Inflate::new(encoding, bytes, max)?, small }
            }
        };
        Ok(Self { input, json, limits, spread, hold })
    }

    /// Goes on to the end; if `inline`, only as far as that takes little time.
    pub(super) fn advance(mut self, inline: bool) -> Result<Progress, RequestError> {
        let mut bytes = match self.input {
            Input::Plain(bytes) => bytes,
            Input::Compressed { mut inflate, small } => {
                let pause = match (inline, small) {
                    (false, _) => usize::MAX,
                    (true, true) => INLINE_INFLATED_MAX,
                    (true, false) => 0,
                };
                match inflate.run(pause, &mut self.hold)? {
                    Some(bytes) => bytes,
                    None => {
                        self.input = Input::Compressed { inflate, small };
                        return Ok(Progress::Paused(self));
                    }
                }
            }
        };
        let inline_max = if self.json { INLINE_JSON_MAX } else { INLINE_WALK_MAX };
        if inline && bytes.len() > inline_max {
            self.input = Input::Plain(bytes);
            return Ok(Progress::Paused(self));
        }
        if self.json {
            // The protobuf is at most a little larger than its JSON, and its buffer grows by doubling.
            self.hold.grow(2 * bytes.len())?;
            let protobuf = json::to_protobuf(&bytes).map_err(RequestError::Json)?;
            self.hold.shrink_to(protobuf.capacity());
            bytes = protobuf.into();
        }
        let size = bytes.len();
        let plan = Plan::new(bytes, self.spread, self.limits)?;
        let (spans, output) = (plan.spans(), plan.output_bytes());
        self.hold.grow(output)?;
        let walked = plan.into_records();
        if output > 0 {
            // The request itself is gone; its records are not.
            self.hold.shrink_to(output);
        }
        Ok(Progress::Done(Prepared { walked, spans, bytes: size, hold: self.hold }))
    }
}
