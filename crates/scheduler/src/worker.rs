//! One worker, from when it is ready until it is gone: its load, its signs of life, its recalls, and how much of its
//! share of tasks is left.

use std::time::{Duration, Instant};

use crate::{
    limits::Limits,
    liveness::Liveness,
    load::{Demand, Load, Needs},
    queue::Pending,
    recalls::Recalls,
};

/// Prefetched work below this estimate is not worth taking back for an idle worker.
const RECALL_MIN_NS: u64 = 200_000;

#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) load: Load,
    pub(crate) liveness: Liveness,
    pub(crate) recalls: Recalls,
    /// How many more tasks it is given.
    tasks_left: u64,
}

impl Worker {
    pub(crate) fn new(now: Instant, limits: &Limits) -> Self {
        Self {
            load: Load::new(now, limits.levels, limits.prefetch_budget),
            liveness: Liveness::heard(now),
            recalls: Recalls::default(),
            tasks_left: limits.tasks_per_worker,
        }
    }

    /// What it may be given, and what of that it should get, or make way for, at once. A suspect goes to a worker that has
    /// nothing in hand.
    #[inline]
    pub(crate) fn needs(&self) -> Needs {
        if self.tasks_left == 0 || self.load.is_suspect() {
            return Needs::default();
        }
        let Needs { takes, demand } = self.load.needs();
        let takes = if self.load.is_empty() { takes } else { takes.and(self.recalls.allowed()) };
        Needs { takes, demand: demand.or(Demand { single: self.in_the_way_of(), concurrent: None }) }
    }

    /// Whether it may be given this task.
    #[inline]
    pub(crate) fn takes<B>(&self, task: &Pending<B>) -> bool {
        self.needs().takes.is_for(task.class, task.priority)
    }

    /// How much it has in hand, if it is worth taking half of what is prefetched back for an idle worker, and nothing is asked
    /// back.
    #[inline]
    pub(crate) fn spares_ns(&self) -> Option<u64> {
        let (queue_len, time_ns) = (u64::from(self.load.queue_len()), self.load.time_ns());
        let is_worth_it = queue_len >= 2 && time_ns / queue_len * (queue_len - 1) >= RECALL_MIN_NS;
        (is_worth_it && !self.recalls.are_unanswered()).then_some(time_ns)
    }

    /// When something is to be done about it, unless it is heard of or makes progress before.
    #[inline]
    pub(crate) fn deadline(&self, silence_limit: Option<Duration>) -> Option<Instant> {
        if self.load.is_empty() {
            return None;
        }
        let silent = silence_limit.and_then(|limit| self.liveness.poll_timeout(limit));
        silent.into_iter().chain(self.stalls_at()).min()
    }

    /// It is given a task.
    #[inline]
    pub(crate) fn give<B>(&mut self, now: Instant, task: &Pending<B>, cost_ns: u64) {
        if self.load.is_empty() {
            // With nothing in hand it owed no sign of life: its silence counts from here.
            self.liveness = Liveness::heard(now);
        }
        self.tasks_left -= 1;
        self.recalls.given(task.priority);
        self.load.add(now, task, cost_ns);
    }

    /// It is given nothing more. True if it goes by that: it had not had its share, and has nothing in hand.
    pub(crate) fn dismiss(&mut self) -> bool {
        let is_idle = self.is_idle();
        self.tasks_left = 0;
        is_idle
    }

    /// It has given back a task that it had not begun: that does not count as one that it was given.
    pub(crate) fn took_back(&mut self) {
        self.tasks_left += 1;
    }

    /// It may be given a suspect once it has nothing in hand.
    #[inline]
    pub(crate) fn may_become_empty(&self) -> bool {
        self.tasks_left > 0 && !self.load.is_suspect()
    }

    /// It waits for tasks.
    #[inline]
    pub(crate) fn is_idle(&self) -> bool {
        self.tasks_left > 0 && self.load.is_empty()
    }

    /// It has had its share of tasks, and has none in hand.
    #[inline]
    pub(crate) fn is_to_retire(&self) -> bool {
        self.tasks_left == 0 && self.load.is_empty()
    }

    /// The least urgent priority of which a task should not be overtaken by what it has prefetched, and is not asked back
    /// already.
    #[inline]
    pub(crate) fn in_the_way_of(&self) -> Option<u8> {
        if self.load.queue_len() < 2 {
            return None;
        }
        self.recalls.in_the_way_of()
    }

    /// When it will have stalled: tasks wait behind the one that it runs, nothing ends, and nobody has asked for them.
    #[inline]
    pub(crate) fn stalls_at(&self) -> Option<Instant> {
        if self.recalls.are_unanswered() { None } else { self.load.stalls_at() }
    }
}
