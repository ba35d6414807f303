use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::time::{Instant, sleep};

/// Lines of a log that a failed test shows.
const TAIL_LINES: usize = 60;

/// Time between two looks at a process.
const POLL: Duration = Duration::from_millis(20);

/// A process that was started here, with its output in a file. Dropping it kills it; in a failing test it also shows
/// the end of its output.
#[derive(Debug)]
pub struct Process {
    name: String,
    log: PathBuf,
    /// Where in the log its own output begins; before it is that of an earlier start.
    log_start: u64,
    child: Child,
}

impl Process {
    /// Starts a program and appends all that it prints to `log`. The system kills it when the calling thread ends, so
    /// that an interrupted test leaves nothing behind: call this from the test's own thread.
    ///
    /// # Errors
    /// When the program or its log cannot be opened.
    pub fn spawn(name: &str, command: &Command, log: &Path) -> anyhow::Result<Self> {
        let output = OpenOptions::new().create(true).append(true).open(log).context("cannot open a log")?;
        let log_start = output.metadata()?.len();
        let mut guarded = Command::new("setpriv");
        guarded.args(["--pdeathsig", "KILL", "--"]).arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => guarded.env(name, value),
                None => guarded.env_remove(name),
            };
        }
        if let Some(folder) = command.get_current_dir() {
            guarded.current_dir(folder);
        }
        guarded.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let child = guarded.spawn().with_context(|| format!("cannot start {name}"))?;
        Ok(Self { name: name.to_owned(), log: log.to_owned(), log_start, child })
    }

    /// Asks it to stop.
    ///
    /// # Errors
    /// When the signal cannot be sent.
    pub fn sigterm(&self) -> anyhow::Result<()> {
        self.signal("TERM")
    }

    /// Lets it stand still.
    ///
    /// # Errors
    /// When the signal cannot be sent.
    pub fn sigstop(&self) -> anyhow::Result<()> {
        self.signal("STOP")
    }

    /// Lets it go on after [`Self::sigstop`].
    ///
    /// # Errors
    /// When the signal cannot be sent.
    pub fn sigcont(&self) -> anyhow::Result<()> {
        self.signal("CONT")
    }

    fn signal(&self, signal: &str) -> anyhow::Result<()> {
        let pid = self.child.id().to_string();
        let status = Command::new("sh").args(["-c", "kill -\"$0\" \"$1\"", signal, &pid]).status()?;
        anyhow::ensure!(status.success(), "cannot send {signal} to {} with pid {pid}", self.name);
        Ok(())
    }

    /// Waits until it stands still.
    ///
    /// # Errors
    /// When it still runs after `limit`.
    pub async fn stopped(&self, limit: Duration) -> anyhow::Result<()> {
        let deadline = Instant::now() + limit;
        let path = format!("/proc/{}/stat", self.child.id());
        // The state follows the name, which ends with the last bracket.
        while !fs::read_to_string(&path)?.rsplit_once(')').is_some_and(|(_, rest)| rest.starts_with(" T")) {
            if Instant::now() >= deadline {
                bail!("{} does not stand still after {limit:?}", self.name);
            }
            sleep(POLL).await;
        }
        Ok(())
    }

    /// Memory that it has in use now, and the most that it ever had, in bytes.
    ///
    /// # Errors
    /// When it has ended.
    pub fn memory_bytes(&self) -> anyhow::Result<(u64, u64)> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let field = |key: &str| {
            let rest = status.lines().find_map(|line| line.strip_prefix(key))?;
            rest.split_whitespace().next()?.parse::<u64>().ok()
        };
        let [now, most] = ["VmRSS:", "VmHWM:"].map(|key| field(key).map(|kib| kib << 10));
        Ok((now.context("no VmRSS")?, most.context("no VmHWM")?))
    }

    /// Kills it at once and waits until it is gone.
    ///
    /// # Errors
    /// When it cannot be killed.
    pub fn sigkill(&mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it still runs after `limit`.
    pub async fn exited(&mut self, limit: Duration) -> anyhow::Result<ExitStatus> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() >= deadline {
                bail!("{} still runs after {limit:?}", self.name);
            }
            sleep(POLL).await;
        }
    }

    /// Checks that it has not ended by itself.
    ///
    /// # Errors
    /// When it has.
    pub fn running(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("{} ended by itself: {status}", self.name),
        }
    }

    /// Waits until a text appears in its output.
    ///
    /// # Errors
    /// When it ends before, or `limit` passes.
    pub async fn printed(&mut self, text: &str, limit: Duration) -> anyhow::Result<()> {
        let deadline = Instant::now() + limit;
        while !self.output().contains(text) {
            self.running()?;
            if Instant::now() >= deadline {
                bail!("{} did not print {text:?} within {limit:?}", self.name);
            }
            sleep(POLL).await;
        }
        Ok(())
    }

    /// All that it has printed.
    #[must_use]
    pub fn output(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let start = usize::try_from(self.log_start).unwrap_or(usize::MAX).min(text.len());
        String::from_utf8_lossy(&text[start..]).into_owned()
    }

    fn tail(&self) -> String {
        let text = self.output();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "--- the last lines of {} ---\n{}\n--- end of {} ---",
                self.name,
                self.tail(),
                self.name
            );
        }
        // Either may fail because it has ended already, which is all that is wanted.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
