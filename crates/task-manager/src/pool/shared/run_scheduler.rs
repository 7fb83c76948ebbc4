//! Running the scheduler: a thread that changes the core carries out its effects under its lock, and delivers results
//! afterwards.
//!
//! Invariant: effects are carried out in the order in which the core yields them.

use std::{
    sync::{MutexGuard, PoisonError},
    time::Instant,
};

use workfleet_scheduler::Effect;

use super::{Shared, body::carry_out, core::Core, deliveries::Deliveries};
use crate::protocol::{Cancel, Recall, TaskFrame};

impl Shared {
    /// The core's deadline has come. Returns the next.
    pub(crate) fn handle_timeout(&self) -> Option<Instant> {
        self.run_scheduler(|core, _| core.scheduler.handle_timeout(Instant::now()));
        self.deadline()
    }

    /// The core's next deadline, which the timer is about to wait for.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let mut core = self.lock_core();
        core.armed = core.scheduler.poll_timeout();
        core.armed
    }

    /// Changes the core by `change`, carries out everything that follows, and delivers the results.
    pub(super) fn run_scheduler<R>(&self, change: impl FnOnce(&mut Core, &mut Deliveries) -> R) -> R {
        let (changed, deliveries) = self.run_scheduler_untold(change);
        self.tell(deliveries);
        changed
    }

    /// Delivers results: to handles, and to the inbox.
    pub(super) fn tell(&self, deliveries: Deliveries) {
        if deliveries.tell(&self.inbox) {
            self.resume();
        }
    }

    /// As [`run_scheduler`](Self::run_scheduler), but leaves the delivery to the caller.
    pub(super) fn run_scheduler_untold<R>(
        &self,
        change: impl FnOnce(&mut Core, &mut Deliveries) -> R,
    ) -> (R, Deliveries) {
        let mut deliveries = Deliveries::default();
        let mut core = self.lock_core();
        let Core { scheduler, commands, .. } = &mut *core;
        self.submissions.take(commands);
        carry_out(scheduler, commands);
        let changed = change(&mut core, &mut deliveries);
        loop {
            core.flush_effects(self, &mut deliveries);
            let Core { scheduler, commands, .. } = &mut *core;
            if !self.submissions.note_demand(scheduler.demand(), commands) {
                break;
            }
            carry_out(scheduler, commands);
        }
        core.flush();
        let nearer = core.arm();
        let cancels = std::mem::take(&mut core.cancels);
        drop(core);
        for (tasks, cancel) in cancels {
            tasks.cancel(&cancel);
        }
        if nearer {
            self.timer.notify_one();
        }
        (changed, deliveries)
    }

    pub(super) fn lock_core(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Core {
    /// Dispatches and carries out effects until there are none.
    fn flush_effects(&mut self, shared: &Shared, deliveries: &mut Deliveries) {
        let now = Instant::now();
        self.scheduler.pause(shared.inbox.is_full());
        while let Some(dispatch) = self.scheduler.next_dispatch(now) {
            let slot = dispatch.slot;
            let Some(ready) = &self.slots[slot] else {
                debug_assert!(false, "an open slot has a worker");
                break;
            };
            let task = dispatch.task;
            let frame = TaskFrame {
                lease: dispatch.lease.to_bits(),
                sequence: task.sequence,
                attempt: dispatch.attempt,
                task_type: task.body.task_type,
                priority: task.priority,
                wants_output: task.body.cell.is_some(),
                last_heartbeat: task.body.last_heartbeat().cloned(),
                payload: &task.body.task.payload,
            };
            ready.tasks.dispatch(&frame);
            self.touch(slot);
        }
        while let Some(effect) = self.scheduler.poll_effect() {
            match effect {
                Effect::Recall { slot, at_most, from } => {
                    self.ask(slot, |remote| remote.recall(&Recall { at_most, from }));
                }
                Effect::Cancel { slot, lease } => self.cancel(slot, Cancel::Lease(lease.to_bits())),
                Effect::Ping { slot } => self.ask(slot, |remote| remote.ping()),
                Effect::CatchUp { slot } => {
                    if let Some(ready) = &self.slots[slot] {
                        ready.supervisor.catch_up();
                    }
                }
                Effect::Retire { slot } => {
                    if let Some(ready) = &self.slots[slot] {
                        ready.supervisor.retire();
                    }
                }
                Effect::Ended { task, ending, attempt } => {
                    deliveries.ended(shared, task, ending, attempt, &self.why_none_starts);
                }
            }
        }
    }
}
