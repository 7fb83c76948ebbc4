//! What the scheduler asks of its driver, and how tasks and workers end.

use std::time::Duration;

use crate::{lease::Lease, queue::Pending};

/// How a task ended that did not report its own end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It was cancelled, running or not.
    Cancelled,
    /// Its worker died while running it, as often as the crash limit allows.
    Crashed,
    /// The manager closed before it was begun. One that died with its worker before is `Cancelled` instead.
    Returned,
    /// No worker could be started.
    NeverStarted,
    /// The attempt that ran on this slot has not beaten for so long.
    HeartbeatMissed {
        /// Where it ran.
        slot: usize,
        /// For how long it did not beat.
        timeout: Duration,
    },
}

/// What the driver has to do.
#[derive(Debug)]
pub enum Effect<B> {
    /// Ask the worker on this slot to give back tasks that it has not begun.
    Recall {
        /// Whom to ask.
        slot: usize,
        /// At most this many, the last first.
        at_most: u32,
        /// None that is more urgent than this.
        from: u8,
    },
    /// Ask the worker to cancel the attempt under this lease.
    Cancel {
        /// Whom to ask.
        slot: usize,
        /// Which attempt.
        lease: Lease,
    },
    /// Ask the worker for a sign of life.
    Ping {
        /// Whom to ask.
        slot: usize,
    },
    /// Something did not come from the worker in time. Handle whatever it has sent, then say so by
    /// [`caught_up`](crate::Scheduler::caught_up).
    CatchUp {
        /// With whom to catch up.
        slot: usize,
    },
    /// Let the worker go: it has had its share of tasks, or the manager halts, and it has none in hand.
    Retire {
        /// Whom to let go.
        slot: usize,
    },
    /// Tell the caller that waits for this task.
    Ended {
        /// The task.
        task: Pending<B>,
        /// How it ended.
        ending: Ending,
        /// How many attempts at it were begun.
        attempt: u32,
    },
}

impl<B> Effect<B> {
    /// The worker that it is meant for.
    pub(crate) fn slot(&self) -> Option<usize> {
        match *self {
            Self::Recall { slot, .. } | Self::Cancel { slot, .. } => Some(slot),
            Self::Ping { slot } | Self::CatchUp { slot } | Self::Retire { slot } => Some(slot),
            Self::Ended { .. } => None,
        }
    }
}

/// A task on its way to a worker.
#[derive(Debug)]
pub struct Dispatch<'a, B> {
    /// Who gets it.
    pub slot: usize,
    /// What its reports are fenced by.
    pub lease: Lease,
    /// Which attempt at the task this is, from 1.
    pub attempt: u32,
    /// The task.
    pub task: &'a Pending<B>,
}

/// A task whose worker has reported its end.
#[derive(Debug)]
pub struct Ended<B> {
    /// The task.
    pub task: Pending<B>,
    /// The attempt that has ended.
    pub attempt: u32,
}

/// Why a worker has to be killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kill {
    /// Nothing was heard of it for the silence limit.
    Silent,
    /// One of its attempts has missed a heartbeat, was cancelled for that, and has not ended within the grace.
    HeartbeatMissed {
        /// For how long it did not beat.
        timeout: Duration,
    },
}

/// A worker's end, as far as it tells who is to blame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gone {
    /// It died, or was ended for what it did or did not do itself.
    Died,
    /// It was ended for an attempt that had missed a heartbeat and did not end.
    Overdue,
}
