use std::time::Duration;

/// What a prober sends, and how patient it is.
#[derive(Clone, Debug)]
pub struct Config {
    /// OTLP over gRPC: `http://host:port`.
    pub otlp: String,
    /// The query API: `http://host:port`.
    pub api: String,
    /// Tenant, where multi-tenancy is on.
    pub tenant: Option<String>,
    /// Traces sent in a second; fewer while too many wait for answers.
    pub traces_per_second: f64,
    /// Spans of each trace.
    pub spans_per_trace: u32,
    /// Length of a round. Counts are asked for the spans of whole rounds.
    pub round: Duration,
    /// Rounds that are counted; older ones are forgotten.
    pub rounds_max: usize,
    /// Acknowledged traces that are looked at again now and then; older ones are forgotten.
    pub traces_kept_max: usize,
    /// Traces that may wait for answers at a time.
    pub waiting_max: usize,
    /// Longest wait for one answer.
    pub answer_timeout: Duration,
    /// A question without an answer is given up after so long.
    pub patience: Duration,
    /// An acknowledged span that answers lack for so long is missing; before that it is late.
    pub missing_after: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            otlp: "http://localhost:4317".into(),
            api: "http://localhost:3200".into(),
            tenant: None,
            traces_per_second: 2.0,
            spans_per_trace: 4,
            round: Duration::from_secs(60),
            rounds_max: 30,
            traces_kept_max: 10_000,
            waiting_max: 256,
            answer_timeout: Duration::from_secs(15),
            patience: Duration::from_secs(120),
            missing_after: Duration::from_secs(60),
        }
    }
}
