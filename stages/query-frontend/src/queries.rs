//! Answers what is asked for over HTTP and gRPC alike, within the limits of number and time.

use vivace_model::TenantId;
use vivace_proto::internal::FoundTags;

use crate::QueryError;
use crate::compute::compute;
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
        let (request, config) = (request.clone(), self.config.clone());
        let query = async {
            let (asked, limit, spans_max) = compute(move || request.asked(tenants, &config)).await?;
            self.searcher.traces(&asked, limit, spans_max, reports).await
        };
        self.limited(query).await
    }

    /// Series.
    pub(crate) async fn series(
        &self,
        tenants: Vec<TenantId>,
        request: &SeriesRequest,
        reports: Reports<FoundSeriesSet>,
    ) -> Result<FoundSeriesSet, QueryError> {
        let (request, config) = (request.clone(), self.config.clone());
        let query = async {
            let question = compute(move || request.asked(tenants, &config)).await?;
            self.searcher.series(&question, reports).await
        };
        self.limited(query).await
    }

    /// Names of attributes.
    pub(crate) async fn tag_names(
        &self,
        tenants: Vec<TenantId>,
        request: &TagNamesRequest,
        reports: Reports<FoundTagsSet>,
    ) -> Result<FoundTagsSet, QueryError> {
        let (request, now, config) = (request.clone(), self.searcher.clock.now(), self.config.clone());
        self.tags(move || request.asked(tenants, now, &config), reports).await
    }

    /// Values of an attribute.
    pub(crate) async fn tag_values(
        &self,
        tenants: Vec<TenantId>,
        request: &TagValuesRequest,
        reports: Reports<FoundTagsSet>,
    ) -> Result<FoundTagsSet, QueryError> {
        let (request, now, config) = (request.clone(), self.searcher.clock.now(), self.config.clone());
        self.tags(move || request.asked(tenants, now, &config), reports).await
    }

    async fn tags(
        &self,
        plan: impl FnOnce() -> Result<TagsAnswer, QueryError> + Send + 'static,
        reports: Reports<FoundTagsSet>,
    ) -> Result<FoundTagsSet, QueryError> {
        let query = async {
            match compute(plan).await? {
                TagsAnswer::Known(values) => {
                    let tags = FoundTags { values, ..FoundTags::default() };
                    Ok(FoundTagsSet { tags, ..FoundTagsSet::default() })
                }
                TagsAnswer::Search(asked, tags_max) => self.searcher.tags(&asked, tags_max, reports).await,
            }
        };
        self.limited(query).await
    }
}
