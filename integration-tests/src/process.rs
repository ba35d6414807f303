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
        Ok(Self { name: name.to_owned(), log: log.to_owned(), child })
    }

    /// Asks it to stop.
    ///
    /// # Errors
    /// When the signal cannot be sent.
    pub fn sigterm(&self) -> anyhow::Result<()> {
        let pid = self.child.id().to_string();
        let status = Command::new("sh").args(["-c", "kill -TERM \"$0\"", &pid]).status()?;
        anyhow::ensure!(status.success(), "cannot signal {} with pid {pid}", self.name);
        Ok(())
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
        while !fs::read_to_string(&self.log).unwrap_or_default().contains(text) {
            self.running()?;
            if Instant::now() >= deadline {
                bail!("{} did not print {text:?} within {limit:?}", self.name);
            }
            sleep(POLL).await;
        }
        Ok(())
    }

    fn tail(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
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
