//! What waits to be written to a topic.
//! Owns: the bound, and the hand-over from appenders to the writer. Does not own: writing, answering.

use std::collections::VecDeque;

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;
use vivace_model::Offset;

use super::frame::Unplaced;
use crate::LogError;

/// The writer takes about that much at a time: large enough for few syncs, small enough that the first does not wait
/// long for the last.
const GROUP_BYTES_MAX: usize = 8 << 20;

/// The records of one append.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) records: Vec<Unplaced>,
    pub(super) bytes: usize,
    pub(super) answer: oneshot::Sender<Result<Vec<Offset>, LogError>>,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Batch>,
    /// Of what waits and what is being written.
    bytes: usize,
    closed: bool,
}

#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    filled: Condvar,
    bytes_max: usize,
}

impl Queue {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { state: Mutex::default(), filled: Condvar::new(), bytes_max }
    }

    /// Takes a batch in.
    ///
    /// # Errors
    /// [`LogError::Full`] if too much waits; [`LogError::TooLarge`] if it would not even fit alone.
    pub(super) fn push(&self, batch: Batch) -> Result<(), LogError> {
        if batch.bytes > self.bytes_max {
            return Err(LogError::TooLarge { bytes: batch.bytes });
        }
        let mut state = self.state.lock();
        if state.closed {
            return Err(LogError::Unavailable {
                action: "the embedded log is being closed".into(),
                source: "closed".into(),
            });
        }
        if state.bytes + batch.bytes > self.bytes_max {
            return Err(LogError::Full);
        }
        state.bytes += batch.bytes;
        state.waiting.push_back(batch);
        drop(state);
        self.filled.notify_one();
        Ok(())
    }

    /// Waits for batches and takes up to about [`GROUP_BYTES_MAX`], one at least. None once closed and empty.
    pub(super) fn take(&self) -> Option<Vec<Batch>> {
        let mut state = self.state.lock();
        while state.waiting.is_empty() {
            if state.closed {
                return None;
            }
            self.filled.wait(&mut state);
        }
        let mut bytes = 0;
        let fits = |batch: &Batch| {
            let first = bytes == 0;
            bytes += batch.bytes;
            first || bytes <= GROUP_BYTES_MAX
        };
        let count = state.waiting.iter().map(fits).take_while(|fits| *fits).count();
        Some(state.waiting.drain(..count).collect())
    }

    /// Makes room for what was taken and is dealt with now.
    pub(super) fn done(&self, bytes: usize) {
        self.state.lock().bytes -= bytes;
    }

    /// Takes nothing in any more and drops what waits; for when there is no writer.
    pub(super) fn abandon(&self) {
        let waiting = {
            let mut state = self.state.lock();
            state.closed = true;
            std::mem::take(&mut state.waiting)
        };
        drop(waiting);
    }

    /// Takes nothing in any more; what waits is still given out.
    pub(super) fn close(&self) {
        self.state.lock().closed = true;
        self.filled.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(queue: &Queue, bytes: usize) -> Result<(), LogError> {
        let (answer, _) = oneshot::channel();
        queue.push(Batch { records: Vec::new(), bytes, answer })
    }

    #[test]
    fn what_is_being_written_counts_until_it_is_done() {
        let queue = Queue::new(100);
        push(&queue, 60).unwrap();
        assert!(matches!(push(&queue, 60), Err(LogError::Full)));
        assert_eq!(queue.take().unwrap().len(), 1);
        assert!(matches!(push(&queue, 60), Err(LogError::Full)));
        queue.done(60);
        push(&queue, 100).unwrap();
        assert!(matches!(push(&queue, 101), Err(LogError::TooLarge { bytes: 101 })));
    }

    #[test]
    fn groups_are_bounded_and_a_closed_queue_is_emptied() {
        let queue = Queue::new(1 << 30);
        for bytes in [GROUP_BYTES_MAX + 1, 1, GROUP_BYTES_MAX - 1, 1] {
            push(&queue, bytes).unwrap();
        }
        queue.close();
        assert!(push(&queue, 1).is_err());
        let groups: Vec<_> = std::iter::from_fn(|| queue.take()).map(|group| group.len()).collect();
        assert_eq!(groups, [1, 2, 1]);
    }
}
