//! Searches and counts of all spans of a tenant, while everything goes wrong: each answer is held against what was
//! acknowledged and what is in the log.

use std::collections::{BTreeMap, BTreeSet};

use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use serde_json::Value;
use tower::ServiceExt;
use vivace_model::{Offset, TenantId, TraceId};

use crate::reader::QueryPath;
use crate::spans::{START_SECONDS, TENANT_HEADER};

/// What a tenant can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    /// How many spans there are.
    Count,
    /// Spans one by one.
    Spans,
    /// Traces as wholes.
    Wholes,
}

/// How exact answers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    /// More and more spans are there while a question is answered, and what was declared lost may still be known to some.
    Storm,
    /// Nothing changes any more.
    Calm,
}

impl Question {
    pub(crate) const ALL: [Self; 3] = [Self::Count, Self::Spans, Self::Wholes];

    fn path(self) -> String {
        let (start, end) = (START_SECONDS - 1000, START_SECONDS + 1000);
        let query = match self {
            Self::Count => "{ } | count_over_time()",
            Self::Spans => "{ name = `operation 3` }",
            Self::Wholes => "{ name = `operation 3` } && { }",
        };
        let query: String = query.bytes().map(|byte| format!("%{byte:02x}")).collect();
        match self {
            Self::Count => format!("/api/metrics/query_range?q={query}&start={start}&end={end}&step=100s"),
            Self::Spans | Self::Wholes => {
                format!("/api/search?q={query}&start={start}&end={end}&limit=1000&spss=1")
            }
        }
    }
}

/// How many spans are told, by trace; without traces all are under one key.
type Told = BTreeMap<String, u64>;

impl QueryPath {
    async fn get(&self, tenant: &TenantId, path: &str) -> Result<Value, String> {
        let request = Request::get(path)
            .header(TENANT_HEADER, tenant.as_str())
            .body(Body::empty())
            .expect("it is a proper request");
        let response = self.router.clone().oneshot(request).await.expect("it never fails");
        let (head, body) = response.into_parts();
        let body = to_bytes(body, usize::MAX).await.map_err(|error| error.to_string())?;
        if head.status != StatusCode::OK {
            return Err(format!("{}: {}", head.status, String::from_utf8_lossy(&body)));
        }
        serde_json::from_slice(&body).map_err(|error| error.to_string())
    }

    /// Asks, and holds the answer against the truth. Gives the number of spans told.
    pub(crate) async fn search_and_check(
        &self,
        tenant: &TenantId,
        question: Question,
        mood: Mood,
    ) -> Result<u64, String> {
        let model = &self.world.model;
        let acked = model.acked_of(tenant);
        let told = told(question, &self.get(tenant, &question.path()).await?);
        self.world.look().await;
        let left = model.left_of(tenant, Offset(u64::MAX));
        let (least, most) = match mood {
            Mood::Storm => (left.least.intersection(&acked).copied().collect(), model.logged_of(tenant)),
            Mood::Calm => (left.least, left.most),
        };
        let (least, most) = (expected(question, least), expected(question, most));
        for key in least.keys().chain(told.keys()).collect::<BTreeSet<_>>() {
            let of = |all: &Told| all.get(key).copied().unwrap_or_default();
            let (least, found, most) = (of(&least), of(&told), of(&most));
            let wrong = match () {
                () if found < least => "spans are missing",
                () if found > most => "spans are counted twice",
                () => continue,
            };
            self.world.fail(format_args!(
                "{wrong}: {question:?} of {tenant} tells {found} spans of {key:?}, {least} have to be there, {most} may be"
            ));
        }
        Ok(told.values().sum())
    }
}

/// What an answer has to tell of these spans.
fn expected(question: Question, spans: impl IntoIterator<Item = (TraceId, u64)>) -> Told {
    let spans: Vec<_> = spans.into_iter().collect();
    let mut told = Told::new();
    if question == Question::Count {
        told.insert(String::new(), spans.len() as u64);
        return told;
    }
    let wanted: BTreeSet<TraceId> =
        spans.iter().filter(|(_, number)| number % 7 == 3).map(|it| it.0).collect();
    for (trace, number) in spans {
        if wanted.contains(&trace) && (question == Question::Wholes || number % 7 == 3) {
            *told.entry(trace.to_string()).or_default() += 1;
        }
    }
    told
}

fn told(question: Question, answer: &Value) -> Told {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    if question == Question::Count {
        let samples = list(&answer["series"]).into_iter().flat_map(|series| list(&series["samples"]));
        let sum: f64 = samples.filter_map(|sample| sample["value"].as_f64()).sum();
        return Told::from([(String::new(), sum as u64)]);
    }
    let traces = list(&answer["traces"]).into_iter().map(|trace| {
        let matched = list(&trace["spanSets"]).into_iter().filter_map(|set| set["matched"].as_u64());
        let id = trace["traceID"].as_str().unwrap_or_default();
        (format!("{id:0>32}"), matched.sum())
    });
    traces.collect()
}
