//! Whether a worker gives signs of life.
//!
//! | state | something is heard | time |
//! |---|---|---|
//! | heard | heard | half the limit has passed since: asked |
//! | asked | heard | the other half has passed, in time that the manager saw pass: silent, the driver is to catch up |
//! | silent | heard | – |
//!
//! A silent worker is killed only after all input from it was processed, if that had no sign of life.
//!
//! Time counts only while the worker has tasks. An idle worker need not give a sign of life.

use std::time::{Duration, Instant};

use workfleet_heartbeat::cores::Patience;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Liveness {
    Heard {
        at: Instant,
    },
    /// It was asked for a sign of life.
    Asked {
        silent_since: Instant,
        answer: Patience,
    },
    /// It did not answer, which was noticed at that time.
    Silent {
        since: Instant,
        noticed: Instant,
    },
}

/// What follows from a worker's silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    Ping,
    CatchUp,
}

impl Liveness {
    #[inline]
    pub(crate) fn heard(now: Instant) -> Self {
        Self::Heard { at: now }
    }

    /// Since when nothing was heard of it, if it owes the answer to a ping.
    pub(crate) fn silent_since(self) -> Option<Instant> {
        match self {
            Self::Heard { .. } => None,
            Self::Asked { silent_since: since, .. } | Self::Silent { since, .. } => Some(since),
        }
    }

    /// Whether it has to be killed, once everything was handled that it had sent by then.
    pub(crate) fn is_silent(self, sent_by: Instant) -> bool {
        matches!(self, Self::Silent { noticed, .. } if noticed <= sent_by)
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called.
    #[inline]
    pub(crate) fn poll_timeout(self, limit: Duration) -> Option<Instant> {
        match self {
            Self::Heard { at } => Some(at + limit / 2),
            Self::Asked { answer, .. } => answer.poll_timeout(),
            Self::Silent { .. } => None,
        }
    }

    /// Time has passed.
    pub(crate) fn handle_timeout(&mut self, now: Instant, limit: Duration) -> Option<Due> {
        let (next, due) = match self {
            Self::Heard { at } => {
                if now < *at + limit / 2 {
                    return None;
                }
                // However late we are, the worker has the second half to answer; and again, if we are late then.
                let answer = Patience::new(now, limit - limit / 2);
                (Self::Asked { silent_since: *at, answer }, Due::Ping)
            }
            Self::Asked { silent_since, answer } => {
                if !answer.handle_timeout(now) {
                    return None;
                }
                (Self::Silent { since: *silent_since, noticed: now }, Due::CatchUp)
            }
            Self::Silent { .. } => return None,
        };
        *self = next;
        Some(due)
    }
}
