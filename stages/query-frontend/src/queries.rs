//! Answers what is asked for over HTTP and gRPC alike, within the limits of number and time.

use vivace_model::TenantId;
use vivace_proto::internal::FoundTags;

use crate::QueryError;
use crate::frontend::Inner;
use crate::request::{SeriesRequest, TagNamesRequest, TagValuesRequest, TagsAnswer, TracesRequest};
use crate::search::{FoundSeriesSet, FoundTagsSet, FoundTracesSet, Reports};

impl Inner {
    /// The newest traces that match.
    pub(crate) async fn search(
        &self,
        tenants: Vec<TenantId>,
        request: &TracesRequest,
        reports: Reports<FoundTracesSet>,
    ) -> Result<FoundTracesSet, QueryError> {
        let (asked, limit, spans_max) = request.asked(tenants, &self.config)?;
        self.limited(self.searcher.traces(&asked, limit, spans_max, reports)).await
    }

    /// Series.
    pub(crate) async fn series(
        &self,
        tenants: Vec<TenantId>,
        request: &SeriesRequest,
        reports: Reports<FoundSeriesSet>,
    ) -> Result<FoundSeriesSet, QueryError> {
        let question = request.asked(tenants, &self.config)?;
        self.limited(self.searcher.series(&question, reports)).await
    }

    /// Names of attributes.
    pub(crate) async fn tag_names(
        &self,
        tenants: Vec<TenantId>,
        request: &TagNamesRequest,
        reports: Reports<FoundTagsSet>,
    ) -> Result<FoundTagsSet, QueryError> {
        let answer = request.asked(tenants, self.searcher.clock.now(), &self.config)?;
        self.tags(answer, reports).await
    }

    /// Values of an attribute.
    pub(crate) async fn tag_values(
        &self,
        tenants: Vec<TenantId>,
        request: &TagValuesRequest,
        reports: Reports<FoundTagsSet>,
    ) -> Result<FoundTagsSet, QueryError> {
        let answer = request.asked(tenants, self.searcher.clock.now(), &self.config)?;
        self.tags(answer, reports).await
    }

    async fn tags(
        &self,
        answer: TagsAnswer,
        reports: Reports<FoundTagsSet>,
    ) -> Result<FoundTagsSet, QueryError> {
        match answer {
            TagsAnswer::Known(values) => {
                let tags = FoundTags { values, ..FoundTags::default() };
                Ok(FoundTagsSet { tags, ..FoundTagsSet::default() })
            }
            TagsAnswer::Search(asked, tags_max) => {
                self.limited(self.searcher.tags(&asked, tags_max, reports)).await
            }
        }
    }
}
