//! What Grafana's Tempo data source and Traces Drilldown send, word for word, and each field that they read of the answers:
//! over data that is still recent, and over the same data in blocks.

#![allow(clippy::unwrap_used, reason = "a test ends by it")]

mod data;
mod strict;

use std::sync::Arc;
use std::time::Duration;

use data::{SPANS_PER_TRACE, TRACES, fails, requests};
use serde_json::Value;
use strict::{labelled, list};
use vivace_integration_tests::{Acknowledged, Sender, Vivace, VivaceOptions, bounded};
use vivace_model::{Clock, SystemClock};
use vivace_proto::tempopb::streaming_querier_client::StreamingQuerierClient;
use vivace_proto::tempopb::{QueryRangeRequest, SearchRequest};

const TEST_LIMIT: Duration = Duration::from_secs(180);
const SECOND: u64 = 1_000_000_000;

/// Asks one Vivace about the half hour that ends when its data does.
struct Grafana {
    api: String,
    http: reqwest::Client,
    now: u64,
}

impl Grafana {
    async fn get(&self, path: &str, parameters: &[(&str, &str)]) -> (u16, String) {
        let parameters = parameters.iter().map(|(name, value)| format!("{name}={}", encoded(value)));
        let parameters = parameters.collect::<Vec<_>>().join("&");
        let request = self.http.get(format!("{}{path}?{parameters}", self.api));
        let answer = request.send().await.expect("an answer");
        (answer.status().as_u16(), answer.text().await.expect("a body"))
    }

    async fn json(&self, path: &str, parameters: &[(&str, &str)]) -> Value {
        let (status, body) = self.get(path, parameters).await;
        assert_eq!(status, 200, "{path} {parameters:?}: {body}");
        serde_json::from_str(&body).expect("JSON")
    }

    fn times(&self) -> [String; 2] {
        [(self.now / SECOND - 1800).to_string(), (self.now / SECOND).to_string()]
    }

    async fn search(&self, query: &str, limit: &str, spss: &str) -> Value {
        let [start, end] = self.times();
        let parameters = [("q", query), ("limit", limit), ("spss", spss), ("start", &start), ("end", &end)];
        let answer = self.json("/api/search", &parameters).await;
        strict::search(&answer);
        answer
    }

    async fn range(&self, query: &str, step: &str) -> Value {
        let [start, end] = self.times();
        let parameters = [("q", query), ("start", &start), ("end", &end), ("step", step)];
        let answer = self.json("/api/metrics/query_range", &parameters).await;
        strict::range(&answer);
        answer
    }
}

/// As a value in a URL.
fn encoded(text: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric();
    text.bytes()
        .map(|byte| if plain(&byte) { char::from(byte).into() } else { format!("%{byte:02X}") })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the binary"]
async fn grafana_is_answered_as_it_expects() {
    bounded(TEST_LIMIT, async {
        let mut vivace = Vivace::start(VivaceOptions::embedded().partitions(4)).await.expect("vivace starts");
        let noted = Arc::new(Acknowledged::default());
        let mut sender = Sender::new(&vivace.otlp_grpc(), &noted).expect("an address");
        let now = SystemClock.now().0;
        for request in requests(now) {
            sender.send(request).await.expect("acknowledged");
        }
        let grafana = Grafana { api: vivace.api(), http: reqwest::Client::new(), now };
        everything(&grafana, &vivace).await;
        // A stop stores what is open: afterwards all is in blocks.
        vivace.sigterm().await.expect("it stops well");
        vivace.spawn().expect("it starts");
        vivace.wait_ready().await.expect("it is ready again");
        everything(&grafana, &vivace).await;
    })
    .await;
}

async fn everything(grafana: &Grafana, vivace: &Vivace) {
    searches(grafana).await;
    drilldown_searches(grafana).await;
    drilldown_metrics(grafana).await;
    compare(grafana).await;
    tags(grafana).await;
    wrong_questions(grafana).await;
    streams(grafana, &vivace.api()).await;
    streams(grafana, &format!("http://{}", vivace.internal())).await;
}

/// How many traces the queries of the query builder find.
async fn searches(grafana: &Grafana) {
    let failing = (1..=TRACES).filter(|number| fails(*number)).count();
    let all = TRACES as usize;
    for (query, expected) in [
        ("{}", all),
        (r#"{resource.service.name="shop" && name="GET /cart" && status=error}"#, 0),
        (r#"{resource.service.name="database" && status=error}"#, failing),
        ("{duration>100ms && duration<2s}", all),
        ("{traceDuration>100ms}", all),
        (r#"{(span.foo="bar" || span.foo="y")}"#, all),
        (r#"{(span.foo!="bar" && span.foo!="y")}"#, 0),
        (r#"{span.foo=~"a|bar"}"#, all),
        (r#"{span.foo=~"a\\.b|c\\.d"}"#, 0),
        (r#"{.foo="bar"}"#, all),
        ("{.footag>=1234}", all),
        (r#"{event.exception.message="m"}"#, failing),
        (r#"{link.foo="x"}"#, 0),
        (r#"{instrumentation.foo="x"}"#, 0),
        (r#"{trace:rootService="shop"}"#, all),
        ("{kind=server}", all),
        (r#"{span.db.name="X" || span.db.system="X" || span.peer.service="X"}"#, 0),
        ("{} with(most_recent=true)", all),
    ] {
        let answer = grafana.search(query, "100", "3").await;
        assert_eq!(list(&answer, "traces").len(), expected, "{query}: {answer}");
    }
    let newest = grafana.search("{}", "7", "3").await;
    let starts = list(&newest, "traces").iter().map(|trace| trace["startTimeUnixNano"].as_str().unwrap());
    let starts: Vec<u64> = starts.map(|start| start.parse().unwrap()).collect();
    let expected: Vec<_> = (1..=7).map(|number| data::start(grafana.now, number) + 1_000_000).collect();
    assert_eq!(starts, expected, "the newest, newest first");
    let trace = &newest["traces"][0];
    assert_eq!((&trace["rootServiceName"], &trace["rootTraceName"]), (&"shop".into(), &"GET /cart".into()));
    assert_eq!(trace["spanSets"][0]["matched"], SPANS_PER_TRACE);
    assert_eq!(list(&trace["spanSets"][0], "spans").len(), 3);
    assert_eq!(trace["serviceStats"]["shop"]["spanCount"], 2);
    // Without a time, and without limits.
    let answer = grafana.json("/api/search", &[("q", "{}")]).await;
    assert_eq!(list(&answer, "traces").len(), 20);
    let answer = grafana.json("/api/search", &[("tags", "service.name=worker"), ("limit", "50")]).await;
    assert_eq!(list(&answer, "traces").len(), all);
}

async fn drilldown_searches(grafana: &Grafana) {
    let selected =
        "select(status, resource.service.name, name, nestedSetParent, nestedSetLeft, nestedSetRight)";
    let failing = (1..=TRACES).filter(|number| fails(*number)).count();
    for (query, expected) in [
        (
            format!(
                "({{nestedSetParent<0 && true }} &>> {{ kind = server }}) || ({{nestedSetParent<0 && true }}) | {selected}"
            ),
            TRACES as usize,
        ),
        (
            format!(
                "({{true && status = error}} &>> {{ status = error }}) || ({{true && status = error}}) | {selected}"
            ),
            failing,
        ),
    ] {
        let answer = grafana.search(&query, "200", "20").await;
        assert_eq!(list(&answer, "traces").len(), expected, "{query}");
        for trace in list(&answer, "traces") {
            assert_eq!(list(trace, "spanSets").len(), 1, "{trace}");
            for span in list(&trace["spanSets"][0], "spans") {
                let number = |key| {
                    labelled(span, "attributes", key).and_then(|value| value.as_str()?.parse::<i64>().ok())
                };
                let (left, right) = (number("nestedSetLeft"), number("nestedSetRight"));
                assert!(left.zip(right).is_some_and(|(left, right)| 0 < left && left < right), "{span}");
                let status = labelled(span, "attributes", "status").and_then(Value::as_str);
                assert!(matches!(status, Some("error" | "ok" | "unset")), "{span}");
                assert!(labelled(span, "attributes", "service.name").is_some_and(Value::is_string), "{span}");
                assert!(span["name"].is_string());
            }
        }
    }
    let exceptions = "{nestedSetParent<0 && true && status = error} | select(resource.service.name, event.exception.message,event.exception.stacktrace,event.exception.type) with(most_recent=true)";
    assert!(list(&grafana.search(exceptions, "400", "10").await, "traces").is_empty());
    let exceptions = exceptions.replace("nestedSetParent<0", "kind=server");
    let answer = grafana.search(&exceptions, "400", "10").await;
    assert_eq!(list(&answer, "traces").len(), failing);
    let span = &answer["traces"][0]["spanSets"][0]["spans"][0];
    let message = labelled(span, "attributes", "exception.message")
        .or_else(|| labelled(span, "attributes", "event.exception.message"));
    assert_eq!(message, Some(&"m".into()), "{span}");
    let one = r#"{true && status = error && event.exception.message = "m" && event.exception.type = "t"} | select(name)"#;
    assert_eq!(list(&grafana.search(one, "100", "10").await, "traces").len(), failing);
}

async fn drilldown_metrics(grafana: &Grafana) {
    let spans = TRACES * SPANS_PER_TRACE;
    let sum = |answer: &Value| -> f64 {
        let samples = list(answer, "series").iter().flat_map(|series| list(series, "samples"));
        samples.filter_map(|sample| sample["value"].as_f64()).sum()
    };
    let counted = grafana.range("{} | count_over_time()", "28s").await;
    assert_eq!(sum(&counted).round() as u64, spans, "{counted}");
    let rate = grafana.range("{nestedSetParent<0 && true} | rate() with(sample=true)", "28s").await;
    assert_eq!((sum(&rate) * 28.0).round() as u64, TRACES);
    assert_eq!(labelled(&rate["series"][0], "labels", "__name__"), Some(&"rate".into()));
    assert_eq!(list(&rate["series"][0], "labels").len(), 1);
    let histogram = grafana
        .range("{nestedSetParent<0 && true} | histogram_over_time(duration) with(sample=true)", "75s")
        .await;
    for series in list(&histogram, "series") {
        assert_eq!(list(series, "labels").len(), 1);
        assert!(labelled(series, "labels", "__bucket").is_some_and(Value::is_number), "{series}");
    }
    for key in ["resource.service.name", "name", "rootName", "span:kind", "status", "span.http.status_code"] {
        let query = format!("{{true && {key} != nil}} | rate() by({key})");
        let answer = grafana.range(&query, "28s").await;
        assert!(!list(&answer, "series").is_empty(), "{query}");
        for series in list(&answer, "series") {
            assert!(labelled(series, "labels", key).is_some(), "{query}: {series}");
        }
    }
    let quantiles = "{true && name != nil} | quantile_over_time(duration, 0.5,0.9) by(name)";
    let answer = grafana.range(quantiles, "28s").await;
    assert_eq!(list(&answer, "series").len(), 8, "{answer}");
    assert!(list(&answer, "series").iter().all(|series| labelled(series, "labels", "p").is_some()));
    let [start, end] = grafana.times();
    let parameters = [("q", "{} | count_over_time()"), ("start", &start), ("end", &end)];
    let instant = grafana.json("/api/metrics/query", &parameters).await;
    strict::instant(&instant);
    assert_eq!(instant["series"][0]["value"].as_f64().map(|value| value as u64), Some(spans), "{instant}");
    assert!(
        list(&grafana.range("{ name = \"nothing\" } | rate() by(name)", "28s").await, "series").is_empty()
    );
}

async fn compare(grafana: &Grafana) {
    let window = (grafana.now - 1800 * SECOND, grafana.now);
    for query in [
        "{true} | compare({status = error}, 10)".to_owned(),
        format!("{{true}} | compare({{duration >= 50ms && duration <= 2s}}, 10, {}, {})", window.0, window.1),
        "{true} | compare({})".to_owned(),
    ] {
        let answer = grafana.range(&query, "1800s").await;
        let kinds: std::collections::BTreeSet<_> = list(&answer, "series")
            .iter()
            .filter_map(|series| labelled(series, "labels", "__meta_type")?.as_str())
            .collect();
        assert!(kinds.contains("selection") && kinds.contains("selection_total"), "{query}: {kinds:?}");
        for series in list(&answer, "series") {
            let named = list(series, "labels")
                .iter()
                .filter(|label| !label["key"].as_str().unwrap().starts_with("__"));
            assert_eq!(named.count(), 1, "{series}");
        }
    }
}

async fn tags(grafana: &Grafana) {
    let answer = grafana.json("/api/v2/search/tags", &[("limit", "5000")]).await;
    let tags = |scope: &str| -> Vec<String> {
        let found = list(&answer, "scopes").iter().find(|found| found["name"] == scope);
        let found = found.unwrap_or_else(|| panic!("no {scope}: {answer}"));
        found["tags"].as_array().unwrap().iter().map(|tag| tag.as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(tags("resource"), ["cluster", "service.name"]);
    assert_eq!(
        tags("span"),
        ["db.system.name", "foo", "footag", "http.route", "http.status_code", "odd key/1"]
    );
    assert_eq!(tags("event"), ["exception.message", "exception.stacktrace", "exception.type"]);
    assert_eq!(tags("intrinsic").len(), 25);
    let values = async |tag: &str, query: &str| {
        let path = format!("/api/v2/search/tag/{tag}/values");
        let answer = grafana.json(&path, &[("limit", "5000"), ("tag", tag), ("q", query)]).await;
        let values = list(&answer, "tagValues").iter();
        values
            .map(|value| {
                (value["type"].as_str().unwrap().to_owned(), value["value"].as_str().unwrap().to_owned())
            })
            .collect::<Vec<_>>()
    };
    let texts = |texts: &[&str]| {
        texts.iter().map(|text| ("string".to_owned(), (*text).to_owned())).collect::<Vec<_>>()
    };
    assert_eq!(values("resource.service.name", "{}").await, texts(&["database", "shop", "worker"]));
    assert_eq!(values("resource.service.name", "{ status = error }").await, texts(&["database"]));
    assert_eq!(
        values("resource.service.name", "{ status = err && }").await,
        texts(&["database", "shop", "worker"])
    );
    assert_eq!(values("name", "{}").await, texts(&["GET /cart", "SELECT", "query", "work"]));
    assert_eq!(values(".foo", "{}").await, texts(&["bar"]));
    assert_eq!(values("span.odd%20key%2F1", "{}").await, texts(&["odd"]));
    let codes = values("span.http.status_code", "{}").await;
    assert_eq!(codes, [("int".into(), "200".into()), ("int".into(), "500".into())]);
    assert!(values("status", "{}").await.contains(&("keyword".into(), "error".into())));
    let answer = grafana.json("/api/search/tags", &[]).await;
    assert!(list(&answer, "tagNames").contains(&"service.name".into()), "{answer}");
    let answer = grafana.json("/api/search/tag/service.name/values", &[]).await;
    assert_eq!(list(&answer, "tagValues"), ["database", "shop", "worker"]);
}

async fn wrong_questions(grafana: &Grafana) {
    for (path, query) in [
        ("/api/search", "{true && duration > }"),
        ("/api/search", "{"),
        ("/api/metrics/query_range", "{} | nonsense()"),
        ("/api/metrics/query_range", "{}"),
    ] {
        let (status, body) = grafana.get(path, &[("q", query)]).await;
        assert_eq!(status, 400, "{path} {query}: {body}");
        assert!(!body.is_empty() && !body.starts_with('{'), "{body}");
    }
}

async fn streams(grafana: &Grafana, address: &str) {
    let mut client = StreamingQuerierClient::connect(address.to_owned()).await.expect("it speaks HTTP/2");
    let (start, end) = ((grafana.now / SECOND - 900) as u32, (grafana.now / SECOND) as u32);
    let health = SearchRequest { query: "{}".into(), start, end, limit: 1, ..SearchRequest::default() };
    let mut stream = client.search(health).await.expect("it is healthy").into_inner();
    let message = stream.message().await.expect("a message").expect("at least one");
    assert!(message.metrics.is_some());
    let search = SearchRequest { query: "{ status = error }".into(), start, end, ..SearchRequest::default() };
    let mut stream = client.search(search).await.expect("an answer").into_inner();
    let mut last = None;
    while let Some(message) = stream.message().await.expect("no failure") {
        last = Some(message);
    }
    assert_eq!(last.expect("at least one").traces.len() as u64, TRACES / 3);
    let range = QueryRangeRequest {
        query: "{} | count_over_time()".into(),
        start: grafana.now - 1800 * SECOND,
        end: grafana.now,
        ..QueryRangeRequest::default()
    };
    let mut stream = client.metrics_query_range(range).await.expect("an answer").into_inner();
    let mut last = None;
    while let Some(message) = stream.message().await.expect("no failure") {
        assert!(message.metrics.is_some());
        last = Some(message);
    }
    let samples = last.expect("at least one").series.into_iter().flat_map(|series| series.samples);
    assert_eq!(samples.map(|sample| sample.value as u64).sum::<u64>(), TRACES * SPANS_PER_TRACE);
}
