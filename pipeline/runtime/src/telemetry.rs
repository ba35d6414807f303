//! Logs to stderr through `tracing`, as text or JSON lines.
//! Owns: levels and formats. Does not own: writing the lines (`writer`).

mod writer;

use std::io::IsTerminal;
use std::panic;

use serde::{Deserialize, Serialize};
use tracing::error;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

pub use self::writer::LogWriter;

/// What is set before the level of the settings, which may set it otherwise: the store's own lines about each retry, dozens in
/// a second while it is down. Who uses the store says once that it does not answer.
const QUIET: &str = "object_store=error";
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people; coloured on a terminal.
    #[default]
    Text,
    /// One JSON object a line, for machines.
    Json,
}

/// Settings of the logs.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TelemetryConfig {
    /// `error`, `warn`, `info`, `debug` or `trace`, also per module. Default `info`. `VIVACE_LOG_LEVEL`
    pub log_level: String,
    /// `text` or `json`. Default `text`. `VIVACE_LOG_FORMAT`
    pub log_format: LogFormat,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self { log_level: "info".to_owned(), log_format: LogFormat::Text }
    }
}

impl TelemetryConfig {
    /// What the variables of these settings start with.
    pub const PREFIX: &'static str = "VIVACE_";
    /// Of each field its name, unit and meaning.
    pub const SETTINGS: &'static [[&'static str; 3]] = &[
        [
            "log_level",
            "",
            "What to log: error, warn, info, debug or trace, also per module: info,vivace_ingester=debug.",
        ],
        ["log_format", "", "How log lines look: text or json."],
    ];

    /// Whether the log can be set up so.
    ///
    /// # Errors
    /// One line that names the variable.
    pub fn validate(&self) -> Result<(), String> {
        let wrong = |problem: String| format!("VIVACE_LOG_LEVEL={:?}: {problem}", self.log_level);
        for directive in self.log_level.split(',') {
            // The filter takes a word that is no level for the name of a module, of which it then shows everything, and
            // nothing of all others.
            let level = directive.rsplit_once('=').map_or(directive, |(_, level)| level).trim();
            if !LEVELS.iter().any(|known| known.eq_ignore_ascii_case(level)) {
                return Err(wrong(format!("{level:?} is no level, expected one of {}", LEVELS.join(", "))));
            }
        }
        EnvFilter::builder().parse(&self.log_level).map(drop).map_err(|error| wrong(error.to_string()))
    }

    fn filter(&self) -> EnvFilter {
        EnvFilter::new(format!("{QUIET},{}", self.log_level))
    }
}

/// Why the logs could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The level cannot be read.
    #[error("{0}")]
    Level(String),
    /// Something in this process logs already.
    #[error("failed to set up logging")]
    Init(#[from] tracing_subscriber::util::TryInitError),
}

/// Logs to the writer, which is stderr's, from now on, panics included. Once per process.
///
/// # Errors
/// A level that `validate` refuses, or a second call.
pub fn init_telemetry(config: &TelemetryConfig, writer: &LogWriter) -> Result<(), TelemetryError> {
    config.validate().map_err(TelemetryError::Level)?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(config.filter())
        .with_writer(writer.clone())
        .with_ansi(config.log_format == LogFormat::Text && std::io::stderr().is_terminal());
    match config.log_format {
        LogFormat::Text => lines.finish().try_init()?,
        LogFormat::Json => lines.json().flatten_event(true).finish().try_init()?,
    }
    panic::set_hook(Box::new(|panic| {
        let location = panic.location().map(ToString::to_string).unwrap_or_default();
        let message = panic.payload_as_str().unwrap_or("no message");
        error!(%location, message, "panic");
    }));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_checked() {
        for right in ["info", "debug", "info,vivace_ingester=debug", "warn,h2=error"] {
            let config = TelemetryConfig { log_level: right.to_owned(), ..TelemetryConfig::default() };
            assert_eq!(config.validate(), Ok(()), "{right}");
        }
        for (wrong, level) in
            [("info,x=loud", "loud"), ("verbose", "verbose"), ("info,", ""), ("inof,a=warn", "inof")]
        {
            let config = TelemetryConfig { log_level: wrong.to_owned(), ..TelemetryConfig::default() };
            let error = config.validate().unwrap_err();
            let expected =
                format!("VIVACE_LOG_LEVEL={wrong:?}: {level:?} is no level, expected one of off, error");
            assert!(error.starts_with(&expected), "{error}");
        }
    }

    #[test]
    fn retries_of_the_store_are_said_only_if_they_are_asked_for() {
        let of = |level: &str| {
            let config = TelemetryConfig { log_level: level.to_owned(), ..TelemetryConfig::default() };
            config.filter().to_string()
        };
        let lists = |filter: String, directive: &str| filter.split(',').any(|part| part == directive);
        assert!(lists(of("info"), "object_store=error") && lists(of("info"), "info"));
        let asked = of("info,object_store=debug");
        assert!(lists(asked.clone(), "object_store=debug") && !lists(asked, "object_store=error"));
    }

    #[test]
    fn settings_load_under_their_names() {
        let given = [("VIVACE_LOG_LEVEL", "debug"), ("VIVACE_LOG_FORMAT", "json")];
        let mut environment = crate::Environment::new(given.map(|(name, value)| (name.into(), value.into())));
        let config = environment
            .load(TelemetryConfig::PREFIX, TelemetryConfig::SETTINGS, TelemetryConfig::validate)
            .unwrap();
        assert_eq!((config.log_level.as_str(), config.log_format), ("debug", LogFormat::Json));
        environment.finish().unwrap();
    }
}
