//! Driving the core: a thread that changes it carries out what it decides, under its lock, and tells others afterwards.
//!
//! Invariant: effects are carried out in the order in which the core yields them.

use std::{
    sync::{MutexGuard, PoisonError},
    time::Instant,
};

use workfleet_scheduler::Effect;

use super::{Shared, body::obey, core::Core, deliveries::Deliveries};
use crate::protocol::{Cancel, Recall, TaskFrame};

impl Shared {
    /// The core's deadline has come. Returns the next.
    pub(crate) fn handle_timeout(&self) -> Option<Instant> {
        self.turn(|core, _| core.scheduler.handle_timeout(Instant::now()));
        self.deadline()
    }

    /// The core's next deadline, which the timer is about to wait for.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let mut core = self.lock_core();
        core.armed = core.scheduler.poll_timeout();
        core.armed
    }

    /// Changes the core by `change`, then carries out everything that follows, and tells whom it concerns.
    pub(super) fn turn<R>(&self, change: impl FnOnce(&mut Core, &mut Deliveries) -> R) -> R {
        let (changed, deliveries) = self.turn_untold(change);
        self.tell(deliveries);
        changed
    }

    /// Tells whom it concerns.
    pub(super) fn tell(&self, deliveries: Deliveries) {
        if deliveries.tell(&self.inbox) {
            self.resume();
        }
    }

    /// The same, but that nobody is told yet.
    pub(super) fn turn_untold<R>(
        &self,
        change: impl FnOnce(&mut Core, &mut Deliveries) -> R,
    ) -> (R, Deliveries) {
        let mut deliveries = Deliveries::default();
        let mut core = self.lock_core();
        let Core { scheduler, orders, .. } = &mut *core;
        self.intake.take(orders);
        obey(scheduler, orders);
        let changed = change(&mut core, &mut deliveries);
        loop {
            core.settle(self, &mut deliveries);
            let Core { scheduler, orders, .. } = &mut *core;
            if !self.intake.settle(scheduler.hunger(), orders) {
                break;
            }
            obey(scheduler, orders);
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
    fn settle(&mut self, shared: &Shared, deliveries: &mut Deliveries) {
        let now = Instant::now();
        self.scheduler.pause(shared.inbox.is_full());
        while let Some(dispatch) = self.scheduler.next_dispatch(now) {
            let seat = dispatch.seat;
            let Some(seated) = &self.seats[seat] else {
                debug_assert!(false, "an open seat has a worker");
                break;
            };
            let task = dispatch.task;
            let frame = TaskFrame {
                lease: dispatch.lease.to_bits(),
                sequence: task.sequence,
                attempt: dispatch.attempt,
                task_type: task.body.task_type,
                priority: task.priority,
                wants_output: task.body.slot.is_some(),
                last_heartbeat: task.body.last_heartbeat().cloned(),
                payload: &task.body.task.payload,
            };
            seated.tasks.dispatch(&frame);
            self.touch(seat);
        }
        while let Some(effect) = self.scheduler.poll_effect() {
            match effect {
                Effect::Recall { seat, at_most, from } => {
                    self.ask(seat, |remote| remote.recall(&Recall { at_most, from }));
                }
                Effect::Cancel { seat, lease } => self.cancel(seat, Cancel::Lease(lease.to_bits())),
                Effect::Ping { seat } => self.ask(seat, |remote| remote.ping()),
                Effect::CatchUp { seat } => {
                    if let Some(seated) = &self.seats[seat] {
                        seated.supervisor.catch_up();
                    }
                }
                Effect::Retire { seat } => {
                    if let Some(seated) = &self.seats[seat] {
                        seated.supervisor.retire();
                    }
                }
                Effect::Ended { task, ending, attempt } => {
                    deliveries.ended(shared, task, ending, attempt, &self.why_none_starts);
                }
            }
        }
    }
}
