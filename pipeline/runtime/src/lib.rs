//! What every process needs around its stages.
//! Owns: the supervisor of tasks, shutdown, reading and describing settings, logs, the HTTP server with the pages that
//! probes and Prometheus ask for, threads for the work of queries, fail points.
//! Does not own: any stage, any setting's meaning; it knows no span and imports none of our crates.

mod admin;
mod build_info;
mod compute;
mod config;
mod dependency;
mod descriptors;
mod elsewhere;
mod fail_point;
mod panics;
mod process_metrics;
mod readiness;
mod server;
mod signal;
mod supervisor;
mod telemetry;
mod watched;

pub use admin::{AdminState, SharedRegistry, admin_router, new_registry};
pub use build_info::BuildInfo;
pub use compute::{ComputeStopped, ComputeThreads, compute};
pub use config::{ConfigError, Environment, Setting, render};
pub use dependency::Dependency;
pub use descriptors::connections_per_listener;
pub use elsewhere::answered_on;
pub use fail_point::{FailPoint, FailPointError, FailPointHook, Injected, arm_fail_points, hook_fail_points};
pub use panics::{Panicked, caught, caught_here};
pub use readiness::{CheckReport, PartitionReport, Readiness, ReadinessCheck, ReadinessReport};
pub use server::{ConnectionMetrics, Server, ServerOptions, Timeouts};
pub use signal::shutdown_signal;
pub use supervisor::{BoxError, Supervisor, SupervisorError};
pub use telemetry::{LogFormat, LogWriter, TelemetryConfig, TelemetryError, init_telemetry};
pub use watched::{Watched, WatchedError};
