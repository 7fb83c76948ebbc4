//! Driving the core: a thread that changes it carries out what it decides, under its lock, and tells others afterwards.
//!
//! Invariant: effects are carried out in the order in which the core yields them.

use std::{
    sync::{Arc, MutexGuard, PoisonError},
    time::Instant,
};

use workfleet_scheduler::{Effect, Restarts, Scheduler};

use super::{
    Seated, Shared,
    body::{Body, Order, obey},
    deliveries::Deliveries,
};
use crate::{
    pool::{
        given_up::GivenUp,
        line::{GiveTasks, Remote},
    },
    protocol::{Cancel, Recall, TaskFrame},
};

#[derive(Debug)]
pub(super) struct Core {
    pub(super) scheduler: Scheduler<Body>,
    pub(super) restarts: Restarts,
    /// Why what waits was given up last.
    pub(super) why_none_starts: GivenUp,
    /// By seat; none while its worker is dead or starting.
    pub(super) seats: Vec<Option<Seated>>,
    /// Seats whose links hold frames to be sent.
    pub(super) touched: Vec<usize>,
    /// What was taken from the intake; empty between turns, kept for its memory.
    pub(super) orders: Vec<Order>,
    /// What is to be cancelled by whoever holds the lock, once that is free; empty between turns.
    pub(super) cancels: Vec<(Arc<dyn GiveTasks>, Cancel)>,
    /// When the timer will next look; none: not before it is told.
    pub(super) armed: Option<Instant>,
}

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
    /// Asks something of the worker on `seat`, which is not in this process, if it is there.
    fn ask(&mut self, seat: usize, ask: impl FnOnce(&dyn Remote)) {
        let Some(seated) = &self.seats[seat] else { return };
        match &seated.remote {
            Some(remote) => ask(&**remote),
            None => {
                debug_assert!(false, "a thread has no limit on its silence, and nothing that it cannot begin")
            }
        }
        self.touch(seat);
    }

    /// What was said to the worker on `seat` is to be sent.
    fn touch(&mut self, seat: usize) {
        if !self.touched.contains(&seat) {
            self.touched.push(seat);
        }
    }

    /// Notes that something is to be cancelled, once the core's lock is free.
    pub(super) fn cancel(&mut self, seat: usize, cancel: Cancel) {
        if let Some(seated) = &self.seats[seat] {
            self.cancels.push((Arc::clone(&seated.tasks), cancel));
        }
    }

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

    /// Sends what [`push`](Self::push) and dispatching appended.
    fn flush(&mut self) {
        for seat in self.touched.drain(..) {
            if let Some(seated) = &self.seats[seat] {
                seated.tasks.flush();
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
