//! What is to happen at which time. Each timer stands here exactly while what it is about waits for it.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{FleetTaskId, MemberId};

/// No time is farther away: a hundred years, so that no sum of an instant and a duration from outside overflows.
const FAR: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// So much later, or a hundred years later.
pub(crate) fn after(now: Instant, duration: Duration) -> Instant {
    now + duration.min(FAR)
}

/// What is to happen. Of what is due at the same instant, the first in this order happens first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// The member's lease runs out.
    Lease(MemberId),
    /// The task's time has come.
    NotBefore(FleetTaskId),
    /// The task's deadline passes.
    Deadline(FleetTaskId),
    /// The unique key no longer belongs to its task.
    Unique(Arc<str>),
    /// The series may have a token in its bucket, or is to be forgotten.
    Series(Arc<str>),
    /// The task's outcome is no longer kept.
    ForgetTask(FleetTaskId),
    /// The id of a member that is gone is too old to be used again.
    ForgetMember(MemberId),
}

/// Timers in the order in which they are due.
#[derive(Debug, Default)]
pub(crate) struct Timers(BTreeSet<(Instant, Timer)>);

impl Timers {
    pub(crate) fn set(&mut self, at: Instant, timer: Timer) {
        self.0.insert((at, timer));
    }

    pub(crate) fn clear(&mut self, at: Instant, timer: Timer) {
        self.0.remove(&(at, timer));
    }

    /// When the next one is due.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.0.first().map(|(at, _)| *at)
    }

    /// Takes the next one, if it is due.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<(Instant, Timer)> {
        if self.next()? > now {
            return None;
        }
        self.0.pop_first()
    }
}
