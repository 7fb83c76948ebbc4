//! What the core's lock protects: the core itself, and the workers that carry out its decisions.

use std::{sync::Arc, time::Instant};

use workfleet_scheduler::{Restarts, Scheduler};

use super::{
    body::{Body, Command},
    ready_worker::ReadyWorker,
};
use crate::{
    pool::{
        given_up::GivenUp,
        worker_connection::{GiveTasks, Remote},
    },
    protocol::Cancel,
};

#[derive(Debug)]
pub(super) struct Core {
    pub(super) scheduler: Scheduler<Body>,
    pub(super) restarts: Restarts,
    /// Why what waits was given up last.
    pub(super) why_none_starts: GivenUp,
    /// By slot; none while its worker is dead or starting.
    pub(super) slots: Vec<Option<ReadyWorker>>,
    /// Slots whose connections hold frames to be sent.
    pub(super) touched: Vec<usize>,
    /// What was taken from the submission queue; empty between turns, kept for its memory.
    pub(super) commands: Vec<Command>,
    /// Cancellations, which the thread that holds the lock makes once it has released it. Empty between runs.
    pub(super) cancels: Vec<(Arc<dyn GiveTasks>, Cancel)>,
    /// The time for which the timer is armed; none if it waits to be told.
    pub(super) armed: Option<Instant>,
}

impl Core {
    /// Asks something of the worker on `slot`, which is not in this process, if it is there.
    pub(super) fn ask(&mut self, slot: usize, ask: impl FnOnce(&dyn Remote)) {
        let Some(ready) = &self.slots[slot] else { return };
        match &ready.remote {
            Some(remote) => ask(&**remote),
            None => {
                debug_assert!(false, "a thread has no limit on its silence, and nothing that it cannot begin")
            }
        }
        self.touch(slot);
    }

    /// What was said to the worker on `slot` is to be sent.
    pub(super) fn touch(&mut self, slot: usize) {
        if !self.touched.contains(&slot) {
            self.touched.push(slot);
        }
    }

    /// Notes that something is to be cancelled, once the core's lock is free.
    pub(super) fn cancel(&mut self, slot: usize, cancel: Cancel) {
        if let Some(ready) = &self.slots[slot] {
            self.cancels.push((Arc::clone(&ready.tasks), cancel));
        }
    }

    /// Sends what was said to workers since the last time.
    pub(super) fn flush(&mut self) {
        for slot in self.touched.drain(..) {
            if let Some(ready) = &self.slots[slot] {
                ready.tasks.flush();
            }
        }
    }

    /// Whether the timer has to be told of an earlier deadline.
    pub(super) fn arm(&mut self) -> bool {
        let Some(deadline) = self.scheduler.poll_timeout() else { return false };
        let nearer = self.armed.is_none_or(|armed| deadline < armed);
        if nearer {
            self.armed = Some(deadline);
        }
        nearer
    }
}
