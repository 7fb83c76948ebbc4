//! The state of an engine, and what follows from the passing of time.
//!
//! Every call first lets happen what is due by then. So no call finds a member whose lease has run out, a task whose deadline has
//! passed, or a key that is free again, whether or not the driver was in time.
//!
//! Invariants:
//! - A task that is leased is among its member's leases, and the other way round. Its member is not gone.
//! - The end of a member is one step: its tasks come back, its locks end, and whatever it says from then on is refused.
//! - A task that has not ended is delayed, ready, or leased; `books.pending` counts those. The books balance after every call.
//! - The run of a task increases with every lease. A task is forgotten only once its id is too old to be enqueued again.
//! - Nothing iterates in the order of hashes: one sequence of calls gives one sequence of answers.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use workfleet_shared_lock::cores::LockTable;

use super::{
    queue::Queue,
    record::{End, Member, Stop},
    timers::{Timer, Timers, after},
};
use crate::{EngineError, EngineOptions, EngineTime, FleetTaskId, Hint, LockOwner, MemberId};

/// The state of an engine.
///
/// The driver makes the calls in some order, at instants that do not decrease, [takes hints](Self::poll_hint) after each, and lets
/// time pass by [`handle_timeout`](Self::handle_timeout) when [`poll_timeout`](Self::poll_timeout) is due. Calls that wait are the
/// driver's: it asks again when there was a hint.
///
/// ```
/// use std::time::{Duration, Instant};
///
/// use workfleet_engine::{
///     Call, EngineOptions, EngineTime, Join, LeaseCall, MemberId, NewTask, Payload, Settled, Settlement, FleetTaskId,
///     Verdict, cores::EngineCore,
/// };
///
/// let (now, time) = (Instant::now(), EngineTime::from_unix_ms(1_790_000_000_000));
/// let mut engine = EngineCore::new(EngineOptions::default(), now, time);
/// let member = MemberId::new(time, 1);
/// engine.join(now, Join { member, name: "a program".into() })?;
///
/// let task = NewTask::new(FleetTaskId::new(time, 2), "digest", Payload::default());
/// engine.enqueue(now, Call { member, number: 1, confirmed: 0 }, vec![task])?;
/// let ask = LeaseCall {
///     member,
///     batch: 1,
///     series: vec![("".into(), 10)],
///     names: vec!["digest".into()],
///     wait: Duration::ZERO,
/// };
/// let leased = engine.lease(now, &ask)?;
///
/// // The member is silent for longer than its lease: it is fenced, and its task goes to others.
/// let later = now + Duration::from_secs(15);
/// let verdict = Verdict::Done(Payload::default());
/// let settlement = Settlement { run: leased[0].task_run(), attempts: 1, crashes: 0, verdict };
/// assert!(engine.settle(later, Call { member, number: 2, confirmed: 1 }, vec![settlement]).is_err());
/// # Ok::<(), workfleet_engine::EngineError>(())
/// ```
#[derive(Debug)]
pub struct EngineCore {
    pub(crate) options: EngineOptions,
    /// An instant, and the engine's time then.
    epoch: (Instant, EngineTime),
    /// Of the last call.
    now: Instant,
    pub(crate) timers: Timers,
    pub(crate) members: BTreeMap<MemberId, Member>,
    /// Members that are gone, until their ids are too old to join again.
    pub(crate) gone: BTreeSet<MemberId>,
    pub(crate) queue: Queue,
    pub(crate) locks: LockTable<Arc<str>, MemberId, LockOwner>,
    /// What the driver has not taken yet: one entry for each member at most, and two more.
    pub(crate) hints: BTreeSet<Hint>,
}

impl EngineCore {
    /// An engine without members and tasks, at this instant, which is this time on the engine's clock.
    ///
    /// The fences of its locks begin with the time, so that they increase also if the engine is made anew, as long as the
    /// clock is not set back.
    #[must_use]
    pub fn new(options: EngineOptions, now: Instant, time: EngineTime) -> Self {
        // A million fences for each millisecond.
        let fences = (time.unix_ms() << 20).max(1)..u64::MAX;
        let locks = LockTable::new(fences, options.lock_requests_per_member);
        Self {
            options,
            epoch: (now, time),
            now,
            timers: Timers::default(),
            members: BTreeMap::new(),
            gone: BTreeSet::new(),
            queue: Queue::default(),
            locks,
            hints: BTreeSet::new(),
        }
    }

    /// The engine's options.
    #[must_use]
    pub fn options(&self) -> &EngineOptions {
        &self.options
    }

    /// The engine's time at this instant.
    #[must_use]
    pub fn time(&self, now: Instant) -> EngineTime {
        let (epoch, time) = self.epoch;
        time + now.saturating_duration_since(epoch)
    }

    /// Something that has happened since this was asked last.
    pub fn poll_hint(&mut self) -> Option<Hint> {
        if self.queue.ready.take_news() {
            self.hints.insert(Hint::Work);
        }
        while let Some(member) = self.locks.poll_changed() {
            self.hints.insert(Hint::Locks(member));
        }
        self.hints.pop_first()
    }

    /// When time is to pass next; none if nothing waits for it.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        [self.timers.next(), self.locks.poll_timeout()].into_iter().flatten().min()
    }

    /// Lets time pass: everything that is due by now happens, in the order in which it was due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.pass(now);
    }

    /// Lets all leases end so much later, because for so long nobody could have been heard: the engine itself was stopped.
    ///
    /// It comes before everything else that is told for the instant. It cannot bring back a member that is gone.
    pub fn extend_leases(&mut self, by: Duration) {
        for (id, member) in &mut self.members {
            self.timers.clear(member.lease_end, Timer::Lease(*id));
            member.lease_end = after(member.lease_end, by);
            self.timers.set(member.lease_end, Timer::Lease(*id));
        }
    }

    /// Lets everything happen that is due, and returns the instant, which is not before that of the last call.
    pub(crate) fn pass(&mut self, now: Instant) -> Instant {
        self.now = self.now.max(now);
        let now = self.now;
        while let Some(due) = self.poll_timeout().filter(|due| *due <= now) {
            // What locks wait for comes after what members do at the same instant.
            match self.timers.pop(due) {
                Some((_, timer)) => self.fire(due, timer),
                None => self.locks.handle_timeout(due),
            }
        }
        now
    }

    fn fire(&mut self, now: Instant, timer: Timer) {
        match timer {
            Timer::Lease(member) => self.end_member(now, member, End::Expired),
            Timer::NotBefore(task) => self.make_ready(task),
            Timer::Deadline(task) => self.stop(now, task, Stop::Deadline),
            Timer::Unique(key) => self.queue.release_key(&key),
            Timer::Series(series) => self.look_at_series(now, &series),
            Timer::ForgetTask(task) => self.queue.forget(task),
            Timer::ForgetMember(member) => drop(self.gone.remove(&member)),
        }
    }

    pub(crate) fn member(&mut self, member: MemberId) -> Result<&mut Member, EngineError> {
        self.members.get_mut(&member).ok_or(EngineError::MemberGone { member })
    }

    /// The time in an id is within the repeat window.
    pub(crate) fn check_id_time(&self, now: Instant, id: EngineTime) -> Result<(), EngineError> {
        let (engine, window) = (self.time(now), self.options.repeat_window);
        if engine.since(id) >= window || id > engine + window {
            return Err(EngineError::IdTime { id, engine, window });
        }
        Ok(())
    }

    /// How long it takes until an id of this time is too old.
    pub(crate) fn until_too_old(&self, now: Instant, id: EngineTime) -> Duration {
        (id + self.options.repeat_window).since(self.time(now))
    }

    /// Ends the reservation of a task for a member, if there is one.
    pub(crate) fn unreserve(&mut self, task: FleetTaskId) {
        if let Some(member) = self.queue.reserved.remove(&task)
            && let Some(member) = self.members.get_mut(&member)
        {
            member.reserved = None;
        }
    }
}
