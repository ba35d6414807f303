//! What filters find.

use vivace_proto::otlp::common::{ArrayValue, KeyValueList, any_value::Value as Otlp};

use crate::testing::{Event, Link, TestSpan, attribute, expression, failure, found, span, trace_id};
use crate::{Spans, eval, testing};

const SECOND: u64 = 1_000_000_000;

fn shop() -> Vec<TestSpan> {
    vec![
        TestSpan {
            name: "GET /cart",
            kind: 2,
            duration: 2 * SECOND,
            resource: vec![attribute("service.name", "cart"), attribute("zone", "a")],
            attributes: vec![
                attribute("http.status_code", 500_i64),
                attribute("ok", false),
                attribute("ratio", 0.5),
                attribute("code", "200"),
            ],
            scope: ("otel", "1.2", vec![attribute("lib", "x")]),
            ..span(1, 0)
        },
        TestSpan {
            name: "SELECT\ncart",
            kind: 3,
            status: 2,
            message: "lost",
            duration: SECOND / 10,
            resource: vec![attribute("service.name", "db")],
            attributes: vec![
                attribute("http.status_code", 200.5),
                attribute("zone", "b"),
                attribute("ok", true),
                attribute("code", 200_i64),
            ],
            ..span(2, 1)
        },
        TestSpan { name: "poll", kind: 9, status: 1, duration: 0, ..span(3, 1) },
    ]
}

#[test]
fn intrinsics() {
    let spans = shop();
    assert_eq!(found("{ }", &spans), [1, 2, 3]);
    assert_eq!(found("{ false }", &spans), [0; 0]);
    assert_eq!(found(r#"{ name = "poll" }"#, &spans), [3]);
    assert_eq!(found("{ status = error }", &spans), [2]);
    assert_eq!(found("{ status != error }", &spans), [1, 3]);
    assert_eq!(found("{ status = 2 || status = ok }", &spans), [2, 3]);
    assert_eq!(found("{ status = unset }", &spans), [1]);
    assert_eq!(found("{ kind = unspecified }", &spans), [3], "numbers that OTLP does not know say nothing");
    assert_eq!(found("{ kind != server }", &spans), [2, 3]);
    assert_eq!(found(r#"{ statusMessage = "lost" }"#, &spans), [2]);
    assert_eq!(found("{ duration > 100ms }", &spans), [1]);
    assert_eq!(found("{ 100ms <= duration }", &spans), [1, 2]);
    assert_eq!(found("{ duration > 100000000 }", &spans), [1], "durations are numbers, nanoseconds");
    assert_eq!(found(r#"{ span:id = "0000000000000002" }"#, &spans), [2]);
    assert_eq!(found(r#"{ span:id = "2" || span:id =~ "0+3" }"#, &spans), [2, 3]);
    assert_eq!(found(r#"{ span:parentID = "1" }"#, &spans), [2, 3]);
    assert_eq!(found("{ !(span:parentID != nil) }", &spans), [1]);
    assert_eq!(found(r#"{ instrumentation:name = "otel" && instrumentation:version = "1.2" }"#, &spans), [1]);
    assert_eq!(found(r#"{ instrumentation.lib = "x" }"#, &spans), [1]);
}

#[test]
fn intrinsics_of_the_trace() {
    let mut spans = shop();
    spans.push(TestSpan { trace: 2, name: "orphan", duration: 5, ..span(4, 9) });
    assert_eq!(found(r#"{ rootName = "GET /cart" }"#, &spans), [1, 2, 3]);
    assert_eq!(found(r#"{ trace:rootService = "cart" && status = error }"#, &spans), [2]);
    assert_eq!(found("{ traceDuration = 2s }", &spans), [1, 2, 3]);
    assert_eq!(found("{ traceDuration < 1s }", &spans), [4]);
    assert_eq!(found("{ span:childCount = 2 }", &spans), [1]);
    assert_eq!(found("{ span:childCount = 0 }", &spans), [2, 3, 4]);
    assert_eq!(found("{ nestedSetParent < 0 }", &spans), [1]);
    assert_eq!(found("{ nestedSetParent = -1 }", &spans), [1]);
    assert_eq!(found("{ nestedSetParent = 1 }", &spans), [2, 3]);
    assert_eq!(found("{ nestedSetLeft = 2 && nestedSetRight = 3 }", &spans), [2]);
    let id: String = trace_id(2).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(found(&format!("{{ trace:id = \"{}\" }}", id.trim_start_matches('0')), &spans), [4]);
    assert_eq!(found(&format!("{{ trace:id = \"{}\" }}", id.to_uppercase()), &spans), [4]);
    assert_eq!(found(&format!("{{ trace:id != \"{id}\" }}"), &spans), [1, 2, 3]);
}

#[test]
fn attributes_by_scope_and_without() {
    let spans = shop();
    assert_eq!(found(r#"{ resource.service.name = "db" && status = error }"#, &spans), [2]);
    assert_eq!(found(r#"{ resource.service.name = "nobody" }"#, &spans), [0; 0]);
    assert_eq!(found(r#"{ resource.service.name =~ "c.*|x" }"#, &spans), [1]);
    assert_eq!(found(r#"{ .zone = "a" }"#, &spans), [1]);
    assert_eq!(found(r#"{ .zone = "b" }"#, &spans), [2]);
    assert_eq!(found(r#"{ span.zone = "a" }"#, &spans), [0; 0]);
    assert_eq!(found("{ .zone = nil }", &spans), [3]);
    assert_eq!(found("{ .zone != nil }", &spans), [1, 2]);
    assert_eq!(found("{ nil != .zone }", &spans), [1, 2]);
    let both = TestSpan {
        attributes: vec![attribute("zone", "s")],
        resource: vec![attribute("zone", "r")],
        events: vec![Event { attributes: vec![attribute("zone", "e")], ..Event::default() }],
        ..span(1, 0)
    };
    let event = TestSpan { attributes: Vec::new(), resource: Vec::new(), ..both.clone() };
    let spans = [both, TestSpan { id: 2, ..event }];
    assert_eq!(found(r#"{ .zone = "s" }"#, &spans), [1], "the span's own comes first");
    assert_eq!(found(r#"{ .zone = "r" }"#, &spans), [0; 0]);
    assert_eq!(found(r#"{ .zone = "e" }"#, &spans), [2]);
    assert_eq!(found(r#"{ .zone != "s" }"#, &spans), [2]);
}

#[test]
fn missing_values_meet_nothing() {
    let spans = shop();
    assert_eq!(found(r#"{ span.zone != "x" }"#, &spans), [2]);
    assert_eq!(found(r#"{ span.zone !~ "x" }"#, &spans), [2]);
    assert_eq!(found(r#"{ !(span.zone = "x") }"#, &spans), [2]);
    assert_eq!(found(r#"{ !(span.zone = "x") || name = "poll" }"#, &spans), [2, 3]);
    assert_eq!(
        found(r#"{ !(span.zone = "x" && name = "poll") }"#, &spans),
        [1, 2],
        "false and unknown is false"
    );
    assert_eq!(found("{ span.nobody > 1 || span.nobody <= 1 }", &spans), [0; 0]);
    assert_eq!(found("{ span.zone + 1 > 0 }", &spans), [0; 0]);
}

#[test]
fn truth_values() {
    let spans = shop();
    assert_eq!(found("{ .ok }", &spans), [2]);
    assert_eq!(found("{ !.ok }", &spans), [1]);
    assert_eq!(found("{ .ok = false }", &spans), [1]);
    assert_eq!(found("{ .ok != false }", &spans), [2]);
    assert_eq!(found("{ (status = error) = true }", &spans), [2]);
    assert_eq!(found("{ (status = error) != (kind = client) }", &spans), [0; 0]);
    assert_eq!(found("{ (.ok = true) = (status = error) }", &spans), [1, 2]);
    assert_eq!(found("{ .zone }", &spans), [0; 0], "a text is not true");
}

#[test]
fn numbers_compare_as_numbers_and_never_with_text() {
    let spans = shop();
    assert_eq!(found("{ .http.status_code > 200 }", &spans), [1, 2]);
    assert_eq!(found("{ .http.status_code >= 200.5 }", &spans), [1, 2]);
    assert_eq!(found("{ .http.status_code = 500.0 }", &spans), [1]);
    assert_eq!(found("{ .http.status_code < 201ns }", &spans), [2]);
    assert_eq!(found(r#"{ .code = "200" }"#, &spans), [1]);
    assert_eq!(found("{ .code = 200 }", &spans), [2]);
    assert_eq!(found("{ .code != 200 }", &spans), [0; 0], "not even to differ from it");
    assert_eq!(found("{ .code != 201 }", &spans), [2]);
    assert_eq!(found(r#"{ .code =~ "2.*" }"#, &spans), [1]);
    assert_eq!(found(r#"{ .zone > "a" }"#, &spans), [2]);
    assert_eq!(found(r#"{ "a" >= .zone }"#, &spans), [1]);
}

#[test]
fn edges_of_numbers() {
    let spans: Vec<TestSpan> = [(1_i64 << 53) + 1, 1 << 53, i64::MAX]
        .into_iter()
        .zip(1..)
        .map(|(number, id)| TestSpan { attributes: vec![attribute("n", number)], ..span(id, 0) })
        .chain([
            TestSpan { attributes: vec![attribute("n", 9_007_199_254_740_992.0)], ..span(4, 0) },
            TestSpan { attributes: vec![attribute("n", f64::NAN)], ..span(5, 0) },
            TestSpan { attributes: vec![attribute("n", f64::INFINITY)], ..span(6, 0) },
        ])
        .collect();
    assert_eq!(found("{ .n = 9007199254740993 }", &spans), [1]);
    assert_eq!(found("{ .n = 9007199254740992 }", &spans), [2, 4]);
    assert_eq!(found("{ .n < 9007199254740993 }", &spans), [2, 4]);
    assert_eq!(found("{ .n > 9007199254740992.0 }", &spans), [1, 3, 6]);
    assert_eq!(found("{ .n > 9223372036854775807 }", &spans), [6]);
    assert_eq!(found("{ .n != 9007199254740992 }", &spans), [1, 3, 5, 6]);
    assert_eq!(found("{ .n = .n }", &spans), [1, 2, 3, 4, 6], "NaN is not even itself");
}

#[test]
fn patterns_are_of_the_whole_text_and_dots_match_all() {
    let spans = shop();
    assert_eq!(found(r#"{ name =~ "SELECT" }"#, &spans), [0; 0]);
    assert_eq!(found(r#"{ name =~ "SELECT.*" }"#, &spans), [2]);
    assert_eq!(found(r#"{ name !~ "GET.*|SELECT.*" }"#, &spans), [3]);
    assert!(failure(r#"{ name =~ "(" }"#, &spans).contains("bad regular expression"));
}

#[test]
fn values_with_values_and_arithmetic() {
    let spans = shop();
    assert_eq!(found("{ duration * 2 > 3s }", &spans), [1]);
    assert_eq!(found("{ duration > 2 * 50ms }", &spans), [1]);
    assert_eq!(found("{ duration / 1s = 2 }", &spans), [1], "of two durations the ratio");
    assert_eq!(found("{ -.http.status_code < -300 }", &spans), [1]);
    assert_eq!(found("{ .http.status_code + .ratio = 500.5 }", &spans), [1]);
    assert_eq!(found("{ .http.status_code % 7 = 3 }", &spans), [1]);
    assert_eq!(found("{ .http.status_code ^ 2 = 250000 }", &spans), [1]);
    assert_eq!(found("{ .ratio / 0 > 1000000 }", &spans), [1], "a float divided by zero is infinite");
    assert_eq!(found("{ .code / 0.0 > 1 }", &spans), [2]);
    assert_eq!(failure("{ .code / 0 > 1 }", &spans), "integer division by zero");
    assert_eq!(failure("{ .code % (1 - 1) > 1 }", &spans), "integer division by zero");
    assert_eq!(found("{ false && .code / 0 > 1 }", &spans), [0; 0]);
    assert_eq!(
        found("{ .code / (.code - .code) > 1 && status = unset }", &spans),
        [0; 0],
        "of open rows only"
    );
    assert_eq!(found("{ span.zone = resource.zone }", &spans), [0; 0]);
    assert_eq!(found("{ 1 + 1 = 2 }", &spans), [1, 2, 3]);
}

#[test]
fn arrays_have_several_values() {
    let large = "x".repeat(5_000);
    let mixed =
        ArrayValue { values: vec![attribute("", 1_i64).value.unwrap(), attribute("", "a").value.unwrap()] };
    let spans = [
        TestSpan { attributes: vec![attribute("a", vec!["x", "y"])], ..span(1, 0) },
        TestSpan { attributes: vec![attribute("a", vec![1_i64, 5])], ..span(2, 0) },
        TestSpan { attributes: vec![attribute("a", Otlp::ArrayValue(mixed))], ..span(3, 0) },
        TestSpan { attributes: vec![attribute("a", "x")], ..span(4, 0) },
        TestSpan { attributes: vec![attribute("a", Otlp::BytesValue(vec![1]))], ..span(5, 0) },
        TestSpan {
            attributes: vec![attribute("a", Otlp::KvlistValue(KeyValueList::default()))],
            ..span(6, 0)
        },
        TestSpan { attributes: vec![attribute("a", large.as_str())], ..span(7, 0) },
    ];
    assert_eq!(found(r#"{ .a = "x" }"#, &spans), [1, 4]);
    assert_eq!(found(r#"{ .a != "x" }"#, &spans), [7], "all must differ");
    assert_eq!(found(r#"{ !(.a = "x") }"#, &spans), [2, 7], "it is known of numbers that they are no text");
    assert_eq!(found(r#"{ .a != "z" }"#, &spans), [1, 4, 7]);
    assert_eq!(found(r#"{ .a =~ "x|z" }"#, &spans), [1, 4]);
    assert_eq!(found(r#"{ .a !~ "y" }"#, &spans), [4, 7]);
    assert_eq!(found("{ .a > 4 }", &spans), [2]);
    assert_eq!(found("{ .a > 4 && .a < 4 }", &spans), [2], "by different values");
    assert_eq!(found("{ .a = nil }", &spans), [3, 5, 6], "mixed arrays, bytes and maps have no value");
    assert_eq!(found(r#"{ .a =~ "x{5000}" }"#, &spans), [7], "large values stand apart");
}

#[test]
fn repeated_keys_and_types_by_row() {
    let spans = [
        TestSpan { attributes: vec![attribute("a", 1_i64), attribute("a", 2_i64)], ..span(1, 0) },
        TestSpan { attributes: vec![attribute("a", "text")], ..span(2, 0) },
        TestSpan { attributes: vec![attribute("a", 2.5)], ..span(3, 0) },
        TestSpan { attributes: vec![attribute("a", true)], ..span(4, 0) },
    ];
    assert_eq!(found("{ .a = 2 }", &spans), [1]);
    assert_eq!(found("{ .a != 2 }", &spans), [3]);
    assert_eq!(found("{ .a >= 1 }", &spans), [1, 3]);
    assert_eq!(found("{ .a = true }", &spans), [4]);
    assert_eq!(found("{ .a != nil }", &spans), [1, 2, 3, 4]);
}

#[test]
fn events_and_links() {
    let event = |name: &str, at: u64, attributes| Event {
        time_unix_nano: testing::START + at,
        name: name.into(),
        attributes,
        ..Event::default()
    };
    let link = Link {
        trace_id: trace_id(9).to_vec(),
        span_id: vec![0, 0, 0, 0, 0, 0, 0, 7],
        attributes: vec![attribute("cause", "retry")],
        ..Link::default()
    };
    let spans = [
        TestSpan {
            start: 0,
            events: vec![
                event("exception", 5, vec![attribute("type", "io"), attribute("n", 1_i64)]),
                event("retry", 50, vec![attribute("n", vec![7_i64, 8])]),
            ],
            ..span(1, 0)
        },
        TestSpan { start: 10, links: vec![link], ..span(2, 1) },
        TestSpan { start: 20, events: vec![event("retry", 10, Vec::new())], ..span(3, 1) },
    ];
    assert_eq!(found(r#"{ event:name = "retry" }"#, &spans), [1, 3]);
    assert_eq!(found(r#"{ event:name != "retry" }"#, &spans), [0; 0]);
    assert_eq!(found(r#"{ event:name != "other" }"#, &spans), [1, 3]);
    assert_eq!(found("{ event:timeSinceStart > 40ns }", &spans), [1]);
    assert_eq!(found("{ event:timeSinceStart < 0ns }", &spans), [3]);
    assert_eq!(found(r#"{ event.type = "io" }"#, &spans), [1]);
    assert_eq!(found("{ event.n = 8 }", &spans), [1]);
    assert_eq!(found("{ .n = 1 }", &spans), [1]);
    assert_eq!(found(r#"{ link.cause = "retry" }"#, &spans), [2]);
    assert_eq!(found(r#"{ link:spanID = "7" }"#, &spans), [2]);
    assert_eq!(found(r#"{ link:traceID =~ "09.*01" }"#, &spans), [2]);
    assert_eq!(found("{ event.n != nil && event.type = nil }", &spans), [0; 0]);
    assert_eq!(found("{ link.cause = nil }", &spans), [1, 3]);
}

#[test]
fn attributes_of_the_parent() {
    let mut spans = shop();
    spans.push(TestSpan { trace: 2, ..span(4, 1) });
    assert_eq!(found(r#"{ parent.resource.service.name = "cart" && status = error }"#, &spans), [2]);
    assert_eq!(found(r#"{ parent.zone = "a" }"#, &spans), [2, 3]);
    assert_eq!(found("{ parent.duration > 1s }", &spans), [2, 3], "a parent of another trace is none");
    assert_eq!(found("{ parent.zone = nil }", &spans), [1, 4]);
    assert_eq!(found("{ parent.http.status_code > duration }", &spans), [3]);
    assert_eq!(found("{ parent.duration > duration * 10 }", &spans), [2, 3]);
}

#[test]
fn what_is_unknown_is_not_found() {
    let batch = testing::batch(&shop(), true);
    let matches = |expr: &str| {
        let filter = eval::Filter::new(&expression(expr)).unwrap();
        filter.matches(&Spans::picked(&batch)).unwrap().iter().collect::<Vec<_>>()
    };
    assert_eq!(matches(r#"{ span.zone = "x" }"#), [false, false, false]);
    assert_eq!(matches(r#"{ !(span.zone = "x") }"#), [false, true, false]);
    assert_eq!(matches("{ status = error }"), [false, true, false]);
}
