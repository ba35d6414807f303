//! `vivace`: the only binary. Without a command it runs every stage in one process, on an embedded log and a local
//! folder; with the name of a stage it runs that one, on Kafka and a bucket.
//! Owns: the command line, wiring stages to log, store and each other, the order of start and stop.
//! Does not own: what any stage does.

mod client;
mod compactor;
mod demo;
mod memory;
mod monitored_log;
mod operator;
mod overrides;
mod probe;
mod process;
mod servers;
mod settings;
mod start;
mod storage;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use vivace_runtime::{Environment, LogWriter, init_telemetry, render};

use crate::client::Question;
use crate::operator::Task;
use crate::process::{Process, Stages};
use crate::settings::Settings;

// Keeps freed memory for ten seconds and uses it again. Columns come and go by the hundred megabytes, and fresh pages are
// the dearest thing on a virtual machine: measured against mimalloc, this takes a quarter off the CPU time of ingest.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// How long work on blocking threads may take to end after everything else has.
const BLOCKING_WAIT: Duration = Duration::from_secs(2);

/// Distributed tracing on a message log. Without a command: all stages in one process, OTLP on 4317 (gRPC) and 4318 (HTTP),
/// queries on 3200, data below ./vivace-data. All settings are VIVACE_* environment variables: see `vivace config`.
#[derive(Debug, Parser)]
#[command(name = "vivace", version)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Clone, Debug, Subcommand)]
enum Command {
    /// Runs all stages in one process (the default).
    All,
    /// Runs all stages, and sends the traces of a small shop to them.
    Demo,
    /// Runs the distributor: takes OTLP, appends it to Kafka.
    Distributor,
    /// Runs the ingester: turns records into blocks, serves recent data.
    Ingester,
    /// Runs the querier: finds spans in blocks and recent data.
    Querier,
    /// Runs the query-frontend: serves the query API.
    QueryFrontend,
    /// Runs the compactor: merges blocks, deletes what need not be kept.
    Compactor {
        /// Only print what would be merged, expired and deleted now; nothing is changed. Needs no Kafka.
        #[arg(long)]
        dry_run: bool,
    },
    /// Prints every setting with its value, default, unit and meaning, as a file of variables.
    Config,
    /// Writes traces at a steady small rate and reads them back by id, by search and by exact counts, all the time.
    Probe(probe::Arguments),
    #[command(flatten)]
    Operate(Task),
    #[command(flatten)]
    Ask(Question),
}

impl Command {
    /// The exit code where it could not be done. An audit that could not look has found nothing.
    fn failure(&self) -> ExitCode {
        match self {
            Self::Operate(Task::Audit(_)) => ExitCode::from(operator::CODE_UNKNOWN),
            _ => ExitCode::FAILURE,
        }
    }

    /// The stages that it runs. The client's and the operator's commands run none.
    const fn stages(&self) -> Stages {
        match self {
            Self::All | Self::Demo | Self::Config => Stages::ALL,
            Self::Distributor => Stages { distributor: true, ..Stages::NONE },
            Self::Ingester => Stages { ingester: true, ..Stages::NONE },
            Self::Querier => Stages { querier: true, ..Stages::NONE },
            Self::QueryFrontend => Stages { query_frontend: true, ..Stages::NONE },
            Self::Compactor { .. } => Stages { compactor: true, ..Stages::NONE },
            Self::Probe(_) | Self::Operate(_) | Self::Ask(_) => Stages::NONE,
        }
    }
}

fn main() -> ExitCode {
    let command = Arguments::parse().command.unwrap_or(Command::All);
    let failure = command.failure();
    let log = match LogWriter::stderr() {
        Ok(log) => log,
        Err(error) => {
            complain(&format!("vivace: no thread for the log: {error}"));
            return failure;
        }
    };
    match start(command, &log) {
        Ok(code) => {
            log.flush();
            code
        }
        Err(error) => {
            // One line, causes included: what went wrong must be readable without the log's format.
            log.last_word(&format!("vivace: {error:#}"));
            failure
        }
    }
}

#[allow(clippy::print_stderr, reason = "what commands say to whoever called them")]
pub(crate) fn complain(line: &str) {
    eprintln!("{line}");
}

#[allow(clippy::print_stdout, reason = "`vivace config` and dry runs are asked to print")]
fn start(command: Command, log: &LogWriter) -> Result<ExitCode> {
    if let Command::Ask(question) = command {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let ended = runtime.context("failed to start the async runtime")?.block_on(client::run(question));
        return ended.map(|()| ExitCode::SUCCESS);
    }
    let (settings, list) = Settings::load(Environment::of_process())?;
    if let Command::Config = command {
        print!("{}", render(&list));
        return Ok(ExitCode::SUCCESS);
    }
    init_telemetry(&settings.telemetry, log)?;
    let runtime = tokio::runtime::Runtime::new().context("failed to start the async runtime")?;
    if let Command::Operate(task) = command {
        let ended = runtime.block_on(operator::run(task, &settings));
        runtime.shutdown_timeout(BLOCKING_WAIT);
        return ended;
    }
    if let Command::Probe(arguments) = command {
        return runtime.block_on(probe::run(arguments, list)).map(|()| ExitCode::SUCCESS);
    }
    if let Command::Compactor { dry_run: true } = command {
        for line in runtime.block_on(compactor::dry_run(&settings))? {
            println!("{line}");
        }
        return Ok(ExitCode::SUCCESS);
    }
    let demo = matches!(command, Command::Demo);
    let queries = tokio::runtime::Builder::new_multi_thread().thread_name("query").enable_all().build();
    let queries = queries.context("failed to start the async runtime of queries")?;
    let process = Process {
        settings,
        list,
        stages: command.stages(),
        demo,
        queries: queries.handle().clone(),
        log_writer: log.clone(),
    };
    let ended = runtime.block_on(process.run());
    // Nobody waits for answers any more. Blocking work that hangs (a dead disk) must not keep the process.
    queries.shutdown_background();
    runtime.shutdown_timeout(BLOCKING_WAIT);
    ended.map(|()| ExitCode::SUCCESS)
}
