//! Finds names and values of attributes.

use std::sync::Arc;

use vivace_memory::Part;
use vivace_proto::internal::FoundTags;
use vivace_proto::internal::search_job_part::Found;
use vivace_traceql::TagsMerger;

use super::plan::Asked;
use super::run::{Run, Step};
use super::{Reports, Searcher, Totals};
use crate::QueryError;
use crate::damage::Damaged;

/// Names or values.
#[derive(Clone, Debug, Default)]
pub(crate) struct FoundTagsSet {
    pub(crate) tags: FoundTags,
    pub(crate) totals: Totals,
    pub(crate) damaged: Vec<Arc<Damaged>>,
}

impl Searcher {
    /// Names or values, the first `tags_max` of each set in their order.
    pub(crate) async fn tags(
        &self,
        asked: &Asked,
        tags_max: usize,
        mut reports: Reports<FoundTagsSet>,
    ) -> Result<FoundTagsSet, QueryError> {
        let mut run = Run::new(self, asked, 0, self.config.query_jobs_max)?;
        // A tag that was found by a View that is too old is a tag nevertheless: nothing is taken back.
        let mut merger = TagsMerger::new(tags_max, tags_max).limited(self.groups());
        let mut memory = self.memory.empty(Part::Groups);
        loop {
            let step = tokio::select! {
                biased;
                () = reports.due() => {
                    let (tags, totals, damaged) = (merger.best(), run.totals(), run.damaged());
                    reports.send(FoundTagsSet { tags, totals, damaged }).await;
                    continue;
                }
                step = run.next(|_| true) => step?,
            };
            let found = match step {
                Some(Step::Found { found, .. }) => found,
                Some(Step::Dropped { .. }) => continue,
                None => break,
            };
            for found in found {
                let Found::Tags(tags) = found else {
                    return Err(QueryError::unexpected_answer());
                };
                merger.add(tags).map_err(QueryError::of_evaluation)?;
                memory.resize(merger.bytes())?;
            }
        }
        Ok(FoundTagsSet { tags: merger.finish(), totals: run.totals(), damaged: run.damaged() })
    }
}
