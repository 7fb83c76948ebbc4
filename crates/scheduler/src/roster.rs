//! The workers on their slots, and what is known of all of them together: who has the least in hand, what some worker has
//! demand for, when to look next. With the number of workers, the cost of such a question grows as a logarithm.
//!
//! Invariants:
//! - A node of the tree sums up the workers below it, as they were when they were last summed up.
//! - Whoever may change a worker marks its slot as stale, and stale slots are summed up anew before a node is read.

use std::{
    iter::zip,
    time::{Duration, Instant},
};

use crate::{
    load::{Demand, Needs},
    queue::Pending,
    worker::Worker,
};

/// The place of the tree's root. The nodes below `node` are `2 * node` and `2 * node + 1`.
const ROOT: usize = 1;

#[derive(Debug)]
pub(crate) struct Roster {
    /// By slot, as far as slots had workers.
    slots: Vec<Slot>,
    /// A leaf for each slot, and a node above each two. The first half are nodes, the second half leaves.
    tree: Vec<Summary>,
    stale: Vec<usize>,
    silence_limit: Option<Duration>,
}

#[derive(Debug, Default)]
struct Slot {
    /// None while its worker is dead or starting.
    worker: Option<Worker>,
    is_stale: bool,
}

/// What is known of some workers. In numbers alone: two of these are made one with each task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Summary {
    /// How many they are.
    pub(crate) workers: u32,
    /// How many wait for tasks.
    pub(crate) idle: u32,
    /// How many have not answered a recall.
    pub(crate) recalling: u32,
    takes_single: Urgency,
    takes_concurrent: Urgency,
    demand_single: Urgency,
    demand_concurrent: Urgency,
    in_the_way_of: Urgency,
    /// Of those who take anything at all, the first of those with the least in hand: what that is, then the slot.
    least_laden: u128,
    /// Of those from whom it is worth taking tasks back for an idle worker, the last of those with the most in hand: how long that
    /// takes, then the slot.
    busiest: u128,
    /// When something is to be done about one.
    pub(crate) deadline: Option<Instant>,
}

/// A priority and all that are more urgent: the number after it, and 0 for none.
type Urgency = u8;

/// Nobody, where somebody with less is looked for. No slot has that number.
const NOBODY: u128 = u128::MAX;

#[inline]
fn urgency(least_urgent: Option<u8>) -> Urgency {
    least_urgent.map_or(0, |priority| priority.saturating_add(1))
}

impl Default for Summary {
    fn default() -> Self {
        Self {
            workers: 0,
            idle: 0,
            recalling: 0,
            takes_single: 0,
            takes_concurrent: 0,
            demand_single: 0,
            demand_concurrent: 0,
            in_the_way_of: 0,
            least_laden: NOBODY,
            busiest: 0,
            deadline: None,
        }
    }
}

impl Summary {
    #[inline]
    fn of(worker: &Worker, slot: usize, silence_limit: Option<Duration>) -> Self {
        let Needs { takes, demand } = worker.needs();
        Self {
            workers: 1,
            idle: worker.is_idle().into(),
            recalling: worker.recalls.are_unanswered().into(),
            takes_single: urgency(takes.single),
            takes_concurrent: urgency(takes.concurrent),
            demand_single: urgency(demand.single),
            demand_concurrent: urgency(demand.concurrent),
            in_the_way_of: urgency(worker.in_the_way_of()),
            least_laden: if takes == Demand::default() { NOBODY } else { laden(worker, slot) },
            busiest: worker.spares_ns().map_or(0, |time_ns| (u128::from(time_ns) << 64) | slot as u128),
            deadline: worker.deadline(silence_limit),
        }
    }

    #[inline]
    fn and(&self, other: &Self) -> Self {
        Self {
            workers: self.workers + other.workers,
            idle: self.idle + other.idle,
            recalling: self.recalling + other.recalling,
            takes_single: self.takes_single.max(other.takes_single),
            takes_concurrent: self.takes_concurrent.max(other.takes_concurrent),
            demand_single: self.demand_single.max(other.demand_single),
            demand_concurrent: self.demand_concurrent.max(other.demand_concurrent),
            in_the_way_of: self.in_the_way_of.max(other.in_the_way_of),
            least_laden: self.least_laden.min(other.least_laden),
            busiest: self.busiest.max(other.busiest),
            deadline: match (self.deadline, other.deadline) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            },
        }
    }

    /// What any of them has demand for.
    pub(crate) fn demand(&self) -> Demand {
        Demand {
            single: self.demand_single.checked_sub(1),
            concurrent: self.demand_concurrent.checked_sub(1),
        }
    }

    /// Whether one of them has prefetched what should not overtake a task of this priority.
    pub(crate) fn is_in_the_way_of(&self, priority: u8) -> bool {
        self.in_the_way_of > priority
    }

    /// From whom to take tasks back for an idle worker.
    pub(crate) fn busiest(&self) -> Option<usize> {
        (self.busiest > 0).then_some(self.busiest as u64 as usize)
    }

    /// Whether one of them takes this task.
    #[inline]
    fn takes<B>(&self, task: &Pending<B>) -> bool {
        let takes = if task.class.concurrent { self.takes_concurrent } else { self.takes_single };
        takes > task.priority
    }
}

/// What it has in hand, then its slot.
#[inline]
fn laden(worker: &Worker, slot: usize) -> u128 {
    let (concurrent, time_ns) = worker.load.weight();
    (u128::from(concurrent) << 96) | (u128::from(time_ns) << 32) | u128::from(slot as u32)
}

#[inline]
fn slot_in(laden: u128) -> usize {
    laden as u32 as usize
}

impl Roster {
    pub(crate) fn new(silence_limit: Option<Duration>) -> Self {
        Self { slots: Vec::new(), tree: vec![Summary::default(); 2 * ROOT], stale: Vec::new(), silence_limit }
    }

    /// How many slots there are, with workers or without.
    pub(crate) fn slots(&self) -> usize {
        self.slots.len()
    }

    #[inline]
    pub(crate) fn get(&self, slot: usize) -> Option<&Worker> {
        self.slots.get(slot)?.worker.as_ref()
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, slot: usize) -> Option<&mut Worker> {
        let place = self.slots.get_mut(slot)?;
        let worker = place.worker.as_mut()?;
        if !std::mem::replace(&mut place.is_stale, true) {
            self.stale.push(slot);
        }
        Some(worker)
    }

    /// Every worker, with its slot.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, &Worker)> {
        self.slots.iter().enumerate().filter_map(|(slot, place)| Some((slot, place.worker.as_ref()?)))
    }

    /// Every worker, to be changed.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (usize, &mut Worker)> {
        self.all_are_stale();
        self.slots.iter_mut().enumerate().filter_map(|(slot, place)| Some((slot, place.worker.as_mut()?)))
    }

    /// Slots this worker, or nobody.
    pub(crate) fn put(&mut self, slot: usize, worker: Option<Worker>) {
        if self.slots.len() <= slot {
            self.slots.resize_with(slot + 1, Slot::default);
            let leaves = self.slots.len().next_power_of_two();
            self.tree.clear();
            self.tree.resize(2 * leaves, Summary::default());
            self.all_are_stale();
        }
        let place = &mut self.slots[slot];
        place.worker = worker;
        if !std::mem::replace(&mut place.is_stale, true) {
            self.stale.push(slot);
        }
    }

    fn all_are_stale(&mut self) {
        self.stale.clear();
        for (slot, place) in zip(0.., &mut self.slots) {
            place.is_stale = true;
            self.stale.push(slot);
        }
    }

    /// What is known of all workers.
    #[inline]
    pub(crate) fn summary(&mut self) -> &Summary {
        self.sum_up();
        &self.tree[ROOT]
    }

    /// The first worker of those that have the least in hand and take this task.
    pub(crate) fn least_laden<B>(&mut self, task: &Pending<B>) -> Option<usize> {
        let root = self.summary();
        if !root.takes(task) {
            return None;
        }
        // One with nothing in hand takes everything, as a rule.
        let first = slot_in(root.least_laden);
        if self.tree[self.leaf(first)].takes(task) {
            return Some(first);
        }
        let mut found = NOBODY;
        self.search(ROOT, task, &mut found);
        (found != NOBODY).then(|| slot_in(found))
    }

    /// The same by a look at each worker but one.
    pub(crate) fn least_laden_but<B>(&self, except: usize, task: &Pending<B>) -> Option<usize> {
        let takers = self.iter().filter(|(slot, worker)| *slot != except && worker.takes(task));
        takers.map(|(slot, worker)| laden(worker, slot)).min().map(slot_in)
    }

    /// Looks only where somebody takes the task and may have less in hand than who was found.
    fn search<B>(&self, node: usize, task: &Pending<B>, found: &mut u128) {
        let summary = &self.tree[node];
        if !summary.takes(task) || *found <= summary.least_laden {
            return;
        }
        if node >= self.leaf(0) {
            *found = summary.least_laden;
            return;
        }
        let (left, right) = (2 * node, 2 * node + 1);
        let is_right = self.tree[right].least_laden == summary.least_laden;
        let (first, second) = if is_right { (right, left) } else { (left, right) };
        self.search(first, task, found);
        self.search(second, task, found);
    }

    fn leaf(&self, slot: usize) -> usize {
        self.tree.len() / 2 + slot
    }

    #[inline]
    fn sum_up(&mut self) {
        while let Some(slot) = self.stale.pop() {
            self.sum_up_slot(slot);
        }
    }

    fn sum_up_slot(&mut self, slot: usize) {
        let place = &mut self.slots[slot];
        place.is_stale = false;
        let summary = match &place.worker {
            Some(worker) => Summary::of(worker, slot, self.silence_limit),
            None => Summary::default(),
        };
        let mut node = self.leaf(slot);
        self.tree[node] = summary;
        while node > ROOT {
            node /= 2;
            self.tree[node] = self.tree[2 * node].and(&self.tree[2 * node + 1]);
        }
    }

    /// What [`summary`](Self::summary) should be.
    #[cfg(test)]
    pub(crate) fn summary_of_each(&self) -> Summary {
        let of_each = self.iter().map(|(slot, worker)| Summary::of(worker, slot, self.silence_limit));
        of_each.fold(Summary::default(), |sum, one| sum.and(&one))
    }
}
