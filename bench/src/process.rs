//! A Vivace process of its own, and what it costs.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// Clock ticks per second of `/proc/<pid>/stat`; 100 on every Linux that matters.
const TICKS_PER_SECOND: f64 = 100.0;
/// How long a start may take.
const START_SECONDS_MAX: usize = 60;

/// CPU time that a process has used.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct CpuSeconds {
    /// In its own code.
    pub user: f64,
    /// In the kernel.
    pub system: f64,
}

impl CpuSeconds {
    /// Both together.
    #[must_use]
    pub const fn total(self) -> f64 {
        self.user + self.system
    }
}

/// A running server; ended with SIGKILL when dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    ports: [u16; 4],
}

impl Server {
    /// Starts `binary` embedded on `data`, with ports of its own and more settings, and waits until it is ready.
    ///
    /// # Errors
    /// When it can't be started or does not become ready.
    pub async fn start(binary: &Path, data: &Path, settings: &[(String, String)]) -> Result<Self> {
        let ports = free_ports()?;
        let listen = |index: usize| format!("127.0.0.1:{}", ports[index]);
        let child = Command::new(binary)
            .env("VIVACE_DATA_DIR", data)
            .env("VIVACE_DISTRIBUTOR_GRPC_LISTEN", listen(0))
            .env("VIVACE_DISTRIBUTOR_HTTP_LISTEN", listen(1))
            .env("VIVACE_HTTP_LISTEN", listen(2))
            .env("VIVACE_GRPC_LISTEN", listen(3))
            .envs(settings.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::from(std::fs::File::create(data.with_extension("log"))?))
            .spawn()
            .with_context(|| format!("failed to start {}", binary.display()))?;
        let mut server = Self { child, ports };
        let ready = format!("{}/ready", server.api());
        for _ in 0..START_SECONDS_MAX * 20 {
            tokio::time::sleep(Duration::from_millis(50)).await;
            if let Some(status) = server.child.try_wait()? {
                bail!("the server ended with {status}; see {}", data.with_extension("log").display());
            }
            if reqwest::get(&ready).await.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(server);
            }
        }
        bail!("the server did not become ready in {START_SECONDS_MAX} s")
    }

    /// `http://host:port` of OTLP gRPC.
    #[must_use]
    pub fn otlp(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports[0])
    }

    /// `http://host:port` of the query API.
    #[must_use]
    pub fn api(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports[2])
    }

    /// CPU time used so far.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn cpu(&self) -> Result<CpuSeconds> {
        CpuSeconds::of(&self.child.id().to_string())
    }

    /// Peak resident memory so far, in bytes.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn peak_bytes(&self) -> Result<u64> {
        peak_bytes(&self.child.id().to_string())
    }

    /// Ends it at once, as a crash would.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl CpuSeconds {
    /// What a process, by its number or `self`, has used so far.
    ///
    /// # Errors
    /// When it is gone.
    pub fn of(process: &str) -> Result<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
        // The name, in parentheses, may hold spaces; utime and stime are the 12th and 13th fields after it.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |index: usize| -> Result<f64> {
            Ok(fields.get(index).context("short /proc/stat")?.parse::<f64>()? / TICKS_PER_SECOND)
        };
        Ok(Self { user: ticks(11)?, system: ticks(12)? })
    }
}

/// Peak resident memory of a process, by its number or `self`, in bytes.
pub(crate) fn peak_bytes(process: &str) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).context("no VmHWM")?;
    let kilobytes: u64 = line.split_whitespace().nth(1).context("no value")?.parse()?;
    Ok(kilobytes * 1024)
}

impl Drop for Server {
    fn drop(&mut self) {
        // Best effort: it may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn free_ports() -> Result<[u16; 4]> {
    let listeners: Vec<_> =
        (0..4).map(|_| std::net::TcpListener::bind("127.0.0.1:0")).collect::<Result<_, _>>()?;
    let mut ports = [0; 4];
    for (port, listener) in ports.iter_mut().zip(&listeners) {
        *port = listener.local_addr()?.port();
    }
    Ok(ports)
}
