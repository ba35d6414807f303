//! `vivace probe`: the prober as a process, with metrics on a port of its own.
//! Owns: its arguments, ports, signals and exit code. Does not own: what is sent and what is right (vivace-probe).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use tokio_util::sync::CancellationToken;
use tracing::info;
use vivace_model::SystemClock;
use vivace_probe::{Config, Metrics, Probe, Tally};
use vivace_runtime::{
    AdminState, BuildInfo, ConnectionMetrics, Readiness, Server, ServerOptions, Setting, admin_router,
    new_registry, shutdown_signal,
};

use crate::servers;

/// Traces in a second at most: a prober is no load generator.
const RATE_MAX: f64 = 1000.0;

/// Whom to probe, and how.
#[derive(Args, Clone, Debug)]
pub(crate) struct Arguments {
    /// URL of the query API.
    #[arg(long, default_value = "http://localhost:3200")]
    endpoint: String,
    /// URL of OTLP over gRPC.
    #[arg(long, default_value = "http://localhost:4317")]
    otlp: String,
    /// Tenant to write and ask for, where multi-tenancy is on.
    #[arg(long)]
    tenant: Option<String>,
    /// Traces in a second.
    #[arg(long, default_value_t = 2.0)]
    rate: f64,
    /// Stop after so long, such as `5m`, and say how it went by the exit code: 0 when nothing was lost, doubled or
    /// miscounted. Without it: until SIGTERM.
    #[arg(long = "for", value_parser = humantime::parse_duration)]
    duration: Option<Duration>,
    /// Where its metrics are served over HTTP.
    #[arg(long, default_value = "0.0.0.0:3201")]
    listen: SocketAddr,
}

/// Probes until the time is over or a signal comes.
///
/// # Errors
/// When it cannot start, or what it found is not as it must be.
pub(crate) async fn run(arguments: Arguments, list: Vec<Setting>) -> Result<()> {
    if !(arguments.rate > 0.0 && arguments.rate <= RATE_MAX) {
        bail!("--rate must be above 0 and at most {RATE_MAX}");
    }
    let build = BuildInfo::new(env!("CARGO_PKG_VERSION"));
    let registry = new_registry(&build);
    let config = Config {
        otlp: arguments.otlp,
        api: arguments.endpoint,
        tenant: arguments.tenant,
        traces_per_second: arguments.rate,
        ..Config::default()
    };
    let metrics = Metrics::new(&mut registry.lock());
    let probe = Probe::new(config, Arc::new(SystemClock), metrics)?;
    let listener = servers::listen(arguments.listen, "--listen").await?;
    info!(metrics = %listener.local_addr()?, "probing");
    let (stop, served) = (CancellationToken::new(), CancellationToken::new());
    let readiness = Readiness::new(stop.clone());
    readiness.check("probe").ready();
    let connections = ConnectionMetrics::new(&mut registry.lock());
    let routes = admin_router(AdminState { registry, readiness, build, settings: list.into() });
    let server = Server::new("probe", listener, routes, ServerOptions::default(), connections);
    let time_is_over = async {
        match arguments.duration {
            Some(duration) => tokio::time::sleep(duration).await,
            None => std::future::pending().await,
        }
    };
    let probing = async {
        let probed = probe.run(stop.clone());
        let ended = async {
            tokio::select! {
                () = time_is_over => {}
                () = shutdown_signal() => {}
            }
            stop.cancel();
        };
        let (tally, ()) = tokio::join!(probed, ended);
        served.cancel();
        tally
    };
    let (tally, ()) = tokio::join!(probing, server.run(served.clone()));
    verdict(&tally)
}

fn verdict(tally: &Tally) -> Result<()> {
    let Tally { sent, acknowledged, missing, twice, strange, miscounts, unanswered, .. } = tally;
    if acknowledged == &0 {
        bail!("none of {sent} traces was acknowledged");
    }
    if !tally.sound() {
        bail!(
            "of {acknowledged} traces: {missing} missing, {twice} answers with spans twice, {strange} with strange ones, \
             {miscounts} wrong counts, {unanswered} questions without an answer"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loss_and_doubles_are_no_success() {
        let good = Tally { sent: 2, acknowledged: 1, late: 1, errors: 5, ..Tally::default() };
        assert!(verdict(&good).is_ok());
        assert!(verdict(&Tally { acknowledged: 0, ..good }).is_err());
        assert!(verdict(&Tally { missing: 1, ..good }).unwrap_err().to_string().contains("1 missing"));
        assert!(verdict(&Tally { miscounts: 1, ..good }).is_err());
        assert!(verdict(&Tally { unanswered: 1, ..good }).is_err());
    }
}
