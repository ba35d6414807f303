//! Calls to what is not ours: databases, the message broker, other people's services.

use rand::RngExt;
use vivace_proto::otlp::trace::span::SpanKind;

use crate::trace::{Done, Draft, Fault, Trace};
use crate::value::{flag, int, text};
use crate::world::Service;

/// A database statement: what it does, to what, in full.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sql {
    pub(crate) operation: &'static str,
    pub(crate) table: &'static str,
    pub(crate) text: &'static str,
}

/// An HTTP request as its sender sees it.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) method: &'static str,
    pub(crate) host: &'static str,
    pub(crate) path_and_query: String,
    /// Chance that one attempt fails.
    pub(crate) failing: f64,
}

impl Trace<'_> {
    /// A statement on PostgreSQL.
    pub(crate) fn sql(&mut self, statement: Sql, rows: i64) -> Done {
        let Sql { operation, table, text: query } = statement;
        let attributes = vec![
            text("db.system.name", "postgresql"),
            text("db.namespace", "shop"),
            text("db.operation.name", operation),
            text("db.collection.name", table),
            text("db.query.text", query),
            text("server.address", "postgres.shop.svc.cluster.local"),
            int("server.port", 5432),
            text("network.peer.address", "10.42.3.54"),
            text("db.client.connection.pool.name", "main"),
            text("peer.service", "postgres"),
        ];
        let draft = Draft {
            pod: self.pod(),
            kind: SpanKind::Client,
            name: format!("{operation} shop.{table}"),
            attributes,
        };
        let (index, result) = self.span(draft, |trace| {
            trace.work(900);
            let message = "canceling statement due to lock timeout";
            trace.fails(0.010, "org.postgresql.util.PSQLException", message, 500)
        });
        match result {
            Ok(()) => self.add(index, [int("db.response.returned_rows", rows)]),
            Err(_) => {
                self.add(index, [text("db.response.status_code", "55P03"), text("error.type", "55P03")])
            }
        }
        result
    }

    /// A command to Redis; `Ok(false)` if the key was not there.
    pub(crate) fn redis(&mut self, command: &'static str, key: &str) -> Result<bool, Fault> {
        let hit = self.chance(0.85);
        let attributes = vec![
            text("db.system.name", "redis"),
            text("db.namespace", "0"),
            text("db.operation.name", command),
            text("db.query.text", format!("{command} {key} ?")),
            text("server.address", "redis-master.shop.svc.cluster.local"),
            int("server.port", 6379),
            text("network.peer.address", "10.42.2.77"),
            int("network.peer.port", 6379),
            text("peer.service", "redis"),
            flag("cache.hit", hit),
        ];
        let draft = Draft { pod: self.pod(), kind: SpanKind::Client, name: command.to_owned(), attributes };
        let (_, result) = self.span(draft, |trace| {
            trace.work(220);
            trace.fails(0.007, "redis.TimeoutError", "i/o timeout reading from 10.42.2.77:6379", 503)
        });
        result.map(|()| hit)
    }

    /// A request to someone else's service, tried up to three times.
    pub(crate) fn http(&mut self, request: &Request) -> Done {
        let mut result = self.http_attempt(request, 0);
        for attempt in 1..3 {
            if result.is_ok() {
                break;
            }
            self.work(20_000); // back off
            result = self.http_attempt(request, attempt);
        }
        result
    }

    fn http_attempt(&mut self, request: &Request, resend: u8) -> Done {
        let Request { method, host, path_and_query, failing } = request;
        let mut attributes = vec![
            text("http.request.method", *method),
            text("url.full", format!("https://{host}{path_and_query}")),
            text("server.address", *host),
            int("server.port", 443),
            text("network.protocol.version", "1.1"),
            text("tls.protocol.version", "1.3"),
            text("peer.service", *host),
        ];
        if resend > 0 {
            attributes.push(int("http.request.resend_count", resend));
        }
        let draft = Draft { pod: self.pod(), kind: SpanKind::Client, name: (*method).to_owned(), attributes };
        let (index, result) = self.span(draft, |trace| {
            trace.work(35_000);
            trace.fails(*failing, "UpstreamError", "upstream answered 503 Service Unavailable", 502)
        });
        let status = if result.is_ok() { 200 } else { 503 };
        let size = self.rng.random_range(80..3000_i64);
        self.add(index, [int("http.response.status_code", status), int("http.response.body.size", size)]);
        result
    }

    /// Puts a message on a topic; gives the span that its receivers continue, and the offset.
    pub(crate) fn publish(&mut self, topic: &'static str, key: &str) -> (usize, i64) {
        let (partition, offset) =
            (self.rng.random_range(0..12_i32), self.rng.random_range(1_000_000..90_000_000));
        let attributes = vec![
            text("messaging.system", "kafka"),
            text("messaging.operation.name", "send"),
            text("messaging.operation.type", "send"),
            text("messaging.destination.name", topic),
            text("messaging.destination.partition.id", partition.to_string()),
            text("messaging.kafka.message.key", key),
            int("messaging.kafka.offset", offset),
            text("messaging.client.id", "checkout-producer-1"),
            text("server.address", "kafka-bootstrap.shop.svc.cluster.local"),
            int("server.port", 9092),
        ];
        let draft =
            Draft { pod: self.pod(), kind: SpanKind::Producer, name: format!("send {topic}"), attributes };
        let (index, _always_ok) = self.span(draft, |trace| {
            trace.work(2_500);
            Ok(())
        });
        (index, offset)
    }

    /// A service takes a message from a topic and works on it, a while after it was sent.
    pub(crate) fn consume(
        &mut self,
        (sent_by, offset): (usize, i64),
        consumer: Service,
        topic: &'static str,
        work: impl FnOnce(&mut Self) -> Done,
    ) -> Done {
        self.now = self.spans[sent_by].span.end_time_unix_nano;
        self.work(8_000);
        let attributes = vec![
            text("messaging.system", "kafka"),
            text("messaging.operation.name", "process"),
            text("messaging.operation.type", "process"),
            text("messaging.destination.name", topic),
            text("messaging.consumer.group.name", format!("{}-{topic}", consumer.name())),
            int("messaging.kafka.offset", offset),
            int("messaging.message.body.size", self.rng.random_range(300..2200_i64)),
            text("messaging.client.id", format!("{}-consumer-1", consumer.name())),
            text("server.address", "kafka-bootstrap.shop.svc.cluster.local"),
        ];
        let pod = self.world.pod_of(consumer, self.rng);
        let draft = Draft { pod, kind: SpanKind::Consumer, name: format!("process {topic}"), attributes };
        self.child_of(Some(sent_by), draft, work).1
    }
}
