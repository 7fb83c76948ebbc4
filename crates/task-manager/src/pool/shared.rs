//! What a manager's threads share: the intake, through which tasks come from any thread, and the core behind one
//! lock, with the connections that carry out what it decides.
//!
//! A caller pushes into the [intake](super::intake), and takes the core's lock only if a worker hungers: so one task
//! alone reaches its worker without waking the manager's thread, and a flood of them goes out in batches when results
//! come in.
//!
//! Invariants:
//! - Locks are taken in the order core, intake, link. Wakers, services and handles are served outside all of them.
//! - The core takes tasks in the order of the sequence numbers that the intake gave them.

#[cfg(all(test, not(workfleet_loom)))]
mod tests;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::Waker,
    time::{Duration, Instant},
};

use tokio::sync::{Notify, watch};
use workfleet_fork::Home;
use workfleet_heartbeat::{
    Details,
    remote::{self, Pins, Scope},
};
use workfleet_scheduler::{
    AWAY, Books, Class, Effect, Ended, Ending, Gone, Hunger, Lease, Life, Limits, Next, Pending, Restarts,
    Scheduler, Verdict,
};
use workfleet_wire::{Decoder, FrameError, FrameRef, Kind, kinds, kinds::Direction};

use super::{
    close::Closing,
    given_up::GivenUp,
    intake::{self, Intake},
    line::Line,
    report::{Abandoned, Left},
    start::StartFailure,
    worker_name,
};
use crate::{
    causes::with_sources,
    failure::{DeathCertificate, Failed, FailureCause, FailureReport, KillReason},
    handle::Slot,
    inbox::{Inbox, InboxOverflow, Item, Told},
    manager::ScheduleErrorKind,
    message::EncodedMessage,
    protocol::{
        self, Cancel, FailureFrame, HeartbeatFrame, MessageFrame, Recall, ResultFrame, ReturnedFrame,
        ScheduleFrame, TaskFrame, Violation,
    },
    registry::Index,
    run::Attempt,
    service::{Incarnation, Peer, Service},
    task::{EncodedTask, ManagerId, Priority, TaskId},
};

/// A task as the manager keeps it.
#[derive(Debug)]
struct Body {
    task: EncodedTask,
    task_type: u32,
    /// Who waits for the outcome; nobody if it was scheduled.
    slot: Option<Arc<Slot>>,
    /// Boxed: nearly every task has none, and millions may wait.
    history: Option<Box<History>>,
}

// What a task takes while it waits, beside its payload, is a promise.
const _: () = assert!(size_of::<Pending<Body>>() <= 80);

/// What is known of a task's attempts.
#[derive(Debug, Default)]
struct History {
    /// Of workers that died while running it.
    deaths: Vec<DeathCertificate>,
    /// What it said last.
    last_heartbeat: Option<Details>,
    /// Its `Debug` form, as the worker made it in which it has failed; empty if none did.
    debug: String,
}

impl Body {
    fn new(task: EncodedTask, task_type: u32, slot: Option<Arc<Slot>>) -> Self {
        Self { task, task_type, slot, history: None }
    }

    fn last_heartbeat(&self) -> Option<&Details> {
        self.history.as_ref()?.last_heartbeat.as_ref()
    }
}

/// What the manager's workers are to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Mode {
    Running,
    /// Nothing is started any more. A worker goes when it has nothing in hand.
    Leaving,
    /// Nothing is in hand any more: exit.
    Finishing,
    /// Die.
    Killing,
}

#[derive(Debug)]
pub(crate) struct Shared {
    /// The process that started the manager. In a fork of it there is none of the manager's threads, and another may have held
    /// any of its locks: so this is asked before one is taken.
    pub(crate) home: Home,
    pub(crate) id: ManagerId,
    pub(crate) levels: u8,
    pub(crate) frame_limit_bytes: u64,
    /// How many tasks one task may schedule.
    pub(crate) children_limit: u32,
    index: Index,
    intake: Intake<Order>,
    core: Mutex<Core>,
    pub(crate) inbox: Inbox,
    pub(crate) mode: watch::Sender<Mode>,
    pub(super) closing: Closing,
    pub(crate) services: Services,
    /// Events are found by name among those of this pool.
    _names: Scope,
    pub(super) left: Mutex<Left>,
    /// The core's next deadline came nearer.
    pub(super) timer: Notify,
    /// For what is done later.
    own: Weak<Self>,
}

pub(crate) struct Services(pub(crate) Vec<Arc<dyn Service>>);

impl Services {
    /// A worker is about to make its sessions, or, if it is a thread, to get its first task.
    pub(crate) fn worker_ready(&self, peer: &Peer) {
        for service in &self.0 {
            guarded(|| service.on_worker_ready(peer));
        }
    }

    /// The one that frames of this kind are for.
    pub(crate) fn of(&self, kind: Kind) -> Option<&Arc<dyn Service>> {
        self.0.iter().find(|service| service.kinds().contains(&kind.0))
    }

    /// Nothing comes of the worker any more.
    pub(crate) fn worker_gone(&self, incarnation: Incarnation) {
        for service in &self.0 {
            guarded(|| service.on_worker_gone(incarnation));
        }
    }

    /// Hands over the frames that a worker has sent, up to one that is for no service.
    pub(crate) fn hand_over(&self, peer: &Peer, frames: Vec<(Kind, Box<[u8]>)>) -> Result<(), Violation> {
        for (kind, payload) in frames {
            match self.of(kind) {
                Some(service) => guarded(|| service.on_frame(peer, kind, &payload)),
                None => return Err(Violation::NoService { kind }),
            }
        }
        Ok(())
    }
}

impl std::fmt::Debug for Services {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|service| service.kinds())).finish()
    }
}

/// What callers want of the core.
#[derive(Debug)]
enum Order {
    Schedule { sequence: u64, priority: u8, class: Class, body: Body },
    Cancel { sequence: u64 },
}

impl intake::Command for Order {
    type Hunger = Hunger;

    fn is_urgent(&self, hunger: Hunger) -> bool {
        match self {
            Self::Schedule { priority, class, .. } => hunger.is_for(*class, *priority),
            Self::Cancel { .. } => true,
        }
    }
}

#[derive(Debug)]
struct Core {
    scheduler: Scheduler<Body>,
    restarts: Restarts,
    /// Why what waits was given up last.
    why_none_starts: GivenUp,
    seats: Box<[Option<Seated>]>,
    /// Seats whose links hold frames to be sent.
    touched: Vec<usize>,
    /// What was taken from the intake; empty between turns, kept for its memory.
    orders: Vec<Order>,
    /// What is to be cancelled by whoever holds the lock, once that is free; empty between turns.
    cancels: Vec<(Arc<dyn Line>, Cancel)>,
    /// With whom to catch up then, to judge the attempt under that lease; empty between turns.
    doubts: Vec<(Arc<dyn Line>, usize, Lease)>,
    /// When the timer will next look; none: not before it is told.
    armed: Option<Instant>,
}

/// A worker on its seat.
#[derive(Clone, Debug)]
pub(crate) struct Seated {
    pub(crate) line: Arc<dyn Line>,
    pub(crate) name: Arc<str>,
    /// None for a thread.
    pub(crate) pid: Option<u32>,
}

/// A seat, as whoever looks sees it.
pub(crate) struct Look {
    pub(crate) seated: Option<Seated>,
    pub(crate) in_flight: usize,
    pub(crate) silent_for: Option<Duration>,
}

/// What must be told to others once the core's lock is free.
#[derive(Default)]
struct Deliveries {
    slots: Vec<(Arc<Slot>, Box<[u8]>)>,
    items: Vec<Item>,
    failures: Vec<(Option<Arc<Slot>>, FailureReport)>,
    ended: u64,
    frames: Vec<(Kind, Box<[u8]>)>,
    /// The worker's latest request to flush; its answer is one to those before.
    flush: Option<u64>,
}

/// Settings that [`Shared`] needs of a manager.
pub(crate) struct Setup {
    pub(crate) id: ManagerId,
    pub(crate) index: Index,
    pub(crate) limits: Limits,
    pub(crate) frame_limit_bytes: u64,
    pub(crate) inbox_limit_bytes: usize,
    pub(crate) inbox_overflow: InboxOverflow,
    pub(crate) children_limit: u32,
    pub(crate) outage_patience: Duration,
    pub(crate) return_limit: usize,
    pub(crate) services: Vec<Arc<dyn Service>>,
}

impl Shared {
    pub(crate) fn new(setup: Setup) -> Arc<Self> {
        let Setup { id, index, limits, frame_limit_bytes, .. } = setup;
        Arc::new_cyclic(|own| Self {
            home: Home::here(),
            id,
            levels: limits.levels,
            frame_limit_bytes,
            children_limit: setup.children_limit,
            index,
            intake: Intake::new(),
            core: Mutex::new(Core {
                scheduler: Scheduler::new(limits),
                restarts: Restarts::new(Instant::now(), limits.seats, setup.outage_patience),
                why_none_starts: GivenUp::default(),
                seats: (0..limits.seats).map(|_| None).collect(),
                touched: Vec::new(),
                orders: Vec::new(),
                cancels: Vec::new(),
                doubts: Vec::new(),
                armed: None,
            }),
            inbox: Inbox::new(setup.inbox_limit_bytes, setup.inbox_overflow),
            mode: watch::Sender::new(Mode::Running),
            closing: Closing::new(),
            services: Services(setup.services),
            _names: remote::open_scope(id.to_bits()),
            left: Mutex::new(Left::new(setup.return_limit)),
            timer: Notify::new(),
            own: Weak::clone(own),
        })
    }

    /// Takes a task from outside.
    pub(crate) fn schedule(
        &self,
        task: EncodedTask,
        priority: Priority,
        slot: Option<Arc<Slot>>,
    ) -> Result<TaskId, (EncodedTask, ScheduleErrorKind)> {
        let (task_type, class) = match self.check(&task, priority) {
            Ok(checked) => checked,
            Err(kind) => return Err((task, kind)),
        };
        let body = Body::new(task, task_type, slot);
        let order = |sequence, body| {
            self.inbox.task_added();
            Order::Schedule { sequence, priority: priority.0, class, body }
        };
        match self.intake.push_new(body, order) {
            Ok(pushed) => {
                if pushed.turn {
                    self.turn(|_core, _deliveries| ());
                }
                Ok(TaskId::new(self.id, pushed.sequence))
            }
            Err(body) => Err((body.task, ScheduleErrorKind::Closed)),
        }
    }

    /// Whether a task can be taken, and of which type it is.
    fn check(&self, task: &EncodedTask, priority: Priority) -> Result<(u32, Class), ScheduleErrorKind> {
        if !self.home.is_here() {
            return Err(ScheduleErrorKind::Forked);
        }
        let levels = self.levels;
        let (len_bytes, limit_bytes) = (task.payload.len() as u64, self.frame_limit_bytes);
        if priority.0 >= levels {
            return Err(ScheduleErrorKind::Priority { priority, levels });
        }
        let Some(task_type) = self.index.of(task) else {
            return Err(ScheduleErrorKind::Unregistered { name: task.name() });
        };
        if len_bytes > limit_bytes {
            return Err(ScheduleErrorKind::TooLarge { len_bytes, limit_bytes });
        }
        Ok((task_type, self.index.class(task_type)))
    }

    /// Takes the next child of an attempt that runs in this process. It is numbered here, under the core's lock: threads
    /// that share the attempt's proxy would otherwise overtake one another, and the one behind be taken for a repetition.
    pub(crate) fn schedule_child(
        &self,
        seat: usize,
        lease: u64,
        task: EncodedTask,
        priority: Priority,
    ) -> Result<(), (EncodedTask, ScheduleErrorKind)> {
        let (task_type, class) = match self.check(&task, priority) {
            Ok(checked) => checked,
            Err(kind) => return Err((task, kind)),
        };
        self.turn(|core, _| {
            let limit = self.children_limit;
            let index = match core.scheduler.next_child(seat, Lease::from_bits(lease)) {
                None => return Err((task, ScheduleErrorKind::AttemptEnded)),
                Some(next) if *next >= limit => {
                    return Err((task, ScheduleErrorKind::TooManyChildren { limit }));
                }
                Some(next) => std::mem::replace(next, *next + 1),
            };
            let body = Body::new(task, task_type, None);
            core.add_child(self, seat, lease, index, priority.0, class, body);
            Ok(())
        })
    }

    /// Puts a message of an attempt that runs in this process into the inbox.
    pub(crate) fn put_message(&self, attempt: Attempt, message: EncodedMessage) -> Told {
        let task = Some(TaskId::new(self.id, attempt.sequence));
        self.inbox.put([Item::Message { task, attempt: attempt.number, message }], 0)
    }

    /// A worker thread has not begun a task that was asked back.
    pub(crate) fn given_back(&self, seat: usize, lease: u64) {
        self.turn(|core, _| core.scheduler.given_back(seat, Lease::from_bits(lease)));
    }

    /// A worker thread has ended, or is left alone with what it still runs.
    pub(crate) fn thread_gone(&self, seat: usize, running: &[u64], gone: Gone) {
        self.turn(|core, _| {
            core.seats[seat] = None;
            let running: Vec<Lease> = running.iter().map(|&lease| Lease::from_bits(lease)).collect();
            let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
            for &lease in &running {
                // What was not late itself is tried again.
                let ends = gone == Gone::Died || core.scheduler.has_missed(seat, lease);
                if let Some((task, _)) = core.scheduler.leased(seat, lease).filter(|_| ends) {
                    left.abandoned.push(Abandoned {
                        worker: worker_name(seat),
                        task: TaskId::new(self.id, task.sequence),
                        name: task.body.task.name().to_owned(),
                    });
                }
            }
            drop(left);
            core.scheduler.worker_gone(seat, &running, gone, |_| ());
            // A thread ends when its work is done, or is given up for what it did: the next comes at once.
            core.restarts.died(Instant::now(), seat, Life::Ran, 0);
        });
    }

    /// An attempt that runs in this process has begun, or beats. Cheap: nothing follows from it but, at first, an earlier
    /// deadline.
    pub(crate) fn heartbeat(&self, seat: usize, lease: u64, details: Option<Details>) {
        let now = Instant::now();
        let mut core = self.lock_core();
        core.heartbeat(&self.index, now, seat, lease, details);
        let nearer = core.arm();
        drop(core);
        if nearer {
            self.timer.notify_one();
        }
    }

    /// What the task of this number said last; none if it has ended.
    pub(crate) fn last_heartbeat(&self, sequence: u64) -> Option<Details> {
        self.turn(|core, _| core.scheduler.find(sequence)?.body.last_heartbeat().cloned())
    }

    /// Everything that a worker had sent was handled: whether an attempt of its is late shows now.
    fn judge(&self, seat: usize, lease: Lease) {
        self.turn(|core, _| core.scheduler.judge(Instant::now(), seat, lease));
    }

    /// Whether the worker still has an attempt that it has to be killed for; if so, the heartbeat timeout of that.
    pub(crate) fn overdue(&self, seat: usize) -> Option<Duration> {
        self.lock_core().scheduler.overdue(seat)
    }

    /// An attempt that ran in this process has ended.
    pub(crate) fn attempt_ended(
        &self,
        seat: usize,
        lease: u64,
        took: Duration,
        outcome: Result<&[u8], Box<Failed>>,
    ) {
        self.turn(|core, deliveries| {
            core.ended(self, Instant::now(), seat, lease, took, outcome, deliveries);
        });
    }

    pub(crate) fn cancel(&self, sequence: u64) {
        self.intake.push(Order::Cancel { sequence });
        self.turn(|_core, _deliveries| ());
    }

    /// A message from the manager's own side.
    pub(crate) fn send(&self, message: EncodedMessage) -> Result<(), crate::SendError> {
        if !self.home.is_here() {
            return Err(crate::SendError::Forked);
        }
        message.check_len(self.frame_limit_bytes)?;
        if self.intake.is_closed() {
            return Err(crate::SendError::Closed);
        }
        if self.inbox.is_full() {
            let (waiting_bytes, limit_bytes) = self.inbox.fill();
            return Err(crate::SendError::Full { waiting_bytes, limit_bytes });
        }
        if self.inbox.deliver([Item::Message { task: None, attempt: 0, message }], 0) {
            self.resume();
        }
        Ok(())
    }

    /// Takes nothing more from outside.
    pub(crate) fn refuse_newcomers(&self) {
        self.intake.close();
    }

    /// Starts nothing more, cancels what runs.
    pub(super) fn halt(&self, mode: Mode) {
        self.turn(|core, _| {
            core.scheduler.halt();
            // Before the first worker goes by this: no seat starts another for it, or lets one go that is to die.
            self.raise_mode(mode);
            for seat in 0..core.seats.len() {
                core.cancel(seat, Cancel::All);
            }
        });
    }

    /// The inbox has room again.
    pub(crate) fn resume(&self) {
        self.turn(|_core, _deliveries| ());
    }

    /// The core's deadline has come. Returns the next.
    pub(super) fn handle_timeout(&self) -> Option<Instant> {
        self.turn(|core, _| core.scheduler.handle_timeout(Instant::now()));
        self.deadline()
    }

    /// The core's next deadline, which the timer is about to wait for.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let mut core = self.lock_core();
        core.armed = core.scheduler.poll_timeout();
        core.armed
    }

    /// A worker sits down.
    pub(crate) fn worker_ready(&self, seat: usize, seated: Seated) {
        self.turn(|core, _| {
            let now = Instant::now();
            core.seats[seat] = Some(seated);
            core.restarts.ready(now, seat);
            core.scheduler.worker_ready(now, seat);
        });
    }

    /// A worker did not start.
    pub(crate) fn start_failed(&self, seat: usize, failure: &StartFailure) -> Next {
        self.turn(|core, _| {
            let prospect = failure.prospect(core.restarts.has_come_up());
            let next = core.restarts.start_failed(Instant::now(), seat, prospect, jitter());
            core.give_up(next.verdict, || with_sources(failure));
            next
        })
    }

    /// A seat has paused until then, or for longer because this program did not run.
    pub(super) fn waited_until(&self, end: Instant) {
        let now = Instant::now();
        if now.saturating_duration_since(end) > AWAY {
            self.lock_core().restarts.excuse(end, now);
        }
    }

    /// A worker is dead and everything it had sent was handled. Returns how long to wait before the next one.
    pub(crate) fn worker_gone(
        &self,
        seat: usize,
        running: &[u64],
        certificate: DeathCertificate,
    ) -> (DeathCertificate, Duration) {
        self.turn(|core, _| {
            core.seats[seat] = None;
            let mut certificate = certificate;
            let running: Vec<Lease> = running.iter().map(|&lease| Lease::from_bits(lease)).collect();
            let gone = match certificate.killed_because {
                Some(KillReason::HeartbeatMissed(_)) => Gone::Overdue,
                _ => Gone::Died,
            };
            let had = core.scheduler.worker_gone(seat, &running, gone, |task| {
                certificate.charged.get_or_insert(TaskId::new(self.id, task.sequence));
                task.body.history.get_or_insert_default().deaths.push(certificate.clone());
            });
            let next = core.died(seat, running.is_empty(), had);
            core.give_up(next.verdict, || certificate.to_string());
            (certificate, next.delay)
        })
    }

    /// Handles every frame that the decoder holds.
    pub(crate) fn handle_frames(
        &self,
        seat: usize,
        decoder: &mut Decoder,
        peer: &Peer,
    ) -> Result<(), Violation> {
        let (handled, mut deliveries) = self.turn_untold(|core, deliveries| {
            let now = Instant::now();
            core.scheduler.heard(now, seat);
            while let Some(frame) = decoder.next_frame()? {
                core.handle_frame(self, now, seat, frame, deliveries)?;
            }
            Ok(())
        });
        // Before anybody is told of the rest: who reads a message or an outcome finds what the task told a service before.
        let served = self.services.hand_over(peer, std::mem::take(&mut deliveries.frames));
        let flush = deliveries.flush;
        self.tell(deliveries);
        if let Some(id) = flush {
            // Only now: everybody has what the worker had sent before.
            peer.line.flushed(id);
            peer.line.flush();
        }
        served.and(handled)
    }

    /// The manager's thread has failed: ends every task, so that nobody waits for it.
    pub(crate) fn abandon(&self) {
        self.refuse_newcomers();
        self.turn(|core, _| {
            core.scheduler.halt();
            for seat in 0..core.seats.len() {
                core.seats[seat] = None;
                core.scheduler.worker_gone(seat, &[], Gone::Died, |_| ());
            }
        });
    }

    /// Whether still nothing was heard of the worker that has to be killed for that.
    pub(crate) fn is_silent(&self, seat: usize) -> bool {
        self.turn(|core, _| core.scheduler.is_silent(seat))
    }

    /// What the books, the queue and the seats say, all at one time.
    pub(crate) fn look<R>(&self, look: impl FnOnce(Books, usize, &[Look]) -> R) -> R {
        self.turn(|core, _| {
            let now = Instant::now();
            let look_at = |seat: usize| Look {
                seated: core.seats[seat].clone(),
                in_flight: core.scheduler.in_flight(seat),
                silent_for: core.scheduler.silent_since(seat).map(|at| now.saturating_duration_since(at)),
            };
            let seats: Vec<_> = (0..core.seats.len()).map(look_at).collect();
            look(core.scheduler.books(), core.scheduler.queued(), &seats)
        })
    }

    /// Changes the core by `change`, then carries out everything that follows, and tells whom it concerns.
    fn turn<R>(&self, change: impl FnOnce(&mut Core, &mut Deliveries) -> R) -> R {
        let (changed, deliveries) = self.turn_untold(change);
        self.tell(deliveries);
        changed
    }

    /// Tells whom it concerns.
    fn tell(&self, deliveries: Deliveries) {
        if deliveries.tell(&self.inbox) {
            self.resume();
        }
    }

    /// The same, but that nobody is told yet.
    fn turn_untold<R>(&self, change: impl FnOnce(&mut Core, &mut Deliveries) -> R) -> (R, Deliveries) {
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
        let doubts = std::mem::take(&mut core.doubts);
        drop(core);
        for (line, cancel) in cancels {
            line.cancel(&cancel);
        }
        for (line, seat, lease) in doubts {
            let own = Weak::clone(&self.own);
            line.catch_up(Box::new(move || {
                if let Some(shared) = own.upgrade() {
                    shared.judge(seat, lease);
                }
            }));
        }
        if nearer {
            self.timer.notify_one();
        }
        (changed, deliveries)
    }

    fn lock_core(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Core {
    /// Says something to the worker on `seat`, if one is there.
    fn tell(&mut self, seat: usize, say: impl FnOnce(&dyn Line)) {
        let Some(seated) = &self.seats[seat] else { return };
        say(&*seated.line);
        if !self.touched.contains(&seat) {
            self.touched.push(seat);
        }
    }

    /// Notes that something is to be cancelled, once the core's lock is free.
    fn cancel(&mut self, seat: usize, cancel: Cancel) {
        if let Some(seated) = &self.seats[seat] {
            self.cancels.push((Arc::clone(&seated.line), cancel));
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
            seated.line.dispatch(&frame);
            if !self.touched.contains(&seat) {
                self.touched.push(seat);
            }
        }
        while let Some(effect) = self.scheduler.poll_effect() {
            match effect {
                Effect::Recall { seat, at_most, from } => {
                    self.tell(seat, |line| line.recall(&Recall { at_most, from }));
                }
                Effect::Cancel { seat, lease } => self.cancel(seat, Cancel::Lease(lease.to_bits())),
                Effect::Ping { seat } => self.tell(seat, |line| line.ping()),
                Effect::Kill { seat } => self.tell(seat, |line| line.give_up()),
                Effect::CatchUp { seat, lease } => {
                    if let Some(seated) = &self.seats[seat] {
                        self.doubts.push((Arc::clone(&seated.line), seat, lease));
                    }
                }
                Effect::Overdue { seat } => self.tell(seat, |line| line.overdue()),
                Effect::Retire { seat } => self.tell(seat, |line| line.retire()),
                Effect::Ended { task, ending, attempt } => {
                    deliveries.ended(shared, task, ending, attempt, &self.why_none_starts);
                }
            }
        }
    }

    /// A worker's life has ended that had come up: with so many tasks in hand, and maybe without having begun one.
    fn died(&mut self, seat: usize, began_nothing: bool, had: usize) -> Next {
        let life = if !began_nothing {
            Life::Ran
        } else if had == 0 && self.scheduler.books().pending() == 0 {
            Life::Idle
        } else {
            Life::Unused
        };
        self.restarts.died(Instant::now(), seat, life, jitter())
    }

    /// Ends what waits if that is the verdict: no worker is up and none will start, for this reason.
    fn give_up(&mut self, verdict: Option<Verdict>, reason: impl FnOnce() -> String) {
        let Some(verdict) = verdict else { return };
        self.why_none_starts = GivenUp::new(verdict, &reason());
        self.scheduler.fail_queued();
    }

    fn handle_frame(
        &mut self,
        shared: &Shared,
        now: Instant,
        seat: usize,
        frame: FrameRef<'_>,
        deliveries: &mut Deliveries,
    ) -> Result<(), Violation> {
        let FrameRef { kind, payload } = frame;
        protocol::check(kind, Direction::ToManager, payload)?;
        protocol::check_len(kind, payload, shared.frame_limit_bytes)?;
        match kind {
            kinds::RESULT => {
                let result: ResultFrame<'_> = protocol::decode(kind, payload)?;
                let took = Duration::from_nanos(result.took_ns);
                self.ended(shared, now, seat, result.lease, took, Ok(result.output), deliveries);
            }
            kinds::FAILURE => {
                let failure: FailureFrame = protocol::decode(kind, payload)?;
                let took = Duration::from_nanos(failure.took_ns);
                if failure.last_heartbeat.is_some() {
                    self.heartbeat(&shared.index, now, seat, failure.lease, failure.last_heartbeat);
                }
                self.ended(shared, now, seat, failure.lease, took, Err(failure.failed), deliveries);
            }
            kinds::MESSAGE => {
                let message: MessageFrame<'_> = protocol::decode(kind, payload)?;
                // Of an attempt that has ended nothing more is accepted; its worker knows that too.
                if let Some((task, attempt)) = self.scheduler.leased(seat, Lease::from_bits(message.lease)) {
                    deliveries.items.push(Item::Message {
                        task: Some(TaskId::new(shared.id, task.sequence)),
                        attempt,
                        message: EncodedMessage {
                            name: message.name.into(),
                            payload: message.payload.into(),
                        },
                    });
                }
            }
            kinds::RETURNED => {
                let returned: ReturnedFrame = protocol::decode(kind, payload)?;
                for lease in returned.leases {
                    self.scheduler.given_back(seat, Lease::from_bits(lease));
                }
                if returned.recalled {
                    self.scheduler.recall_answered(seat);
                }
            }
            kinds::FLUSH => {
                let id: u64 = protocol::decode(kind, payload)?;
                deliveries.flush = Some(id);
            }
            kinds::PONG => {}
            kinds::HEARTBEAT => {
                let beat: HeartbeatFrame<'_> = protocol::decode(kind, payload)?;
                let details = beat.details.map(|bytes| protocol::details(kind, bytes)).transpose()?;
                self.heartbeat(&shared.index, now, seat, beat.lease, details);
            }
            _ => match kind.schedule_priority() {
                Some(priority) => self.schedule_child(shared, seat, kind, priority, payload)?,
                None if crate::service::SERVICE_KINDS.contains(&kind.0) => {
                    deliveries.frames.push((kind, payload.into()));
                }
                None => return Err(Violation::OutOfTurn { kind }),
            },
        }
        Ok(())
    }

    /// An attempt has begun, or beats. One that has ended, or that is late, changes nothing by that.
    fn heartbeat(&mut self, index: &Index, now: Instant, seat: usize, lease: u64, details: Option<Details>) {
        let lease = Lease::from_bits(lease);
        let Some((task, _)) = self.scheduler.leased(seat, lease) else { return };
        let timeout = index.heartbeat_timeout(task.body.task_type);
        let task = self.scheduler.heartbeat(now, seat, lease, timeout);
        if let (Some(task), Some(details)) = (task, details) {
            task.body.history.get_or_insert_default().last_heartbeat = Some(details);
        }
    }

    fn schedule_child(
        &mut self,
        shared: &Shared,
        seat: usize,
        kind: Kind,
        priority: u8,
        payload: &[u8],
    ) -> Result<(), Violation> {
        let child: ScheduleFrame<'_> = protocol::decode(kind, payload)?;
        if priority >= shared.levels {
            return Err(Violation::Priority { priority, levels: shared.levels });
        }
        if child.index >= shared.children_limit {
            return Err(Violation::TooManyChildren { index: child.index, limit: shared.children_limit });
        }
        let spec = shared.index.spec(child.task_type).ok_or(Violation::TaskType {
            kind,
            index: child.task_type,
            known: shared.index.len(),
        })?;
        let len_bytes = child.payload.len() as u64;
        if len_bytes > shared.frame_limit_bytes {
            let limit_bytes = shared.frame_limit_bytes;
            return Err(FrameError::TooLarge { kind, len_bytes, limit_bytes }.into());
        }
        // What is in the payload is not known here. But what its parent passes on came to the parent in most cases in its own.
        let parent = self.scheduler.leased(seat, Lease::from_bits(child.lease));
        let pins = parent.map_or_else(Pins::default, |(parent, _)| parent.body.task.pins.clone());
        let task = EncodedTask { spec, payload: child.payload.into(), pins };
        let body = Body::new(task, child.task_type, None);
        let class = shared.index.class(child.task_type);
        self.add_child(shared, seat, child.lease, child.index, priority, class, body);
        Ok(())
    }

    /// Takes a child of the attempt under `lease`, unless it is a repetition.
    #[expect(clippy::too_many_arguments, reason = "what a frame would carry")]
    fn add_child(
        &mut self,
        shared: &Shared,
        seat: usize,
        lease: u64,
        index: u32,
        priority: u8,
        class: Class,
        body: Body,
    ) {
        let Self { scheduler, orders, .. } = self;
        // What came from outside before has the smaller numbers.
        shared.intake.take_and_add(orders, |orders, sequence| {
            obey(scheduler, orders);
            let taken = scheduler.admits_child(seat, Lease::from_bits(lease), index);
            if taken {
                shared.inbox.task_added();
                scheduler.schedule(sequence, priority, class, body);
            }
            taken
        });
    }

    /// An attempt has ended, as its worker says.
    #[expect(clippy::too_many_arguments, reason = "what a frame would carry")]
    fn ended(
        &mut self,
        shared: &Shared,
        now: Instant,
        seat: usize,
        lease: u64,
        took: Duration,
        outcome: Result<&[u8], Box<Failed>>,
        deliveries: &mut Deliveries,
    ) {
        let lease = Lease::from_bits(lease);
        self.restarts.progress();
        match outcome {
            Ok(output) => {
                if let Some(ended) = self.scheduler.done(now, seat, lease, took) {
                    deliveries.done(ended, output);
                }
            }
            Err(mut failed) => {
                let debug = std::mem::take(&mut failed.debug);
                if let Some(task) = self.scheduler.leased_mut(seat, lease).filter(|_| !debug.is_empty()) {
                    // With the task, which may end otherwise than by this: it may have missed a heartbeat before.
                    task.body.history.get_or_insert_default().debug = debug;
                }
                let cancelled = failed.cause == FailureCause::Cancelled;
                if let Some(ended) = self.scheduler.failed(now, seat, lease, took, cancelled) {
                    let worker = self.seats[seat].as_ref().map(|seated| seated.name.to_string());
                    deliveries.failed(shared, ended.task, ended.attempt, worker, *failed);
                }
            }
        }
    }

    /// Sends what [`push`](Self::push) and dispatching appended.
    fn flush(&mut self) {
        for seat in self.touched.drain(..) {
            if let Some(seated) = &self.seats[seat] {
                seated.line.flush();
            }
        }
    }

    /// Whether the timer has to be told of an earlier deadline.
    fn arm(&mut self) -> bool {
        let Some(deadline) = self.scheduler.poll_timeout() else { return false };
        let nearer = self.armed.is_none_or(|armed| deadline < armed);
        if nearer {
            self.armed = Some(deadline);
        }
        nearer
    }
}

/// Carries out what was taken from the intake.
fn obey(scheduler: &mut Scheduler<Body>, orders: &mut Vec<Order>) {
    for order in orders.drain(..) {
        match order {
            Order::Schedule { sequence, priority, class, body } => {
                scheduler.schedule(sequence, priority, class, body);
            }
            Order::Cancel { sequence } => scheduler.cancel(sequence),
        }
    }
}

impl Deliveries {
    fn done(&mut self, ended: Ended<Body>, output: &[u8]) {
        self.ended += 1;
        if let Some(slot) = ended.task.body.slot {
            self.slots.push((slot, output.into()));
        }
    }

    /// A task ended otherwise than by its worker's report.
    fn ended(
        &mut self,
        shared: &Shared,
        task: Pending<Body>,
        ending: Ending,
        attempt: u32,
        why_none_starts: &GivenUp,
    ) {
        let mut worker = None;
        let cause = match ending {
            Ending::HeartbeatMissed { seat, timeout } => {
                worker = Some(worker_name(seat));
                FailureCause::HeartbeatTimeout { timeout }
            }
            Ending::Cancelled => FailureCause::Cancelled,
            Ending::Crashed => FailureCause::WorkerDied,
            Ending::Returned => FailureCause::Returned,
            Ending::NeverStarted => why_none_starts.cause(attempt),
        };
        if ending == Ending::Returned {
            shared.left.lock().unwrap_or_else(PoisonError::into_inner).unstarted(&task.body.task);
            if task.body.slot.is_none() {
                // It stands in the closing report; as a failure it would stand there twice.
                self.ended += 1;
                return;
            }
        }
        self.failed(shared, task, attempt, worker, *Box::<Failed>::from(cause));
    }

    fn failed(
        &mut self,
        shared: &Shared,
        task: Pending<Body>,
        attempt: u32,
        worker: Option<String>,
        failed: Failed,
    ) {
        let Body { task: encoded, slot, history, .. } = task.body;
        let History { deaths, last_heartbeat, debug } = history.map(|history| *history).unwrap_or_default();
        let report = FailureReport {
            task: TaskId::new(shared.id, task.sequence),
            name: encoded.name().into(),
            debug: if debug.is_empty() { encoded.described() } else { debug },
            attempt,
            worker: worker.or_else(|| deaths.last().map(|death| death.worker.clone())),
            cause: failed.cause,
            links: failed.links,
            deaths,
            last_heartbeat,
        };
        self.ended += 1;
        self.failures.push((slot, report));
    }

    /// With no lock held: waking who waits for a task runs the code of wakers. True if the inbox has room again.
    #[must_use = "dispatching has to go on"]
    fn tell(self, inbox: &Inbox) -> bool {
        let mut items = self.items;
        let mut failed = Vec::new();
        for (slot, report) in self.failures {
            match slot {
                Some(slot) => failed.push((slot, report)),
                None => items.push(Item::Failure(report.into())),
            }
        }
        // In this order: who finds a task ended finds what it said, and who finds all of them ended finds their
        // handles resolved.
        let room = !items.is_empty() && inbox.deliver(items, 0);
        for (slot, output) in self.slots {
            slot.fill(Ok(output));
        }
        for (slot, report) in failed {
            slot.fill(Err(report.into()));
        }
        // Nothing comes in by this, so nothing is dropped.
        let _ = self.ended > 0 && inbox.deliver([], self.ended);
        room
    }
}

/// Calls a service: its panic is its own, and the manager's thread goes on.
pub(crate) fn guarded(call: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(call)) {
        // Its destructor may panic too.
        std::mem::forget(payload);
        tracing::error!("a service panicked");
    }
}

/// Wakes somebody, whose panic is their own: others still have to be told.
pub(crate) fn wake(waker: Waker) {
    woken(|| waker.wake());
}

/// Does what runs wakers.
pub(crate) fn woken(wake: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(wake)) {
        // Its destructor may panic too.
        std::mem::forget(payload);
        tracing::error!("a waker panicked");
    }
}

/// A few bits that differ from call to call and from process to process: enough to spread restarts.
pub(super) fn jitter() -> u8 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(std::process::id()) as u8
}
