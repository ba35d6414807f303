//! How what a search found goes out: in messages of bounded size.

use std::sync::Arc;

use futures::{StreamExt, stream};
use prost::Message;
use tonic::Status;
use vivace_model::Offset;
use vivace_proto::internal::search_job_part::Found;
use vivace_proto::internal::{
    FoundSeries, FoundTagScope, FoundTags, FoundTraces, PartStream, SearchJobMetrics, SearchJobPart,
};

use super::memory::JobMemory;

/// Size that parts are cut at; a single trace or series that is larger goes alone.
const PART_BYTES_MAX: usize = 2 << 20;

/// What a job found.
#[derive(Debug)]
pub(crate) struct SearchAnswer {
    pub(crate) found: Found,
    /// For recent data: complete for all records below this offset.
    pub(crate) through: Offset,
    pub(crate) metrics: SearchJobMetrics,
    pub(super) memory: Arc<JobMemory>,
}

impl SearchAnswer {
    /// The answer as messages; `held` is dropped with the stream.
    pub(crate) fn into_stream(self, held: impl Send + 'static) -> PartStream<SearchJobPart> {
        let Self { found, through, metrics, memory } = self;
        let held = (held, memory);
        let found = split(found, PART_BYTES_MAX);
        let last = found.len() - 1;
        let parts = found.into_iter().enumerate().map(move |(index, found)| SearchJobPart {
            found: Some(found),
            through_offset: through.0,
            metrics: (index == last).then_some(metrics),
        });
        let stream = stream::iter(parts).map(move |part| {
            let _held = &held;
            Ok::<_, Status>(part)
        });
        stream.boxed()
    }
}

/// At least one part.
fn split(found: Found, bytes_max: usize) -> Vec<Found> {
    if found.encoded_len() <= bytes_max {
        return vec![found];
    }
    match found {
        Found::Traces(FoundTraces { traces, more }) => {
            let chunks = chunks(traces, bytes_max).into_iter();
            chunks.map(|traces| Found::Traces(FoundTraces { traces, more })).collect()
        }
        Found::Series(FoundSeries { series, truncated }) => {
            let chunks = chunks(series, bytes_max).into_iter();
            chunks.map(|series| Found::Series(FoundSeries { series, truncated })).collect()
        }
        Found::Tags(FoundTags { scopes, values, truncated }) => {
            let values = chunks(values, bytes_max).into_iter();
            let mut parts: Vec<_> =
                values.map(|values| FoundTags { scopes: Vec::new(), values, truncated }).collect();
            // Names are few, unless somebody makes them up.
            for FoundTagScope { name, tags } in scopes {
                for tags in texts(tags, bytes_max) {
                    let scopes = vec![FoundTagScope { name: name.clone(), tags }];
                    parts.push(FoundTags { scopes, values: Vec::new(), truncated });
                }
            }
            parts.into_iter().map(Found::Tags).collect()
        }
    }
}

fn chunks<T: Message>(items: Vec<T>, bytes_max: usize) -> Vec<Vec<T>> {
    cut(items, bytes_max, Message::encoded_len)
}

fn texts(items: Vec<String>, bytes_max: usize) -> Vec<Vec<String>> {
    cut(items, bytes_max, String::len)
}

/// In order, in at least one chunk.
fn cut<T>(items: Vec<T>, bytes_max: usize, bytes: impl Fn(&T) -> usize) -> Vec<Vec<T>> {
    let (mut chunks, mut size) = (vec![Vec::new()], 0);
    for item in items {
        // Tag and length around it.
        let own = bytes(&item) + 8;
        let last = chunks.last_mut().expect("there is one from the start");
        if size + own > bytes_max && !last.is_empty() {
            chunks.push(vec![item]);
            size = own;
        } else {
            last.push(item);
            size += own;
        }
    }
    chunks
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt;
    use vivace_memory::{Governor, Part};
    use vivace_proto::internal::{FoundTrace, LabelValue};

    use super::*;

    fn trace(number: u8) -> FoundTrace {
        FoundTrace { trace_id: vec![number; 16], ..FoundTrace::default() }
    }

    #[test]
    fn traces_go_in_order_and_in_bounded_parts() {
        let traces: Vec<_> = (0..10).map(trace).collect();
        for (bytes_max, count) in [(1, 10), (60, 5), (1000, 1)] {
            let parts = split(Found::Traces(FoundTraces { traces: traces.clone(), more: true }), bytes_max);
            assert_eq!(parts.len(), count);
            let together = parts.into_iter().flat_map(|part| match part {
                Found::Traces(FoundTraces { traces, more: true }) => traces,
                other => panic!("{other:?}"),
            });
            assert_eq!(together.collect::<Vec<_>>(), traces);
        }
    }

    #[test]
    fn tags_are_split_by_scope() {
        let scope = |name: &str| FoundTagScope {
            name: name.into(),
            tags: (0..3).map(|number| format!("tag {number}")).collect(),
        };
        let found = FoundTags {
            scopes: vec![scope("span"), scope("resource")],
            values: vec![LabelValue::default(); 2],
            truncated: false,
        };
        assert_eq!(split(Found::Tags(found.clone()), 1000).len(), 1);
        assert_eq!(split(Found::Tags(found), 1).len(), 8);
    }

    #[tokio::test]
    async fn only_the_last_part_has_metrics() {
        let memory = Governor::unlimited();
        for count in [0, 1, 200_000_u32] {
            let traces = (0..count).map(|number| trace(number as u8)).collect();
            let answer = SearchAnswer {
                found: Found::Traces(FoundTraces { traces, more: false }),
                through: Offset(7),
                metrics: SearchJobMetrics::default(),
                memory: JobMemory::new(&memory, memory.empty(Part::Tail)),
            };
            let parts: Vec<_> = answer.into_stream(()).try_collect().await.unwrap();
            assert_eq!(parts.len() > 1, count > 1);
            let (last, others) = parts.split_last().unwrap();
            assert!(last.metrics.is_some() && others.iter().all(|part| part.metrics.is_none()));
            assert!(parts.iter().all(|part| part.through_offset == 7 && part.found.is_some()));
        }
    }
}
