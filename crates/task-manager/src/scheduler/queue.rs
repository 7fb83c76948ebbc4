//! The port behind which tasks wait, and the queue in memory that stands there by default.
//!
//! Invariants:
//! - A task is either in the queue or leased from it, never both, and a leased one comes back at most once: completed
//!   or given back.
//! - Within a level, tasks leave in the order of their sequence numbers, also those that were given back.

use std::collections::VecDeque;

/// A task that waits to be run, with all that a further attempt at it has to know.
#[derive(Debug)]
pub(crate) struct Pending<B> {
    /// Its place in the order of arrival; unique.
    pub(crate) sequence: u64,
    pub(crate) priority: u8,
    /// Which type of task it is, for estimates of its duration.
    pub(crate) class: u16,
    /// How often it was handed to a worker that began it, counting only attempts that ended with a death.
    pub(crate) crashes: u16,
    /// Children that its attempts scheduled so far: what a retry schedules below this index is a repetition.
    pub(crate) children: u32,
    pub(crate) body: B,
}

/// Where tasks wait: in memory, or later in an engine that several managers share.
///
/// The scheduler leases tasks, runs them, and completes them or gives them back. An engine would put its own leases
/// behind the same calls.
pub(crate) trait TaskQueue<B> {
    /// Takes a new task; its sequence number is larger than every one before.
    fn enqueue(&mut self, task: Pending<B>);
    /// The smallest priority number among the tasks that wait.
    fn most_urgent(&self) -> Option<u8>;
    /// The oldest task of the most urgent level. The caller answers for it until it completes it or gives it back.
    fn lease(&mut self) -> Option<Pending<B>>;
    /// A leased task has ended.
    fn complete(&mut self, sequence: u64);
    /// Returns a leased task to its place in the order of arrival.
    fn give_back(&mut self, task: Pending<B>);
    /// Takes out a task that waits.
    fn withdraw(&mut self, sequence: u64) -> Option<Pending<B>>;
    /// How many tasks wait.
    fn len(&self) -> usize;
}

/// Tasks in this process's memory: one queue a level, ordered by sequence number.
#[derive(Debug)]
pub(crate) struct MemoryQueue<B> {
    levels: Box<[VecDeque<Pending<B>>]>,
    /// The first level that holds a task, or the number of levels if none does.
    lowest: usize,
    len: usize,
}

impl<B> MemoryQueue<B> {
    pub(crate) fn new(levels: u8) -> Self {
        Self { levels: (0..levels).map(|_| VecDeque::new()).collect(), lowest: usize::from(levels), len: 0 }
    }

    fn skip_empty(&mut self) {
        while self.lowest < self.levels.len() && self.levels[self.lowest].is_empty() {
            self.lowest += 1;
        }
    }

    fn level(&mut self, priority: u8) -> &mut VecDeque<Pending<B>> {
        self.lowest = self.lowest.min(usize::from(priority));
        self.len += 1;
        &mut self.levels[usize::from(priority)]
    }
}

impl<B> TaskQueue<B> for MemoryQueue<B> {
    fn enqueue(&mut self, task: Pending<B>) {
        let level = self.level(task.priority);
        debug_assert!(level.back().is_none_or(|last| last.sequence < task.sequence));
        level.push_back(task);
    }

    fn most_urgent(&self) -> Option<u8> {
        (self.len > 0).then_some(self.lowest as u8)
    }

    fn lease(&mut self) -> Option<Pending<B>> {
        let task = self.levels.get_mut(self.lowest)?.pop_front()?;
        self.len -= 1;
        self.skip_empty();
        Some(task)
    }

    fn complete(&mut self, _sequence: u64) {}

    fn give_back(&mut self, task: Pending<B>) {
        let level = self.level(task.priority);
        let place = level.partition_point(|other| other.sequence < task.sequence);
        level.insert(place, task);
    }

    fn withdraw(&mut self, sequence: u64) -> Option<Pending<B>> {
        for level in &mut self.levels {
            if let Ok(place) = level.binary_search_by_key(&sequence, |task| task.sequence) {
                let task = level.remove(place);
                self.len -= 1;
                self.skip_empty();
                return task;
            }
        }
        None
    }

    fn len(&self) -> usize {
        self.len
    }
}
