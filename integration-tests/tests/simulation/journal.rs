//! What happened in a run, line by line: to read after a failure, and to compare two runs of a seed.

use std::fmt::{self, Write as _};

use parking_lot::Mutex;
use tokio::time::Instant;

/// Lines with the time since the start of the run.
#[derive(Debug)]
pub(crate) struct Journal {
    started: Instant,
    text: Mutex<String>,
}

impl Journal {
    pub(crate) fn new() -> Self {
        Self { started: Instant::now(), text: Mutex::default() }
    }

    pub(crate) fn note(&self, line: fmt::Arguments<'_>) {
        writeln!(self.text.lock(), "{:9.3} {line}", self.started.elapsed().as_secs_f64())
            .expect("a string takes it");
    }

    pub(crate) fn text(&self) -> String {
        self.text.lock().clone()
    }

    /// The last lines, for the message of a failure.
    pub(crate) fn tail(&self) -> String {
        const LINES: usize = 40;
        let text = self.text.lock();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(LINES)..].join("\n")
    }
}
