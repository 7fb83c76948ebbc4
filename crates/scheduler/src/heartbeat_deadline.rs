//! The heartbeat deadline of an attempt: whether heartbeats arrive in time, and what follows if they do not.
//!
//! | state | a beat | time | the driver has caught up |
//! |---|---|---|---|
//! | beats | beats on | the timeout has passed since the last: is doubted, the driver is to catch up | – |
//! | doubted | beats on | – | has missed |
//! | missed | nothing | the grace has passed: is overdue, the driver is to catch up | – |
//! | overdue | nothing | – | its worker is to be killed |
//!
//! Invariant: a missed deadline is final. It is declared only after all input from that worker was processed, because
//! the manager itself may have been late. Time in which the manager was stopped does not count ([`Patience`]): the
//! socket may have been full then, and heartbeats still on their way.

use std::time::{Duration, Instant};

use workfleet_heartbeat::cores::{Patience, Silence};

/// The heartbeat deadline of one attempt.
#[derive(Debug)]
pub(crate) struct HeartbeatDeadline {
    silence: Silence,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Beats,
    Doubted { at: Instant },
    Missed { grace: Patience },
    Overdue { at: Instant },
}

/// What is decided about an attempt when the driver has caught up with its worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Missed,
    /// It has not ended within the grace either. The value is the timeout that it has missed.
    Overdue(Duration),
}

impl HeartbeatDeadline {
    pub(crate) fn new(now: Instant, timeout: Duration) -> Self {
        Self { silence: Silence::new(now, timeout), state: State::Beats }
    }

    /// A beat has come. Returns false if it is too late.
    pub(crate) fn heard(&mut self, now: Instant) -> bool {
        if self.missed().is_some() {
            return false;
        }
        self.silence.heard(now);
        self.state = State::Beats;
        true
    }

    /// The timeout, if the attempt has missed it.
    pub(crate) fn missed(&self) -> Option<Duration> {
        matches!(self.state, State::Missed { .. } | State::Overdue { .. }).then(|| self.silence.timeout())
    }

    /// Everything that its worker had sent by `sent_by` was processed.
    pub(crate) fn caught_up(&mut self, now: Instant, sent_by: Instant, grace: Duration) -> Option<Verdict> {
        match self.state {
            State::Doubted { at } if at <= sent_by => {
                self.state = State::Missed { grace: Patience::new(now, grace) };
                Some(Verdict::Missed)
            }
            State::Overdue { at } if at <= sent_by => Some(Verdict::Overdue(self.silence.timeout())),
            _ => None,
        }
    }

    /// When to call [`handle_timeout`](Self::handle_timeout).
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Beats => self.silence.poll_timeout(),
            State::Missed { grace } => grace.poll_timeout(),
            State::Doubted { .. } | State::Overdue { .. } => None,
        }
    }

    /// Time has passed. Returns true if the driver has to catch up with its worker.
    pub(crate) fn handle_timeout(&mut self, now: Instant) -> bool {
        let (is_due, state) = match &mut self.state {
            State::Beats => (self.silence.handle_timeout(now), State::Doubted { at: now }),
            State::Missed { grace } => (grace.handle_timeout(now), State::Overdue { at: now }),
            State::Doubted { .. } | State::Overdue { .. } => return false,
        };
        if is_due {
            self.state = state;
        }
        is_due
    }
}
