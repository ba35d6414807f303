//! Builds one trace by acting it out: a cursor of time moves on while spans open and close around each other.
//! Owns: ids, times, parents, status, events, links, and the attributes that any span may have.
//! Does not own: what calls what, and the attributes of each kind of call.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use vivace_proto::otlp::common::KeyValue;
use vivace_proto::otlp::common::any_value::Value;
use vivace_proto::otlp::trace::span::{Event, Link, SpanKind};
use vivace_proto::otlp::trace::{Span, Status, status::StatusCode};

use crate::value::{attribute, double, int, text};
use crate::words;
use crate::world::World;

/// Of all users that ever come.
const USERS: u32 = 200_000;
/// Trace flags: sampled, and it is known whether the parent is remote.
const LOCAL: u32 = 0x101;
/// The same with a remote parent.
const REMOTE: u32 = 0x301;

/// What went wrong in a call; `?` carries it to the callers as in a real service.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub(crate) exception: &'static str,
    pub(crate) message: String,
    /// As HTTP would say it.
    pub(crate) http_status: u16,
}

/// How a piece of work ended.
pub(crate) type Done = Result<(), Fault>;

/// A span and who sends it.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) pod: usize,
    pub(crate) scope: usize,
    pub(crate) span: Span,
}

/// A span about to open.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) pod: usize,
    pub(crate) kind: SpanKind,
    pub(crate) name: String,
    pub(crate) attributes: Vec<KeyValue>,
}

/// Who the trace is about.
#[derive(Debug)]
pub(crate) struct Shopper {
    pub(crate) user: String,
    pub(crate) session: String,
    pub(crate) request: String,
    pub(crate) address: String,
    pub(crate) currency: &'static str,
    pub(crate) country: &'static str,
    pub(crate) user_agent: &'static str,
}

/// The trace so far, and the moment it has come to.
#[derive(Debug)]
pub(crate) struct Trace<'w> {
    pub(crate) world: &'w World,
    pub(crate) rng: &'w mut ChaCha8Rng,
    pub(crate) shopper: Shopper,
    /// Nanoseconds since the epoch.
    pub(crate) now: u64,
    pub(crate) spans: Vec<Sent>,
    /// Spans that are open, the innermost last.
    open: Vec<usize>,
    trace_id: [u8; 16],
    trace_state: &'static str,
    /// A span of an earlier trace, for links.
    earlier: Option<([u8; 16], [u8; 8])>,
}

impl<'w> Trace<'w> {
    pub(crate) fn new(
        world: &'w World,
        rng: &'w mut ChaCha8Rng,
        now: u64,
        earlier: Option<([u8; 16], [u8; 8])>,
    ) -> Self {
        let shopper = Shopper {
            user: format!("user-{:06}", rng.random_range(0..USERS)),
            session: format!("{:016x}", rng.random::<u64>()),
            request: format!("req-{:016x}", rng.random::<u64>()),
            address: format!("203.0.{}.{}", rng.random_range(0..114_u8), rng.random_range(1..255_u8)),
            currency: pick(rng, &words::CURRENCIES),
            country: pick(rng, &words::COUNTRIES),
            user_agent: pick(rng, &words::USER_AGENTS),
        };
        let trace_state = if rng.random_bool(0.03) { "ot=th:c;rv:9b8233f7e3a151" } else { "" };
        let (trace_id, spans, open) = (rng.random(), Vec::with_capacity(24), Vec::with_capacity(8));
        Self { world, rng, shopper, now, spans, open, trace_id, trace_state, earlier }
    }

    /// The pod that is at work.
    pub(crate) fn pod(&self) -> usize {
        self.open.last().map_or(0, |&index| self.spans[index].pod)
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        pick(self.rng, from)
    }

    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        self.rng.random_bool(probability)
    }

    /// Time passes: around that many microseconds, sometimes a lot more.
    pub(crate) fn work(&mut self, micros: u64) {
        let luck: f64 = self.rng.random();
        let slow = if luck > 0.985 { 4.0 + (luck - 0.985) * 2000.0 } else { 0.0 };
        self.now += (micros as f64 * 1000.0 * (0.4 + luck + slow)) as u64 + self.rng.random_range(0..1000);
    }

    /// Two things at the same time; goes on when both are done.
    pub(crate) fn both(
        &mut self,
        one: impl FnOnce(&mut Self) -> Done,
        other: impl FnOnce(&mut Self) -> Done,
    ) -> Done {
        let start = self.now;
        let first = one(self);
        let end = std::mem::replace(&mut self.now, start);
        let second = other(self);
        self.now = self.now.max(end);
        first.and(second)
    }

    /// A span around some work. The index is for attributes that are known afterwards.
    pub(crate) fn span(&mut self, draft: Draft, work: impl FnOnce(&mut Self) -> Done) -> (usize, Done) {
        let parent = self.open.last().copied();
        self.child_of(parent, draft, work)
    }

    /// A span whose parent may be closed already, as a message's receiver has it.
    pub(crate) fn child_of(
        &mut self,
        parent: Option<usize>,
        draft: Draft,
        work: impl FnOnce(&mut Self) -> Done,
    ) -> (usize, Done) {
        let index = self.spans.len();
        let Draft { pod, kind, name, attributes } = draft;
        let span = Span {
            trace_id: self.trace_id.to_vec(),
            span_id: self.rng.random::<[u8; 8]>().to_vec(),
            trace_state: self.trace_state.to_owned(),
            parent_span_id: parent.map(|index| self.spans[index].span.span_id.clone()).unwrap_or_default(),
            flags: match parent {
                Some(index) if self.spans[index].pod != pod => REMOTE,
                Some(_) | None => LOCAL,
            },
            name,
            kind: kind.into(),
            start_time_unix_nano: self.now,
            attributes,
            ..Span::default()
        };
        let scope = usize::from(matches!(kind, SpanKind::Client | SpanKind::Producer));
        self.spans.push(Sent { pod, scope, span });
        self.open.push(index);
        self.work(40);
        let result = work(self);
        self.work(25);
        self.open.pop();
        self.close(index, &result);
        (index, result)
    }

    /// Adds attributes to a span that was opened.
    pub(crate) fn add(&mut self, index: usize, attributes: impl IntoIterator<Item = KeyValue>) {
        self.spans[index].span.attributes.extend(attributes);
    }

    fn close(&mut self, index: usize, result: &Done) {
        let start = self.spans[index].span.start_time_unix_nano;
        let mut events = Vec::new();
        if self.chance(0.08) {
            let time = self.rng.random_range(start..self.now);
            events.push(self.small_event(time));
        }
        let mut status = Status::default();
        if let Err(fault) = result {
            status = Status { code: StatusCode::Error.into(), message: fault.message.clone() };
            events.push(self.exception(index, fault));
        } else if self.chance(0.03) {
            status.code = StatusCode::Ok.into();
        }
        let link = self.earlier.filter(|_| self.rng.random_bool(0.02));
        let extra = self.extra();
        let span = &mut self.spans[index].span;
        span.end_time_unix_nano = self.now;
        span.events = events;
        span.status = Some(status);
        span.attributes.extend(extra);
        span.links.extend(link.map(|(trace_id, span_id)| Link {
            trace_id: trace_id.to_vec(),
            span_id: span_id.to_vec(),
            attributes: vec![text("shop.link.reason", "batch")],
            flags: REMOTE,
            ..Link::default()
        }));
    }

    fn small_event(&mut self, time: u64) -> Event {
        let (name, attributes) = match self.rng.random_range(0..4) {
            0 => {
                ("cache.miss", vec![text("cache.key", format!("product:{}", self.rng.random_range(0..5000)))])
            }
            1 => (
                "pool.acquired",
                vec![double("pool.wait_ms", self.rng.random_range(0..4000) as f64 / 1000.0)],
            ),
            2 => {
                let variant = if self.chance(0.5) { "on" } else { "off" };
                let key = self.pick(&words::FLAGS);
                let values = [("feature_flag.key", key), ("feature_flag.result.variant", variant)];
                ("feature_flag.evaluation", values.map(|(key, value)| text(key, value)).to_vec())
            }
            _ => {
                let size = self.rng.random_range(20..4000_i64);
                ("rpc.message", vec![int("rpc.message.id", 1), int("rpc.message.uncompressed_size", size)])
            }
        };
        Event { time_unix_nano: time, name: name.to_owned(), attributes, ..Event::default() }
    }

    fn exception(&self, index: usize, fault: &Fault) -> Event {
        let service = self.world.pods[self.spans[index].pod].service;
        let trace = words::STACKS[service as usize];
        Event {
            time_unix_nano: self.now,
            name: "exception".to_owned(),
            attributes: vec![
                text("exception.type", fault.exception),
                text("exception.message", fault.message.as_str()),
                text("exception.stacktrace", format!("{}: {}\n{trace}", fault.exception, fault.message)),
            ],
            ..Event::default()
        }
    }

    /// What baggage and odd corners of the code add to some spans.
    fn extra(&mut self) -> Vec<KeyValue> {
        let mut extra = Vec::new();
        if self.chance(0.12) {
            extra.push(text("user.id", self.shopper.user.as_str()));
        }
        if self.chance(0.05) {
            // One key with two types, as happens when two teams use it.
            let shard = self.rng.random_range(0..32_i64);
            let value = if self.chance(0.02) {
                Value::StringValue(format!("s{shard}"))
            } else {
                Value::IntValue(shard)
            };
            extra.push(attribute("shop.shard", value));
        }
        if self.chance(0.003) {
            let (one, other) = (self.pick(&words::RARE), self.pick(&words::RARE));
            let value = self.rng.random_range(0..100_000_u32).to_string();
            extra.push(attribute(format!("shop.debug.{one}.{other}"), Value::StringValue(value)));
        }
        extra
    }
}

fn pick<T: Copy>(rng: &mut ChaCha8Rng, from: &[T]) -> T {
    from[rng.random_range(0..from.len())]
}
