//! What is asked: questions of every kind, those about what the test itself sent, and those that take much.

use std::ops::Range;

use vivace_integration_tests::SHOP_SECONDS;

use crate::spans::{FAT, MANY, OWN_SECONDS};

/// One question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    /// All spans; has to be exact.
    Count,
    /// A trace of those that were acknowledged; has to be whole.
    Trace,
    /// A search or metrics over gRPC, as a stream.
    Streamed(&'static str),
    /// Any other, which only has to be answered.
    Other { path: String, parameters: Vec<(&'static str, String)> },
}

fn other(path: &str, mut parameters: Vec<(&'static str, String)>, seconds: Range<u64>) -> Question {
    parameters.extend([("start", seconds.start.to_string()), ("end", seconds.end.to_string())]);
    Question::Other { path: path.to_owned(), parameters }
}

fn search(query: &str) -> Question {
    other("/api/search", vec![("q", query.to_owned())], SHOP_SECONDS)
}

fn series(query: &str, step: u32) -> Question {
    let parameters = vec![("q", query.to_owned()), ("step", step.to_string())];
    other("/api/metrics/query_range", parameters, SHOP_SECONDS)
}

/// As many series as there are values, by steps of a second.
pub(crate) fn by_value() -> Question {
    let parameters = vec![("q", format!("{{ }} | rate() by (span.{MANY})")), ("step", "1".to_owned())];
    other("/api/metrics/query_range", parameters, OWN_SECONDS)
}

fn tags(path: &str) -> Question {
    other(path, Vec::new(), SHOP_SECONDS)
}

fn values(tag: &str) -> Question {
    tags(&format!("/api/v2/search/tag/{tag}/values"))
}

/// By id, exact counts, search, select, structural, metrics, tags.
pub(crate) fn every_kind() -> Vec<Question> {
    vec![
        Question::Count,
        Question::Trace,
        search(r#"{ resource.service.name = "checkout" && duration > 20ms }"#),
        Question::Count,
        search("{ status = error } | select(resource.service.name, span.http.route)"),
        search(r#"{ resource.service.name = "frontend" } >> { status = error }"#),
        series("{ } | rate()", 60),
        Question::Trace,
        series("{ } | rate() by (resource.service.name)", 10),
        Question::Count,
        series("{ } | quantile_over_time(duration, .5, .9, .99) by (resource.service.name)", 30),
        series("{ } | compare({ status = error })", 60),
        tags("/api/v2/search/tags"),
        values("span.http.route"),
        Question::Streamed("{ status = error }"),
        Question::Streamed("{ } | rate() by (resource.service.name)"),
    ]
}

/// What touches an attribute that is large and shared.
pub(crate) fn about_fat() -> Vec<Question> {
    vec![
        Question::Trace,
        search(r#"{ resource.fat != "" }"#),
        search("{ } | select(resource.fat)"),
        series("{ } | rate() by (resource.fat)", 60),
        series("{ } | compare({ resource.service.name = \"heavyweight\" })", 60),
        values(&format!("resource.{FAT}")),
        tags("/api/v2/search/tags"),
        Question::Count,
    ]
}

/// What takes much for each span, group or trace.
pub(crate) fn heavy() -> Vec<Question> {
    vec![
        series("{ } | rate() by (span.request.id)", 1),
        series("{ } | quantile_over_time(duration, .5, .9, .99) by (span.url.path)", 1),
        series("{ } | compare({ duration > 20ms })", 10),
        search("{ } >> { } | select(resource.host.name, span.url.full, span.request.id)"),
        search("{ } | by(resource.service.name) | count() > 1"),
        series("{ } | histogram_over_time(duration) by (span.http.route, resource.service.name, name)", 1),
        values("span.request.id"),
        series("{ nestedSetParent < 0 } | rate() by (name)", 1),
        search(r#"{ name =~ ".*(a|b|c).*" && span.url.full =~ ".*[0-9]+.*" } | select(span.url.full)"#),
        Question::Count,
    ]
}
