//! The scheduler: which task goes to which worker, and what becomes of it. A core: no IO, no clock, no thread.
//!
//! Workers sit on *seats*, numbered from 0; a seat is empty while its worker is dead or starting. The driver reports
//! what happened (a worker is ready, an attempt ended, a worker died), then carries out [`Scheduler::next_dispatch`]
//! and [`Scheduler::poll_effect`] until both yield nothing, and calls [`Scheduler::handle_timeout`] when
//! [`Scheduler::poll_timeout`] is due.
//!
//! Invariants:
//! - The books balance after every call: scheduled = done + failed + cancelled + returned + pending.
//! - A task ends exactly once. What an attempt reports after its lease ended is ignored: the lease's fence is stale.
//! - Only the attempt that ran when its worker died is charged with the death, or, where the worker was killed for them,
//!   those that missed a heartbeat.
//! - An attempt that has missed a heartbeat has failed by that, however it ends, and its task ends when it does.
//! - Nothing iterates in hash order: one sequence of calls gives one sequence of effects.

mod load;
mod queue;
#[cfg(test)]
mod tests;
mod watch;

use std::{
    collections::{BTreeSet, VecDeque},
    time::{Duration, Instant},
};

pub(crate) use load::{Appetite, Hunger};
use load::{Estimates, Load};
use queue::Lane;
pub(crate) use queue::{Class, MemoryQueue, Pending, TaskQueue};
use watch::{Due, Watch};
use workfleet_heartbeat::cores::Patience;

/// A worker that has not reported an ending for this long, while tasks wait behind the one it runs, gives them back.
const STALL_LIMIT: Duration = Duration::from_millis(5);
/// Prefetched work below this estimate is not worth taking back for an idle worker.
const RECALL_MIN_NS: u64 = 200_000;

/// One lease of one task to one worker: what fences its reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Lease {
    /// Where the task stands in the table of tasks in flight.
    slot: u32,
    /// How many leases this scheduler had granted before, in 32 bits, and never 0.
    fence: u32,
}

impl Lease {
    /// The lease as it travels; never 0.
    pub(crate) fn to_bits(self) -> u64 {
        (u64::from(self.fence) << 32) | u64::from(self.slot)
    }

    pub(crate) fn from_bits(bits: u64) -> Self {
        Self { slot: bits as u32, fence: (bits >> 32) as u32 }
    }
}

/// How often each thing has happened to a task: the books.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Books {
    pub(crate) scheduled: u64,
    pub(crate) done: u64,
    pub(crate) failed: u64,
    pub(crate) cancelled: u64,
    pub(crate) returned: u64,
}

impl Books {
    pub(crate) fn pending(&self) -> u64 {
        self.scheduled - self.done - self.failed - self.cancelled - self.returned
    }
}

/// How a task ended that did not report its own end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It was cancelled, running or not.
    Cancelled,
    /// Its worker died while running it, as often as the crash limit allows.
    Crashed,
    /// The manager closed before it was begun. One that died with its worker before is `Cancelled` instead.
    Returned,
    /// No worker could be started.
    NeverStarted,
    /// The attempt that ran on this seat has not beaten for so long.
    HeartbeatMissed { seat: usize, timeout: Duration },
}

/// What the driver has to do.
#[derive(Debug)]
pub(crate) enum Effect<B> {
    /// Ask the worker on this seat to give back tasks that it has not begun: at most this many, the last first, and
    /// none that is more urgent than `from`.
    Recall { seat: usize, at_most: u32, from: u8 },
    /// Ask the worker to cancel the attempt under this lease.
    Cancel { seat: usize, lease: Lease },
    /// Ask the worker for a sign of life.
    Ping { seat: usize },
    /// Kill the worker: nothing was heard of it for the silence limit.
    Kill { seat: usize },
    /// Handle whatever the worker has sent, then have the attempt [judged](Scheduler::judge): it does not beat.
    CatchUp { seat: usize, lease: Lease },
    /// Kill the worker: an attempt has missed a heartbeat, was cancelled for that, and has not ended within the grace.
    Overdue { seat: usize },
    /// Let the worker go: it has had its share of tasks, and has none in hand.
    Retire { seat: usize },
    /// Tell whoever waits for this task.
    Ended { task: Pending<B>, ending: Ending, attempt: u32 },
}

impl<B> Effect<B> {
    /// The worker that it is meant for.
    fn seat(&self) -> Option<usize> {
        match *self {
            Self::Recall { seat, .. } | Self::Cancel { seat, .. } | Self::CatchUp { seat, .. } => Some(seat),
            Self::Ping { seat } | Self::Kill { seat } | Self::Overdue { seat } => Some(seat),
            Self::Retire { seat } => Some(seat),
            Self::Ended { .. } => None,
        }
    }
}

/// A task on its way to a worker.
#[derive(Debug)]
pub(crate) struct Dispatch<'a, B> {
    pub(crate) seat: usize,
    pub(crate) lease: Lease,
    /// Which attempt at the task this is, from 1.
    pub(crate) attempt: u32,
    pub(crate) task: &'a Pending<B>,
}

/// What a report of a task that is in flight may look at and change.
#[derive(Debug)]
pub(crate) struct Ended<B> {
    pub(crate) task: Pending<B>,
    pub(crate) attempt: u32,
}

/// Limits of a [`Scheduler`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) seats: usize,
    pub(crate) levels: u8,
    /// A task whose worker died this often while running it is not tried again.
    pub(crate) crash_limit: u16,
    /// A worker with tasks in hand that is not heard of for this long is killed. None: it is always heard.
    pub(crate) silence_limit: Option<Duration>,
    /// How long an attempt that missed a heartbeat may take to end before its worker is killed.
    pub(crate) heartbeat_grace: Duration,
    pub(crate) appetite: Appetite,
    /// A worker that was given so many tasks, and has ended them, is replaced.
    pub(crate) tasks_per_worker: u64,
}

#[derive(Debug)]
struct InFlight<B> {
    task: Pending<B>,
    seat: u32,
    fence: u32,
    /// Where the slot's number stands in its seat's list.
    position: u32,
    cost_ns: u64,
    cancel_requested: bool,
    /// Of an attempt that has to beat, and has begun. Boxed: most have none.
    watch: Option<Box<Watch>>,
}

impl<B> InFlight<B> {
    /// The timeout, if the attempt has not beaten for that long.
    fn missed(&self) -> Option<Duration> {
        self.watch.as_ref()?.missed()
    }
}

/// A worker's end, as far as it tells who is to blame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gone {
    /// It died, or was ended for what it did or did not do itself.
    Died,
    /// It was ended for an attempt that had missed a heartbeat and did not end.
    Overdue,
}

/// One place for a worker.
#[derive(Debug)]
struct Seat {
    /// A worker is here and takes tasks.
    open: bool,
    load: Load,
    /// Slots of its tasks in flight, in no particular order.
    slots: Vec<u32>,
    /// When an attempt last ended here, or the first of its present tasks came.
    progress_at: Option<Instant>,
    heard_at: Option<Instant>,
    /// While a ping is unanswered: how long the answer is waited for.
    answer: Option<Patience>,
    /// When something was last heard before that ping.
    silent_since: Option<Instant>,
    /// How many recalls are unanswered; each was more urgent than those before, so there are no more than levels.
    recalls: u32,
    /// Nothing that they bring back is more urgent than this.
    recalled_from: u8,
    /// Nothing that waits in its hand is less urgent than this.
    least_urgent: u8,
    /// It runs a suspect, and gets nothing else until that has ended.
    alone: bool,
    /// How many more tasks its worker is given.
    tasks_left: u64,
}

impl Seat {
    /// Whether its worker may be given this task. Not while it is asked to give back tasks of that level: those would
    /// come after what it was given meanwhile.
    fn takes<B>(&self, task: &Pending<B>) -> bool {
        let in_order = self.recalls == 0 || self.slots.is_empty() || task.priority < self.recalled_from;
        self.open && !self.is_taken() && in_order && self.load.takes(task.class, task.priority)
    }

    /// Whether its worker gets nothing before what it has in hand has ended.
    fn is_taken(&self) -> bool {
        self.alone || self.tasks_left == 0
    }

    /// What it should get, or make way for, at once.
    fn hunger(&self) -> Hunger {
        if !self.open || self.is_taken() {
            return Hunger::default();
        }
        self.load.hunger().or(Hunger { single: self.in_the_way_of(), concurrent: None })
    }

    /// Is asked to give tasks back, none of them more urgent than `from`.
    fn recall(&mut self, from: u8) {
        self.recalled_from = if self.recalls == 0 { from } else { from.min(self.recalled_from) };
        self.recalls += 1;
    }

    /// The least urgent priority of which a task should not be overtaken by what waits in its worker's hand, and is not
    /// asked back already.
    fn in_the_way_of(&self) -> Option<u8> {
        if self.load.queue_len() < 2 {
            return None;
        }
        let stays = if self.recalls == 0 { self.least_urgent } else { self.recalled_from.checked_sub(1)? };
        stays.min(self.least_urgent).checked_sub(1)
    }
}

/// Whether new tasks are taken and begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    /// Tasks in flight may end; nothing else is begun, and whatever waits is returned.
    Halting,
}

#[derive(Debug)]
pub(crate) struct Scheduler<B, Q = MemoryQueue<B>> {
    queue: Q,
    flights: Vec<Option<InFlight<B>>>,
    free_slots: Vec<u32>,
    next_fence: u32,
    seats: Box<[Seat]>,
    estimates: Estimates,
    books: Books,
    next_sequence: u64,
    limits: Limits,
    phase: Phase,
    /// Nothing is dispatched meanwhile: the inbox is full.
    paused: bool,
    effects: VecDeque<Effect<B>>,
    /// The seat that is being filled, and how many more tasks it gets before the next one's turn.
    filling: Option<(usize, usize)>,
    /// The seat that gets nothing until it is empty and runs the suspect that waits.
    reserved: Option<usize>,
    /// When to look after which slot whose attempt has to beat. One that beats is looked after once in its timeout.
    alarms: BTreeSet<(Instant, u32)>,
}

impl<B, Q: TaskQueue<B>> Scheduler<B, Q> {
    pub(crate) fn new(queue: Q, limits: Limits) -> Self {
        let seat = || Seat {
            open: false,
            load: Load::new(limits.levels, limits.appetite),
            slots: Vec::new(),
            progress_at: None,
            heard_at: None,
            answer: None,
            silent_since: None,
            recalls: 0,
            recalled_from: 0,
            least_urgent: 0,
            alone: false,
            tasks_left: 0,
        };
        Self {
            queue,
            flights: Vec::new(),
            free_slots: Vec::new(),
            next_fence: 1,
            seats: (0..limits.seats).map(|_| seat()).collect(),
            estimates: Estimates::default(),
            books: Books::default(),
            next_sequence: 0,
            limits,
            phase: Phase::Open,
            paused: false,
            effects: VecDeque::new(),
            filling: None,
            reserved: None,
            alarms: BTreeSet::new(),
        }
    }

    pub(crate) fn books(&self) -> Books {
        self.books
    }

    /// How many tasks wait for a worker.
    pub(crate) fn queued(&self) -> usize {
        self.queue.len()
    }

    /// How many tasks the worker on `seat` has in hand.
    pub(crate) fn in_flight(&self, seat: usize) -> usize {
        self.seats[seat].slots.len()
    }

    /// The task under `lease`, if that lease still stands on `seat`, and the number of the attempt.
    pub(crate) fn leased(&self, seat: usize, lease: Lease) -> Option<(&Pending<B>, u32)> {
        let flight = self.flights.get(lease.slot as usize)?.as_ref()?;
        (flight.fence == lease.fence && flight.seat as usize == seat)
            .then_some((&flight.task, attempt_number(&flight.task)))
    }

    /// The same task, to be changed.
    pub(crate) fn leased_mut(&mut self, seat: usize, lease: Lease) -> Option<&mut Pending<B>> {
        Some(&mut self.flight(seat, lease)?.task)
    }

    /// The task of this number, if it has not ended.
    pub(crate) fn find(&self, sequence: u64) -> Option<&Pending<B>> {
        let flying = self.flights.iter().flatten().map(|flight| &flight.task);
        flying.into_iter().find(|task| task.sequence == sequence).or_else(|| self.queue.find(sequence))
    }

    /// Since when nothing was heard of the worker, if it owes the answer to a ping.
    pub(crate) fn silent_since(&self, seat: usize) -> Option<Instant> {
        self.seats[seat].silent_since
    }

    /// What some worker should get, or make way for, at once rather than with the next batch.
    pub(crate) fn hunger(&self) -> Hunger {
        if self.phase == Phase::Halting || self.paused {
            return Hunger::default();
        }
        let seats = self.seats.iter().enumerate().filter(|(seat, _)| self.reserved != Some(*seat));
        seats.map(|(_, seat)| seat.hunger()).fold(Hunger::default(), Hunger::or)
    }

    /// Takes a new task and returns its sequence number. While the manager halts, the task is returned at once.
    pub(crate) fn schedule(&mut self, priority: u8, class: Class, body: B) -> u64 {
        assert!(priority < self.limits.levels, "the caller checked the priority");
        let sequence = self.next_sequence;
        self.next_sequence += 1;
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
        sequence
    }

    /// Takes the child number `index` that the attempt under `lease` schedules. `None` if it is stale, or was taken
    /// from an earlier attempt already.
    pub(crate) fn schedule_child(
        &mut self,
        seat: usize,
        lease: Lease,
        index: u32,
        priority: u8,
        class: Class,
        body: B,
    ) -> Option<u64> {
        let parent = &mut self.flight(seat, lease)?.task;
        if index < parent.children {
            return None;
        }
        parent.children = index.saturating_add(1);
        Some(self.schedule(priority, class, body))
    }

    /// Cancels a task: at once if it waits; by a request to its worker if it is in flight; not if it has ended.
    pub(crate) fn cancel(&mut self, sequence: u64) {
        if let Some(task) = self.queue.withdraw(sequence) {
            let attempts = attempts_begun(&task);
            return self.end(task, Ending::Cancelled, attempts);
        }
        let flight = self.flights.iter_mut().enumerate().find_map(|(slot, flight)| {
            flight.as_mut().filter(|flight| flight.task.sequence == sequence).map(|flight| (slot, flight))
        });
        if let Some((slot, flight)) = flight
            && !flight.cancel_requested
        {
            flight.cancel_requested = true;
            let lease = Lease { slot: slot as u32, fence: flight.fence };
            self.effects.push_back(Effect::Cancel { seat: flight.seat as usize, lease });
        }
    }

    /// A worker sits down and takes tasks.
    pub(crate) fn worker_ready(&mut self, now: Instant, seat: usize) {
        let seat = &mut self.seats[seat];
        assert!(seat.slots.is_empty(), "a seat is cleared before it is taken again");
        seat.open = true;
        seat.tasks_left = self.limits.tasks_per_worker;
        seat.load.stalled = false;
        seat.recalls = 0;
        seat.answer = None;
        seat.silent_since = None;
        seat.heard_at = Some(now);
        seat.progress_at = None;
    }

    /// The worker on `seat` is gone. If one of the attempts that it was `running` has not reported its end, that
    /// attempt is charged: `mark` may note so in its body. If several have not, any of them may have been the cause:
    /// none is charged, and each is a suspect from now on. If it was ended for those that had missed a heartbeat, they
    /// are charged, and nobody else is or is suspected. Everything else that the worker had in hand goes back as it
    /// was. Returns how many went back or ended.
    pub(crate) fn worker_gone(
        &mut self,
        seat: usize,
        running: &[Lease],
        gone: Gone,
        mut mark: impl FnMut(&mut Pending<B>),
    ) -> usize {
        let unended = running.iter().filter(|lease| self.leased(seat, **lease).is_some()).count();
        self.seats[seat].open = false;
        self.seats[seat].recalls = 0;
        self.seats[seat].alone = false;
        self.seats[seat].silent_since = None;
        self.reserved = self.reserved.filter(|&reserved| reserved != seat);
        self.filling = None;
        // What was meant for this worker must not reach its successor.
        self.effects.retain(|effect| effect.seat() != Some(seat));
        let mut slots = std::mem::take(&mut self.seats[seat].slots);
        slots.sort_unstable_by_key(|&slot| self.flights[slot as usize].as_ref().map(|f| f.task.sequence));
        let count = slots.len();
        for slot in slots {
            let Some(mut flight) = self.take_slot(slot) else { continue };
            self.seats[seat].load.remove(flight.task.class, flight.task.priority, flight.cost_ns);
            let ran = running.contains(&Lease { slot, fence: flight.fence });
            let missed = flight.missed();
            let charged = match gone {
                Gone::Died => ran && unended == 1,
                Gone::Overdue => missed.is_some(),
            };
            if charged {
                mark(&mut flight.task);
            }
            if let Some(timeout) = missed {
                self.end_missed(flight.task, seat, timeout);
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
            let attempts = attempts_begun(&flight.task);
            match self.phase {
                _ if flight.cancel_requested => self.end(flight.task, Ending::Cancelled, attempts),
                Phase::Halting => self.end(flight.task, Ending::Returned, attempts),
                Phase::Open if charged && flight.task.crashes >= self.limits.crash_limit => {
                    self.end(flight.task, Ending::Crashed, attempts);
                }
                Phase::Open => self.queue.give_back(flight.task),
            }
        }
        count
    }

    /// The attempt under `lease` ended with an output. `None` if the lease is stale, or the attempt has missed a heartbeat:
    /// it has failed by that.
    pub(crate) fn done(
        &mut self,
        now: Instant,
        seat: usize,
        lease: Lease,
        took: Duration,
    ) -> Option<Ended<B>> {
        let ended = self.end_attempt(now, seat, lease, took)?;
        self.books.done += 1;
        Some(ended)
    }

    /// The attempt under `lease` ended without an output; if that is the answer to a cancellation, it counts as
    /// cancelled. `None` as for [`done`](Self::done).
    pub(crate) fn failed(
        &mut self,
        now: Instant,
        seat: usize,
        lease: Lease,
        took: Duration,
        by_cancellation: bool,
    ) -> Option<Ended<B>> {
        let ended = self.end_attempt(now, seat, lease, took)?;
        if by_cancellation {
            self.books.cancelled += 1;
        } else {
            self.books.failed += 1;
        }
        Some(ended)
    }

    fn end_attempt(&mut self, now: Instant, seat: usize, lease: Lease, took: Duration) -> Option<Ended<B>> {
        let flight = self.take_flight(seat, lease)?;
        let missed = flight.missed();
        let task = flight.task;
        self.estimates.learn(task.class, took);
        self.seats[seat].load.stalled = false;
        self.seats[seat].progress_at = Some(now);
        if let Some(timeout) = missed {
            self.end_missed(task, seat, timeout);
            return None;
        }
        self.queue.complete(task.sequence);
        let attempt = attempt_number(&task);
        Some(Ended { task, attempt })
    }

    /// The worker gave back a task that it had not begun. False if the lease is stale.
    pub(crate) fn given_back(&mut self, seat: usize, lease: Lease) -> bool {
        if self.flight(seat, lease).is_none() {
            return false;
        }
        // It does not count as one that the worker was given.
        self.seats[seat].tasks_left += 1;
        let Some(flight) = self.take_flight(seat, lease) else { return false };
        let attempts = attempts_begun(&flight.task);
        if let Some(timeout) = flight.missed() {
            // It had begun: a worker that says otherwise does not know what it does.
            self.end_missed(flight.task, seat, timeout);
        } else if flight.cancel_requested {
            self.end(flight.task, Ending::Cancelled, attempts);
        } else if self.phase == Phase::Halting {
            self.end(flight.task, Ending::Returned, attempts);
        } else {
            self.queue.give_back(flight.task);
        }
        true
    }

    /// The worker has answered a recall, whatever it gave back.
    pub(crate) fn recall_answered(&mut self, seat: usize) {
        // What nobody asked for is no answer.
        self.seats[seat].recalls = self.seats[seat].recalls.saturating_sub(1);
    }

    /// Anything at all came from the worker.
    pub(crate) fn heard(&mut self, now: Instant, seat: usize) {
        self.seats[seat].heard_at = Some(now);
        self.seats[seat].answer = None;
        self.seats[seat].silent_since = None;
    }

    /// A beat of the attempt under `lease` has come, or it has begun. With a timeout, it is watched from now on. Its task,
    /// to keep what the beat says; `None` if the lease is stale, or the beat too late to change anything.
    pub(crate) fn heartbeat(
        &mut self,
        now: Instant,
        seat: usize,
        lease: Lease,
        timeout: Option<Duration>,
    ) -> Option<&mut Pending<B>> {
        let flight = in_flight(&mut self.flights, seat, lease)?;
        let watch = match (&mut flight.watch, timeout) {
            (Some(watch), _) => watch.heard(now).then_some(watch)?,
            (unwatched, Some(timeout)) => unwatched.insert(Box::new(Watch::new(now, timeout))),
            (None, None) => return Some(&mut flight.task),
        };
        set_alarm(&mut self.alarms, lease.slot, watch);
        Some(&mut flight.task)
    }

    /// Everything that the worker had sent was handled: if the attempt has not beaten, it has missed, and is cancelled. It
    /// is told once it has ended; past the grace its worker is to be killed.
    pub(crate) fn judge(&mut self, now: Instant, seat: usize, lease: Lease) {
        let Some(flight) = in_flight(&mut self.flights, seat, lease) else { return };
        let Some(watch) = &mut flight.watch else { return };
        if !watch.judge(now, self.limits.heartbeat_grace) {
            return;
        }
        set_alarm(&mut self.alarms, lease.slot, watch);
        if !std::mem::replace(&mut flight.cancel_requested, true) {
            self.effects.push_back(Effect::Cancel { seat, lease });
        }
    }

    /// Whether the attempt under `lease` has missed a heartbeat, and has not ended.
    pub(crate) fn has_missed(&self, seat: usize, lease: Lease) -> bool {
        let flight = self.flights.get(lease.slot as usize).and_then(Option::as_ref);
        flight
            .filter(|flight| flight.fence == lease.fence && flight.seat as usize == seat)
            .is_some_and(|flight| flight.missed().is_some())
    }

    /// Whether the worker still has an attempt that it has to be killed for; if so, the timeout that was missed.
    pub(crate) fn overdue(&self, seat: usize) -> Option<Duration> {
        let watches = |&slot: &u32| self.flights[slot as usize].as_ref()?.watch.as_ref()?.overdue();
        self.seats[seat].slots.iter().find_map(watches)
    }

    /// Whether the worker was to be killed for its silence, and nothing was heard of it since.
    pub(crate) fn is_silent(&self, seat: usize) -> bool {
        self.seats[seat].open && self.seats[seat].heard_at.is_none()
    }

    /// Starts nothing more: what waits is returned now, what workers give back is returned then.
    pub(crate) fn halt(&mut self) {
        self.phase = Phase::Halting;
        self.filling = None;
        self.end_queued(Ending::Returned);
    }

    /// Ends every task that waits, as never started.
    pub(crate) fn fail_queued(&mut self) {
        self.end_queued(Ending::NeverStarted);
    }

    /// Stops or resumes dispatching.
    pub(crate) fn pause(&mut self, paused: bool) {
        self.paused = paused;
    }

    /// The next task to hand to a worker. The driver sends it before it calls again.
    pub(crate) fn next_dispatch(&mut self, now: Instant) -> Option<Dispatch<'_, B>> {
        if self.paused || self.phase == Phase::Halting {
            return None;
        }
        if self.queue.first(Lane::Suspect).is_none() {
            // The one that waited may have been cancelled.
            self.reserved = None;
        }
        let (lane, seat) = self.lanes().find_map(|lane| Some((lane, self.seat_for(lane)?)))?;
        let task = self.queue.lease(lane)?;
        if lane == Lane::Suspect {
            self.reserved = None;
            self.seats[seat].alone = true;
        }
        let cost_ns = self.estimates.of(task.class);
        let fence = self.next_fence;
        self.next_fence = fence.checked_add(1).unwrap_or(1);
        let to = &mut self.seats[seat];
        if to.slots.is_empty() {
            to.progress_at = Some(now);
            // A worker with nothing in hand owes no sign of life: its silence counts from here.
            to.heard_at = Some(now);
            to.answer = None;
        }
        let slot = self.free_slots.pop().unwrap_or_else(|| {
            self.flights.push(None);
            (self.flights.len() - 1) as u32
        });
        let position = to.slots.len() as u32;
        to.slots.push(slot);
        to.tasks_left -= 1;
        to.least_urgent = to.least_urgent.max(task.priority);
        to.load.add(task.class, task.priority, cost_ns);
        let attempt = attempt_number(&task);
        let flight = self.flights[slot as usize].insert(InFlight {
            task,
            seat: seat as u32,
            fence,
            position,
            cost_ns,
            cancel_requested: false,
            watch: None,
        });
        Some(Dispatch { seat, lease: Lease { slot, fence }, attempt, task: &flight.task })
    }

    /// The lanes that hold tasks, the one whose first task is the most urgent and oldest at the front.
    fn lanes(&self) -> impl Iterator<Item = Lane> + use<B, Q> {
        let first = |lane| self.queue.first(lane).map(|task| (task.priority, task.sequence, lane));
        let mut lanes = Lane::ALL.map(first);
        if lanes[1].is_some() || lanes[2].is_some() {
            lanes.sort_unstable();
        }
        lanes.into_iter().flatten().map(|(.., lane)| lane)
    }

    /// Where the first task of a lane may go.
    fn seat_for(&mut self, lane: Lane) -> Option<usize> {
        match lane {
            Lane::Single => self.seat_in_turn(),
            Lane::Concurrent => self.least_laden(self.queue.first(lane)?),
            Lane::Suspect => self.queue.first(lane).is_some().then(|| self.reserve())?,
        }
    }

    /// A seat whose worker has nothing in hand; if there is none, one is reserved, so that there will be.
    fn reserve(&mut self) -> Option<usize> {
        let open =
            (0..self.seats.len()).filter(|&seat| self.seats[seat].open && !self.seats[seat].is_taken());
        let least_laden = open.min_by_key(|&seat| self.seats[seat].slots.len())?;
        if self.seats[least_laden].slots.is_empty() {
            return Some(least_laden);
        }
        self.reserved.get_or_insert(least_laden);
        None
    }

    fn least_laden(&self, task: &Pending<B>) -> Option<usize> {
        (0..self.seats.len())
            .filter(|&seat| self.reserved != Some(seat) && self.seats[seat].takes(task))
            .min_by_key(|&seat| (self.seats[seat].slots.len().min(1), self.seats[seat].load.weight()))
    }

    /// The seat being filled while its turn lasts, then the one with the least in hand. A turn is a share of what
    /// waits, so that a short queue is spread evenly and a long one goes out in large pieces.
    fn seat_in_turn(&mut self) -> Option<usize> {
        let Some(task) = self.queue.first(Lane::Single) else {
            self.filling = None;
            return None;
        };
        if let Some((seat, left)) = self.filling
            && left > 0
            && self.reserved != Some(seat)
            && self.seats[seat].takes(task)
        {
            self.filling = Some((seat, left - 1));
            return Some(seat);
        }
        let Some(seat) = self.least_laden(task) else {
            // The turn is over: what comes later goes to whoever has the least in hand then.
            self.filling = None;
            return None;
        };
        let turn = (self.queue.len() / (2 * self.seats.len())).max(1);
        self.filling = Some((seat, turn - 1));
        Some(seat)
    }

    /// What the driver has to do next.
    pub(crate) fn poll_effect(&mut self) -> Option<Effect<B>> {
        if self.effects.is_empty() {
            self.balance();
        }
        self.effects.pop_front()
    }

    /// An idle worker with nothing left in the queue gets half of what waits behind the busiest one.
    fn balance(&mut self) {
        if self.phase == Phase::Halting || self.paused {
            return;
        }
        if let Some(first) = self.queue.first(Lane::Single) {
            let urgent = first.priority;
            return self.make_way(urgent);
        }
        let idle = self.seats.iter().filter(|seat| seat.open && seat.slots.is_empty()).count();
        let recalling = self.seats.iter().filter(|seat| seat.recalls > 0).count();
        for _ in recalling..idle {
            let victim = (0..self.seats.len())
                .filter(|&seat| {
                    let seat = &self.seats[seat];
                    let queue_len = u64::from(seat.load.queue_len());
                    seat.open
                        && queue_len >= 2
                        && seat.recalls == 0
                        && seat.load.time_ns() / queue_len * (queue_len - 1) >= RECALL_MIN_NS
                })
                .max_by_key(|&seat| self.seats[seat].load.time_ns());
            let Some(victim) = victim else { return };
            self.seats[victim].recall(0);
            let at_most = self.seats[victim].load.queue_len().div_ceil(2);
            self.effects.push_back(Effect::Recall { seat: victim, at_most, from: 0 });
        }
    }

    /// Tasks that have to wait here are not overtaken by less urgent ones that wait in a worker's hand.
    fn make_way(&mut self, urgent: u8) {
        for (index, seat) in self.seats.iter_mut().enumerate() {
            if seat.open && seat.in_the_way_of() >= Some(urgent) {
                // What is left of those then is the one that runs.
                seat.least_urgent = urgent;
                let at_most = seat.load.beyond(urgent);
                if at_most > 0 {
                    let from = urgent + 1;
                    seat.recall(from);
                    self.effects.push_back(Effect::Recall { seat: index, at_most, from });
                }
            }
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called, if ever.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let alarm = self.alarms.first().map(|&(at, _)| at);
        self.seats.iter().filter_map(|seat| self.deadline(seat)).chain(alarm).min()
    }

    fn deadline(&self, seat: &Seat) -> Option<Instant> {
        if !seat.open || seat.slots.is_empty() {
            return None;
        }
        let silent = self.limits.silence_limit.and_then(|limit| match (seat.heard_at, &seat.answer) {
            (Some(_), Some(answer)) => answer.poll_timeout(),
            (Some(heard_at), None) => Some(heard_at + limit / 2),
            (None, _) => None,
        });
        let stalled = seat.progress_at.filter(|_| may_stall(seat)).map(|at| at + STALL_LIMIT);
        silent.into_iter().chain(stalled).min()
    }

    /// Time has passed: workers may have stalled or fallen silent, attempts may have missed a heartbeat.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.look_after_heartbeats(now);
        for index in 0..self.seats.len() {
            let seat = &mut self.seats[index];
            if !seat.open || seat.slots.is_empty() {
                continue;
            }
            if may_stall(seat) && seat.progress_at.is_some_and(|at| now >= at + STALL_LIMIT) {
                seat.load.stalled = true;
                // Without prefetch nothing waits in its hand but for the one that runs, and nobody could take it back.
                if self.limits.appetite.prefetch {
                    seat.recall(0);
                    self.effects.push_back(Effect::Recall { seat: index, at_most: u32::MAX, from: 0 });
                }
            }
            let (Some(heard_at), Some(silence_limit)) = (seat.heard_at, self.limits.silence_limit) else {
                continue;
            };
            match seat.answer.as_mut().map(|answer| answer.handle_timeout(now)) {
                Some(true) => {
                    seat.heard_at = None;
                    self.effects.push_back(Effect::Kill { seat: index });
                }
                None if now >= heard_at + silence_limit / 2 => {
                    seat.silent_since = Some(heard_at);
                    // However late we are, the worker has the second half to answer; and again, if we are late then.
                    seat.answer = Some(Patience::new(now, silence_limit - silence_limit / 2));
                    self.effects.push_back(Effect::Ping { seat: index });
                }
                Some(false) | None => {}
            }
        }
    }

    fn look_after_heartbeats(&mut self, now: Instant) {
        while let Some(&(_, slot)) = self.alarms.first().filter(|(at, _)| *at <= now) {
            self.alarms.pop_first();
            let Some(flight) = &mut self.flights[slot as usize] else { continue };
            let Some(watch) = &mut flight.watch else { continue };
            watch.alarm = None;
            let (seat, lease) = (flight.seat as usize, Lease { slot, fence: flight.fence });
            match watch.handle_timeout(now) {
                Some(Due::CatchUp) => self.effects.push_back(Effect::CatchUp { seat, lease }),
                Some(Due::Kill) => self.effects.push_back(Effect::Overdue { seat }),
                // It has beaten since the alarm was set, or has time again.
                None => {}
            }
            set_alarm(&mut self.alarms, slot, watch);
        }
    }

    fn end_queued(&mut self, ending: Ending) {
        while let Some(task) = self.lanes().find_map(|lane| self.queue.lease(lane)) {
            let attempts = attempts_begun(&task);
            self.end(task, ending, attempts);
        }
    }

    /// The attempt that missed a heartbeat has ended.
    fn end_missed(&mut self, task: Pending<B>, seat: usize, timeout: Duration) {
        let attempt = attempt_number(&task);
        self.end(task, Ending::HeartbeatMissed { seat, timeout }, attempt);
    }

    fn end(&mut self, task: Pending<B>, ending: Ending, attempt: u32) {
        let begun = attempts_begun(&task) > 0;
        let ending = if ending == Ending::Returned && begun { Ending::Cancelled } else { ending };
        match ending {
            Ending::Cancelled => self.books.cancelled += 1,
            Ending::Returned => self.books.returned += 1,
            Ending::Crashed | Ending::NeverStarted | Ending::HeartbeatMissed { .. } => self.books.failed += 1,
        }
        self.queue.complete(task.sequence);
        self.effects.push_back(Effect::Ended { task, ending, attempt });
    }

    fn flight(&mut self, seat: usize, lease: Lease) -> Option<&mut InFlight<B>> {
        in_flight(&mut self.flights, seat, lease)
    }

    /// Takes a flight out of the table and off its seat.
    fn take_flight(&mut self, seat: usize, lease: Lease) -> Option<InFlight<B>> {
        self.flight(seat, lease)?;
        let flight = self.take_slot(lease.slot)?;
        let from = &mut self.seats[seat];
        from.load.remove(flight.task.class, flight.task.priority, flight.cost_ns);
        if flight.task.suspect {
            from.alone = false;
        }
        if from.open && from.tasks_left == 0 && from.slots.len() == 1 {
            from.open = false;
            self.effects.push_back(Effect::Retire { seat });
        }
        from.slots.swap_remove(flight.position as usize);
        if let Some(&moved) = from.slots.get(flight.position as usize)
            && let Some(moved) = &mut self.flights[moved as usize]
        {
            moved.position = flight.position;
        }
        Some(flight)
    }

    fn take_slot(&mut self, slot: u32) -> Option<InFlight<B>> {
        let flight = self.flights[slot as usize].take()?;
        if let Some(alarm) = flight.watch.as_ref().and_then(|watch| watch.alarm) {
            self.alarms.remove(&(alarm, slot));
        }
        self.free_slots.push(slot);
        Some(flight)
    }
}

/// What is in flight under `lease`, if that still stands on `seat`.
fn in_flight<B>(flights: &mut [Option<InFlight<B>>], seat: usize, lease: Lease) -> Option<&mut InFlight<B>> {
    let flight = flights.get_mut(lease.slot as usize)?.as_mut()?;
    (flight.fence == lease.fence && flight.seat as usize == seat).then_some(flight)
}

/// Sees to it that an attempt is looked after in time. An alarm that is early is left: the next beat would put it off
/// again.
fn set_alarm(alarms: &mut BTreeSet<(Instant, u32)>, slot: u32, watch: &mut Watch) {
    let wanted = watch.poll_timeout();
    if wanted.is_some() && watch.alarm.is_some() && watch.alarm <= wanted {
        return;
    }
    if let Some(old) = std::mem::replace(&mut watch.alarm, wanted) {
        alarms.remove(&(old, slot));
    }
    alarms.extend(wanted.map(|at| (at, slot)));
}

/// Tasks may wait behind the one that runs, and nobody has asked for them yet.
fn may_stall(seat: &Seat) -> bool {
    seat.load.queue_len() >= 1 && seat.slots.len() >= 2 && seat.recalls == 0 && !seat.load.stalled
}

/// How many attempts at a task that is not running were begun. Only those that died are followed by another.
fn attempts_begun<B>(task: &Pending<B>) -> u32 {
    u32::from(task.crashes) + u32::from(task.suspect) + u32::from(task.interruptions)
}

/// The number of a running attempt.
fn attempt_number<B>(task: &Pending<B>) -> u32 {
    attempts_begun(task) + 1
}
