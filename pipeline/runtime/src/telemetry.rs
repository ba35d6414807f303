//! Logs to stderr through `tracing`, as text or JSON lines.

use std::io::IsTerminal;
use std::panic;

use serde::{Deserialize, Serialize};
use tracing::error;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

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
        let filter = EnvFilter::builder().parse(&self.log_level);
        filter.map(drop).map_err(|error| format!("VIVACE_LOG_LEVEL={:?}: {error}", self.log_level))
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

/// Logs to stderr from now on, panics included. Once per process.
///
/// # Errors
/// A level that `validate` refuses, or a second call.
pub fn init_telemetry(config: &TelemetryConfig) -> Result<(), TelemetryError> {
    config.validate().map_err(TelemetryError::Level)?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(&config.log_level))
        .with_writer(std::io::stderr)
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
        let config = TelemetryConfig { log_level: "info,x=loud".to_owned(), ..TelemetryConfig::default() };
        let error = config.validate().unwrap_err();
        assert!(error.starts_with(r#"VIVACE_LOG_LEVEL="info,x=loud": "#), "{error}");
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
