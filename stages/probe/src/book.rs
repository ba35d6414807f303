//! What was sent and what of it was acknowledged, as far back as it is kept.
//! Guarantee: bounded, whatever happens: so many rounds, so many traces.

use std::collections::VecDeque;

use parking_lot::Mutex;
use rand::RngExt;
use vivace_model::UnixNanos;

use crate::spans::Sent;

#[derive(Debug)]
pub(crate) struct Book {
    rounds_max: usize,
    traces_max: usize,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    rounds: VecDeque<Round>,
    /// Acknowledged traces, oldest first.
    traces: VecDeque<Sent>,
}

/// The spans of one round.
#[derive(Clone, Copy, Debug)]
struct Round {
    number: u64,
    started: UnixNanos,
    acknowledged: u64,
    attempted: u64,
}

/// What a count asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counted {
    /// The first round.
    pub(crate) since: u64,
    /// When it began.
    pub(crate) started: UnixNanos,
    /// Its acknowledged spans and those of all later rounds.
    pub(crate) acknowledged: u64,
}

impl Book {
    pub(crate) fn new(rounds_max: usize, traces_max: usize) -> Self {
        Self { rounds_max, traces_max, inner: Mutex::default() }
    }

    /// Notes that a trace is about to be sent.
    pub(crate) fn sending(&self, sent: &Sent) {
        let mut inner = self.inner.lock();
        if inner.rounds.back().is_none_or(|round| round.number < sent.round) {
            let (number, started) = (sent.round, sent.started);
            inner.rounds.push_back(Round { number, started, acknowledged: 0, attempted: 0 });
            if inner.rounds.len() > self.rounds_max {
                inner.rounds.pop_front();
            }
        }
        if let Some(round) = inner.round(sent.round) {
            round.attempted += u64::from(sent.spans);
        }
    }

    /// Notes that a trace was acknowledged.
    pub(crate) fn acknowledged(&self, sent: &Sent) {
        let mut inner = self.inner.lock();
        if let Some(round) = inner.round(sent.round) {
            round.acknowledged += u64::from(sent.spans);
        }
        inner.traces.push_back(*sent);
        if inner.traces.len() > self.traces_max {
            inner.traces.pop_front();
        }
    }

    /// What can be counted now: all rounds that are kept but the one that will be forgotten next.
    pub(crate) fn countable(&self) -> Option<Counted> {
        let inner = self.inner.lock();
        let skipped = usize::from(inner.rounds.len() == self.rounds_max && self.rounds_max > 1);
        let first = inner.rounds.get(skipped)?;
        let acknowledged = inner.rounds.iter().skip(skipped).map(|round| round.acknowledged).sum();
        Some(Counted { since: first.number, started: first.started, acknowledged })
    }

    /// Spans sent in that round and all later ones; none when it was forgotten.
    pub(crate) fn attempted(&self, since: u64) -> Option<u64> {
        let inner = self.inner.lock();
        inner.rounds.front().filter(|round| round.number <= since)?;
        Some(inner.rounds.iter().filter(|round| round.number >= since).map(|round| round.attempted).sum())
    }

    /// Any of the acknowledged traces.
    pub(crate) fn any(&self) -> Option<Sent> {
        let inner = self.inner.lock();
        match inner.traces.len() {
            0 => None,
            traces => inner.traces.get(rand::rng().random_range(0..traces)).copied(),
        }
    }
}

impl Inner {
    fn round(&mut self, number: u64) -> Option<&mut Round> {
        self.rounds.iter_mut().rev().find(|round| round.number == number)
    }
}

#[cfg(test)]
mod tests {
    use vivace_model::TraceId;

    use super::*;

    fn sent(round: u64) -> Sent {
        Sent { id: TraceId::from_bytes([1; 16]), round, spans: 10, started: UnixNanos::from_secs(round) }
    }

    #[test]
    fn rounds_are_counted_until_they_are_forgotten() {
        let book = Book::new(3, 2);
        assert_eq!(book.countable(), None);
        for round in 0..2 {
            book.sending(&sent(round));
            book.sending(&sent(round));
            book.acknowledged(&sent(round));
        }
        let all = Counted { since: 0, started: UnixNanos(0), acknowledged: 20 };
        assert_eq!((book.countable(), book.attempted(0)), (Some(all), Some(40)));
        book.sending(&sent(2));
        assert_eq!(book.countable().unwrap().since, 1, "the first is forgotten next");
        book.sending(&sent(3));
        assert_eq!((book.attempted(0), book.attempted(2)), (None, Some(20)));
        book.acknowledged(&sent(0));
        assert_eq!(book.countable().unwrap().acknowledged, 0, "too late to be counted");
        assert_eq!(book.inner.lock().traces.len(), 2);
    }
}
