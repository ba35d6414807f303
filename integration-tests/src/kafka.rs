use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use tempfile::TempDir;

use crate::ports::free_port;
use crate::process::Process;
use crate::tcp_proxy::TcpProxy;
use crate::tools::tool;

/// The JVM and the broker take 3 to 5 seconds; a busy machine several times that.
const START_LIMIT: Duration = Duration::from_secs(90);

const STOP_LIMIT: Duration = Duration::from_secs(60);

/// What the broker prints once it takes requests and may be given topics.
const STARTED: &str = "Kafka Server started";

/// Any cluster id serves: 16 bytes in base64.
const CLUSTER_ID: &str = "dml2YWNlLXRlc3QtY2x1cg";

/// A real Apache Kafka broker: one KRaft node on loopback with its data in a temporary folder.
#[derive(Debug)]
pub struct KafkaBroker {
    process: Option<Process>,
    folder: TempDir,
    port: u16,
    starts: u32,
    lines: Vec<TcpProxy>,
}

impl KafkaBroker {
    /// Formats a fresh folder, starts the broker and waits until it takes requests.
    ///
    /// # Errors
    /// When the tools are missing or the broker does not start.
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_with_lines(0).await
    }

    /// The same, and so many lines to it that can be cut: each is a listener of its own behind a proxy, and the broker tells
    /// who comes by one to come by it again.
    ///
    /// # Errors
    /// When the tools are missing or the broker does not start.
    pub async fn start_with_lines(lines: usize) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let port = free_port()?;
        let mut listeners = vec![Listener { name: "PLAINTEXT".into(), port, advertised: port }];
        let mut proxies = Vec::new();
        for line in 0..lines {
            let port = free_port()?;
            let proxy = TcpProxy::start(&format!("127.0.0.1:{port}")).await?;
            listeners.push(Listener { name: format!("LINE{line}"), port, advertised: proxy.port() });
            proxies.push(proxy);
        }
        let settings = properties(folder.path(), &listeners, free_port()?);
        fs::write(folder.path().join("server.properties"), settings)?;
        let format = java()?
            .args(["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c"])
            .arg(folder.path().join("server.properties"))
            .output()
            .context("cannot run java")?;
        ensure!(format.status.success(), "format failed: {}", String::from_utf8_lossy(&format.stderr));
        let mut broker = Self { process: None, folder, port, starts: 0, lines: proxies };
        broker.run().await?;
        eprintln!("kafka: broker answers on {}", broker.brokers());
        Ok(broker)
    }

    /// `host:port`, as clients want it.
    #[must_use]
    pub fn brokers(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// One of the lines.
    #[must_use]
    pub fn line(&self, index: usize) -> &TcpProxy {
        &self.lines[index]
    }

    /// All lines.
    #[must_use]
    pub fn lines(&self) -> &[TcpProxy] {
        &self.lines
    }

    /// The broker's process.
    ///
    /// # Errors
    /// When it does not run.
    pub fn process(&mut self) -> anyhow::Result<&mut Process> {
        self.process.as_mut().context("the broker does not run")
    }

    /// Asks it to stop and waits until it has.
    ///
    /// # Errors
    /// When it does not.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        eprintln!("kafka: SIGTERM");
        let mut process = self.process.take().context("the broker does not run")?;
        process.sigterm()?;
        process.exited(STOP_LIMIT).await?;
        Ok(())
    }

    /// Kills the broker with SIGKILL, if it runs.
    ///
    /// # Errors
    /// When it cannot be killed.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        let Some(mut process) = self.process.take() else { return Ok(()) };
        eprintln!("kafka: SIGKILL");
        process.sigkill()
    }

    /// Starts it again on the same port and data, killing it before if it runs.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.kill()?;
        self.run().await?;
        eprintln!("kafka: the broker is back");
        Ok(())
    }

    async fn run(&mut self) -> anyhow::Result<()> {
        self.starts += 1;
        let mut command = java()?;
        command.arg("kafka.Kafka").arg(self.folder.path().join("server.properties"));
        let log = self.folder.path().join(format!("broker-{}.log", self.starts));
        let process = self.process.insert(Process::spawn("the kafka broker", &command, &log)?);
        process.printed(STARTED, START_LIMIT).await
    }
}

/// The JVM as the broker and its tools need it: small, and quick to start rather than quick in the long run.
fn java() -> anyhow::Result<Command> {
    let mut command = Command::new("java");
    command.args(["-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]);
    command.args([
        "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
        "-Dorg.slf4j.simpleLogger.showDateTime=true",
        "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
        "-Dorg.slf4j.simpleLogger.log.kafka.server.KafkaRaftServer=info",
        "-Dorg.slf4j.simpleLogger.log.org.apache.kafka.coordinator.group=info",
    ]);
    command.arg("-cp").arg(tool("kafka")?.join("*"));
    Ok(command)
}

/// A port of the broker and what clients of it are told.
struct Listener {
    name: String,
    port: u16,
    advertised: u16,
}

fn properties(folder: &Path, listeners: &[Listener], controller_port: u16) -> String {
    let data = folder.join("data");
    let each = |text: &dyn Fn(&Listener) -> String| listeners.iter().map(text).collect::<Vec<_>>().join(",");
    let own = each(&|listener| format!("{}://127.0.0.1:{}", listener.name, listener.port));
    let advertised = each(&|listener| format!("{}://127.0.0.1:{}", listener.name, listener.advertised));
    let protocols = each(&|listener| format!("{}:PLAINTEXT", listener.name));
    format!(
        "process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
controller.listener.names=CONTROLLER
listeners={own},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners={advertised}
listener.security.protocol.map={protocols},CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
log.dirs={}
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=2000
log.cleaner.dedupe.buffer.size=16777216
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
",
        data.display()
    )
}
