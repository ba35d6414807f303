//! What a job has found so far, and how it goes out.

use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, stream};
use tonic::Status;
use vivace_memory::{Governor, Part, Permit, Short};
use vivace_model::Offset;
use vivace_proto::internal::{JobMetrics, PartStream, TraceJobPart};

/// Parts of a trace within a limit of bytes.
#[derive(Debug)]
pub(crate) struct Answer {
    parts: Vec<Bytes>,
    bytes_left: usize,
    /// For recent data: complete for all records below this offset.
    pub(crate) through: Offset,
    pub(crate) metrics: JobMetrics,
    /// Of the parts.
    memory: Permit,
    /// Why there was no memory for the next part.
    pub(crate) short: Option<Short>,
}

impl Answer {
    pub(crate) fn new(bytes_max: usize, memory: &Arc<Governor>) -> Self {
        Self {
            parts: Vec::new(),
            bytes_left: bytes_max,
            through: Offset::ZERO,
            metrics: JobMetrics::default(),
            memory: memory.empty(Part::Answers),
            short: None,
        }
    }

    /// Takes a part if there is room for it; otherwise the answer is truncated from here on, and false the result. So it
    /// is where memory is short: then there is no answer.
    pub(crate) fn push(&mut self, part: Bytes) -> bool {
        if part.len() > self.bytes_left {
            self.metrics.truncated = true;
        }
        if self.metrics.truncated || self.short.is_some() {
            return false;
        }
        if let Err(short) = self.memory.grow(part.len()) {
            self.short = Some(short);
            return false;
        }
        self.bytes_left -= part.len();
        if !part.is_empty() {
            self.parts.push(part);
        }
        true
    }

    /// The answer as messages; `held` is dropped with the stream.
    pub(crate) fn into_stream(self, held: impl Send + 'static) -> PartStream<TraceJobPart> {
        let through_offset = self.through.0;
        let metrics = self.metrics;
        let (mut parts, held) = (self.parts, (held, self.memory));
        let last = parts.pop().unwrap_or_default();
        let parts = parts.into_iter().map(move |part| TraceJobPart {
            traces_data: part,
            through_offset,
            metrics: None,
        });
        let last = TraceJobPart { traces_data: last, through_offset, metrics: Some(metrics) };
        let all = stream::iter(parts.chain([last]));
        all.map(move |part| {
            let _held = &held;
            Ok::<_, Status>(part)
        })
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt;

    use super::*;

    #[tokio::test]
    async fn only_the_last_part_has_metrics() {
        for count in [0_usize, 1, 3] {
            let mut answer = Answer::new(100, &Governor::unlimited());
            answer.through = Offset(7);
            for _ in 0..count {
                assert!(answer.push(Bytes::from_static(b"part")));
            }
            let parts: Vec<_> = answer.into_stream(()).try_collect().await.unwrap();
            assert_eq!(parts.len(), count.max(1));
            let (last, others) = parts.split_last().unwrap();
            assert!(last.metrics.is_some() && others.iter().all(|part| part.metrics.is_none()));
            assert!(parts.iter().all(|part| part.through_offset == 7));
        }
    }

    #[test]
    fn what_does_not_fit_is_left_out_and_said() {
        let mut answer = Answer::new(5, &Governor::unlimited());
        assert!(answer.push(Bytes::from_static(b"abc")));
        assert!(!answer.push(Bytes::from_static(b"def")));
        assert!(!answer.push(Bytes::from_static(b"g")), "nothing after a gap");
        assert!(answer.metrics.truncated);
        assert_eq!(answer.parts, [Bytes::from_static(b"abc")]);
    }

    #[test]
    fn without_memory_there_is_no_answer_and_what_was_held_comes_back() {
        let memory = Governor::new(vivace_memory::Shares::exact(5, &[(Part::Answers, 5, 0)]));
        let mut answer = Answer::new(100, &memory);
        assert!(answer.push(Bytes::from_static(b"abc")));
        assert!(!answer.push(Bytes::from_static(b"def")));
        assert!(answer.short.is_some() && !answer.metrics.truncated);
        let stream = answer.into_stream(());
        assert_eq!(memory.used(Part::Answers), 3);
        drop(stream);
        assert_eq!(memory.used(Part::Answers), 0);
    }
}
