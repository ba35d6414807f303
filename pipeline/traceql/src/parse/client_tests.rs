//! Queries that clients are known to send, and that must parse.

use super::parse;

/// Signals and filters that Traces Drilldown puts into each of its queries.
const SIGNALS: [&str; 5] =
    ["nestedSetParent<0", "true", "kind=server", "kind=consumer", "span.db.system.name!=\"\""];
const FILTERS: [&str; 3] = [
    "true",
    "resource.service.name=\"a\"&&status=error&&span.http.status_code=200",
    "name=\"GET \\\"a\\\"\\n\"&&duration>100ms&&span.retry=true&&span:kind=client&&event.a!~\"x|y\"",
];

/// With `$P` and `$F` for a signal and a filter, and `$K` for a tag.
const DRILLDOWN: [&str; 19] = [
    "{} | rate()",
    "{$P && $F} | rate()  with(sample=true)",
    "{$P && $F && status=error} | rate()  with(sample=true)",
    "{$P && $F} | histogram_over_time(duration) with(sample=true)",
    "{$P && $F && $K != nil} | rate() by($K)",
    "{$P && $F && status=error && $K != nil} | rate() by($K)",
    "{$P && $F && $K != nil} | quantile_over_time(duration, 0.9) by($K)",
    "{$P && $F && $K != nil} | quantile_over_time(duration, 0.5,0.75,0.9,0.95,0.99) by($K)",
    "{$P && $F} | compare({status = error}, 10)",
    "{$P && $F} | compare({duration >= 250ms && duration <= 2s}, 10, 1700000000000000000, 1700000060000000000)",
    "{$P && $F} | compare({})",
    "({$P && $F } &>> { kind = server }) || ({$P && $F }) | select(status, resource.service.name, name, nestedSetParent, nestedSetLeft, nestedSetRight)",
    "({$P && $F && status = error} &>> { status = error }) || ({$P && $F && status = error}) | select(status, resource.service.name, name, nestedSetParent, nestedSetLeft, nestedSetRight)",
    "({$P && $F && duration > 1s} &>> { duration > 0 }) || ({$P && $F && duration > 1s}) | select(status, resource.service.name, name, nestedSetParent, nestedSetLeft, nestedSetRight)",
    "{$P && $F && status = error} | select(resource.service.name, event.exception.message,event.exception.stacktrace,event.exception.type) with(most_recent=true)",
    "{$P && $F && status = error && event.exception.message = \"m\" && event.exception.type = \"t\"} | select($K)",
    "{$P && $F && event.exception.message =~ \"^Timeout after [0-9]+ at (?:[0-9]{1,3}\\\\.){3}[0-9]{1,3}$\"}",
    "{$P && $F&& duration >= 1s && duration <= 2s} | select($K,name)",
    "{$P && $F && status = error}",
];

const DATA_SOURCE: [&str; 24] = [
    "{}",
    "{ true }",
    "{resource.service.name=\"a\" && name=\"b\" && status=error}",
    "{duration>100ms && duration<2s}",
    "{traceDuration>100ms}",
    "{(span.foo=\"x\" || span.foo=\"y\")}",
    "{(span.foo!=\"x\" && span.foo!=\"y\")}",
    "{span.foo=~\"a|b\"}",
    "{span.foo=~\"a\\\\.b|c\\\\.d\"}",
    "{.foo=\"bar\"}",
    "{.footag>=1234}",
    "{event.foo=\"x\"}",
    "{link.foo=\"x\"}",
    "{instrumentation.foo=\"x\"}",
    "{trace:rootService=\"x\"}",
    "{kind=server}",
    "{span.db.name=\"X\" || span.db.system=\"X\" || span.peer.service=\"X\" || span.messaging.system=\"X\" || span.net.peer.name=\"X\"}",
    "{span.ok=\"true\"}",
    "{ name = \"a\" } | rate() with(most_recent=true)",
    "{ name = \"a\" } with(most_recent=false)",
    "{nestedSetParent<0 && true} | rate()  with(sample=true)",
    "{ duration > 0 }",
    "{event:name=\"x\" && event:timeSinceStart>1ms}",
    "{link:spanID=\"x\" || span:id=\"x\" || span:parentID=\"y\" || trace:id=\"z\"}",
];

/// Everything that is listed as a tag.
fn tags() -> impl Iterator<Item = &'static str> {
    crate::INTRINSIC_TAG_NAMES.into_iter().chain(["resource.service.name", "event.exception.message", ".foo"])
}

#[test]
fn the_data_source_is_understood() {
    for text in DATA_SOURCE {
        parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    }
}

#[test]
fn drilldown_is_understood() {
    for template in DRILLDOWN {
        for signal in SIGNALS {
            for filter in FILTERS {
                for tag in if template.contains("$K") { tags().collect() } else { vec![""] } {
                    let text = template.replace("$P", signal).replace("$F", filter).replace("$K", tag);
                    parse(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
                }
            }
        }
    }
}

/// Thresholds are empty until a histogram has arrived, and dashboards quote whatever is no integer.
#[test]
fn what_clients_send_too_early_or_ill_typed_is_refused_in_a_sentence() {
    for (text, answer) in [
        (
            "{ duration > }",
            "parse error at line 1, col 14: unexpected \"}\", expected an attribute, a literal or \"(\"",
        ),
        (
            "{duration>\"100ms\"}",
            "invalid query: cannot compare duration, a duration, with \"100ms\", a string, by >",
        ),
        (
            "",
            "parse error at line 1, col 1: unexpected end of the query, expected \"{\", \"(\", a number or an aggregate",
        ),
        (
            "0123456789abcdef0123456789abcdef",
            "parse error at line 1, col 1: \"0123456789abcdef0123456789abcdef\" is no number and no duration",
        ),
    ] {
        assert_eq!(parse(text).unwrap_err().to_string(), answer, "{text}");
    }
}
