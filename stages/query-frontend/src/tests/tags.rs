use vivace_model::ByteSize;
use vivace_proto::internal::search::Kind;
use vivace_proto::internal::search_job_part::Found;
use vivace_proto::internal::{FoundTagScope, FoundTags, LabelValue, label_value};
use vivace_traceql::INTRINSIC_TAG_NAMES;

use super::scripted::{Scripted, block_at, paths};
use crate::Config;

fn names() -> Found {
    let scope = |name: &str, tags: &[&str]| FoundTagScope {
        name: name.into(),
        tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
    };
    let scopes = vec![scope("span", &["http.method", "a"]), scope("resource", &["service.name"])];
    Found::Tags(FoundTags { scopes, ..FoundTags::default() })
}

fn values(values: &[label_value::Value]) -> Found {
    let values = values.iter().map(|value| LabelValue { value: Some(value.clone()) }).collect();
    Found::Tags(FoundTags { values, ..FoundTags::default() })
}

const METRICS: &str = r#""metrics":{"inspectedBytes":"40","totalJobs":4,"completedJobs":4}"#;

#[tokio::test]
async fn names_come_by_scope_and_without() {
    let querier = Scripted::new(|_| Ok(names()));
    let fixture = querier.fixture(Config::default()).await;
    let intrinsics = serde_json::to_string(&INTRINSIC_TAG_NAMES).unwrap();
    let found = r#"{"name":"resource","tags":["service.name"]},{"name":"span","tags":["a","http.method"]}"#;
    let answer = fixture.get("/api/v2/search/tags?limit=5000", &[]).await;
    let expected = format!(r#"{{"scopes":[{found},{{"name":"intrinsic","tags":{intrinsics}}}],{METRICS}}}"#);
    assert_eq!(answer.text(), expected);
    let answer =
        fixture.get("/api/v2/search/tags?scope=resource&q=%7B%20name=%22x%22%20%26%26%20%7D", &[]).await;
    assert_eq!(answer.text(), format!(r#"{{"scopes":[{found}],{METRICS}}}"#));
    let search = querier.finds().last().unwrap().search.clone().unwrap();
    assert!(search.query.contains("name"), "the part that is understood is used: {}", search.query);
    let Some(Kind::TagNames(kind)) = search.kind else { panic!("{:?}", search.kind) };
    assert_eq!((kind.scope.as_str(), kind.names_max), ("resource", 10_000));
    let answer = fixture.get("/api/v2/search/tags?scope=intrinsic", &[]).await;
    assert_eq!(
        answer.text(),
        format!(r#"{{"scopes":[{{"name":"intrinsic","tags":{intrinsics}}}],"metrics":{{}}}}"#)
    );
    let answer = fixture.get("/api/search/tags", &[]).await;
    assert_eq!(answer.text(), format!(r#"{{"tagNames":["a","http.method","service.name"],{METRICS}}}"#));
    let answer = fixture.get("/api/search/tags?scope=intrinsic", &[]).await;
    assert_eq!(answer.text(), format!(r#"{{"tagNames":{intrinsics},"metrics":{{}}}}"#));
    assert_eq!(fixture.get("/api/v2/search/tags?scope=nothing", &[]).await.status, 400);
}

#[tokio::test]
async fn values_have_types() {
    use label_value::Value;
    let all = [
        Value::Text("a".into()),
        Value::Text(String::new()),
        Value::Int(200),
        Value::Float(1.5),
        Value::Bool(true),
    ];
    let querier = Scripted::new(move |_| Ok(values(&all)));
    let fixture = querier.fixture(Config::default()).await;
    let answer = fixture.get("/api/v2/search/tag/span.x/values?q=%7B%7D&tag=span.x&limit=5000", &[]).await;
    let json = answer.json();
    let mut values: Vec<_> = json["tagValues"].as_array().unwrap().clone();
    values.sort_by_key(ToString::to_string);
    let expected = serde_json::json!([
        {"type": "bool", "value": "true"}, {"type": "float", "value": "1.5"},
        {"type": "int", "value": "200"}, {"type": "string", "value": "a"},
    ]);
    assert_eq!(serde_json::Value::Array(values), expected);
    let answer = fixture.get("/api/search/tag/service.name/values", &[]).await;
    assert_eq!(answer.text(), format!(r#"{{"tagValues":["1.5","200","a","true"],{METRICS}}}"#));
}

#[tokio::test]
async fn keywords_and_ids_need_no_look() {
    let querier = Scripted::new(|_| Ok(values(&[])));
    let fixture = querier.fixture(Config::default()).await;
    let keyword = |value: &str| format!(r#"{{"type":"keyword","value":"{value}"}}"#);
    let statuses = ["error", "ok", "unset"].map(keyword).join(",");
    for tag in ["status", "span:status"] {
        let answer = fixture.get(&format!("/api/v2/search/tag/{tag}/values"), &[]).await;
        assert_eq!(answer.text(), format!(r#"{{"tagValues":[{statuses}],"metrics":{{}}}}"#));
    }
    let answer = fixture.get("/api/v2/search/tag/kind/values", &[]).await;
    assert!(answer.text().contains(&keyword("server")), "{}", answer.text());
    let answer = fixture.get("/api/search/tag/status.code/values", &[]).await;
    assert_eq!(answer.text(), r#"{"tagValues":["error","ok","unset"],"metrics":{}}"#);
    for tag in ["duration", "traceDuration"] {
        let answer = fixture.get(&format!("/api/v2/search/tag/{tag}/values"), &[]).await;
        assert_eq!(answer.text(), r#"{"tagValues":[],"metrics":{}}"#);
    }
    assert!(querier.asked.lock().is_empty());
    assert_eq!(fixture.get("/api/v2/search/tag/nonsense/values", &[]).await.status, 400);
    assert_eq!(fixture.get("/api/v2/search/tag/name", &[]).await.status, 404);
}

#[tokio::test]
async fn tags_in_paths_may_be_anything() {
    let querier = Scripted::new(|_| Ok(values(&[])));
    let fixture = querier.fixture(Config::default()).await;
    for (path, expected) in [
        ("/api/v2/search/tag/span.a%2Fb/values", "span.a/b"),
        ("/api/v2/search/tag/span.a/b/values", "span.a/b"),
        ("/api/v2/search/tag/span.a%2520b/values", "span.a b"),
        ("/api/v2/search/tag/.%22a%20b%22/values", ".\"a b\""),
        ("/api/v2/search/tag/resource.service.name/values", "resource.service.name"),
        ("/api/search/tag/service.name/values", ".service.name"),
        ("/api/search/tag/name/values", "name"),
    ] {
        querier.asked.lock().clear();
        let answer = fixture.get(path, &[]).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        let search = querier.finds()[0].search.clone().unwrap();
        let Some(Kind::TagValues(kind)) = search.kind else { panic!("{:?}", search.kind) };
        assert_eq!(kind.tag, expected, "{path}");
    }
}

#[tokio::test]
async fn without_a_time_only_what_is_new_is_looked_at() {
    let querier = Scripted::new(|_| Ok(names()));
    let config = Config { result_cache_bytes: ByteSize(0), ..Config::default() };
    let fixture = querier.fixture(config).await;
    let now = super::fixture::NOW.as_secs();
    let old = block_at(&fixture, 0, now - 90_000).await;
    let new = block_at(&fixture, 0, now - 60).await;
    let only = block_at(&fixture, 1, now - 90_000).await;
    fixture.refresh().await;
    fixture.get("/api/v2/search/tags", &[]).await;
    let read: Vec<_> = querier.finds().iter().flat_map(paths).collect();
    assert!(read.contains(&new) && read.contains(&only) && !read.contains(&old), "{read:?}");
    querier.asked.lock().clear();
    fixture.get(&format!("/api/v2/search/tags?start={}&end={}", now - 100_000, now - 80_000), &[]).await;
    let read: Vec<_> = querier.finds().iter().flat_map(paths).collect();
    assert!(!read.contains(&new) && read.contains(&only) && read.contains(&old), "{read:?}");
}
