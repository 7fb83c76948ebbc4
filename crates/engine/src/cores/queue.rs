//! All tasks, and what they are found by.
//!
//! Invariants:
//! - What is counted changes in [`Queue::change`] alone, with the task's state.
//! - A unique key is here exactly while it belongs to a task.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Instant,
};

use super::{
    ready::Ready,
    record::{Record, State},
    series::Series,
};
use crate::{EngineBooks, FleetTaskId, MemberId};

/// What there is of one name in one series.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) delayed: usize,
    /// Those that are ready, by when they were enqueued.
    pub(crate) ready: BTreeSet<(Instant, FleetTaskId)>,
    pub(crate) leased: usize,
    pub(crate) dead: usize,
}

impl Counts {
    fn is_empty(&self) -> bool {
        self.delayed == 0 && self.ready.is_empty() && self.leased == 0 && self.dead == 0
    }
}

/// All tasks.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    pub(crate) tasks: BTreeMap<FleetTaskId, Record>,
    pub(crate) ready: Ready,
    pub(crate) series: BTreeMap<Arc<str>, Series>,
    /// The task that each unique key belongs to.
    pub(crate) unique: BTreeMap<Arc<str>, FleetTaskId>,
    pub(crate) dead: BTreeSet<FleetTaskId>,
    /// For which member a task waits that is to run alone.
    pub(crate) reserved: BTreeMap<FleetTaskId, MemberId>,
    /// By series and name.
    pub(crate) counts: BTreeMap<(Arc<str>, Arc<str>), Counts>,
    pub(crate) books: EngineBooks,
    /// How many tasks have arrived.
    pub(crate) arrivals: u64,
}

impl Queue {
    pub(crate) fn record(&mut self, task: FleetTaskId) -> &mut Record {
        let Some(record) = self.tasks.get_mut(&task) else { unreachable!("the task is known") };
        record
    }

    /// The number of the next to arrive.
    pub(crate) fn arrive(&mut self) -> u64 {
        self.arrivals += 1;
        self.arrivals
    }

    /// Takes a new task in.
    pub(crate) fn insert(&mut self, record: Record) {
        let (id, series) = (record.id(), record.task.series.clone());
        self.series.entry(series).or_default().open += 1;
        self.books.enqueued += 1;
        self.books.pending += 1;
        self.count(&record, true);
        self.tasks.insert(id, record);
    }

    /// Changes the state of a task, and all that is counted by it.
    pub(crate) fn change(&mut self, task: FleetTaskId, state: State) {
        let Some(mut record) = self.tasks.remove(&task) else { unreachable!("the task is known") };
        self.count(&record, false);
        let had_ended = record.state.has_ended();
        record.state = state;
        self.count(&record, true);
        let series = self.series.entry(record.task.series.clone()).or_default();
        match (had_ended, &record.state) {
            (false, State::Done(_)) => self.books.done += 1,
            (false, State::Cancelled) => self.books.cancelled += 1,
            (false, State::Dead { .. }) => {
                self.books.dead += 1;
                self.dead.insert(task);
            }
            (true, state) if !state.has_ended() => {
                self.books.retried += 1;
                self.books.pending += 1;
                series.open += 1;
                self.dead.remove(&task);
            }
            _ => {}
        }
        if !had_ended && record.state.has_ended() {
            self.books.pending -= 1;
            series.open -= 1;
        }
        self.tasks.insert(task, record);
    }

    /// Drops a dead letter: it stays known, and is no dead letter any more.
    pub(crate) fn drop_dead(&mut self, task: FleetTaskId) {
        if self.dead.remove(&task) {
            let record = &self.tasks[&task];
            let key = (record.task.series.clone(), record.task.name.clone());
            self.count_at(key, |counts| counts.dead -= 1);
        }
    }

    /// Forgets a task that has ended.
    pub(crate) fn forget(&mut self, task: FleetTaskId) {
        self.tasks.remove(&task);
    }

    /// The unique key no longer belongs to its task.
    pub(crate) fn release_key(&mut self, key: &Arc<str>) {
        self.unique.remove(key);
    }

    fn count(&mut self, record: &Record, is_new: bool) {
        let key = (record.task.series.clone(), record.task.name.clone());
        let (since, id) = (record.since, record.id());
        let by = |count: &mut usize| if is_new { *count += 1 } else { *count -= 1 };
        match &record.state {
            State::Delayed { .. } => self.count_at(key, |counts| by(&mut counts.delayed)),
            State::Ready => self.count_at(key, |Counts { ready, .. }| {
                let is_right = if is_new { ready.insert((since, id)) } else { ready.remove(&(since, id)) };
                debug_assert!(is_right, "a task is counted once");
            }),
            State::Leased { .. } => self.count_at(key, |counts| by(&mut counts.leased)),
            State::Dead { .. } => self.count_at(key, |counts| by(&mut counts.dead)),
            State::Done(_) | State::Cancelled => {}
        }
    }

    fn count_at(&mut self, key: (Arc<str>, Arc<str>), change: impl FnOnce(&mut Counts)) {
        let counts = self.counts.entry(key.clone()).or_default();
        change(counts);
        if counts.is_empty() {
            self.counts.remove(&key);
        }
    }
}
