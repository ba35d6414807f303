//! Precedence, brackets and limits.

use super::parse;

/// The query as it prints, which shows where brackets were needed.
fn printed(text: &str) -> String {
    parse(text).unwrap_or_else(|error| panic!("{text}: {error}")).to_string()
}

/// Both texts give one tree.
fn same(text: &str, brackets: &str) {
    let (left, right) = (parse(text), parse(brackets));
    assert!(left.is_ok(), "{text}: {left:?}");
    assert_eq!(left, right, "{text}");
}

fn error(text: &str) -> String {
    match parse(text) {
        Ok(query) => panic!("{text} parsed to {query}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn operators_bind_as_the_language_says() {
    for (text, brackets) in [
        ("{.a || .b && .c}", "{(.a || .b) && .c}"),
        ("{.a && .b || .c}", "{(.a && .b) || .c}"),
        ("{.a = 1 && .b > 2}", "{(.a = 1) && (.b > 2)}"),
        ("{.a + 1 > .b * 2}", "{(.a + 1) > (.b * 2)}"),
        ("{.a - .b - .c = 0}", "{((.a - .b) - .c) = 0}"),
        ("{.a + .b * .c ^ 2 = 0}", "{(.a + (.b * (.c ^ 2))) = 0}"),
        ("{.a ^ .b ^ .c = 0}", "{(.a ^ (.b ^ .c)) = 0}"),
        ("{-.a ^ 2 = 0}", "{((-.a) ^ 2) = 0}"),
        ("{!.a = .b}", "{(!.a) = .b}"),
        ("{!.a && .b}", "{(!.a) && .b}"),
        ("{.a = -1}", "{.a = -(1)}"),
        ("{.a>-1&&!(.b)}", "{ .a > -1 && !.b }"),
        ("{.a} || {.b} && {.c}", "({.a} || {.b}) && {.c}"),
        ("{.a} && {.b} > {.c}", "{.a} && ({.b} > {.c})"),
        ("{.a} > {.b} >> {.c}", "({.a} > {.b}) >> {.c}"),
        ("{.a} &>> {.b} || {.c} | select(.d)", "(({.a} &>> {.b}) || {.c}) | select(.d)"),
        ("{.a} | avg(duration) / 2 > 1s + 1ms", "{.a} | ((avg(duration) / 2) > (1s + 1ms))"),
        ("({} | rate()) + ({} | rate()) * 2 > 1", "(({} | rate()) + (({} | rate()) * 2)) > 1"),
        ("({} | rate()) * 2 * 3 > 2 + 3", "(({} | rate()) * 2) * 3 > 5"),
    ] {
        same(text, brackets);
    }
}

#[test]
fn structural_operators_are_all_there() {
    for op in ["&&", "||", ">", "<", ">>", "<<", "~"] {
        assert_eq!(printed(&format!("{{.a}}{op}{{.b}}")), format!("{{ .a }} {op} {{ .b }}"));
    }
    for op in [">", "<", ">>", "<<", "~"] {
        for form in ["!", "&"] {
            assert_eq!(printed(&format!("{{.a}}{form}{op}{{.b}}")), format!("{{ .a }} {form}{op} {{ .b }}"));
        }
    }
}

#[test]
fn pipelines_print_as_they_are_meant() {
    for (text, canonical) in [
        ("{}", "{ true }"),
        ("{ } // all\n| count()>2", "{ true } | count() > 2"),
        ("// what\n{.a}//b", "{ .a }"),
        ("(({.a}))", "{ .a }"),
        ("({.a} | by(.b)) | coalesce()", "({ .a } | by(.b)) | coalesce()"),
        ("({.a} | by(.b))", "{ .a } | by(.b)"),
        ("by(.a) | count() > 2", "{ true } | by(.a) | count() > 2"),
        ("count() = 2", "{ true } | count() = 2"),
        ("({.a} | count()) > ({.b} | count())", "({ .a } | count()) > ({ .b } | count())"),
        ("{.a} | (count() > 2)", "{ .a } | count() > 2"),
        ("({.a} | count() > 2) && {.b}", "({ .a } | count() > 2) && { .b }"),
        ("(({.a} | count()) > 2) && {.b}", "(({ .a } | count()) > 2) && { .b }"),
        ("{} | rate()by(.a,span.b)with(x=1,y=\"b\")", "{ true } | rate() by(.a, span.b) with(x=1, y=\"b\")"),
        (
            "{} | rate() | topk(3) > 10 | bottomk(1) | < 1s",
            "{ true } | rate() | topk(3) > 10 | bottomk(1) < 1s",
        ),
        ("({} | rate()) / ({} | rate()) | topk(3)", "({ true } | rate()) / ({ true } | rate()) | topk(3)"),
        ("2 * (({}|rate()) - (7 / 2))", "2 * (({ true } | rate()) - 3)"),
        ("({}|rate()) * (7 / 2.0)", "({ true } | rate()) * 3.5"),
        ("{} | compare({.a})", "{ true } | compare({ .a }, 10)"),
        ("{} | compare({.a}, 3, 0, 0)", "{ true } | compare({ .a }, 3)"),
        ("{} | compare({.a}, 3, 1, 2)", "{ true } | compare({ .a }, 3, 1, 2)"),
        ("{.a = minInt || .a = maxInt}", "{ .a = minInt || .a = 9223372036854775807 }"),
        ("{.a = -9223372036854775808}", "{ .a = minInt }"),
        ("{duration > 1.5h && .a = 1e3}", "{ duration > 1h30m && .a = 1000.0 }"),
        ("{span.größe = `a\"b`}", "{ span.größe = \"a\\\"b\" }"),
        ("{span.a-b/c = 1}", "{ span.a-b/c = 1 }"),
        ("{span.a*2 + 1 = 1}", "{ span.a * 2 + 1 = 1 }"),
    ] {
        assert_eq!(printed(text), canonical, "{text}");
    }
}

#[test]
fn errors_name_what_was_found_and_what_was_expected() {
    for (text, message) in [
        ("{ .a = 1", "line 1, col 9: unexpected end of the query, expected an operator or \"}\""),
        ("{\n .a == 1}", "line 2, col 6: unexpected \"=\", expected an attribute, a literal or \"(\""),
        ("{ ü = 1 }", "line 1, col 3: unknown name \"ü\": attributes are written .ü, span.ü or resource.ü"),
        ("{ .ü = }", "line 1, col 8: unexpected \"}\""),
        ("{ .a = \"b }", "line 1, col 8: unterminated string"),
        ("{ .a = \"\\d\" }", "line 1, col 8: unknown escape \"\\d\" in a string"),
        ("{ .a = 1 } {", "line 1, col 12: unexpected \"{\", expected an operator, \"|\", \"with(\""),
        ("{ .a >> .b }", "line 1, col 6: \">>\" stands between { } filters"),
        ("{} | count()", "expected a comparison of it, such as count() > 2"),
        ("{} | count() | {}", "expected a comparison of it, such as count() > 2"),
        ("({} | count() | {})", "line 1, col 15: unexpected \"|\""),
        ("{} > 2", "line 1, col 4: \">\" cannot stand between spansets and a number"),
        ("{} + {}", "line 1, col 4: \"+\" cannot stand between spansets"),
        ("rate()", "line 1, col 1: rate() needs spans"),
        ("{} | rate() | {}", "line 1, col 15: unexpected \"{\", expected \"topk(\""),
        ("{} | topk(3)", "line 1, col 6: topk() needs series"),
        ("{} | what(3)", "line 1, col 6: unknown function what()"),
        ("{} | rate() * 2", "line 1, col 13: unexpected \"*\""),
        ("({}|rate()) % 2", "\"%\" cannot stand between series"),
        ("({}|rate()) > ({}|rate())", "\">\" compares series with a constant"),
        ("({}|rate()) + 1s", "durations cannot be calculated with"),
        ("({}|rate()) > 1s + 1s", "durations cannot be calculated with"),
        ("({}|rate()) + 1/0", "1 / 0 has no value"),
        ("({}|rate()) && {}", "cannot stand between series"),
        ("{} | rate() by()", "expected an attribute"),
        ("{} | rate() | topk(0)", "unexpected \"0\", expected an integer above 0"),
        ("{} | compare({}) by(.a)", "line 1, col 18: unexpected \"by\""),
        ("{} with(a)", "line 1, col 10: unexpected \")\", expected \"=\""),
        ("{ .a = 9223372036854775808 }", "out of the range of integers"),
        ("{ . = 1 }", "expected the name of an attribute"),
        ("{ .a & .b }", "unexpected character '&'"),
    ] {
        let found = error(text);
        assert!(found.contains(message), "{text}: {found}");
    }
}

#[test]
fn long_chains_are_trees_of_little_depth() {
    let ids: Vec<String> = (0..4_000).map(|id| format!(".a={id}")).collect();
    for op in ["&&", "||"] {
        let query = parse(&format!("{{{}}}", ids.join(op))).unwrap();
        assert_eq!(parse(&query.to_string()).unwrap(), query);
    }
    let filters = vec!["{}"; 2_000].join(" && ");
    assert!(parse(&filters).is_ok());
    let mixed = vec![".a && .b || .c"; 200].join(" && ");
    assert!(error(&format!("{{{mixed}}}")).contains("too deep"));
    assert!(error(&format!("{{ .a = {} }}", vec!["1"; 4_000].join("+"))).contains("too deep"));
    assert!(error(&format!("{{}} | rate() {}", "| topk(1)".repeat(4_000))).contains("too deep"));
    assert!(error(&format!("{{{}}}", vec![".a"; 12_000].join("||"))).contains("too long"));
    assert!(error(&format!("{{ .a = \"{}\" }}", "x".repeat(128 * 1024))).contains("131072 allowed"));
}

#[test]
fn nesting_ends_in_an_error() {
    for (open, inside, close) in [
        ("{!", ".a", "}"),
        ("{-", ".a", "}"),
        ("{.a^", ".b", "}"),
        ("{(.a && .b = .c + .d * .e ^ ", ".a", ")}"),
        ("(", "{}", ")"),
        ("({} | by(", ".a", "))"),
    ] {
        // Braces cannot nest: they are once around all.
        let once = |part: &str| part.replace(['{', '}'], "");
        let text = |times: usize| match open.starts_with('{') {
            true => format!("{{{}{inside}{}}}", once(open).repeat(times), once(close).repeat(times)),
            false => format!("{}{inside}{}", open.repeat(times), close.repeat(times)),
        };
        assert!(error(&text(70)).len() < 200);
        assert!(error(&text(4_000)).len() < 200);
    }
    let deep = format!("{}{{}}{}", "(".repeat(64), ")".repeat(64));
    assert!(parse(&deep).is_ok());
    assert!(error(&format!("({deep})")).contains("nested too deeply"));
    let scalars = format!("{}{{}}{} > 2", "(".repeat(60), " | count())".repeat(60));
    assert!(parse(&scalars).is_err());
}
