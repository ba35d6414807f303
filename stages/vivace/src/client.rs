//! The command-line client: asks a running Vivace over its HTTP API and shows the answer in the terminal.
//! Owns: arguments of `query`, `trace` and `tags`, and how answers look.
//! Does not own: what a query means; the server says so.

mod api;
mod query;
mod tags;
mod trace;

use std::io::{self, IsTerminal, Write};

use anyhow::Result;
use clap::Args;
use serde_json::Value;

use self::api::Api;

/// Which server is asked, and how the answer is shown.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// URL of the query API.
    #[arg(long, default_value = "http://localhost:3200")]
    endpoint: String,
    /// Tenant to ask for, where multi-tenancy is on; several as `a|b`.
    #[arg(long)]
    tenant: Option<String>,
    /// Print the server's JSON as it is.
    #[arg(long)]
    json: bool,
}

/// The time that a question is about.
#[derive(Args, Clone, Debug)]
pub(crate) struct Period {
    /// Only the last so long, such as `15m` or `2h`.
    #[arg(long, value_parser = humantime::parse_duration, conflicts_with_all = ["start", "end"])]
    since: Option<std::time::Duration>,
    /// From this time on: seconds since the epoch, or RFC 3339.
    #[arg(long, requires = "end")]
    start: Option<String>,
    /// Up to this time.
    #[arg(long, requires = "start")]
    end: Option<String>,
}

/// What is asked.
#[derive(Clone, Debug, clap::Subcommand)]
pub(crate) enum Question {
    /// Runs a TraceQL query: lists the traces found, or draws the series of a metrics query.
    Query {
        /// The query, such as `{ status = error } | select(resource.service.name)` or `{ } | rate() by (name)`.
        traceql: String,
        #[command(flatten)]
        period: Period,
        /// Traces at most.
        #[arg(long, default_value_t = 20)]
        limit: u32,
        /// Spans shown of each trace at most.
        #[arg(long, default_value_t = 3)]
        spans: u32,
        /// Length of an interval of a metrics query, such as `30s`; the server's choice when absent.
        #[arg(long)]
        step: Option<String>,
        #[command(flatten)]
        options: Options,
    },
    /// Shows a trace as a tree with times and errors.
    Trace {
        /// Its id in hex.
        id: String,
        #[command(flatten)]
        options: Options,
    },
    /// Lists the names of attributes or, with a name, its values.
    Tags {
        /// An attribute, such as `resource.service.name` or `status`.
        name: Option<String>,
        /// Only of spans that match this filter.
        #[arg(long, default_value = "")]
        query: String,
        #[command(flatten)]
        period: Period,
        #[command(flatten)]
        options: Options,
    },
}

/// Asks, and prints the answer.
pub(crate) async fn run(question: Question) -> Result<()> {
    let shown = match question {
        Question::Query { traceql, period, limit, spans, step, options } => {
            let asked = query::Asked { traceql, period, limit, spans, step };
            query::run(&Api::new(&options)?, &asked).await?
        }
        Question::Trace { id, options } => {
            trace::run(&Api::new(&options)?, &id, io::stdout().is_terminal()).await?
        }
        Question::Tags { name, query, period, options } => {
            tags::run(&Api::new(&options)?, name.as_deref(), &query, &period).await?
        }
    };
    match io::stdout().write_all(shown.as_bytes()) {
        // Whoever reads has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}

/// A duration as people read it: three digits and a unit.
fn duration(nanos: f64) -> String {
    let (value, unit) = match nanos {
        n if n < 1e3 => return format!("{n:.0} ns"),
        n if n < 1e6 => (n / 1e3, "µs"),
        n if n < 1e9 => (n / 1e6, "ms"),
        n if n < 120e9 => (n / 1e9, "s"),
        n => return humantime::format_duration(std::time::Duration::from_secs((n / 1e9) as u64)).to_string(),
    };
    let decimals = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
    format!("{value:.decimals$} {unit}")
}

/// A list in an answer; empty where it is left out.
fn list<'a>(answer: &'a Value, name: &str) -> &'a [Value] {
    answer.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_three_digits() {
        let all = [0.0, 999.0, 1500.0, 12_340_000.0, 250e6, 3.21e9, 7_200e9].map(duration);
        assert_eq!(all, ["0 ns", "999 ns", "1.50 µs", "12.3 ms", "250 ms", "3.21 s", "2h"]);
    }
}
