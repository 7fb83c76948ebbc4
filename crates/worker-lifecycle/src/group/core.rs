//! The decisions of a group: which children to start, stop and restart, and when. A core: no clock, no task, no channel,
//! no randomness.
//!
//! Children that are to be started in order form a *batch*. They start one after the other, each once the one before is
//! up. None starts before all children that have to stop first have stopped, and none before the batch is due. At the
//! start of the group there is one batch of all; a restart makes one of those that it affects.
//!
//! Invariants:
//! - A child that is pending or starting, or stops to be restarted, is in exactly one batch; no other child is in any.
//! - A child's deadline is never later than the group's.
//! - Once the group is stopping, nothing is started any more.
//! - A group has come up once each child of the first batch has come up, also if some have ended since. So an end that
//!   is no failure counts only then: whether it comes a moment before or after makes no difference to who starts the
//!   group.
//! - Children that were added together become members together: each is up once, or all of them are removed. Each such set
//!   is settled exactly once, unless the group stops first.
//! - While a stop hook runs, only the hook asks children to stop, and the group does not end. It runs no longer than to
//!   the group's deadline.
//! - Each incarnation that was started ends exactly once: its end was handled, or it was given up as stuck.

mod sets;
mod stopping;
mod terms;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::{Duration, Instant},
};

pub(super) use sets::SetId;
use sets::Sets;
pub(super) use terms::{Config, Effect, LifeTraits, Mode, Traits, Verdict};
pub use terms::{Restart, RestartStrategy, StopOrder};

use super::ids::{ChildId, ChildIncarnation};
use crate::{
    clock::FAR,
    restart::{Charge, Charges, Streak},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It has ended for good, or will not be started any more.
    Down,
    /// It waits in its batch.
    Pending,
    Starting,
    Up,
    Stopping {
        deadline: Instant,
        /// When it is given up. A deadline that has passed leaves it the time to be aborted.
        stuck_at: Instant,
        then: Then,
    },
}

/// What comes after a child has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Down,
    Restart,
    Remove,
}

#[derive(Debug)]
struct Child {
    traits: Traits,
    life_traits: LifeTraits,
    state: State,
    incarnation: ChildIncarnation,
    /// Of the first batch, and not up yet.
    is_initial: bool,
    /// Was up in any incarnation.
    was_up: bool,
    up_since: Option<Instant>,
    batch: Option<u64>,
    /// With which it was added, until that set is settled.
    set: Option<SetId>,
    streak: Streak,
}

impl Child {
    fn lives(&self) -> bool {
        matches!(self.state, State::Starting | State::Up | State::Stopping { .. })
    }
}

/// The order in which children start.
type Key = (u32, ChildId);

#[derive(Debug, Default)]
struct Batch {
    waiting: BTreeSet<Key>,
    starting: Option<ChildId>,
    /// How many have to end before the first may start.
    stopping: usize,
    /// Until when it has to wait.
    due: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Batch(u64),
    Stuck(ChildId),
    /// The group's own, while it is stopping.
    Deadline,
}

#[derive(Debug)]
pub(super) struct Supervisor {
    config: Config,
    mode: Mode,
    verdict: Option<Verdict>,
    children: BTreeMap<ChildId, Child>,
    next_child: u64,
    batches: BTreeMap<u64, Batch>,
    next_batch: u64,
    sets: Sets,
    timers: BTreeSet<(Instant, Timer)>,
    charges: Charges,
    /// How many children of the first batch are not up.
    initial_left: usize,
    /// Every child of the first batch came up, unless it was removed before.
    has_come_up: bool,
    /// A child that ended, without a failure and not to be restarted, before the group was up: the group stops when it is.
    ended_early: Option<ChildId>,
    /// The stop hook was begun and is not over.
    hook_runs: bool,
    /// How many children live, by phase.
    living: BTreeMap<u32, usize>,
    /// While the group is stopping: the phase from which on all were asked to.
    asked_down_to: Option<u32>,
    /// The group's own deadline, once it has one.
    deadline: Option<Instant>,
    effects: VecDeque<Effect>,
}

impl Supervisor {
    /// A group in which the children that are added before [`start`](Self::start) make the first batch.
    pub(super) fn new(config: Config) -> Self {
        Self {
            config,
            mode: Mode::Starting,
            verdict: None,
            children: BTreeMap::new(),
            next_child: 0,
            batches: BTreeMap::from([(0, Batch::default())]),
            next_batch: 1,
            sets: Sets::default(),
            timers: BTreeSet::new(),
            charges: Charges::new(config.budget),
            initial_left: 0,
            has_come_up: false,
            ended_early: None,
            hook_runs: false,
            living: BTreeMap::new(),
            asked_down_to: None,
            deadline: None,
            effects: VecDeque::new(),
        }
    }

    pub(super) fn mode(&self) -> Mode {
        self.mode
    }

    pub(super) fn verdict(&self) -> Option<Verdict> {
        self.verdict
    }

    /// Whether the group was up, though it may be stopping by now.
    pub(super) fn has_come_up(&self) -> bool {
        self.has_come_up
    }

    /// The child whose end stops the group as soon as that is up.
    pub(super) fn ended_early(&self) -> Option<ChildId> {
        self.ended_early
    }

    /// Adds a child to the first batch.
    pub(super) fn add_initial(&mut self, traits: Traits) -> ChildId {
        let id = self.insert(traits, 0, true);
        self.initial_left += 1;
        id
    }

    /// The first batch is complete.
    pub(super) fn start(&mut self, now: Instant) {
        self.advance(now, 0);
        self.check_started(now);
    }

    /// Adds children to a group that was started; `None` if it is stopping. They start in one order. As soon as each has been
    /// up once, or all are removed because one did not come up, [`Effect::Settled`] follows.
    pub(super) fn add(&mut self, now: Instant, children: &[Traits]) -> Option<(SetId, Vec<ChildId>)> {
        // While the first batch starts, whoever is added takes its place in the order.
        let batch = match self.mode {
            Mode::Starting => 0,
            Mode::Running => self.new_batch(None),
            Mode::Stopping | Mode::Ended => return None,
        };
        let ids: Vec<ChildId> = children.iter().map(|traits| self.insert(*traits, batch, false)).collect();
        let set = self.sets.begin(&ids);
        for id in &ids {
            if let Some(child) = self.children.get_mut(id) {
                child.set = Some(set);
            }
        }
        self.settle_if_done(set);
        self.advance(now, batch);
        Some((set, ids))
    }

    fn insert(&mut self, traits: Traits, batch: u64, is_initial: bool) -> ChildId {
        let id = ChildId(self.next_child);
        self.next_child += 1;
        self.batches.entry(batch).or_default().waiting.insert((traits.phase, id));
        let child = Child {
            traits,
            life_traits: LifeTraits { grace: Duration::ZERO, is_group: false },
            state: State::Pending,
            incarnation: ChildIncarnation(0),
            is_initial,
            was_up: false,
            up_since: None,
            batch: Some(batch),
            set: None,
            streak: Streak::new(self.config.backoff, u32::MAX),
        };
        self.children.insert(id, child);
        id
    }

    /// Removes a child, stopping it first if it lives: [`Effect::Gone`] follows. Returns whether it is there and the group
    /// is not stopping.
    pub(super) fn remove(&mut self, now: Instant, id: ChildId) -> bool {
        if matches!(self.mode, Mode::Stopping | Mode::Ended) {
            return false;
        }
        let Some(child) = self.children.get(&id) else { return false };
        let state = child.state;
        let batch = self.leave_batch(id);
        self.no_longer_initial(id);
        // Nobody minds its end any more.
        self.ended_early = self.ended_early.filter(|child| *child != id);
        match state {
            State::Down | State::Pending => self.delete(id),
            State::Starting | State::Up => self.ask_to_stop(now, id, Then::Remove),
            State::Stopping { deadline, stuck_at, .. } => {
                self.set_state(id, State::Stopping { deadline, stuck_at, then: Then::Remove });
            }
        }
        self.check_started(now);
        self.advance_if_any(now, batch);
        true
    }

    /// An incarnation was started, as [`Effect::Start`] asked.
    pub(super) fn launched(&mut self, id: ChildId, traits: LifeTraits) {
        if let Some(child) = self.children.get_mut(&id) {
            child.life_traits = traits;
        }
    }

    /// An incarnation is up.
    pub(super) fn handle_up(&mut self, now: Instant, id: ChildId, incarnation: ChildIncarnation) {
        let Some(child) = self.children.get_mut(&id).filter(|child| child.incarnation == incarnation) else {
            return;
        };
        // It was asked to stop before this was heard.
        if child.state != State::Starting {
            return;
        }
        child.state = State::Up;
        child.was_up = true;
        let set = child.set;
        child.up_since = Some(now);
        let batch = self.leave_batch(id);
        self.no_longer_initial(id);
        if let Some(set) = set {
            self.sets.has_come_up(set, id);
            self.settle_if_done(set);
        }
        self.check_started(now);
        self.advance_if_any(now, batch);
    }

    /// An incarnation has ended.
    pub(super) fn handle_ended(
        &mut self,
        now: Instant,
        id: ChildId,
        incarnation: ChildIncarnation,
        failed: bool,
        jitter: u8,
    ) {
        let Some(child) =
            self.children.get(&id).filter(|child| child.incarnation == incarnation && child.lives())
        else {
            return;
        };
        match child.state {
            State::Stopping { then, .. } => self.has_stopped(now, id, then),
            _ => self.ended_unasked(now, id, failed, jitter),
        }
        self.stop_next_phase(now);
    }

    /// Whatever was to happen by now.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        while let Some((at, timer)) = self.timers.first().copied()
            && at <= now
        {
            self.timers.pop_first();
            match timer {
                Timer::Batch(batch) => {
                    if let Some(batch) = self.batches.get_mut(&batch) {
                        batch.due = None;
                    }
                    self.advance(now, batch);
                }
                Timer::Stuck(id) => self.give_up(now, id),
                Timer::Deadline => self.stop_next_phase(now),
            }
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called next.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }

    pub(super) fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// The children that run, in the order in which they were to start.
    pub(super) fn living(&self) -> Vec<ChildId> {
        let living = self.children.iter().filter(|(_, child)| child.lives());
        let mut living: Vec<Key> = living.map(|(id, child)| (child.traits.phase, *id)).collect();
        living.sort_unstable();
        living.into_iter().map(|(_, id)| id).collect()
    }

    // Ends and restarts.

    fn ended_unasked(&mut self, now: Instant, id: ChildId, failed: bool, jitter: u8) {
        let Some(child) = self.children.get_mut(&id) else { return };
        let (traits, was_up) = (child.traits, child.was_up);
        let is_restarted = match traits.restart {
            Restart::Never => false,
            Restart::OnFailure => failed,
            Restart::Always => true,
        };
        if child
            .up_since
            .take()
            .is_some_and(|since| now.saturating_duration_since(since) >= self.config.backoff.longest())
        {
            child.streak.progress();
        }
        let is_initial = child.is_initial;
        let batch = self.leave_batch(id);
        self.set_state(id, State::Down);
        if self.mode == Mode::Stopping {
            // Its turn had not come.
        } else if is_initial {
            self.give_verdict(now, Verdict::DidNotStart(id));
        } else if !was_up {
            self.did_not_come_up(now, id);
        } else if is_restarted && traits.is_renewable {
            if self.charges.charge(now) {
                self.restart(now, id, jitter);
            } else {
                self.give_verdict(now, Verdict::Exhausted(id));
            }
        } else if !traits.may_end && !failed && self.mode == Mode::Starting {
            self.ended_early.get_or_insert(id);
        } else if !traits.may_end {
            self.give_verdict(now, Verdict::Ended { child: id, failed });
        }
        self.advance_if_any(now, batch);
    }

    fn give_verdict(&mut self, now: Instant, verdict: Verdict) {
        self.verdict.get_or_insert(verdict);
        self.stop(now);
    }

    fn restart(&mut self, now: Instant, id: ChildId, jitter: u8) {
        let Some(child) = self.children.get_mut(&id) else { return };
        let due = now + child.streak.ended(now, Charge::Certain, jitter).min(FAR);
        let key = (child.traits.phase, id);
        let is_affected = |(other, child): (&ChildId, &Child)| {
            let is_alike = match self.config.strategy {
                RestartStrategy::OneForOne => false,
                RestartStrategy::OneForAll => true,
                RestartStrategy::RestForOne => (child.traits.phase, *other) > key,
            };
            let is_there =
                !matches!(child.state, State::Down | State::Stopping { then: Then::Down | Then::Remove, .. });
            *other == id || (is_alike && is_there && child.traits.is_renewable && !child.is_initial)
        };
        let affected: BTreeSet<Key> = self
            .children
            .iter()
            .filter(|(id, child)| is_affected((id, child)))
            .map(|(id, child)| (child.traits.phase, *id))
            .collect();
        let number = self.new_batch(Some(due));
        let mut left = BTreeSet::new();
        // Who started last is asked to stop first.
        for (_, id) in affected.iter().rev().copied() {
            left.extend(self.leave_batch(id));
            let Some(child) = self.children.get_mut(&id) else { continue };
            child.batch = Some(number);
            let has_to_stop = child.lives();
            match child.state {
                State::Starting | State::Up => self.ask_to_stop(now, id, Then::Restart),
                State::Stopping { .. } => {}
                State::Down | State::Pending => child.state = State::Pending,
            }
            if let Some(batch) = self.batches.get_mut(&number) {
                batch.stopping += usize::from(has_to_stop);
            }
            self.effects.push_back(Effect::Waits(id, due));
        }
        if let Some(batch) = self.batches.get_mut(&number) {
            batch.waiting = affected;
        }
        self.timers.insert((due, Timer::Batch(number)));
        left.into_iter().for_each(|batch| self.advance(now, batch));
        self.handle_timeout(now);
    }

    // Batches.

    fn new_batch(&mut self, due: Option<Instant>) -> u64 {
        let number = self.next_batch;
        self.next_batch += 1;
        self.batches.insert(number, Batch { due, ..Batch::default() });
        number
    }

    /// Takes a child out of its batch, and returns that, for others in it may start now.
    fn leave_batch(&mut self, id: ChildId) -> Option<u64> {
        let child = self.children.get_mut(&id)?;
        let number = child.batch.take()?;
        let batch = self.batches.get_mut(&number)?;
        batch.waiting.remove(&(child.traits.phase, id));
        if batch.starting == Some(id) {
            batch.starting = None;
        }
        if matches!(child.state, State::Stopping { then: Then::Restart, .. }) {
            batch.stopping -= 1;
        }
        Some(number)
    }

    fn advance_if_any(&mut self, now: Instant, batch: Option<u64>) {
        if let Some(batch) = batch {
            self.advance(now, batch);
        }
    }

    /// Starts the next child of a batch, if that may be.
    fn advance(&mut self, now: Instant, number: u64) {
        let Some(batch) = self.batches.get_mut(&number) else { return };
        if batch.starting.is_some() || batch.stopping > 0 || batch.due.is_some_and(|due| due > now) {
            return;
        }
        let Some((phase, id)) = batch.waiting.pop_first() else {
            // The first batch takes in whoever is added before all of it is up.
            if number != 0 || self.mode != Mode::Starting {
                self.batches.remove(&number);
            }
            return;
        };
        batch.starting = Some(id);
        let Some(child) = self.children.get_mut(&id) else { return };
        child.state = State::Starting;
        child.incarnation = ChildIncarnation(child.incarnation.0 + 1);
        self.effects.push_back(Effect::Start(id, child.incarnation));
        *self.living.entry(phase).or_default() += 1;
    }

    // Children.

    /// The one place where a child stops living.
    fn set_state(&mut self, id: ChildId, state: State) {
        let Some(child) = self.children.get_mut(&id) else { return };
        let lived = child.lives();
        child.state = state;
        if lived && !child.lives() {
            self.has_died(id);
        }
    }

    fn has_died(&mut self, id: ChildId) {
        let Some(child) = self.children.get(&id) else { return };
        let phase = child.traits.phase;
        if let Some(living) = self.living.get_mut(&phase) {
            *living -= 1;
            if *living == 0 {
                self.living.remove(&phase);
            }
        }
    }

    fn delete(&mut self, id: ChildId) {
        self.set_state(id, State::Down);
        let Some(child) = self.children.remove(&id) else { return };
        self.effects.push_back(Effect::Gone(id));
        if let Some(set) = child.set {
            self.sets.has_gone(set, id);
            self.settle_if_done(set);
        }
    }

    /// A child that was added is no member, nor is any that was added with it.
    fn did_not_come_up(&mut self, now: Instant, id: ChildId) {
        let set = self.children.get(&id).and_then(|child| child.set);
        let others = set.map_or_else(Vec::new, |set| {
            self.effects.push_back(Effect::NotUp(set, id));
            self.sets.fail(set, id)
        });
        self.delete(id);
        // First of all, so that none of them starts because another goes.
        let left: BTreeSet<u64> = others.iter().filter_map(|other| self.leave_batch(*other)).collect();
        // Who started last is asked to stop first.
        for other in others.into_iter().rev() {
            self.remove(now, other);
        }
        left.into_iter().for_each(|batch| self.advance(now, batch));
    }

    fn settle_if_done(&mut self, set: SetId) {
        let Some(members) = self.sets.settle_if_done(set) else { return };
        for id in members {
            if let Some(child) = self.children.get_mut(&id) {
                child.set = None;
            }
        }
        self.effects.push_back(Effect::Settled(set));
    }

    fn no_longer_initial(&mut self, id: ChildId) {
        let was_initial = match self.children.get_mut(&id) {
            Some(child) => std::mem::take(&mut child.is_initial),
            None => false,
        };
        self.initial_left -= usize::from(was_initial);
    }

    fn check_started(&mut self, now: Instant) {
        if self.mode != Mode::Starting || self.initial_left > 0 {
            return;
        }
        self.mode = Mode::Running;
        self.has_come_up = true;
        if let Some(child) = self.ended_early.take() {
            self.give_verdict(now, Verdict::Ended { child, failed: false });
        }
    }
}

#[cfg(test)]
mod tests;
