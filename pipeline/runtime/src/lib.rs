//! What every process needs around its stages.
//! Owns: the supervisor of tasks, shutdown, reading and describing settings, logs, the HTTP server with the pages that
//! probes and Prometheus ask for, fail points.
//! Does not own: any stage, any setting's meaning; it knows no span and imports none of our crates.

mod admin;
mod build_info;
mod compute;
mod config;
mod fail_point;
mod http;
mod panics;
mod process_metrics;
mod readiness;
mod signal;
mod supervisor;
mod telemetry;
mod watched;

pub use admin::{AdminState, SharedRegistry, admin_router, new_registry};
pub use build_info::BuildInfo;
pub use compute::compute;
pub use config::{ConfigError, Environment, Setting, render};
pub use fail_point::{FailPoint, FailPointError, FailPointHook, Injected, arm_fail_points, hook_fail_points};
pub use http::{CONNECTIONS_MAX, serve_http};
pub use panics::{Panicked, catch_panics, caught, caught_here};
pub use readiness::{Readiness, ReadinessCheck};
pub use signal::shutdown_signal;
pub use supervisor::{BoxError, Supervisor, SupervisorError};
pub use telemetry::{LogFormat, TelemetryConfig, TelemetryError, init_telemetry};
pub use watched::{Watched, WatchedError};
