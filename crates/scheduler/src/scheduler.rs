//! Which task goes to which worker, and how it ends.
//!
//! Workers stand in *slots*, numbered from 0. A slot is empty while its worker is dead or starting. The driver decides
//! how many slots there are. It reports what happened (a worker is ready, an attempt ended, a worker died). Then it
//! carries out [`Scheduler::next_dispatch`] and [`Scheduler::poll_effect`] until both yield nothing. It calls
//! [`Scheduler::handle_timeout`] at the time of [`Scheduler::poll_timeout`].
//!
//! This file has what the driver reports. [`dispatch`](crate::dispatch) decides which worker gets which task.
//! [`time`](crate::time) handles timeouts.
//!
//! Invariants:
//! - The books balance after every call: scheduled = done + failed + cancelled + returned + pending.
//! - A task ends exactly once. What an attempt reports after its lease ended is ignored: the lease's fence is stale.
//! - Only the attempt that ran when its worker died is charged with the death. If the worker was killed because attempts
//!   missed a heartbeat, those attempts are charged.
//! - An attempt that has missed a heartbeat has failed, however it ends. Its task ends when the attempt does.
//! - Nothing iterates in hash order: one sequence of calls gives one sequence of effects.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use crate::{
    effect::{Effect, Ended, Ending, Gone},
    flights::{Flight, Flights},
    lease::{Books, Lease},
    limits::Limits,
    load::{Demand, Estimates},
    queue::{Class, Pending, Queue},
    roster::Roster,
    worker::Worker,
};

/// Whether new tasks are taken and begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    /// Tasks in flight may end; nothing else is begun, and whatever waits is returned.
    Halting,
}

/// The scheduler of a pool of workers. `B` is the driver's own data of a task.
#[derive(Debug)]
pub struct Scheduler<B> {
    pub(crate) queue: Queue<B>,
    pub(crate) flights: Flights<B>,
    pub(crate) roster: Roster,
    pub(crate) estimates: Estimates,
    books: Books,
    pub(crate) limits: Limits,
    phase: Phase,
    /// Nothing is dispatched meanwhile: the inbox is full.
    paused: bool,
    pub(crate) effects: VecDeque<Effect<B>>,
    /// The slot that is being filled, and how many more tasks it gets before the next one's turn.
    pub(crate) filling: Option<(usize, usize)>,
    /// The slot that gets nothing until it is empty and runs the suspect that waits.
    pub(crate) reserved: Option<usize>,
}

impl<B> Scheduler<B> {
    /// A scheduler without workers or tasks.
    pub fn new(limits: Limits) -> Self {
        Self {
            queue: Queue::new(limits.levels),
            flights: Flights::new(),
            roster: Roster::new(limits.silence_limit),
            estimates: Estimates::default(),
            books: Books::default(),
            limits,
            phase: Phase::Open,
            paused: false,
            effects: VecDeque::new(),
            filling: None,
            reserved: None,
        }
    }

    /// How many tasks there were, by how they ended.
    pub fn books(&self) -> Books {
        self.books
    }

    /// How many tasks wait for a worker.
    pub fn queued(&self) -> usize {
        self.queue.len()
    }

    /// How many tasks the worker in `slot` has, running or waiting there.
    pub fn in_flight(&self, slot: usize) -> usize {
        self.worker(slot).map_or(0, |worker| worker.load.len())
    }

    /// The task under `lease` in `slot`, and the number of its attempt. `None` if the lease is stale.
    pub fn leased(&self, slot: usize, lease: Lease) -> Option<(&Pending<B>, u32)> {
        let flight = self.flights.get(slot, lease)?;
        Some((&flight.task, flight.task.attempt_number()))
    }

    /// The same task, to be changed.
    pub fn leased_mut(&mut self, slot: usize, lease: Lease) -> Option<&mut Pending<B>> {
        Some(&mut self.flights.get_mut(slot, lease)?.task)
    }

    /// The index of the next child of the attempt under `lease`. The caller takes it and adds one. This is for attempts
    /// that do not count their children themselves.
    pub fn next_child(&mut self, slot: usize, lease: Lease) -> Option<&mut u32> {
        self.flights.get_mut(slot, lease).map(|flight| &mut flight.next_child)
    }

    /// The task of this number, if it has not ended.
    pub fn find(&self, sequence: u64) -> Option<&Pending<B>> {
        let mut flying = self.flights.iter().map(|(.., flight)| &flight.task);
        flying.find(|task| task.sequence == sequence).or_else(|| self.queue.find(sequence))
    }

    /// Since when the worker has given no sign of life, if it has a ping to answer.
    pub fn silent_since(&self, slot: usize) -> Option<Instant> {
        self.worker(slot)?.liveness.silent_since()
    }

    /// The demand of the workers: which tasks some worker should get at once, and not with its next batch.
    pub fn demand(&mut self) -> Demand {
        if !self.dispatches() {
            return Demand::default();
        }
        let Some(reserved) = self.reserved else { return self.roster.summary().demand() };
        let others = self.roster.iter().filter(|(slot, _)| *slot != reserved);
        others.map(|(_, worker)| worker.needs().demand).fold(Demand::default(), Demand::or)
    }

    /// Whether the attempt under `lease` has missed a heartbeat, and has not ended.
    pub fn has_missed(&self, slot: usize, lease: Lease) -> bool {
        self.flights.get(slot, lease).is_some_and(|flight| missed(flight).is_some())
    }

    /// Takes a new task. Its number is larger than those before. While the manager halts, the task is returned at once.
    ///
    /// # Panics
    ///
    /// If the priority is beyond the levels.
    pub fn schedule(&mut self, sequence: u64, priority: u8, class: Class, body: B) {
        assert!(priority < self.limits.levels, "the caller checked the priority");
        self.books.scheduled += 1;
        let task = Pending {
            sequence,
            priority,
            class,
            suspect: false,
            crashes: 0,
            interruptions: 0,
            children: 0,
            body,
        };
        match self.phase {
            Phase::Open => self.queue.enqueue(task),
            Phase::Halting => self.end(task, Ending::Returned, 0),
        }
    }

    /// Whether the attempt under `lease` may schedule its child number `index`, which counts as scheduled from then on.
    /// False if the attempt has ended, or the child was scheduled by an earlier attempt already.
    pub fn admits_child(&mut self, slot: usize, lease: Lease, index: u32) -> bool {
        let Some(flight) = self.flights.get_mut(slot, lease) else { return false };
        let is_new = index >= flight.task.children;
        if is_new {
            flight.task.children = index.saturating_add(1);
        }
        is_new
    }

    /// Cancels a task: at once if it waits; by a request to its worker if it is in flight; not if it has ended.
    pub fn cancel(&mut self, sequence: u64) {
        if let Some(task) = self.queue.withdraw(sequence) {
            let attempts = task.attempts_begun();
            return self.end(task, Ending::Cancelled, attempts);
        }
        let found = self.flights.iter().find(|(.., flight)| flight.task.sequence == sequence);
        if let Some((slot, lease)) = found.map(|(slot, lease, _)| (slot, lease)) {
            self.request_cancel(slot, lease);
        }
    }

    /// Asks once.
    pub(crate) fn request_cancel(&mut self, slot: usize, lease: Lease) {
        if let Some(flight) = self.flights.get_mut(slot, lease)
            && !std::mem::replace(&mut flight.cancel_requested, true)
        {
            self.effects.push_back(Effect::Cancel { slot, lease });
        }
    }

    /// A worker in `slot` is ready to take tasks.
    ///
    /// # Panics
    ///
    /// If the worker before it has tasks in hand: its end was not reported.
    pub fn worker_ready(&mut self, now: Instant, slot: usize) {
        assert!(self.in_flight(slot) == 0, "a slot is cleared before it is taken again");
        self.roster.put(slot, Some(Worker::new(now, &self.limits)));
        if self.phase == Phase::Halting {
            self.dismiss(slot);
        }
    }

    /// The worker in `slot` is gone. `running` has the attempts that it ran.
    ///
    /// If one of them has not reported its end, that attempt is charged: `note_death` may note this in the task's body.
    /// If several have not, any of them may have been the cause: none is charged, and each is a suspect from now on. If
    /// the worker was ended because attempts had missed a heartbeat, only those attempts are charged, and none is a
    /// suspect. The worker's other tasks go back to the queue unchanged. Returns how many tasks went back or ended.
    pub fn worker_gone(
        &mut self,
        slot: usize,
        running: &[Lease],
        gone: Gone,
        mut note_death: impl FnMut(&mut Pending<B>),
    ) -> usize {
        if self.worker(slot).is_some() {
            self.roster.put(slot, None);
        }
        self.reserved = self.reserved.filter(|&reserved| reserved != slot);
        self.filling = None;
        // What was meant for this worker must not reach its successor.
        self.effects.retain(|effect| effect.slot() != Some(slot));
        let unended = running.iter().filter(|lease| self.leased(slot, **lease).is_some()).count();
        let leases = self.flights.on(slot);
        let count = leases.len();
        for lease in leases {
            let Some(mut flight) = self.flights.take(slot, lease) else { continue };
            let ran = running.contains(&lease);
            let missed = missed(&flight);
            let charged = match gone {
                Gone::Died => ran && unended == 1,
                Gone::Overdue => missed.is_some(),
            };
            if charged {
                note_death(&mut flight.task);
            }
            if let Some(timeout) = missed {
                self.end_missed(flight.task, slot, timeout);
                continue;
            }
            if charged {
                flight.task.crashes += 1;
            } else if ran {
                match gone {
                    Gone::Died => flight.task.suspect = true,
                    Gone::Overdue => flight.task.interruptions = flight.task.interruptions.saturating_add(1),
                }
            }
            let crashed = charged && flight.task.crashes >= self.limits.crash_limit;
            self.go_back(flight, crashed.then_some(Ending::Crashed));
        }
        count
    }

    /// What an attempt that has not ended leaves: its task waits again, unless it ends, by `otherwise` if nothing else
    /// is the cause.
    fn go_back(&mut self, flight: Flight<B>, otherwise: Option<Ending>) {
        let ending = match self.phase {
            _ if flight.cancel_requested => Some(Ending::Cancelled),
            Phase::Halting => Some(Ending::Returned),
            Phase::Open => otherwise,
        };
        match ending {
            Some(ending) => {
                let attempts = flight.task.attempts_begun();
                self.end(flight.task, ending, attempts);
            }
            None => self.queue.give_back(flight.task),
        }
    }

    /// The attempt under `lease` ended with an output. `None` if the lease is stale, or if the attempt has missed a
    /// heartbeat and so has failed.
    pub fn done(&mut self, now: Instant, slot: usize, lease: Lease, took: Duration) -> Option<Ended<B>> {
        let ended = self.end_attempt(now, slot, lease, took)?;
        self.books.done += 1;
        Some(ended)
    }

    /// The attempt under `lease` ended without an output. With `by_cancellation`, it counts as cancelled. `None` as for
    /// [`done`](Self::done).
    pub fn failed(
        &mut self,
        now: Instant,
        slot: usize,
        lease: Lease,
        took: Duration,
        by_cancellation: bool,
    ) -> Option<Ended<B>> {
        let ended = self.end_attempt(now, slot, lease, took)?;
        if by_cancellation {
            self.books.cancelled += 1;
        } else {
            self.books.failed += 1;
        }
        Some(ended)
    }

    fn end_attempt(&mut self, now: Instant, slot: usize, lease: Lease, took: Duration) -> Option<Ended<B>> {
        let flight = self.take_flight(slot, lease)?;
        self.estimates.learn(flight.task.class, took);
        if let Some(worker) = self.worker_mut(slot) {
            worker.load.progressed(now);
        }
        if let Some(timeout) = missed(&flight) {
            self.end_missed(flight.task, slot, timeout);
            return None;
        }
        let attempt = flight.task.attempt_number();
        Some(Ended { task: flight.task, attempt })
    }

    /// The worker gave back a task that it had not begun. False if the lease is stale.
    pub fn given_back(&mut self, slot: usize, lease: Lease) -> bool {
        if self.flights.get(slot, lease).is_none() {
            return false;
        }
        if self.phase == Phase::Open
            && let Some(worker) = self.worker_mut(slot)
        {
            worker.took_back();
        }
        let Some(flight) = self.take_flight(slot, lease) else { return false };
        match missed(&flight) {
            // It had begun: a worker that says otherwise does not know what it does.
            Some(timeout) => self.end_missed(flight.task, slot, timeout),
            None => self.go_back(flight, None),
        }
        true
    }

    /// The worker has answered a recall, whatever it gave back.
    pub fn recall_answered(&mut self, slot: usize) {
        if let Some(worker) = self.worker_mut(slot) {
            worker.recalls.answered();
        }
    }

    /// Starts no more tasks. Waiting tasks are returned now; tasks that workers give back are returned then. Each worker
    /// is retired as soon as it has no tasks.
    pub fn halt(&mut self) {
        self.phase = Phase::Halting;
        self.filling = None;
        self.end_queued(Ending::Returned);
        for slot in 0..self.roster.slots() {
            self.dismiss(slot);
        }
    }

    /// Gives the worker nothing more.
    fn dismiss(&mut self, slot: usize) {
        if let Some(worker) = self.worker_mut(slot)
            && worker.dismiss()
        {
            self.effects.push_back(Effect::Retire { slot });
        }
    }

    /// Ends every waiting task as never started.
    pub fn fail_queued(&mut self) {
        self.end_queued(Ending::NeverStarted);
    }

    /// Stops or resumes dispatching.
    pub fn pause(&mut self, paused: bool) {
        self.paused = paused;
    }

    /// What the driver has to do next.
    pub fn poll_effect(&mut self) -> Option<Effect<B>> {
        if self.effects.is_empty() && self.dispatches() {
            self.balance();
        }
        self.effects.pop_front()
    }

    /// Whether tasks are handed to workers at all.
    pub(crate) fn dispatches(&self) -> bool {
        !self.paused && self.phase == Phase::Open
    }

    pub(crate) fn worker(&self, slot: usize) -> Option<&Worker> {
        self.roster.get(slot)
    }

    pub(crate) fn worker_mut(&mut self, slot: usize) -> Option<&mut Worker> {
        self.roster.get_mut(slot)
    }

    fn end_queued(&mut self, ending: Ending) {
        while let Some(task) = self.lanes().find_map(|lane| self.queue.lease(lane)) {
            let attempts = task.attempts_begun();
            self.end(task, ending, attempts);
        }
    }

    /// The attempt that missed a heartbeat has ended.
    fn end_missed(&mut self, task: Pending<B>, slot: usize, timeout: Duration) {
        let attempt = task.attempt_number();
        self.end(task, Ending::HeartbeatMissed { slot, timeout }, attempt);
    }

    fn end(&mut self, task: Pending<B>, ending: Ending, attempt: u32) {
        let begun = task.attempts_begun() > 0;
        let ending = if ending == Ending::Returned && begun { Ending::Cancelled } else { ending };
        match ending {
            Ending::Cancelled => self.books.cancelled += 1,
            Ending::Returned => self.books.returned += 1,
            Ending::Crashed | Ending::NeverStarted | Ending::HeartbeatMissed { .. } => self.books.failed += 1,
        }
        self.effects.push_back(Effect::Ended { task, ending, attempt });
    }

    /// Takes a flight off its worker.
    fn take_flight(&mut self, slot: usize, lease: Lease) -> Option<Flight<B>> {
        let flight = self.flights.take(slot, lease)?;
        if let Some(worker) = self.worker_mut(slot) {
            worker.load.remove(&flight.task, flight.cost_ns);
            if worker.is_to_retire() {
                self.effects.push_back(Effect::Retire { slot });
            }
        }
        Some(flight)
    }
}

/// The timeout, if the attempt has not beaten for that long.
fn missed<B>(flight: &Flight<B>) -> Option<Duration> {
    flight.deadline()?.missed()
}
