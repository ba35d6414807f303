//! What parses and still is refused, and what looks similar and is not.

use crate::{parse, parse_lenient_filter};

#[test]
fn what_makes_no_sense_is_refused_in_a_sentence() {
    for (text, message) in [
        ("{ duration = \"a\" }", "cannot compare duration, a duration, with \"a\", a string, by ="),
        ("{ name > 1 }", "cannot compare name, a string, with 1, an integer"),
        ("{ status = server }", "cannot compare status, a status, with server, a kind"),
        ("{ kind > client }", "cannot compare kind"),
        ("{ kind = 3 }", "cannot compare kind"),
        ("{ .a > true }", "cannot compare .a"),
        ("{ duration }", "a filter must be true or false, and duration is a duration"),
        ("{ 1 + 1 }", "a filter must be true or false"),
        ("{ nil }", "a filter must be true or false"),
        ("{ !name }", "! needs true or false, and name is a string"),
        ("{ -name = 1 }", "- needs a number"),
        ("{ .a && 1 }", "&& needs true or false, and 1 is an integer"),
        ("{ name + 1 = 2 }", "+ needs a number, and name is a string"),
        ("{ duration > nil }", "nil goes with = and != only, not with >"),
        ("{ .a + nil = 1 }", "nil goes with = and != only"),
        ("{ duration = nil }", "duration = nil never holds"),
        ("{ nil = span:name }", "span:name = nil never holds"),
        ("{ resource.service.name = nil }", "never holds"),
        ("{ nil = nil }", "nil can only be compared with an attribute"),
        ("{ parent = nil }", "parent alone has no value"),
        ("{ parent > 1 }", "parent alone has no value"),
        ("{} | select(parent)", "parent alone has no value"),
        ("{ name =~ .a }", "the right side of =~ must be a string, and is .a"),
        ("{ status =~ \"e\" }", "=~ needs a string, and status is a status"),
        ("{ .a =~ \"(\" }", "bad regular expression \"(\": unclosed group"),
        ("{ .a !~ \"(a{1000}){1000}\" }", "it is too big"),
        ("{} | avg(name) > 1", "avg() needs a number, and name is a string"),
        ("{} | sum(1) > 1", "sum() needs an attribute"),
        ("{} | count() =~ 1", "=~ compares text"),
        ("{} | 1 > 2", "needs an aggregate"),
        ("({} | 1) > 2", "needs an aggregate"),
        ("{} | by(1)", "by() needs an attribute"),
        ("{} | by(name + 1)", "+ needs a number"),
        ("{} | min_over_time(name)", "min_over_time() needs a number, and name is a string"),
        ("{} | quantile_over_time(duration)", "needs quantiles"),
        ("{} | quantile_over_time(duration, 1.5)", "quantile 1.5 is not within 0 and 1"),
        ("{} | quantile_over_time(duration, -1)", "quantile -1 is not within 0 and 1"),
        ("{} | compare({ name })", "a filter must be true or false"),
        ("{} | compare({}, 10, 5, 4)", "the window of compare()"),
        ("{} | compare({}) | topk(3)", "compare() must be the last stage"),
        ("({} | compare({})) + 1", "compare() must be the last stage"),
        ("{ name > 1 } | rate()", "cannot compare name"),
        ("{ true } && { name }", "a filter must be true or false"),
    ] {
        let answer = parse(text).expect_err(text).to_string();
        assert!(answer.starts_with("invalid query: ") && answer.contains(message), "{text}: {answer}");
    }
}

#[test]
fn what_only_spans_can_tell_is_not_refused() {
    for text in [
        "{ .a }",
        "{ !.a && span.b }",
        "{ .a = \"1\" || .a = 1 || .a = true || .a = error || .a > .b }",
        "{ status = 2 || status >= 1 || 0 != status }",
        "{ duration > 1000 && duration < 1.5 && 10 < duration }",
        "{ duration * 2 > traceDuration - 1s }",
        "{ span:childCount = 0 && nestedSetParent < 0 }",
        "{ nil != .a && .b = nil && nil = .c }",
        "{ parent.duration = nil || parent.span.a > duration }",
        "{ name < \"b\" && name >= `a` }",
        "{ .a =~ \"x\" && \"y\" !~ \"z\" }",
        "{ \"a\" = name }",
        "{} | avg(.a + 1) > 1 | max(duration) > 1s | sum(nestedSetLeft) < 2.5",
        "{} | by(duration > 1s)",
        "{} | quantile_over_time(.a, 0, 1, .5)",
        "{} | rate() with(job_size = 1, what = nil, ever = -1s)",
    ] {
        parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    }
}

#[test]
fn existence_may_be_asked_of_everything() {
    for tag in crate::INTRINSIC_TAG_NAMES {
        assert!(parse(&format!("{{ {tag} != nil }}")).is_ok(), "{tag}");
        assert!(parse(&format!("{{ {tag} = nil }}")).is_err(), "{tag}");
    }
}

#[test]
fn patterns_are_counted() {
    let patterns = |count: usize| format!("{{{}}}", vec![".a=~\"x\""; count].join("||"));
    assert!(parse(&patterns(100)).is_ok());
    assert!(parse(&patterns(101)).unwrap_err().to_string().contains("more than 100 regular expressions"));
    assert!(parse_lenient_filter(&patterns(101)).is_none());
}
