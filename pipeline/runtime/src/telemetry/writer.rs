//! Writes log lines on a thread of its own, so that logging never waits for who reads them.
//! Owns: the queue of lines, its bound, and counting what does not fit. Does not own: what lines look like.
//! Guarantee: a pipe that nobody reads stops no one else; what is lost by it is counted, and said when it is read again.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use tracing::warn;
use tracing_subscriber::fmt::MakeWriter;

/// Lines that wait to be written, in bytes.
const QUEUE_BYTES_MAX: usize = 4 << 20;
/// How long the last lines may take at the end of the process.
const FLUSH_WAIT: Duration = Duration::from_secs(1);

/// Takes lines and writes them in order, or counts them as lost where too many wait.
#[derive(Clone)]
pub struct LogWriter(Arc<Queue>);

struct Queue {
    state: Mutex<State>,
    added: Condvar,
    emptied: Condvar,
    bytes_max: usize,
    lost: Counter,
}

#[derive(Default)]
struct State {
    lines: VecDeque<Vec<u8>>,
    /// Of the lines above and the one that is being written.
    bytes: usize,
}

impl LogWriter {
    /// Writes to stderr.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn stderr() -> io::Result<Self> {
        let said = |lost| warn!(lost, "log lines were lost, because nobody read them");
        Self::new(io::stderr(), QUEUE_BYTES_MAX, said)
    }

    /// Calls `said` with the number of lines that were lost, once lines are written again.
    fn new(
        to: impl Write + Send + 'static,
        bytes_max: usize,
        said: impl Fn(u64) + Send + 'static,
    ) -> io::Result<Self> {
        let queue = Queue {
            state: Mutex::default(),
            added: Condvar::new(),
            emptied: Condvar::new(),
            bytes_max,
            lost: Counter::default(),
        };
        let queue = Arc::new(queue);
        let of_thread = Arc::clone(&queue);
        std::thread::Builder::new().name("log".into()).spawn(move || of_thread.write_all_lines(to, said))?;
        Ok(Self(queue))
    }

    /// Registers the number of lines lost.
    pub fn register(&self, registry: &mut Registry) {
        let help = "Log lines that were lost because nobody read them";
        registry.register("vivace_log_lines_lost", help, self.0.lost.clone());
    }

    /// Writes the line after all others, and waits a little until it is written.
    pub fn last_word(&self, line: &str) {
        self.0.add(format!("{line}\n").into_bytes());
        self.flush();
    }

    /// Waits until all lines are written, but not for long.
    pub fn flush(&self) {
        let mut state = self.0.state.lock();
        self.0.emptied.wait_while_for(&mut state, |state| state.bytes > 0, FLUSH_WAIT);
    }
}

impl fmt::Debug for LogWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogWriter").field("lost", &self.0.lost.get()).finish_non_exhaustive()
    }
}

impl Queue {
    fn add(&self, line: Vec<u8>) {
        let mut state = self.state.lock();
        if state.bytes + line.len() > self.bytes_max {
            self.lost.inc();
            return;
        }
        state.bytes += line.len();
        state.lines.push_back(line);
        self.added.notify_one();
    }

    /// The next line, and whether few enough wait behind it to say something more.
    fn next(&self) -> (Vec<u8>, bool) {
        let mut state = self.state.lock();
        loop {
            if let Some(line) = state.lines.pop_front() {
                return (line, state.bytes <= self.bytes_max / 2);
            }
            self.added.wait(&mut state);
        }
    }

    fn write_all_lines(&self, mut to: impl Write, said: impl Fn(u64)) {
        let mut known = 0;
        loop {
            let (line, relaxed) = self.next();
            let written = to.write_all(&line).and_then(|()| to.flush());
            if written.is_err() {
                self.lost.inc();
            }
            let lost = self.lost.get();
            // Before the line counts as written, so that a flush waits for this as well.
            if written.is_ok() && relaxed && lost > known {
                said(lost - known);
                known = lost;
            }
            let mut state = self.state.lock();
            state.bytes -= line.len();
            if state.bytes == 0 {
                self.emptied.notify_all();
            }
        }
    }
}

impl<'a> MakeWriter<'a> for LogWriter {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Each write is one line: the formatter writes an event at once.
impl Write for LogWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.add(line.to_vec());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

    use super::*;

    /// A reader that takes a line only when it is told to.
    struct Pipe {
        gate: Receiver<()>,
        to: SyncSender<String>,
    }

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.gate.recv().map_err(|_| io::ErrorKind::BrokenPipe)?;
            let line = String::from_utf8(bytes.to_vec()).unwrap();
            self.to.send(line).map_err(|_| io::ErrorKind::BrokenPipe)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_nobody_reads_are_counted_and_told_of_later() {
        let (open, gate) = sync_channel(100);
        let (to, read) = sync_channel(100);
        let (tell, told) = sync_channel(100);
        let mut writer = LogWriter::new(Pipe { gate, to }, 40, move |lost| tell.send(lost).unwrap()).unwrap();
        for number in 0..10 {
            // Four of ten bytes fit; nothing waits.
            writer.write_all(format!("line    {number}\n").as_bytes()).unwrap();
        }
        assert_eq!(writer.0.lost.get(), 6);
        (0..4).for_each(|_| open.send(()).unwrap());
        let lines: Vec<_> = (0..4).map(|_| read.recv().unwrap()).collect();
        assert_eq!(lines, ["line    0\n", "line    1\n", "line    2\n", "line    3\n"]);
        assert_eq!(told.recv().unwrap(), 6, "once");
        LogWriter::flush(&writer);
        assert!(told.try_recv().is_err());
        drop(open);
        writer.last_word("to nobody");
        assert_eq!(writer.0.lost.get(), 7);
    }
}
