//! What a worker reports of its attempts: they begin, beat and end.

use std::{
    borrow::Cow,
    time::{Duration, Instant},
};

use workfleet_heartbeat::Details;
use workfleet_scheduler::{Kill, Lease};

use super::{Shared, core::Core, deliveries::Deliveries};
use crate::{
    failure::{Failed, FailureCause},
    registry::index::Index,
};

impl Shared {
    /// A worker thread has not begun a task that was asked back.
    pub(crate) fn given_back(&self, slot: usize, lease: u64) {
        self.run_scheduler(|core, _| core.scheduler.given_back(slot, Lease::from_bits(lease)));
    }

    /// An attempt that runs in this process has begun, or beats. Cheap: nothing follows from it but, at first, an earlier
    /// deadline.
    pub(crate) fn heartbeat(&self, slot: usize, lease: u64, details: Option<Details>) {
        let now = Instant::now();
        let mut core = self.lock_core();
        core.heartbeat(&self.index, now, slot, lease, details);
        let nearer = core.arm();
        drop(core);
        if nearer {
            self.timer.notify_one();
        }
    }

    /// Everything was handled that the worker had sent by then, and so what did not come is missing. If the worker has to be
    /// killed for that, this is why. There is no other way to ask.
    pub(crate) fn caught_up(&self, slot: usize, sent_by: Instant) -> Option<Kill> {
        self.run_scheduler(|core, _| core.scheduler.caught_up(Instant::now(), slot, sent_by))
    }

    /// An attempt that ran in this process has ended.
    pub(crate) fn attempt_ended(
        &self,
        slot: usize,
        lease: u64,
        took: Duration,
        outcome: Result<Vec<u8>, Box<Failed>>,
    ) {
        let outcome = outcome.map(Cow::Owned);
        self.run_scheduler(|core, deliveries| {
            core.ended(self, Instant::now(), slot, lease, took, outcome, deliveries);
        });
    }
}

impl Core {
    /// An attempt has begun, or beats. One that has ended, or that is late, changes nothing by that.
    pub(super) fn heartbeat(
        &mut self,
        index: &Index,
        now: Instant,
        slot: usize,
        lease: u64,
        details: Option<Details>,
    ) {
        let lease = Lease::from_bits(lease);
        let Some((task, _)) = self.scheduler.leased(slot, lease) else { return };
        let timeout = index.heartbeat_timeout(task.body.task_type);
        let task = self.scheduler.heartbeat(now, slot, lease, timeout);
        if let (Some(task), Some(details)) = (task, details) {
            task.body.history.get_or_insert_default().last_heartbeat = Some(details);
        }
    }

    /// An attempt has ended, as its worker says.
    #[expect(clippy::too_many_arguments, reason = "what a frame would carry")]
    pub(super) fn ended(
        &mut self,
        shared: &Shared,
        now: Instant,
        slot: usize,
        lease: u64,
        took: Duration,
        outcome: Result<Cow<'_, [u8]>, Box<Failed>>,
        deliveries: &mut Deliveries,
    ) {
        let lease = Lease::from_bits(lease);
        self.restarts.progress();
        match outcome {
            Ok(output) => {
                if let Some(ended) = self.scheduler.done(now, slot, lease, took) {
                    deliveries.done(ended, output);
                }
            }
            Err(mut failed) => {
                let debug = std::mem::take(&mut failed.debug);
                if let Some(task) = self.scheduler.leased_mut(slot, lease).filter(|_| !debug.is_empty()) {
                    // With the task, which may end otherwise than by this: it may have missed a heartbeat before.
                    task.body.history.get_or_insert_default().debug = debug;
                }
                let cancelled = failed.cause == FailureCause::Cancelled;
                if let Some(ended) = self.scheduler.failed(now, slot, lease, took, cancelled) {
                    let worker = self.slots[slot].as_ref().map(|ready| ready.name.to_string());
                    deliveries.failed(shared, ended.task, ended.attempt, worker, *failed);
                }
            }
        }
    }
}
