//! Queries of every kind, all the time and many at once, and what became of them.
//! Owns: which answers are wrong, errors by their status.
//! Does not own: what is asked (`kinds.rs`).
//! Guarantee: an answer that lacks an acknowledged span, or has one too many, is noted as wrong; no answer is asked again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};
use vivace_integration_tests::{Acknowledged, SHOP_SECONDS, whole};
use vivace_probe::{Api, ApiError};
use vivace_proto::tempopb::streaming_querier_client::StreamingQuerierClient;
use vivace_proto::tempopb::{QueryRangeRequest, SearchRequest};

use crate::kinds::{Question, about_fat, by_value, every_kind, heavy};

/// Longer than a query may take at the server, which has to answer in time itself.
const ANSWER_LIMIT: Duration = Duration::from_secs(150);
/// Askers at work, and the pause of each between two questions: together a few per second.
const ASKERS: usize = 2;
const PAUSE: Duration = Duration::from_millis(400);
/// Wrong answers that are told one by one.
const SHOWN_MAX: usize = 5;

/// What became of all questions so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) answers: u64,
    pub(crate) errors: BTreeMap<String, u64>,
    pub(crate) wrong: u64,
    /// The first wrong answers, and of each kind of error the first text.
    pub(crate) shown: Vec<String>,
}

/// Asks one server.
#[derive(Clone, Debug)]
pub(crate) struct Asker {
    api: Api,
    http: reqwest::Client,
    grpc: StreamingQuerierClient<Channel>,
    base: String,
    noted: Arc<Acknowledged>,
    tally: Arc<Mutex<Tally>>,
}

/// Askers at work beside the test. Dropping it stops them.
#[derive(Debug)]
pub(crate) struct Asking {
    tasks: JoinSet<()>,
    stop: CancellationToken,
}

impl Asker {
    /// Asks the API at `http://host:port` about what is noted.
    pub(crate) fn new(base: &str, noted: &Arc<Acknowledged>) -> anyhow::Result<Self> {
        Ok(Self {
            api: Api::new(base, None, ANSWER_LIMIT)?,
            http: reqwest::Client::builder().timeout(ANSWER_LIMIT).build()?,
            // The same port speaks both.
            grpc: StreamingQuerierClient::new(
                Endpoint::from_shared(base.to_owned())?.timeout(ANSWER_LIMIT).connect_lazy(),
            ),
            base: base.to_owned(),
            noted: Arc::clone(noted),
            tally: Arc::default(),
        })
    }

    pub(crate) fn tally(&self) -> Tally {
        self.tally.lock().clone()
    }

    /// Begins to ask questions of every kind in turn.
    pub(crate) fn start(&self) -> Asking {
        let (mut tasks, stop) = (JoinSet::new(), CancellationToken::new());
        for index in 0..ASKERS {
            let (asker, stop) = (self.clone(), stop.clone());
            tasks.spawn(async move {
                let kinds = every_kind();
                // Not all the same at the same moment.
                let turns = kinds.iter().cycle().skip(index * kinds.len() / ASKERS);
                for question in turns {
                    if stop.is_cancelled() {
                        return;
                    }
                    asker.ask(question).await;
                    sleep(PAUSE).await;
                }
            });
        }
        Asking { tasks, stop }
    }

    /// Counts all spans; gives the count if it is exact.
    pub(crate) async fn count(&self) -> Option<u64> {
        let least = self.noted.span_count() as u64;
        let answer = self.api.count("{ } | count_over_time()", SHOP_SECONDS).await;
        let count = self.note(answer)?;
        let most = self.noted.attempted() as u64;
        if (least..=most).contains(&count) {
            return Some(count);
        }
        self.wrong(&format!("{count} spans counted where {least} were acknowledged and {most} sent"));
        None
    }

    /// Asks what is about the spans of a fat service, one after another.
    pub(crate) async fn about_fat(&self) {
        for question in about_fat() {
            self.ask(&question).await;
        }
    }

    /// Asks for as many series as there are values, so many times at once.
    pub(crate) async fn group_by_all(self, times: usize) {
        self.at_once(vec![by_value(); times]).await;
    }

    /// Asks so many questions at once that take much.
    pub(crate) async fn heavy(self, count: usize) {
        let kinds = heavy();
        self.at_once(kinds.iter().cycle().take(count).cloned().collect()).await;
    }

    async fn at_once(self, questions: Vec<Question>) {
        let mut asked = JoinSet::new();
        for question in questions {
            let asker = self.clone();
            asked.spawn(async move { asker.ask(&question).await });
        }
        asked.join_all().await;
    }

    async fn ask(&self, question: &Question) {
        match question {
            Question::Count => {
                self.count().await;
            }
            Question::Trace => self.trace().await,
            Question::Streamed(query) => self.streamed(query).await,
            Question::Other { path, parameters } => {
                self.note(self.get(path, parameters).await);
            }
        }
    }

    async fn trace(&self) {
        let Some(id) = self.noted.sample(1, rand::random()).first().copied() else { return };
        let acknowledged = self.noted.acknowledged_of(id);
        let Some(found) = self.note(self.api.trace(id).await) else { return };
        if let Err(fault) = whole(&acknowledged, &self.noted.sent_of(id), &found) {
            let twice = fault.repeated.iter().any(|span| !self.noted.was_resent(&(id, *span)));
            if twice || !fault.missing.is_empty() || !fault.strange.is_empty() {
                self.wrong(&format!("trace {id}: {fault}"));
            }
        }
    }

    /// Both streams that Grafana asks for, to their ends.
    async fn streamed(&self, query: &str) {
        let result = if query.contains('|') { self.series(query).await } else { self.search(query).await };
        let mut tally = self.tally.lock();
        match result {
            Ok(()) => tally.answers += 1,
            Err(status) => tally.error(format!("{:?}", status.code()), status.message()),
        }
    }

    async fn search(&self, query: &str) -> Result<(), Status> {
        let (start, end) = (SHOP_SECONDS.start as u32, SHOP_SECONDS.end as u32);
        let request = SearchRequest { query: query.to_owned(), start, end, ..SearchRequest::default() };
        let mut stream = self.grpc.clone().search(request).await?.into_inner();
        while stream.message().await?.is_some() {}
        Ok(())
    }

    async fn series(&self, query: &str) -> Result<(), Status> {
        let [start, end] = [SHOP_SECONDS.start, SHOP_SECONDS.end].map(|second| second * 1_000_000_000);
        let request =
            QueryRangeRequest { query: query.to_owned(), start, end, ..QueryRangeRequest::default() };
        let mut stream = self.grpc.clone().metrics_query_range(request).await?.into_inner();
        while stream.message().await?.is_some() {}
        Ok(())
    }

    async fn get(&self, path: &str, parameters: &[(&str, String)]) -> Result<(), ApiError> {
        let reach = |source| ApiError::Reach { path: path.to_owned(), source };
        let url = reqwest::Url::parse_with_params(&format!("{}{path}", self.base), parameters);
        let url = url.map_err(|_| ApiError::Address(path.to_owned()))?;
        let answer = self.http.get(url).send().await.map_err(reach)?;
        let status = answer.status();
        let body = answer.bytes().await.map_err(reach)?;
        if status.is_success() {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&body).chars().take(300).collect();
        Err(ApiError::Refused { path: path.to_owned(), status, text })
    }

    fn note<T>(&self, result: Result<T, ApiError>) -> Option<T> {
        let mut tally = self.tally.lock();
        match result {
            Ok(answer) => {
                tally.answers += 1;
                Some(answer)
            }
            Err(error) => {
                let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
                tally.error(code(&error), &format!("{error}{}", cause.unwrap_or_default()));
                None
            }
        }
    }

    fn wrong(&self, what: &str) {
        let mut tally = self.tally.lock();
        tally.wrong += 1;
        if tally.wrong as usize <= SHOWN_MAX {
            eprintln!("limits: wrong: {what}");
            tally.shown.push(format!("wrong: {what}"));
        }
    }
}

impl Tally {
    fn error(&mut self, code: String, text: &str) {
        let times = self.errors.entry(code.clone()).or_default();
        *times += 1;
        if *times == 1 {
            eprintln!("limits: first {code}: {text}");
            self.shown.push(format!("{code}: {text}"));
        }
    }
}

impl Asking {
    /// Waits for the answers to what is being asked.
    pub(crate) async fn finish(mut self) -> anyhow::Result<()> {
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended.context("an asker panicked")?;
        }
        Ok(())
    }
}

/// What stands for an error in the table.
fn code(error: &ApiError) -> String {
    match error {
        ApiError::Refused { status, .. } => status.as_u16().to_string(),
        ApiError::Reach { source, .. } if source.is_timeout() => "no answer".to_owned(),
        ApiError::Reach { .. } => "broken off".to_owned(),
        ApiError::Partial { .. } => "partial".to_owned(),
        ApiError::Malformed { .. } => "malformed".to_owned(),
        ApiError::Address(_) | ApiError::Tenant => "not asked".to_owned(),
    }
}

#[test]
fn every_error_has_a_code() {
    let refused =
        ApiError::Refused { path: "/".into(), status: reqwest::StatusCode::CONFLICT, text: "".into() };
    assert_eq!(code(&refused), "409");
    assert_eq!(code(&ApiError::Partial { path: "/".into(), text: "more".into() }), "partial");
}
