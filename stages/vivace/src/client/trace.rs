//! `vivace trace`: a trace as a tree.

use std::collections::{HashMap, HashSet};
use std::fmt::Write;

use anyhow::{Context, Result, bail};
use prost::Message;
use vivace_proto::otlp::common::any_value::Value as AnyValue;
use vivace_proto::otlp::common::{AnyValue as Any, KeyValue};
use vivace_proto::otlp::trace::Span;
use vivace_proto::otlp::trace::span::SpanKind;
use vivace_proto::otlp::trace::status::StatusCode;
use vivace_proto::tempopb::TraceByIdResponse;

use super::api::Api;
use super::duration;

const RED: &str = "\x1b[31m";
const DIM: &str = "\x1b[2m";
const PLAIN: &str = "\x1b[0m";
/// Levels below this one are not indented further: a cycle or a very deep trace must not fill the screen.
const INDENT_MAX: usize = 40;
/// Writing to memory cannot fail.
const MEMORY: &str = "memory takes everything";

/// Fetches a trace and draws it.
pub(super) async fn run(api: &Api, id: &str, color: bool) -> Result<String> {
    let path = ["api", "v2", "traces", id];
    if api.json {
        return Ok(format!("{:#}\n", api.json(&path, &Vec::new()).await?));
    }
    let body = api.get(&path, &Vec::new(), "application/protobuf").await?;
    let answer = TraceByIdResponse::decode(body.as_slice()).context("the server's answer is no trace")?;
    let mut spans = Vec::new();
    for resource in answer.trace.into_iter().flat_map(|trace| trace.resource_spans) {
        let attributes = resource.resource.map(|resource| resource.attributes).unwrap_or_default();
        let service = text_of(&attributes, "service.name").unwrap_or_else(|| "unknown service".into());
        let of_scopes = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
        spans.extend(of_scopes.map(|span| Node { service: service.clone(), span }));
    }
    if spans.is_empty() {
        bail!("trace {id} was not found");
    }
    let mut shown = Tree::new(spans, color).draw(id);
    if !answer.message.is_empty() {
        writeln!(shown, "partial: {}", answer.message).expect(MEMORY);
    }
    Ok(shown)
}

struct Node {
    service: String,
    span: Span,
}

impl Node {
    const fn nanos(&self) -> u64 {
        self.span.end_time_unix_nano.saturating_sub(self.span.start_time_unix_nano)
    }

    fn error(&self) -> Option<&str> {
        let status = self.span.status.as_ref()?;
        (status.code == StatusCode::Error as i32).then_some(status.message.as_str())
    }
}

struct Tree {
    /// By start.
    nodes: Vec<Node>,
    /// Children of each node, and at last the roots: spans without a parent, or whose parent is not here.
    children: Vec<Vec<usize>>,
    start: u64,
    color: bool,
}

impl Tree {
    fn new(mut nodes: Vec<Node>, color: bool) -> Self {
        nodes.sort_by(|a, b| {
            let key = |node: &Node| (node.span.start_time_unix_nano, node.span.span_id.clone());
            key(a).cmp(&key(b))
        });
        let mut by_id: HashMap<&[u8], usize> = HashMap::new();
        for (number, node) in nodes.iter().enumerate() {
            by_id.entry(&node.span.span_id).or_insert(number);
        }
        let mut children = vec![Vec::new(); nodes.len() + 1];
        for (number, node) in nodes.iter().enumerate() {
            let parent = by_id.get(node.span.parent_span_id.as_slice()).copied();
            children[parent.filter(|parent| *parent != number).unwrap_or(nodes.len())].push(number);
        }
        let start = nodes.first().map_or(0, |node| node.span.start_time_unix_nano);
        Self { nodes, children, start, color }
    }

    fn draw(&self, id: &str) -> String {
        let end = self.nodes.iter().map(|node| node.span.end_time_unix_nano).max().unwrap_or(self.start);
        let services: HashSet<_> = self.nodes.iter().map(|node| &node.service).collect();
        let errors = self.nodes.iter().filter(|node| node.error().is_some()).count();
        let began = jiff::Timestamp::from_nanosecond(self.start.into()).map(|time| time.to_string());
        let mut out = String::new();
        writeln!(
            out,
            "trace {id}: {} spans, {} services, {errors} errors, {} from {}",
            self.nodes.len(),
            services.len(),
            duration(end.saturating_sub(self.start) as f64),
            began.unwrap_or_else(|_| "?".into()),
        )
        .expect(MEMORY);
        let mut drawn = vec![false; self.nodes.len()];
        self.draw_below(self.nodes.len(), &mut drawn, &mut out);
        // What no root leads to hangs on a cycle.
        for number in 0..self.nodes.len() {
            if !drawn[number] {
                self.draw_from(number, &mut drawn, &mut out);
            }
        }
        out
    }

    fn draw_below(&self, parent: usize, drawn: &mut [bool], out: &mut String) {
        for &root in &self.children[parent] {
            self.draw_from(root, drawn, out);
        }
    }

    /// Without recursion: a trace may be deeper than the stack.
    fn draw_from(&self, root: usize, drawn: &mut [bool], out: &mut String) {
        let mut waiting = vec![(root, 0_usize)];
        while let Some((number, depth)) = waiting.pop() {
            if std::mem::replace(&mut drawn[number], true) {
                continue;
            }
            self.line(number, depth, out);
            waiting.extend(self.children[number].iter().rev().map(|&child| (child, depth + 1)));
        }
    }

    fn line(&self, number: usize, depth: usize, out: &mut String) {
        let node = &self.nodes[number];
        let after = node.span.start_time_unix_nano.saturating_sub(self.start) as f64;
        let indent = "  ".repeat(depth.min(INDENT_MAX));
        let kind = match node.span.kind() {
            SpanKind::Unspecified | SpanKind::Internal => "",
            SpanKind::Server => " server",
            SpanKind::Client => " client",
            SpanKind::Producer => " producer",
            SpanKind::Consumer => " consumer",
        };
        let orphan =
            if depth == 0 && !node.span.parent_span_id.is_empty() { " (its parent is missing)" } else { "" };
        let (red, dim, plain) = if self.color { (RED, DIM, PLAIN) } else { ("", "", "") };
        let (mark, hue) = if node.error().is_some() { (" ✗", red) } else { ("", "") };
        writeln!(
            out,
            "{dim}{:>11}{plain} {:>9}  {indent}{hue}{}{mark}{plain}  {dim}{}{kind}{orphan}{plain}",
            format!("+{}", duration(after)),
            duration(node.nanos() as f64),
            node.span.name,
            node.service,
        )
        .expect(MEMORY);
        for what in self.complaints(node) {
            writeln!(out, "{:>21}  {indent}{red}  {what}{plain}", "").expect(MEMORY);
        }
    }

    /// What a failed span says of it: its status message and its exceptions.
    fn complaints(&self, node: &Node) -> Vec<String> {
        let mut all: Vec<String> =
            node.error().filter(|message| !message.is_empty()).map(str::to_owned).into_iter().collect();
        for event in node.span.events.iter().filter(|event| event.name == "exception") {
            let part = |key| text_of(&event.attributes, key).unwrap_or_default();
            let text = format!("{}: {}", part("exception.type"), part("exception.message"));
            if !all.contains(&text) {
                all.push(text);
            }
        }
        all
    }
}

fn text_of(attributes: &[KeyValue], key: &str) -> Option<String> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    match &found.value {
        Some(Any { value: Some(AnyValue::StringValue(text)) }) => Some(text.clone()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use vivace_proto::otlp::trace::Status;

    use super::*;

    fn node(id: u8, parent: u8, start: u64, name: &str) -> Node {
        let bytes = |id: u8| if id == 0 { Vec::new() } else { vec![0, 0, 0, 0, 0, 0, 0, id] };
        let span = Span {
            span_id: bytes(id),
            parent_span_id: bytes(parent),
            name: name.into(),
            start_time_unix_nano: start,
            end_time_unix_nano: start + 1_000_000,
            ..Span::default()
        };
        Node { service: "shop".into(), span }
    }

    #[test]
    fn children_stand_below_their_parents_with_errors_told() {
        let mut failed = node(3, 2, 2_500_000, "c");
        failed.span.status = Some(Status { code: StatusCode::Error as i32, message: "out of stock".into() });
        let nodes =
            vec![failed, node(2, 1, 2_000_000, "b"), node(1, 0, 1_000_000, "a"), node(5, 9, 3_000_000, "e")];
        let drawn = Tree::new(nodes, false).draw("7");
        let lines: Vec<_> = drawn.lines().map(str::trim_end).collect();
        assert_eq!(
            lines,
            [
                "trace 7: 4 spans, 1 services, 1 errors, 3.00 ms from 1970-01-01T00:00:00.001Z",
                "      +0 ns   1.00 ms  a  shop",
                "   +1.00 ms   1.00 ms    b  shop",
                "   +1.50 ms   1.00 ms      c ✗  shop",
                "                             out of stock",
                "   +2.00 ms   1.00 ms  e  shop (its parent is missing)",
            ]
        );
    }

    #[test]
    fn cycles_and_depth_end() {
        let cycle = vec![node(1, 2, 1, "a"), node(2, 1, 2, "b"), node(3, 3, 3, "self")];
        assert_eq!(Tree::new(cycle, false).draw("1").lines().count(), 4);
        let deep = (1..=250).map(|id| node(id, id - 1, u64::from(id), "s")).collect();
        assert_eq!(Tree::new(deep, true).draw("1").lines().count(), 251);
    }
}
