//! Whether an attempt still beats, and what follows if it does not.
//!
//! | state | a beat | time | the driver has caught up |
//! |---|---|---|---|
//! | beats | beats on | the timeout has passed since the last: is doubted, the driver is to catch up; once, if it passed a while ago: beats on | – |
//! | doubted | beats on | – | has missed |
//! | missed | nothing | the grace has passed: is overdue, its worker is to go | – |
//! | overdue | nothing | – | – |
//!
//! Invariant: who has missed stays so. The manager may be the one who was late, so nobody has before everything that his
//! worker sent was looked at; nor if it was away when the timeout passed, say stopped, before the worker had as long again:
//! the socket may have been full, and what would have followed still on its way.

use std::time::{Duration, Instant};

use workfleet_heartbeat::cores::Silence;

/// Who looks no later than this has not been away.
pub(super) const AWAY: Duration = Duration::from_millis(10);

/// Watches one attempt.
#[derive(Debug)]
pub(super) struct Watch {
    silence: Silence,
    state: State,
    /// It was given time again since the last beat, because the manager had been away.
    excused: bool,
    /// Under which time it stands among the alarms; never later than [`poll_timeout`](Self::poll_timeout).
    pub(super) alarm: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Beats,
    Doubted,
    Missed { until: Instant },
    Overdue,
}

/// What the driver has to do about an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    CatchUp,
    Kill,
}

impl Watch {
    pub(super) fn new(now: Instant, timeout: Duration) -> Self {
        Self { silence: Silence::new(now, timeout), state: State::Beats, excused: false, alarm: None }
    }

    /// A beat has come. False if that is too late.
    pub(super) fn heard(&mut self, now: Instant) -> bool {
        if self.missed().is_some() {
            return false;
        }
        self.silence.heard(now);
        self.state = State::Beats;
        self.excused = false;
        true
    }

    /// The timeout, if the attempt has missed it.
    pub(super) fn missed(&self) -> Option<Duration> {
        matches!(self.state, State::Missed { .. } | State::Overdue).then(|| self.silence.timeout())
    }

    /// The timeout, if the attempt has missed it and has not ended within the grace.
    pub(super) fn overdue(&self) -> Option<Duration> {
        (self.state == State::Overdue).then(|| self.silence.timeout())
    }

    /// Everything that came was looked at. True if the attempt has missed by that.
    pub(super) fn judge(&mut self, now: Instant, grace: Duration) -> bool {
        let missed = self.state == State::Doubted;
        if missed {
            self.state = State::Missed { until: now + grace };
        }
        missed
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Beats => self.silence.poll_timeout(),
            State::Missed { until } => Some(until),
            State::Doubted | State::Overdue => None,
        }
    }

    /// Time has passed.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> Option<Due> {
        if self.state == State::Beats
            && !self.excused
            && self.silence.poll_timeout().is_some_and(|at| now.saturating_duration_since(at) > AWAY)
        {
            self.excused = true;
            self.silence.heard(now);
            return None;
        }
        let (state, due) = match self.state {
            State::Beats if self.silence.handle_timeout(now) => (State::Doubted, Due::CatchUp),
            State::Missed { until } if now >= until => (State::Overdue, Due::Kill),
            _ => return None,
        };
        self.state = state;
        Some(due)
    }
}
