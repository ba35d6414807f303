//! What pipelines find.

use crate::testing::{TestSpan, attribute, failure, found, span, spansets};

/// Trace 1: 1 > (2 > (4, 5), 3 > 6). Trace 2: 11 > 12. Trace 3: an orphan 21 > 22.
fn forest() -> Vec<TestSpan> {
    let named = |name, id, parent| TestSpan { name, duration: u64::from(id) * 10, ..span(id, parent) };
    vec![
        named("root", 1, 0),
        TestSpan { status: 2, ..named("mid", 2, 1) },
        named("mid", 3, 1),
        TestSpan { attributes: vec![attribute("n", 4_i64)], ..named("leaf", 4, 2) },
        TestSpan { attributes: vec![attribute("n", 5_i64)], ..named("leaf", 5, 2) },
        TestSpan { status: 2, attributes: vec![attribute("n", 2.5)], ..named("leaf", 6, 3) },
        TestSpan { trace: 2, ..named("root", 11, 0) },
        TestSpan { trace: 2, ..named("leaf", 12, 11) },
        TestSpan { trace: 3, ..named("mid", 21, 20) },
        TestSpan { trace: 3, ..named("leaf", 22, 21) },
    ]
}

fn sets(query: &str) -> Vec<(Vec<u8>, String)> {
    spansets(query, &forest()).into_iter().map(|(rows, told)| (rows, told.join(" "))).collect()
}

#[test]
fn one_spanset_of_each_trace() {
    assert_eq!(
        sets(r#"{ name = "leaf" }"#),
        [(vec![4, 5, 6], String::new()), (vec![12], String::new()), (vec![22], String::new())]
    );
    assert_eq!(found(r#"{ name = "root" } || { status = error }"#, &forest()), [1, 2, 6, 11]);
    assert_eq!(found(r#"{ name = "leaf" } | { status = error }"#, &forest()), [6]);
}

#[test]
fn both_sides_somewhere_in_the_trace() {
    let spans = forest();
    assert_eq!(found(r#"{ name = "root" } && { name = "mid" }"#, &spans), [1, 2, 3]);
    assert_eq!(found(r#"{ name = "root" } && { name = "root" }"#, &spans), [1, 11]);
    assert_eq!(found("{ status = error } && { status = ok }", &spans), [0; 0]);
    assert_eq!(found(r#"({ name = "mid" } && { name = "leaf" }) | { status = error }"#, &spans), [2, 6]);
}

#[test]
fn structure() {
    let spans = forest();
    let mid_and = |op: &str| found(&format!(r#"{{ name = "mid" }} {op} {{ name = "leaf" }}"#), &spans);
    assert_eq!(mid_and(">"), [4, 5, 6, 22]);
    assert_eq!(mid_and(">>"), [4, 5, 6, 22]);
    assert_eq!(mid_and("!>"), [12]);
    assert_eq!(mid_and("!>>"), [12]);
    assert_eq!(mid_and("&>"), [2, 3, 4, 5, 6, 21, 22]);
    assert_eq!(mid_and("<"), [0; 0]);
    let of_root = |op: &str| found(&format!(r#"{{ name = "root" }} {op} {{ }}"#), &spans);
    assert_eq!(of_root(">"), [2, 3, 12]);
    assert_eq!(of_root(">>"), [2, 3, 4, 5, 6, 12]);
    assert_eq!(of_root("&>>"), [1, 2, 3, 4, 5, 6, 11, 12]);
    assert_eq!(of_root("!>>"), [1, 11, 21, 22], "where there is none on the left all are found");
    let of_leaf = |op: &str| found(&format!(r#"{{ name = "leaf" }} {op} {{ }}"#), &spans);
    assert_eq!(of_leaf("<"), [2, 3, 11, 21]);
    assert_eq!(of_leaf("<<"), [1, 2, 3, 11, 21]);
    assert_eq!(of_leaf("&<"), [2, 3, 4, 5, 6, 11, 12, 21, 22]);
    assert_eq!(of_leaf("!<"), [1, 4, 5, 6, 12, 22]);
    assert_eq!(of_leaf("!<<"), [4, 5, 6, 12, 22]);
    assert_eq!(of_leaf("~"), [4, 5], "a span is not its own sibling, and roots are none");
    assert_eq!(of_leaf("&~"), [4, 5]);
    assert_eq!(of_leaf("!~"), [1, 2, 3, 6, 11, 12, 21, 22]);
    assert_eq!(found("{ status = error } ~ { }", &spans), [3]);
    assert_eq!(found(r#"{ status = error } &~ { name = "mid" }"#, &spans), [2, 3]);
}

#[test]
fn drilldown_structure() {
    let query = r#"({nestedSetParent<0 && true } &>> { status = error }) || ({nestedSetParent<0 && true })
        | select(status, resource.service.name, name, nestedSetParent, nestedSetLeft, nestedSetRight)"#;
    assert_eq!(sets(query), [(vec![1, 2, 6], String::new()), (vec![11], String::new())]);
}

#[test]
fn numbers_of_spansets() {
    let query = |text: &str| {
        sets(text).into_iter().map(|(rows, told)| format!("{rows:?} {told}")).collect::<Vec<_>>()
    };
    assert_eq!(query(r#"{ name = "leaf" } | count() > 1"#), ["[4, 5, 6] count()=3"]);
    assert_eq!(query("{ } | count() = 2"), ["[11, 12] count()=2", "[21, 22] count()=2"]);
    assert_eq!(query("{ } | avg(span.n) > 3"), ["[1, 2, 3, 4, 5, 6] avg(span.n)=3.8333333333333335"]);
    assert_eq!(
        query("{ } | sum(span.n) = 11.5 | count() = 6"),
        ["[1, 2, 3, 4, 5, 6] sum(span.n)=11.5 count()=6"]
    );
    assert_eq!(query("{ } | min(span.n) = 2.5"), ["[1, 2, 3, 4, 5, 6] min(span.n)=2.5"]);
    assert_eq!(query("{ } | max(span.n) >= 5"), ["[1, 2, 3, 4, 5, 6] max(span.n)=5"]);
    assert_eq!(query("{ } | max(duration) = 120ns"), ["[11, 12] max(duration)=120ns"]);
    assert_eq!(query(r#"{ name = "leaf" } | avg(duration) < 100ns"#), ["[4, 5, 6] avg(duration)=50ns"]);
    assert_eq!(query("{ } | max(duration) - min(duration) < 11ns").len(), 2);
    assert_eq!(query("{ } | count() * 10ns = 60ns").len(), 1);
    assert_eq!(query("{ } | 6 = count()").len(), 1);
    assert_eq!(
        query("{ span.n != nil } | avg(span.nobody) != 1"),
        [""; 0],
        "without any value there is no number"
    );
    assert_eq!(query("{ } | sum(duration + 1ns) > 245ns"), ["[21, 22] sum(duration + 1ns)=432ns"]);
}

#[test]
fn pipelines_compared() {
    let spans = forest();
    let query = r#"({ name = "leaf" } | count()) > ({ name = "mid" } | count())"#;
    assert_eq!(sets(query), [(vec![2, 3, 4, 5, 6], String::new()), (vec![12], String::new())]);
    assert_eq!(found(r#"({ name = "leaf" } | count()) = 1"#, &spans), [12, 22]);
    assert_eq!(found(r#"{ status = error } | ({ name = "leaf" } | count()) = 3"#, &spans), [2, 6]);
    assert!(failure(r#"({ } | by(name) | count()) > 1"#, &spans).contains("coalesce()"));
}

#[test]
fn groups() {
    let query = |text: &str| {
        sets(text).into_iter().map(|(rows, told)| format!("{rows:?} {told}")).collect::<Vec<_>>()
    };
    assert_eq!(
        query("{ duration < 70ns } | by(name)"),
        ["[1] by(name)=\"root\"", "[2, 3] by(name)=\"mid\"", "[4, 5, 6] by(name)=\"leaf\""]
    );
    assert_eq!(
        query("{ duration >= 110ns && span.n = nil } | by(span.n) | count() > 1"),
        ["[11, 12] by(span.n)=nil count()=2", "[21, 22] by(span.n)=nil count()=2"]
    );
    assert_eq!(query("{ } | by(name) | count() > 2 | coalesce()"), ["[4, 5, 6] "]);
    assert_eq!(
        query("{ } | by(name) | { status = error }"),
        ["[2] by(name)=\"mid\"", "[6] by(name)=\"leaf\""]
    );
    assert_eq!(
        query("{ } | by(name) | ({ status = error } && { status = unset })"),
        ["[2, 3] by(name)=\"mid\"", "[4, 5, 6] by(name)=\"leaf\""]
    );
    assert_eq!(
        query("{ status = error } | by(name) | by(status)"),
        ["[2] by(name)=\"mid\" by(status)=error", "[6] by(name)=\"leaf\" by(status)=error"]
    );
    assert_eq!(query("{ } | by(duration > 100ns) | avg(duration) >= 115ns").len(), 2);
    assert_eq!(query("{ } | by(name) | ({ span.n >= 4 } ~ { })"), ["[4, 5] by(name)=\"leaf\""]);
}

#[test]
fn structure_relates_single_spansets() {
    let spans = forest();
    assert!(failure("({ } | by(name)) >> { }", &spans).contains("coalesce()"));
    assert_eq!(found("({ status = error } | by(name) | coalesce()) > { }", &spans), [4, 5]);
    assert_eq!(found("({ } | by(name)) || { status = error }", &spans).len(), 10);
    assert_eq!(found("({ } | count() > 2) >> { status = error }", &spans), [2, 6]);
}
