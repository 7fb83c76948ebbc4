//! Whether an attempt still beats, and what follows if it does not.
//!
//! | state | a beat | time | the driver has caught up |
//! |---|---|---|---|
//! | beats | beats on | the timeout has passed since the last: is doubted, the driver is to catch up | – |
//! | doubted | beats on | – | has missed |
//! | missed | nothing | the grace has passed: is overdue, its worker is to go | – |
//! | overdue | nothing | – | – |
//!
//! Invariant: who has missed stays so. The manager may be the one who was late, so nobody has before everything that his
//! worker sent was looked at. Time counts as far as the manager saw it pass ([`Patience`]): when it was stopped, the socket may have
//! been full, and what would have followed still on its way.

use std::time::{Duration, Instant};

use workfleet_heartbeat::cores::{Patience, Silence};

/// Watches one attempt.
#[derive(Debug)]
pub(crate) struct Watch {
    silence: Silence,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Beats,
    Doubted,
    Missed { grace: Patience },
    Overdue,
}

/// What the driver has to do about an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    CatchUp,
    Kill,
}

impl Watch {
    pub(crate) fn new(now: Instant, timeout: Duration) -> Self {
        Self { silence: Silence::new(now, timeout), state: State::Beats }
    }

    /// A beat has come. False if that is too late.
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
        matches!(self.state, State::Missed { .. } | State::Overdue).then(|| self.silence.timeout())
    }

    /// The timeout, if the attempt has missed it and has not ended within the grace.
    pub(crate) fn overdue(&self) -> Option<Duration> {
        (self.state == State::Overdue).then(|| self.silence.timeout())
    }

    /// Everything that came was looked at. True if the attempt has missed by that.
    pub(crate) fn judge(&mut self, now: Instant, grace: Duration) -> bool {
        let missed = self.state == State::Doubted;
        if missed {
            self.state = State::Missed { grace: Patience::new(now, grace) };
        }
        missed
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Beats => self.silence.poll_timeout(),
            State::Missed { grace } => grace.poll_timeout(),
            State::Doubted | State::Overdue => None,
        }
    }

    /// Time has passed.
    pub(crate) fn handle_timeout(&mut self, now: Instant) -> Option<Due> {
        let (is_due, state, due) = match &mut self.state {
            State::Beats => (self.silence.handle_timeout(now), State::Doubted, Due::CatchUp),
            State::Missed { grace } => (grace.handle_timeout(now), State::Overdue, Due::Kill),
            State::Doubted | State::Overdue => return None,
        };
        is_due.then(|| {
            self.state = state;
            due
        })
    }
}
