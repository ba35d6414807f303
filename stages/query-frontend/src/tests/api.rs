use prost::Message;
use serde_json::json;
use vivace_model::{ByteSize, Overrides, Partition, TenantId, TenantOverrides, TraceId, partition_of};
use vivace_proto::tempopb::{PartialStatus, Trace, TraceByIdResponse};

use super::fixture::{Fixture, Options, PARTITIONS, TRACE, TRACE_HEX, home, names, part, span, traces};
use crate::Config;

fn v1() -> String {
    format!("/api/traces/{TRACE_HEX}")
}

fn v2() -> String {
    format!("/api/v2/traces/{TRACE_HEX}")
}

/// Two spans in blocks, two at the ingester, one of them in both.
async fn filled(options: Options) -> Fixture {
    let fixture = Fixture::new(options).await;
    fixture.ingest(home(), 3, &traces(vec![span("c", 30), span("a", 10)])).await;
    fixture.refresh().await;
    fixture.own(home()).await;
    fixture.ingester.answer(|_| Ok(part(vec![span("c", 30), span("b", 20)], 9)));
    fixture
}

#[tokio::test]
async fn pieces_from_blocks_and_ingester_are_one_trace() {
    let fixture = filled(Options::default()).await;
    let answer = fixture.get(&v1(), &[("accept", "application/protobuf")]).await;
    assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, "application/protobuf"));
    assert_eq!(names(&Trace::decode(answer.body.clone()).unwrap()), ["a", "b", "c"]);
    assert_eq!(*fixture.ingester.asked.lock(), [3], "from the end of the ledger on");
    let through = format!("vivace.spans/{}@9", home());
    assert_eq!(answer.header("x-vivace-complete-through"), through);
    assert_eq!(answer.header("x-vivace-blocks-inspected"), "1");
    assert_eq!(answer.header("x-vivace-blocks-skipped"), "0");
    assert!(answer.header("x-vivace-bytes-read").parse::<u64>().unwrap() > 0);
}

#[tokio::test]
async fn both_versions_come_as_json_and_protobuf() {
    let fixture = filled(Options::default()).await;
    let json = fixture.get(&v1(), &[]).await.json();
    let batch = &json["batches"][0];
    assert_eq!(batch["resource"]["attributes"][0]["value"], json!({"stringValue": "shop"}));
    assert_eq!(
        batch["scopeSpans"][0]["spans"][0],
        json!({
            "traceId": "AQEBAQEBAQEBAQEBAQEBAQ==",
            "spanId": "YQEBAQEBAQE=",
            "name": "a",
            "startTimeUnixNano": "10000000000",
            "endTimeUnixNano": "10000000001",
            "status": {},
        })
    );
    let second = fixture.get(&v2(), &[("accept", "application/json")]).await.json();
    assert_eq!(second["trace"]["resourceSpans"], json["batches"]);
    let inspected = second["metrics"]["inspectedBytes"].as_str().unwrap().parse::<u64>().unwrap();
    assert!(inspected > 0);
    assert!(second.get("status").is_none() && second.get("message").is_none());
    let answer = fixture.get(&v2(), &[("accept", "application/protobuf")]).await;
    let decoded = TraceByIdResponse::decode(answer.body).unwrap();
    assert_eq!(names(&decoded.trace.unwrap()), ["a", "b", "c"]);
    assert!(decoded.metrics.unwrap().inspected_bytes > 0);
}

#[tokio::test(start_paused = true)]
async fn a_trace_that_is_not_there() {
    let fixture = Fixture::new(Options::default()).await;
    for id in ["abc", TRACE_HEX, "0"] {
        let first = fixture.get(&format!("/api/traces/{id}"), &[]).await;
        assert_eq!((first.status.as_u16(), first.body.len()), (404, 0), "{id}");
        let second = fixture.get(&format!("/api/v2/traces/{id}"), &[]).await;
        assert_eq!((second.status.as_u16(), second.text().as_str()), (200, r#"{"trace":{},"metrics":{}}"#));
        let headers = [("accept", "application/protobuf")];
        let second = fixture.get(&format!("/api/v2/traces/{id}"), &headers).await;
        assert!(second.body.starts_with(&[0x0a, 0]), "the field is there, empty: {:?}", second.body);
    }
}

#[tokio::test]
async fn wrong_questions_are_refused_in_plain_text() {
    let fixture = filled(Options::default()).await;
    for path in [
        "/api/traces/xyz".to_owned(),
        format!("/api/traces/{TRACE_HEX}0"),
        "/api/v2/traces/%20".to_owned(),
        format!("{}?start=1", v1()),
        format!("{}?end=1", v2()),
        format!("{}?start=20&end=10", v2()),
        format!("{}?start=x&end=10", v1()),
        format!("{}?q=%7B", v2()),
        format!("{}?q=%7B%7D%7Crate()", v2()),
    ] {
        let answer = fixture.get(&path, &[]).await;
        assert_eq!(answer.status, 400, "{path}");
        assert!(answer.header("content-type").starts_with("text/plain"), "{path}");
        assert!(!answer.body.is_empty(), "{path}");
    }
    assert_eq!(fixture.get("/api/nothing", &[]).await.status, 404);
}

#[tokio::test]
async fn blocks_are_pruned_by_time_and_recent_data_is_not() {
    let fixture = filled(Options::default()).await;
    let spans = async |query: &str| {
        let answer = fixture.get(&format!("{}?{query}", v1()), &[("accept", "application/protobuf")]).await;
        (
            names(&Trace::decode(answer.body.clone()).unwrap()),
            answer.header("x-vivace-blocks-inspected").to_owned(),
        )
    };
    assert_eq!(spans("start=25&end=40").await, (vec!["a".into(), "b".into(), "c".into()], "1".into()));
    assert_eq!(spans("start=40&end=50").await, (vec!["b".into(), "c".into()], "0".into()));
}

#[tokio::test(start_paused = true)]
async fn only_the_partition_of_the_trace_is_asked_unless_pruning_is_off() {
    let elsewhere = Partition((home().0 + 1) % PARTITIONS);
    for (partition_pruning, expected, asked) in [(true, &["a"][..], 1), (false, &["a", "b"], PARTITIONS)] {
        let config = Config { partition_pruning, ..Config::default() };
        let fixture = Fixture::new(Options { config, ..Options::default() }).await;
        fixture.ingest(home(), 1, &traces(vec![span("a", 10)])).await;
        fixture.ingest(elsewhere, 1, &traces(vec![span("b", 20)])).await;
        fixture.refresh().await;
        assert_eq!(fixture.names().await, expected);
        let answer = fixture.get(&v1(), &[]).await;
        assert_eq!(answer.header("x-vivace-complete-through").split(',').count() as u32, asked);
    }
}

#[tokio::test(start_paused = true)]
async fn blocks_from_a_time_of_fewer_partitions_are_found() {
    let fixture = Fixture::new(Options::default()).await;
    // Written when the topic had so many partitions that the trace went elsewhere.
    let elsewhere = |count: &u32| partition_of(&TRACE, *count) != home();
    let count = (1..PARTITIONS).find(elsewhere).unwrap();
    let tenant = TenantId::default();
    let old = traces(vec![span("old", 10)]);
    fixture.ingest_as(partition_of(&TRACE, count), count, &tenant, 1, &old).await;
    fixture.ingest(home(), 1, &traces(vec![span("new", 20)])).await;
    fixture.refresh().await;
    assert_eq!(fixture.names().await, ["old", "new"]);
}

/// Some distributor spread the trace as no block and no overrides that we know of say.
#[tokio::test(start_paused = true)]
async fn a_trace_that_is_not_where_it_should_be_is_looked_for_everywhere() {
    let elsewhere = Partition((home().0 + 1) % PARTITIONS);
    let fixture = Fixture::new(Options::default()).await;
    fixture.append(elsewhere, &[traces(vec![span("recent", 10)])]).await;
    assert_eq!(fixture.names().await, ["recent"]);
    let fixture = Fixture::new(Options::default()).await;
    fixture.ingest(home(), 1, &traces(vec![span("a", 10)])).await;
    fixture.ingest_as(elsewhere, 0, &TenantId::default(), 1, &traces(vec![span("foreign", 20)])).await;
    fixture.refresh().await;
    assert_eq!(
        fixture.names().await,
        ["a", "foreign"],
        "a block of someone else's records may hold any trace"
    );
}

#[tokio::test(start_paused = true)]
async fn a_small_tenant_is_looked_for_where_its_traces_go_and_went() {
    let small = TenantOverrides { shard_size: Some(1), ..TenantOverrides::default() };
    let overrides = Overrides { defaults: small, ..Overrides::default() };
    let now = overrides.spread(&TenantId::default(), PARTITIONS);
    let shard = now.partition_of(&TenantId::default(), &TraceId::from_bytes(TRACE)).unwrap();
    let fixture = Fixture::new(Options { overrides, ..Options::default() }).await;
    fixture.append(shard, &[traces(vec![span("now", 20)])]).await;
    assert_ne!(home(), shard, "the test is of use only where these differ");
    fixture.ingest(home(), 1, &traces(vec![span("before", 10)])).await;
    fixture.refresh().await;
    assert_eq!(fixture.names().await, ["before", "now"]);
    let answer = fixture.get(&v1(), &[]).await;
    assert_eq!(answer.header("x-vivace-complete-through").split(',').count(), 2, "of {PARTITIONS}");
}

#[tokio::test(start_paused = true)]
async fn tenants_are_kept_apart_and_can_be_asked_together() {
    let config = Config { multi_tenant_queries_enabled: true, ..Config::default() };
    let fixture = Fixture::new(Options { config, multitenancy: true, ..Options::default() }).await;
    for (tenant, name, start) in [("a", "of a", 10), ("b", "of b", 20)] {
        let tenant = tenant.parse().unwrap();
        fixture.ingest_as(home(), PARTITIONS, &tenant, 1, &traces(vec![span(name, start)])).await;
    }
    fixture.refresh().await;
    let asked = async |tenant: &str| {
        let headers = [("accept", "application/protobuf"), ("x-scope-orgid", tenant)];
        let answer = fixture.get(&v1(), &headers).await;
        let trace = Trace::decode(answer.body).unwrap_or_default();
        (answer.status.as_u16(), names(&trace))
    };
    assert_eq!(asked("a").await, (200, vec!["of a".into()]));
    assert_eq!(asked("a|b").await, (200, vec!["of a".into(), "of b".into()]));
    assert_eq!(asked("c").await.0, 404);
    assert_eq!(asked("a/b").await.0, 400);
    let none = fixture.get(&v1(), &[]).await;
    assert_eq!((none.status.as_u16(), none.text().as_str()), (401, "no org id"));
}

#[tokio::test]
async fn a_trace_over_a_limit_is_refused_or_partial() {
    let by_spans = Config { trace_spans_max: 2, ..Config::default() };
    let by_bytes = Config { trace_bytes_max: ByteSize(150), ..Config::default() };
    for (config, word) in [(by_spans, "2"), (by_bytes, "150")] {
        let fixture = filled(Options { config, ..Options::default() }).await;
        let first = fixture.get(&v1(), &[]).await;
        assert_eq!(first.status, 422);
        assert!(first.text().contains(word), "{}", first.text());
        let second = fixture.get(&v2(), &[]).await;
        let json = second.json();
        assert_eq!((second.status.as_u16(), &json["status"]), (200, &json!("PARTIAL")));
        assert!(json["message"].as_str().unwrap().contains(word), "{json}");
        let binary = fixture.get(&v2(), &[("accept", "application/protobuf")]).await;
        let decoded = TraceByIdResponse::decode(binary.body).unwrap();
        assert_eq!(decoded.status(), PartialStatus::Partial);
        let spans = names(&decoded.trace.unwrap()).len();
        assert!((1..3).contains(&spans), "{spans}");
    }
}

#[tokio::test]
async fn spans_that_a_filter_does_not_match_are_left_out() {
    let fixture = filled(Options::default()).await;
    let filtered = async |query: &str| {
        let answer = fixture.get(&format!("{}?{query}", v2()), &[("accept", "application/protobuf")]).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let decoded = TraceByIdResponse::decode(answer.body).unwrap();
        (decoded.status(), decoded.message.clone(), names(&decoded.trace.unwrap()))
    };
    let (status, message, names) = filtered("q=%7B%20name%20%3D~%20%22a%7Cb%22%20%7D").await;
    assert_eq!((status, names), (PartialStatus::Partial, vec!["a".into(), "b".into()]));
    assert!(message.contains('1'), "{message}");
    assert_eq!(filtered("q=%7B%7D").await.0, PartialStatus::Complete);
    assert!(filtered("q=%7B%20name%20%3D%20%22x%22%20%7D").await.2.is_empty());
}

#[tokio::test]
async fn what_is_asked_before_a_first_look() {
    let config = Config { http_api_prefix: "/tempo".into(), ..Config::default() };
    let fixture = Fixture::new(Options { config, ..Options::default() }).await;
    let echo = fixture.get("/tempo/api/echo", &[]).await;
    assert_eq!((echo.status.as_u16(), echo.text().as_str()), (200, "echo"));
    assert_eq!(fixture.get("/api/echo", &[]).await.status, 404);
    let build = fixture.get("/tempo/api/status/buildinfo", &[]).await.json();
    assert_eq!(build["version"], "1.2.3");
    let services = fixture.get("/tempo/api/status/services", &[]).await;
    assert_eq!(services.text(), "querier running\n");
}

#[tokio::test]
async fn routes_take_get_alone() {
    let fixture = Fixture::new(Options::default()).await;
    let paths =
        ["/api/search", "/api/echo", "/api/v2/search/tags", "/api/metrics/query", &v1()].map(str::to_owned);
    for path in paths {
        for method in ["DELETE", "PUT", "POST"] {
            let answer = fixture.ask(method, &path, &[]).await;
            assert_eq!(
                (answer.status.as_u16(), answer.header("allow")),
                (405, "GET,HEAD"),
                "{method} {path}"
            );
        }
    }
}

#[tokio::test]
async fn answers_are_compressed_when_asked() {
    let fixture = filled(Options::default()).await;
    let plain = fixture.get(&v1(), &[]).await;
    assert_eq!(plain.header("content-encoding"), "");
    let zipped = fixture.get(&v1(), &[("accept-encoding", "gzip")]).await;
    assert_eq!(zipped.header("content-encoding"), "gzip");
    assert!(zipped.body.starts_with(&[0x1f, 0x8b]) && zipped.body.len() < plain.body.len());
}
