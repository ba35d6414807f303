use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use tempfile::TempDir;

use crate::bounded::eventually;
use crate::client::TraceClient;
use crate::memory_group::MemoryGroup;
use crate::ports::free_port;
use crate::process::Process;
use crate::settings::{self, Ports, Stage, loopback};
use crate::tools::vivace_binary;

const READY_LIMIT: Duration = Duration::from_secs(60);
const STOP_LIMIT: Duration = Duration::from_secs(60);

/// What to start and with which settings.
#[derive(Clone, Debug)]
pub struct VivaceOptions {
    name: String,
    stage: Stage,
    settings: BTreeMap<String, String>,
    memory: Option<Arc<MemoryGroup>>,
}

impl VivaceOptions {
    /// All stages in one process, on the embedded log and a local folder.
    #[must_use]
    pub fn embedded() -> Self {
        Self::stage("vivace", Stage::All)
    }

    /// One stage under a name that tells it from others of its kind in logs.
    #[must_use]
    pub fn stage(name: &str, stage: Stage) -> Self {
        Self { name: name.to_owned(), stage, settings: BTreeMap::new(), memory: None }
    }

    /// Sets a variable.
    #[must_use]
    pub fn set(mut self, name: &str, value: impl Into<String>) -> Self {
        self.settings.insert(name.to_owned(), value.into());
        self
    }

    /// Sets variables.
    #[must_use]
    pub fn set_all(mut self, variables: &[(String, String)]) -> Self {
        self.settings.extend(variables.iter().cloned());
        self
    }

    /// Seals blocks at that age, and keeps recent data no longer than that: what was sent is soon read from blocks.
    #[must_use]
    pub fn blocks_every(self, age: Duration) -> Self {
        let age = format!("{}ms", age.as_millis());
        self.set(settings::BLOCK_AGE_MAX, age.clone()).set(settings::RECENT_RETENTION, age)
    }

    /// Runs in that group, each time it is started, and so do its operator's commands.
    #[must_use]
    pub fn within(mut self, memory: &Arc<MemoryGroup>) -> Self {
        self.memory = Some(Arc::clone(memory));
        self
    }

    /// Sets the number of partitions of the spans topic.
    #[must_use]
    pub fn partitions(self, count: u32) -> Self {
        self.set(settings::PARTITIONS, count.to_string())
    }
}

/// The binary as a process of its own, with ports and a data folder that outlive restarts.
#[derive(Debug)]
pub struct Vivace {
    options: VivaceOptions,
    process: Option<Process>,
    ports: Ports,
    folder: TempDir,
}

impl Vivace {
    /// Starts it without waiting until it is ready: some stages become so only together.
    ///
    /// # Errors
    /// When the binary is missing.
    pub fn launch(options: VivaceOptions) -> anyhow::Result<Self> {
        let mut vivace = Self::prepare(options)?;
        vivace.spawn()?;
        Ok(vivace)
    }

    /// Chooses its ports and folder, and does not start it yet.
    ///
    /// # Errors
    /// When there are no free ports.
    pub fn prepare(options: VivaceOptions) -> anyhow::Result<Self> {
        let ports = Ports {
            otlp_grpc: free_port()?,
            otlp_http: free_port()?,
            http: free_port()?,
            grpc: free_port()?,
        };
        Ok(Self { options, process: None, ports, folder: tempfile::tempdir()? })
    }

    /// Starts it and waits until it is ready.
    ///
    /// # Errors
    /// When the binary is missing or does not become ready.
    pub async fn start(options: VivaceOptions) -> anyhow::Result<Self> {
        let mut vivace = Self::launch(options)?;
        vivace.wait_ready().await?;
        Ok(vivace)
    }

    /// Starts it again on the same ports and data, after [`Self::sigkill`] or [`Self::sigterm`]; does not wait until it
    /// is ready.
    ///
    /// # Errors
    /// When the binary cannot be started.
    pub fn spawn(&mut self) -> anyhow::Result<()> {
        eprintln!("{}: starting, API on {}", self.options.name, self.api());
        let mut command = self.command()?;
        command.args(self.options.stage.argument());
        let log = self.folder.path().join("output.log");
        self.process = Some(Process::spawn(&self.options.name, &command, &log)?);
        Ok(())
    }

    /// Runs one of the operator's commands with its settings and gives what it printed. With the embedded log, those that
    /// need the log need it to be stopped.
    ///
    /// # Errors
    /// When the binary cannot be started.
    pub async fn operate(&self, arguments: &[&str]) -> anyhow::Result<Output> {
        let mut command = tokio::process::Command::from(self.command()?);
        let output = command.args(arguments).output().await?;
        let (out, complaints) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        eprintln!(
            "{}: vivace {}: {}\n{out}{complaints}",
            self.options.name,
            arguments.join(" "),
            output.status
        );
        Ok(output)
    }

    fn command(&self) -> anyhow::Result<Command> {
        let binary = vivace_binary()?;
        let mut command = match &self.options.memory {
            Some(group) => group.command(&binary),
            None => Command::new(&binary),
        };
        command.current_dir(self.folder.path());
        // The binary refuses variables it does not know, so none of the caller's may reach it.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("VIVACE_") {
                command.env_remove(name);
            }
        }
        command.env("RUST_BACKTRACE", "1");
        command.envs(settings::base(self.options.stage, &self.ports, self.folder.path()));
        command.envs(&self.options.settings);
        Ok(command)
    }

    /// Changes the settings of its next start.
    pub fn reconfigure(&mut self, change: impl FnOnce(VivaceOptions) -> VivaceOptions) {
        self.options = change(self.options.clone());
    }

    /// Waits until `/ready` answers OK.
    ///
    /// # Errors
    /// When it ends before, or does not become ready in time.
    pub async fn wait_ready(&mut self) -> anyhow::Result<()> {
        let http = reqwest::Client::new();
        let address = format!("{}/ready", self.api());
        let process = self.process.as_mut().context("it does not run")?;
        tokio::select! {
            ended = process.exited(READY_LIMIT * 2) => {
                anyhow::bail!("{} ended at its start: {ended:?}", self.options.name)
            }
            ready = eventually(READY_LIMIT, || {
                let answer = http.get(&address).timeout(Duration::from_secs(2)).send();
                async {
                    let answer = answer.await?;
                    ensure!(answer.status().is_success(), "/ready: {}", answer.text().await?);
                    Ok(())
                }
            }) => ready.with_context(|| format!("{} is not ready", self.options.name)),
        }
    }

    /// Kills it with SIGKILL.
    ///
    /// # Errors
    /// When it had ended by itself before.
    pub fn sigkill(&mut self) -> anyhow::Result<()> {
        eprintln!("{}: SIGKILL", self.options.name);
        let mut process = self.process.take().context("it does not run")?;
        process.running()?;
        process.sigkill()
    }

    /// Asks it to stop and waits until it has.
    ///
    /// # Errors
    /// When it does not stop in time, or not well.
    pub async fn sigterm(&mut self) -> anyhow::Result<()> {
        eprintln!("{}: SIGTERM", self.options.name);
        let process = self.process.as_mut().context("it does not run")?;
        process.running()?;
        process.sigterm()?;
        let status: ExitStatus = process.exited(STOP_LIMIT).await?;
        ensure!(status.success(), "{} stopped with {status}", self.options.name);
        self.process = None;
        Ok(())
    }

    /// Stops it well if it runs, and starts it again with these fail points; does not wait until it is ready, for it may fail
    /// before.
    ///
    /// # Errors
    /// When it does not stop or start.
    pub async fn restart_failing(&mut self, points: &str) -> anyhow::Result<()> {
        if self.process.is_some() {
            self.sigterm().await?;
        }
        self.reconfigure(|options| options.set(settings::FAIL_POINTS, points));
        self.spawn()
    }

    /// Waits until it ends by a signal, as by a fail point.
    ///
    /// # Errors
    /// When it does not, or ends otherwise.
    pub async fn killed(&mut self, limit: Duration) -> anyhow::Result<()> {
        let status = self.process()?.exited(limit).await?;
        ensure!(status.code().is_none(), "{} ended by itself: {status}", self.options.name);
        self.process = None;
        Ok(())
    }

    /// The process, for its signals and output.
    ///
    /// # Errors
    /// When it does not run.
    pub fn process(&mut self) -> anyhow::Result<&mut Process> {
        self.process.as_mut().with_context(|| format!("{} does not run", self.options.name))
    }

    /// Checks that it has not ended by itself.
    ///
    /// # Errors
    /// When it has.
    pub fn running(&mut self) -> anyhow::Result<()> {
        self.process.as_mut().context("it does not run")?.running()
    }

    /// OTLP over gRPC: `http://host:port`.
    #[must_use]
    pub fn otlp_grpc(&self) -> String {
        format!("http://{}", loopback(self.ports.otlp_grpc))
    }

    /// OTLP over HTTP: `http://host:port`.
    #[must_use]
    pub fn otlp_http(&self) -> String {
        format!("http://{}", loopback(self.ports.otlp_http))
    }

    /// The API: `http://host:port`.
    #[must_use]
    pub fn api(&self) -> String {
        format!("http://{}", loopback(self.ports.http))
    }

    /// Where other stages reach this one: `host:port`.
    #[must_use]
    pub fn internal(&self) -> String {
        loopback(self.ports.grpc)
    }

    /// A client of its API.
    #[must_use]
    pub fn client(&self) -> TraceClient {
        TraceClient::new(&self.api())
    }

    /// The folder where it keeps blocks and ledger, if no other storage was set.
    #[must_use]
    pub fn storage_folder(&self) -> PathBuf {
        self.folder.path().join(settings::STORAGE_FOLDER)
    }

    /// The same as a store.
    ///
    /// # Errors
    /// When the folder is not there.
    pub fn store(&self) -> anyhow::Result<Arc<dyn ObjectStore>> {
        let folder = self.storage_folder();
        ensure!(folder.is_dir(), "no {}; there is {:?}", folder.display(), entries(self.folder.path()));
        Ok(Arc::new(LocalFileSystem::new_with_prefix(folder)?))
    }
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let below =
        |folder: &Path| fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    below(folder).chain(below(&folder.join("data"))).collect()
}
