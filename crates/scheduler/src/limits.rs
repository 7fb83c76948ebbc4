//! The limits of a scheduler.

use std::time::Duration;

use crate::load::PrefetchBudget;

/// Limits of a [`Scheduler`](crate::Scheduler).
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How many priorities there are.
    pub levels: u8,
    /// If a task's workers died this often while running it, it is not tried again.
    pub crash_limit: u16,
    /// A worker with tasks that gives no sign of life for this long is killed. `None`: it is never killed for silence.
    pub silence_limit: Option<Duration>,
    /// How long an attempt that missed a heartbeat may take to end before its worker is killed.
    pub heartbeat_grace: Duration,
    /// How many tasks a worker may have.
    pub prefetch_budget: PrefetchBudget,
    /// A worker that has run this many tasks is replaced. At least 1.
    pub tasks_per_worker: u64,
}
