//! Questions, which read under the core's lock and change nothing.

use std::time::{Duration, Instant};

use workfleet_heartbeat::Details;
use workfleet_scheduler::Books;

use super::{ReadyWorker, Shared, body::Command, core::Core};

/// A worker slot at the time of a snapshot.
pub(crate) struct SlotSnapshot {
    pub(crate) is_ready: bool,
    /// None where there is no worker, or none with a process of its own.
    pub(crate) pid: Option<u32>,
    pub(crate) in_flight: usize,
    pub(crate) silent_for: Option<Duration>,
}

impl Shared {
    /// What the task of this number said last; none if it has ended.
    pub(crate) fn last_heartbeat(&self, sequence: u64) -> Option<Details> {
        self.lock_core().scheduler.find(sequence)?.body.last_heartbeat().cloned()
    }

    /// The books, the queue's length and the slots, all read at one time.
    pub(crate) fn snapshot<R>(&self, snapshot: impl FnOnce(Books, usize, &[SlotSnapshot]) -> R) -> R {
        let core = self.lock_core();
        let now = Instant::now();
        let snapshot_of = |(slot, ready): (usize, &Option<ReadyWorker>)| SlotSnapshot {
            is_ready: ready.is_some(),
            pid: ready.as_ref().and_then(|ready| ready.pid),
            in_flight: core.scheduler.in_flight(slot),
            silent_for: core.scheduler.silent_since(slot).map(|at| now.saturating_duration_since(at)),
        };
        let slots: Vec<_> = core.slots.iter().enumerate().map(snapshot_of).collect();
        let (books, queued) = self.count(&core);
        snapshot(books, queued, &slots)
    }

    /// What has become of the tasks so far.
    pub(crate) fn books(&self) -> Books {
        self.count(&self.lock_core()).0
    }

    /// The books, and how many tasks wait.
    fn count(&self, core: &Core) -> (Books, usize) {
        // The scheduler has not taken these yet: they wait all the same.
        let new = self.submissions.count(|command| matches!(command, Command::Schedule { .. }));
        let mut books = core.scheduler.books();
        books.scheduled += new as u64;
        (books, core.scheduler.queued() + new)
    }
}
