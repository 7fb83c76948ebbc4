//! How many tasks a worker has, and how many more it may be given.
//!
//! A worker has *in hand* what it was given and what has not ended: the tasks that run, and those that are *prefetched*, which
//! wait there for their turn.
//!
//! A worker's load is measured in estimated time, not in tasks. A worker should have enough to stay busy for a round
//! trip to its manager, and no more: otherwise tasks would wait behind a slow one without need.
//!
//! Concurrent tasks are counted instead, because they do not wait for one another. None is handed out before it can
//! begin.
//!
//! Invariant: demand is monotone. If a worker would take a task of some priority, it would take every more urgent task
//! of the same kind.

use std::{
    iter::zip,
    time::{Duration, Instant},
};

use crate::queue::{Class, Pending};

/// A worker that has not reported an ending for this long, while tasks wait behind the one it runs, gives them back.
pub(crate) const STALL_LIMIT: Duration = Duration::from_millis(5);

/// A worker is given tasks until it has this much in hand.
const BUDGET_NS: u64 = 1_000_000;
/// Up to this estimate, a task may have a successor waiting behind it.
const LONG_NS: u64 = 10_000_000;
/// The largest number of tasks in hand, however short they are.
const MAX_IN_FLIGHT: u32 = 1024;
/// Below this average, a worker that has anything at all in hand can wait for the next batch: what it would gain
/// does not pay for a system call.
const BATCHED_NS: u64 = 50_000;
/// Durations beyond this make no difference, and no sum of them overflows: they are what workers claim.
const MAX_NS: u64 = 24 * 3600 * 1_000_000_000;
/// What a type of task is taken to last before one has ended: two in hand, no more.
const UNKNOWN_NS: u64 = LONG_NS / 2;

/// The durations seen of each type of task, as a moving average.
#[derive(Debug, Default)]
pub(crate) struct Estimates {
    by_class_ns: Vec<u64>,
}

impl Estimates {
    #[inline]
    pub(crate) fn of(&self, class: Class) -> u64 {
        self.by_class_ns.get(usize::from(class.number)).copied().filter(|&ns| ns > 0).unwrap_or(UNKNOWN_NS)
    }

    /// Moves the average by a quarter of the difference: a change of pace is learnt within a few tasks.
    #[inline]
    pub(crate) fn learn(&mut self, class: Class, took: Duration) {
        let class = usize::from(class.number);
        if self.by_class_ns.len() <= class {
            self.by_class_ns.resize(class + 1, 0);
        }
        let took_ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX).clamp(1, MAX_NS);
        let average_ns = &mut self.by_class_ns[class];
        *average_ns = match *average_ns {
            0 => took_ns,
            old => old - old / 4 + took_ns / 4,
        }
        .max(1);
    }
}

/// How many tasks a worker may have.
#[derive(Clone, Copy, Debug)]
pub struct PrefetchBudget {
    /// It may have tasks waiting behind the one it runs.
    pub prefetch: bool,
    /// How many tasks of a concurrent class it runs at once.
    pub concurrent: u32,
}

/// Which new tasks a worker should get at once, and not with its next batch: for each kind of task, the least urgent
/// such priority.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// For tasks that run one after the other.
    pub single: Option<u8>,
    /// For concurrent tasks.
    pub concurrent: Option<u8>,
}

impl Demand {
    /// Whether there is demand for a task of this priority.
    #[inline]
    pub fn is_for(self, class: Class, priority: u8) -> bool {
        let demand = if class.concurrent { self.concurrent } else { self.single };
        demand.is_some_and(|demand| priority <= demand)
    }

    /// What of it is no less urgent than this.
    #[inline]
    pub(crate) fn and(self, limit: Option<u8>) -> Self {
        Self { single: self.single.min(limit), concurrent: self.concurrent.min(limit) }
    }

    /// The demand of two workers together.
    #[inline]
    pub(crate) fn or(self, other: Self) -> Self {
        Self { single: self.single.max(other.single), concurrent: self.concurrent.max(other.concurrent) }
    }
}

/// What a worker has in hand, by priority.
#[derive(Debug)]
pub(crate) struct Load {
    prefetch_budget: PrefetchBudget,
    levels: Box<[Level]>,
    /// Tasks of concurrent classes, which count in none of the levels.
    concurrent: u32,
    /// The sum of the levels.
    total: Level,
    /// It has a suspect in hand, and gets nothing else until that has ended.
    suspect: bool,
    progress: Progress,
}

#[derive(Clone, Copy, Debug, Default)]
struct Level {
    count: u32,
    time_ns: u64,
}

impl Level {
    /// Whether another task may be prefetched beside this.
    #[inline]
    fn has_room(self) -> bool {
        let in_time = self.time_ns < BUDGET_NS || (self.count < 2 && self.time_ns < LONG_NS);
        self.count == 0 || (self.count < MAX_IN_FLIGHT && in_time)
    }
}

/// What a worker takes, and what of that it should get at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Needs {
    pub(crate) takes: Demand,
    pub(crate) demand: Demand,
}

/// Whether what the worker has in hand gets less.
#[derive(Clone, Copy, Debug)]
enum Progress {
    /// An attempt last ended then, or the first of its present tasks came.
    Since(Instant),
    /// The task it runs has outlasted its estimate: it gets no successor until something ends.
    Stalled,
}

impl Load {
    pub(crate) fn new(now: Instant, levels: u8, prefetch_budget: PrefetchBudget) -> Self {
        let levels = vec![Level::default(); usize::from(levels)].into_boxed_slice();
        Self {
            prefetch_budget,
            levels,
            concurrent: 0,
            total: Level::default(),
            suspect: false,
            progress: Progress::Since(now),
        }
    }

    #[inline]
    pub(crate) fn add<B>(&mut self, now: Instant, task: &Pending<B>, cost_ns: u64) {
        if let (true, Progress::Since(at)) = (self.is_empty(), &mut self.progress) {
            *at = now;
        }
        self.suspect |= task.suspect;
        if task.class.concurrent {
            self.concurrent += 1;
            return;
        }
        for level in [&mut self.levels[usize::from(task.priority)], &mut self.total] {
            level.count += 1;
            level.time_ns += cost_ns;
        }
    }

    #[inline]
    pub(crate) fn remove<B>(&mut self, task: &Pending<B>, cost_ns: u64) {
        // It was alone.
        self.suspect &= !task.suspect;
        if task.class.concurrent {
            self.concurrent -= 1;
            return;
        }
        for level in [&mut self.levels[usize::from(task.priority)], &mut self.total] {
            level.count -= 1;
            level.time_ns -= cost_ns;
        }
    }

    /// An attempt has ended.
    #[inline]
    pub(crate) fn progressed(&mut self, now: Instant) {
        self.progress = Progress::Since(now);
    }

    /// When the worker will have stalled, unless something ends before.
    #[inline]
    pub(crate) fn stalls_at(&self) -> Option<Instant> {
        match self.progress {
            Progress::Since(at) if self.total.count >= 1 && self.len() >= 2 => Some(at + STALL_LIMIT),
            Progress::Since(_) | Progress::Stalled => None,
        }
    }

    pub(crate) fn has_stalled(&mut self) {
        self.progress = Progress::Stalled;
    }

    /// How many tasks there are.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        (self.total.count + self.concurrent) as usize
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[inline]
    pub(crate) fn time_ns(&self) -> u64 {
        self.total.time_ns
    }

    /// How many tasks there are that run one after the other.
    #[inline]
    pub(crate) fn queue_len(&self) -> u32 {
        self.total.count
    }

    /// For comparing workers: who has less in hand. A task counts as a nanosecond at least, so nobody has less than one with
    /// nothing in hand.
    #[inline]
    pub(crate) fn weight(&self) -> (u32, u64) {
        (self.concurrent, self.total.time_ns)
    }

    /// How many tasks are less urgent than `priority`.
    pub(crate) fn beyond(&self, priority: u8) -> u32 {
        self.levels[usize::from(priority) + 1..].iter().map(|level| level.count).sum()
    }

    /// What may be added, and what should be at once: of each kind, the least urgent priority. For a task, only what is at
    /// least as urgent counts: an urgent one is never kept back by the less urgent ones that were handed out before it.
    #[inline]
    pub(crate) fn needs(&self) -> Needs {
        if self.suspect {
            return Needs::default();
        }
        let concurrent = self.takes_concurrent().then_some(u8::MAX);
        let (takes, demand) = self.needs_of_singles();
        Needs { takes: Demand { single: takes, concurrent }, demand: Demand { single: demand, concurrent } }
    }

    /// It runs a suspect.
    #[inline]
    pub(crate) fn is_suspect(&self) -> bool {
        self.suspect
    }

    #[inline]
    pub(crate) fn is_stalled(&self) -> bool {
        matches!(self.progress, Progress::Stalled)
    }

    #[inline]
    fn takes_concurrent(&self) -> bool {
        // What stalls blocks their thread too.
        let blocked = self.is_stalled() && self.total.count > 0;
        !blocked && self.concurrent < self.prefetch_budget.concurrent
    }

    #[inline]
    fn needs_of_singles(&self) -> (Option<u8>, Option<u8>) {
        if self.total.count == 0 {
            let least_urgent = self.levels.len().checked_sub(1).map(|level| level as u8);
            return (least_urgent, least_urgent);
        }
        if self.is_stalled() || !self.prefetch_budget.prefetch {
            // Not even an urgent one: it would wait behind the one that runs, while other workers get on.
            return (None, None);
        }
        let (mut takes, mut demand) = (None, None);
        for (priority, level) in zip(0.., self.up_to()) {
            if !level.has_room() {
                break;
            }
            takes = Some(priority);
            if level.count == 0 || level.time_ns / u64::from(level.count) >= BATCHED_NS {
                demand = Some(priority);
            }
        }
        (takes, demand)
    }

    /// For each priority, what is in hand at that level or more urgent.
    #[inline]
    fn up_to(&self) -> impl Iterator<Item = Level> {
        self.levels.iter().scan(Level::default(), |sum, level| {
            sum.count += level.count;
            sum.time_ns += level.time_ns;
            Some(*sum)
        })
    }
}
