//! The books and the roster of a manager, as numbers to look at.
//!
//! Invariant: scheduled = done + failed + cancelled + returned + pending, in every snapshot.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};
use workfleet_scheduler::Books;

/// How many tasks there were, by how they ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TaskCounts {
    /// Every task that was taken.
    pub scheduled: u64,
    /// Ended with their output.
    pub done: u64,
    /// Ended with a failure that was not a cancellation.
    pub failed: u64,
    /// Were cancelled.
    pub cancelled: u64,
    /// Were never begun and handed back when the manager closed.
    pub returned: u64,
    /// Have not ended.
    pub pending: u64,
}

impl From<Books> for TaskCounts {
    fn from(books: Books) -> Self {
        Self {
            scheduled: books.scheduled,
            done: books.done,
            failed: books.failed,
            cancelled: books.cancelled,
            returned: books.returned,
            pending: books.pending(),
        }
    }
}

impl fmt::Display for TaskCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scheduled, done, failed, cancelled, returned, pending } = self;
        write!(
            f,
            "{scheduled} tasks: {done} done, {failed} failed, {cancelled} cancelled, {returned} returned, {pending} pending"
        )
    }
}

/// A manager at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Stats {
    /// The books.
    pub tasks: TaskCounts,
    /// How many of the pending tasks wait for a worker.
    pub queued: usize,
    /// How many messages and failures wait to be read.
    pub inbox: usize,
    /// The inbox is beyond its [limit](crate::ProcessManagerBuilder::inbox_limit): no task is begun until
    /// [readers](crate::Pool::messages) have made room.
    pub inbox_full: bool,
    /// How many messages the full inbox has dropped so far, by
    /// [`InboxOverflow::DropOldest`](crate::InboxOverflow::DropOldest).
    pub dropped_messages: u64,
    /// One entry for each worker, by its number.
    pub workers: Vec<WorkerStats>,
}

/// One worker at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct WorkerStats {
    /// Its name.
    pub name: String,
    /// Its process id; none while it is being started or replaced, and for a thread.
    pub pid: Option<u32>,
    /// Whether it takes tasks: it is neither being started nor being replaced.
    pub ready: bool,
    /// How many tasks it has in hand: the one that runs, and those behind it.
    pub in_flight: usize,
    /// How long it has given no sign of life, if the manager has asked for one. That is a worker process with a task
    /// that is stopped, or that the kernel holds. One that goes on within the
    /// [limit](crate::ProcessManagerBuilder::silence_limit) has lost nothing. What its tasks do is another matter: see
    /// [`TaskContext::heartbeat`](crate::TaskContext::heartbeat).
    pub silent_for: Option<Duration>,
}
