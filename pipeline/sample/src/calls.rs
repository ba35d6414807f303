//! Calls to and within the shop's own services, with the spans and attributes of OpenTelemetry's conventions.

use rand::RngExt;
use vivace_proto::otlp::common::KeyValue;
use vivace_proto::otlp::trace::span::SpanKind;

use crate::trace::{Done, Draft, Fault, Trace};
use crate::value::{int, text};
use crate::world::Service;

impl Trace<'_> {
    /// A browser's request, answered by the frontend.
    pub(crate) fn page(
        &mut self,
        method: &'static str,
        route: &'static str,
        path: String,
        query: &str,
        work: impl FnOnce(&mut Self) -> Done,
    ) -> Done {
        let pod = self.world.pod_of(Service::Frontend, self.rng);
        let mut attributes = vec![
            text("http.request.method", method),
            text("http.route", route),
            text("url.scheme", "https"),
            text("url.path", path),
            text("server.address", "shop.example.com"),
            int("server.port", 443),
            text("client.address", self.shopper.address.as_str()),
            text("network.protocol.version", "2"),
            text("user_agent.original", self.shopper.user_agent),
            text("session.id", self.shopper.session.as_str()),
            text("request.id", self.shopper.request.as_str()),
        ];
        if !query.is_empty() {
            attributes.push(text("url.query", query));
        }
        let draft = Draft { pod, kind: SpanKind::Server, name: format!("{method} {route}"), attributes };
        let (index, result) = self.span(draft, work);
        let status = result.as_ref().map_or_else(|fault| fault.http_status, |()| 200);
        let size = self.rng.random_range(400..90_000_i64);
        self.add(index, [int("http.response.status_code", status), int("http.response.body.size", size)]);
        result
    }

    /// A gRPC call between two of our services: a client span here, a server span there.
    pub(crate) fn rpc(
        &mut self,
        callee: Service,
        method: &'static str,
        work: impl FnOnce(&mut Self) -> Done,
    ) -> Done {
        let name = format!("{}/{method}", callee.rpc());
        let there = self.world.pod_of(callee, self.rng);
        let world = self.world;
        let attributes = vec![
            text("rpc.system", "grpc"),
            text("rpc.service", callee.rpc()),
            text("rpc.method", method),
            text("server.address", format!("{}.shop.svc.cluster.local", callee.name())),
            int("server.port", 8080),
            text("network.peer.address", world.pods[there].address.as_str()),
            int("network.peer.port", 8080),
            text("peer.service", callee.name()),
        ];
        let draft = Draft { pod: self.pod(), kind: SpanKind::Client, name: name.clone(), attributes };
        let (index, result) = self.span(draft, |trace| {
            trace.work(180); // the network
            let result = trace.serve(callee, method, name, there, work);
            trace.work(120);
            result
        });
        self.add(index, [int("rpc.grpc.status_code", grpc_status(&result))]);
        result
    }

    fn serve(
        &mut self,
        callee: Service,
        method: &'static str,
        name: String,
        pod: usize,
        work: impl FnOnce(&mut Self) -> Done,
    ) -> Done {
        let caller = self.world.pods[self.pod()].address.as_str();
        let thread = self.rng.random_range(20..64_i64);
        let attributes = vec![
            text("rpc.system", "grpc"),
            text("rpc.service", callee.rpc()),
            text("rpc.method", method),
            text("network.transport", "tcp"),
            text("network.type", "ipv4"),
            text("client.address", caller),
            int("client.port", self.rng.random_range(32_768..60_999_i64)),
            int("thread.id", thread),
            text("thread.name", format!("grpc-worker-{thread}")),
            text("request.id", self.shopper.request.as_str()),
        ];
        let draft = Draft { pod, kind: SpanKind::Server, name, attributes };
        let (index, result) = self.span(draft, |trace| {
            trace.work(60);
            trace.fails(0.003, "DeadlineExceeded", "deadline exceeded after 2.000s", 504)?;
            work(trace)
        });
        self.add(index, [int("rpc.grpc.status_code", grpc_status(&result))]);
        result
    }

    /// Work inside a service. `function` is `file#function`.
    pub(crate) fn inside(
        &mut self,
        function: &'static str,
        micros: u64,
        attributes: impl IntoIterator<Item = KeyValue>,
        work: impl FnOnce(&mut Self) -> Done,
    ) -> Done {
        let (file, name) = function.split_once('#').unwrap_or(("main", function));
        let line = name.bytes().fold(7_i64, |line, byte| (line * 31 + i64::from(byte)) % 400) + 12;
        let thread = self.rng.random_range(1..16_i64);
        let mut all = vec![
            text("code.function.name", name),
            text("code.file.path", format!("/src/internal/{file}")),
            int("code.line.number", line),
            int("thread.id", thread),
            text("thread.name", format!("worker-{thread}")),
            text("request.id", self.shopper.request.as_str()),
        ];
        all.extend(attributes);
        let draft =
            Draft { pod: self.pod(), kind: SpanKind::Internal, name: name.to_owned(), attributes: all };
        let (_, result) = self.span(draft, |trace| {
            trace.work(micros);
            work(trace)
        });
        result
    }

    /// Something goes wrong, with that probability.
    pub(crate) fn fails(
        &mut self,
        probability: f64,
        exception: &'static str,
        message: &str,
        http_status: u16,
    ) -> Done {
        if self.chance(probability) {
            return Err(Fault { exception, message: message.to_owned(), http_status });
        }
        Ok(())
    }
}

/// As gRPC says it: 13 is INTERNAL, 4 DEADLINE_EXCEEDED, 9 FAILED_PRECONDITION, 14 UNAVAILABLE.
fn grpc_status(result: &Done) -> i32 {
    match result {
        Ok(()) => 0,
        Err(fault) => match fault.http_status {
            504 => 4,
            409 => 9,
            502 | 503 => 14,
            _ => 13,
        },
    }
}
