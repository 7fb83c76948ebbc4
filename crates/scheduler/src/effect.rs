//! What the scheduler asks of its driver, and how tasks and workers end.

use std::time::Duration;

use crate::{lease::Lease, queue::Pending};

/// How a task ended if no attempt reported its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It was cancelled, running or not.
    Cancelled,
    /// Its workers died while running it, as often as the crash limit allows.
    Crashed,
    /// The manager closed before it was begun. If an attempt had died with its worker before, the ending is `Cancelled`.
    Returned,
    /// No worker could be started.
    NeverStarted,
    /// The attempt that ran in this slot missed its heartbeat deadline.
    HeartbeatMissed {
        /// Where it ran.
        slot: usize,
        /// The timeout that passed without a heartbeat.
        timeout: Duration,
    },
}

/// What the driver has to do.
#[derive(Debug)]
pub enum Effect<B> {
    /// Ask the worker in this slot to give back tasks that it has not begun.
    Recall {
        /// Whom to ask.
        slot: usize,
        /// How many at most; the last ones first.
        at_most: u32,
        /// Only tasks of this priority, or less urgent ones.
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
    /// Something did not come from the worker in time. Process everything that it has sent, then call
    /// [`caught_up`](crate::Scheduler::caught_up).
    CatchUp {
        /// Which worker.
        slot: usize,
    },
    /// Retire the worker. It has no tasks, and it has run its share or the manager halts.
    Retire {
        /// Which worker.
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
    /// The worker that gets it.
    pub slot: usize,
    /// The lease: reports under another lease are ignored.
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
    /// It gave no sign of life for the silence limit.
    Silent,
    /// One of its attempts missed a heartbeat, was cancelled, and did not end within the grace.
    HeartbeatMissed {
        /// The timeout that passed without a heartbeat.
        timeout: Duration,
    },
}

/// How a worker ended: it decides which attempts are charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gone {
    /// It died, or was killed for its own fault.
    Died,
    /// It was killed because an attempt had missed a heartbeat and did not end.
    Overdue,
}
