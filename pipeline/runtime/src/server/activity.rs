//! What a connection waits for, and since when.
//! Owns: the rules by which a client has kept it waiting too long, and whether it is idle.
//! Does not own: timers, and closing it (`connection`).

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::options::Timeouts;

/// What HTTP/2 connections begin with; nothing else does.
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What a client owes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum WaitsFor {
    /// Anything at all.
    FirstByte,
    /// The rest of a request's head.
    Head,
    /// More of a request's body.
    Body,
    /// Reading more of an answer.
    Answer,
    /// The next request.
    Request,
}

impl WaitsFor {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::FirstByte => "first_byte",
            Self::Head => "head",
            Self::Body => "body",
            Self::Answer => "answer",
            Self::Request => "request",
        }
    }
}

/// The state of one connection, shared by its socket, its requests and the accept loop.
#[derive(Debug)]
pub(super) struct Activity {
    state: Mutex<State>,
    /// For the accept loop: a connection of the listener has become idle.
    became_idle: Arc<Notify>,
}

#[derive(Debug)]
struct State {
    http2: bool,
    /// Requests whose head is here and whose answer is not given completely.
    requests: usize,
    /// While there are none: what is waited for. Over HTTP/2, where other frames come and go, a head is not told from them.
    waits_for: WaitsFor,
    since: Instant,
    /// Answers of which the client has not taken what there is.
    untaken: usize,
    /// When a client took something of an answer for the last time.
    taken: Instant,
}

impl Activity {
    pub(super) fn new(became_idle: Arc<Notify>) -> Self {
        let now = Instant::now();
        let waits_for = WaitsFor::FirstByte;
        let state = State { http2: false, requests: 0, waits_for, since: now, untaken: 0, taken: now };
        Self { state: Mutex::new(state), became_idle }
    }

    /// Notes bytes that came in.
    pub(super) fn received(&self, bytes: &[u8]) {
        let mut state = self.state.lock();
        if state.requests > 0 || bytes.is_empty() {
            return;
        }
        if state.waits_for == WaitsFor::FirstByte {
            state.http2 = bytes.starts_with(&HTTP2_PREFACE[..bytes.len().min(3)]);
            let waits_for = if state.http2 { WaitsFor::Request } else { WaitsFor::Head };
            state.wait(waits_for);
        } else if state.waits_for == WaitsFor::Request && !state.http2 {
            state.wait(WaitsFor::Head);
        }
    }

    /// Notes that the head of a request is here.
    pub(super) fn request_begun(&self, http2: bool) {
        let mut state = self.state.lock();
        state.http2 = http2;
        state.requests += 1;
    }

    /// Notes that an answer was given, or given up.
    pub(super) fn request_ended(&self) {
        let mut state = self.state.lock();
        state.requests -= 1;
        if state.requests == 0 {
            state.wait(WaitsFor::Request);
            drop(state);
            self.became_idle.notify_one();
        }
    }

    /// Notes that there is more of an answer than the client has taken. Again with each part of it.
    pub(super) fn answer_given(&self, first: bool) {
        let mut state = self.state.lock();
        state.untaken += usize::from(first);
        state.taken = Instant::now();
    }

    /// Notes that the client has taken all that there is of an answer.
    pub(super) fn answer_taken(&self) {
        self.state.lock().untaken -= 1;
    }

    /// Since when the connection has had no request in work.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let state = self.state.lock();
        (state.requests == 0).then_some(state.since)
    }

    /// When to look again.
    ///
    /// # Errors
    /// What the client has been waited for too long.
    pub(super) fn judge(&self, timeouts: &Timeouts) -> Result<Instant, WaitsFor> {
        let state = self.state.lock();
        let now = Instant::now();
        // What begins later ends no earlier than this.
        let mut next = now + timeouts.shortest();
        let owed = match (state.requests, state.untaken) {
            (0, _) => {
                let limit = match state.waits_for {
                    WaitsFor::FirstByte => timeouts.first_byte,
                    WaitsFor::Head => timeouts.head,
                    WaitsFor::Body | WaitsFor::Answer | WaitsFor::Request => timeouts.idle,
                };
                Some((state.waits_for, state.since + limit))
            }
            (_, 0) => None,
            _ => Some((WaitsFor::Answer, state.taken + timeouts.answer)),
        };
        if let Some((waits_for, deadline)) = owed {
            if deadline <= now {
                return Err(waits_for);
            }
            next = next.min(deadline);
        }
        Ok(next)
    }
}

impl State {
    fn wait(&mut self, waits_for: WaitsFor) {
        self.waits_for = waits_for;
        self.since = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::sleep;

    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn timeouts() -> Timeouts {
        Timeouts { first_byte: 2 * S, head: 4 * S, body: 3 * S, answer: 6 * S, idle: 10 * S }
    }

    /// The moment, in seconds, at which it is judged, and for what; looks whenever it is said to, and only then.
    async fn judged(activity: &Activity) -> (u64, WaitsFor) {
        let start = Instant::now();
        loop {
            match activity.judge(&timeouts()) {
                Ok(next) => tokio::time::sleep_until(next).await,
                Err(waits_for) => return (start.elapsed().as_secs(), waits_for),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_client_owes_is_waited_for_its_own_time() {
        assert_eq!(judged(&Activity::new(Arc::default())).await, (2, WaitsFor::FirstByte));

        let slow = Activity::new(Arc::default());
        slow.received(b"G");
        sleep(S).await;
        slow.received(b"E"); // more of the head gives no more time
        assert_eq!(judged(&slow).await, (3, WaitsFor::Head));

        let idle = Activity::new(Arc::default());
        idle.received(b"GET / HTTP/1.1\r\n\r\n");
        idle.request_begun(false);
        assert_eq!(idle.idle_since(), None);
        sleep(100 * S).await; // a long answer is nobody's fault
        assert!(idle.judge(&timeouts()).is_ok());
        idle.request_ended();
        assert_eq!(judged(&idle).await, (10, WaitsFor::Request));

        let next = Activity::new(Arc::default());
        next.received(b"GET");
        next.request_begun(false);
        next.request_ended();
        next.received(b"P");
        assert_eq!(judged(&next).await, (4, WaitsFor::Head));
    }

    #[tokio::test(start_paused = true)]
    async fn frames_of_http2_are_no_heads() {
        let activity = Activity::new(Arc::default());
        activity.received(HTTP2_PREFACE);
        sleep(S).await;
        activity.received(b"a ping");
        assert_eq!(judged(&activity).await, (9, WaitsFor::Request));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_has_to_be_taken() {
        let activity = Activity::new(Arc::default());
        activity.received(b"GET");
        activity.request_begun(false);
        activity.answer_given(true);
        sleep(5 * S).await;
        activity.answer_given(false);
        assert_eq!(judged(&activity).await, (6, WaitsFor::Answer));
        activity.answer_taken();
        assert!(activity.judge(&timeouts()).is_ok());
    }
}
