use std::collections::BTreeSet;

use vivace_proto::internal::LabelValue;
use vivace_proto::tempopb::{
    SearchTagValuesResponse, SearchTagValuesV2Response, SearchTagsResponse, SearchTagsV2Response,
    SearchTagsV2Scope, TagValue,
};
use vivace_traceql::INTRINSIC_TAG_NAMES;

use super::{metadata_metrics, typed};
use crate::request::TagNamesRequest;
use crate::search::FoundTagsSet;

/// Names without their scopes, each once.
pub(crate) fn names_v1(request: &TagNamesRequest, found: FoundTagsSet) -> SearchTagsResponse {
    let mut names: BTreeSet<String> = found.tags.scopes.into_iter().flat_map(|scope| scope.tags).collect();
    if request.only_intrinsics() {
        names.extend(INTRINSIC_TAG_NAMES.map(str::to_owned));
    }
    SearchTagsResponse {
        tag_names: names.into_iter().collect(),
        metrics: Some(metadata_metrics(&found.totals)),
    }
}

/// Names by scope.
pub(crate) fn names_v2(request: &TagNamesRequest, found: FoundTagsSet) -> SearchTagsV2Response {
    let scopes = found.tags.scopes.into_iter().filter(|scope| !scope.tags.is_empty());
    let mut scopes: Vec<_> =
        scopes.map(|scope| SearchTagsV2Scope { name: scope.name, tags: scope.tags }).collect();
    if request.intrinsics() {
        let tags = INTRINSIC_TAG_NAMES.map(str::to_owned).to_vec();
        scopes.push(SearchTagsV2Scope { name: "intrinsic".to_owned(), tags });
    }
    SearchTagsV2Response { scopes, metrics: Some(metadata_metrics(&found.totals)) }
}

/// Values as text, each once.
pub(crate) fn values_v1(found: FoundTagsSet) -> SearchTagValuesResponse {
    let values: BTreeSet<String> = said(found.tags.values).map(|(_, value)| value).collect();
    SearchTagValuesResponse {
        tag_values: values.into_iter().collect(),
        metrics: Some(metadata_metrics(&found.totals)),
    }
}

/// Values with their types.
pub(crate) fn values_v2(found: FoundTagsSet) -> SearchTagValuesV2Response {
    let value = |(r#type, value): (&str, String)| TagValue { r#type: r#type.to_owned(), value };
    SearchTagValuesV2Response {
        tag_values: said(found.tags.values).map(value).collect(),
        metrics: Some(metadata_metrics(&found.totals)),
    }
}

fn said(values: Vec<LabelValue>) -> impl Iterator<Item = (&'static str, String)> {
    typed(values).filter(|(_, value)| !value.is_empty())
}
