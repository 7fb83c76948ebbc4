//! What bounds a scheduler.

use std::time::Duration;

use crate::load::PrefetchBudget;

/// Limits of a [`Scheduler`](crate::Scheduler).
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How many priorities there are.
    pub levels: u8,
    /// A task whose worker died this often while running it is not tried again.
    pub crash_limit: u16,
    /// A worker with tasks in hand that is not heard of for this long is killed. None: it is always heard.
    pub silence_limit: Option<Duration>,
    /// How long an attempt that missed a heartbeat may take to end before its worker is killed.
    pub heartbeat_grace: Duration,
    /// How much a worker may have in hand.
    pub prefetch_budget: PrefetchBudget,
    /// A worker that was given so many tasks, and has ended them, is replaced. At least 1.
    pub tasks_per_worker: u64,
}
