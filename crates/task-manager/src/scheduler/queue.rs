//! The port behind which tasks wait, and the queue in memory that stands there by default.
//!
//! Invariants:
//! - A task is either in the queue or leased from it, never both, and a leased one comes back at most once: completed
//!   or given back.
//! - Within a lane and level, tasks leave in the order of their sequence numbers, also those that were given back.

use std::collections::VecDeque;

/// A task that waits to be run, with all that a further attempt at it has to know.
#[derive(Debug)]
pub(crate) struct Pending<B> {
    /// Its place in the order of arrival; unique.
    pub(crate) sequence: u64,
    pub(crate) priority: u8,
    pub(crate) class: Class,
    /// Its worker died while running it and others at once: it runs alone until it has ended, so that the next death
    /// tells which of them it was.
    pub(crate) suspect: bool,
    /// How often it was handed to a worker that began it, counting only attempts that ended with a death.
    pub(crate) crashes: u16,
    /// How often its worker was ended while running it, for what another task did.
    pub(crate) interruptions: u16,
    /// Children that its attempts scheduled so far: what a retry schedules below this index is a repetition.
    pub(crate) children: u32,
    pub(crate) body: B,
}

/// Which type of task it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Class {
    /// For estimates of its duration.
    pub(crate) number: u16,
    /// A worker may run several of its kind at once.
    pub(crate) concurrent: bool,
}

/// What a task waits for. Tasks in one lane leave it in the order of priority and arrival; those of one lane do not wait
/// for those of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Lane {
    /// A worker's turn.
    Single,
    /// A place among those that a worker runs at once.
    Concurrent,
    /// A worker that has nothing else in hand.
    Suspect,
}

impl Lane {
    pub(crate) const ALL: [Self; 3] = [Self::Single, Self::Concurrent, Self::Suspect];
}

impl<B> Pending<B> {
    fn lane(&self) -> Lane {
        match (self.suspect, self.class.concurrent) {
            (true, _) => Lane::Suspect,
            (false, true) => Lane::Concurrent,
            (false, false) => Lane::Single,
        }
    }
}

/// Where tasks wait: in memory, or later in an engine that several managers share.
///
/// The scheduler leases tasks, runs them, and completes them or gives them back. An engine would put its own leases
/// behind the same calls.
pub(crate) trait TaskQueue<B> {
    /// Takes a new task; its sequence number is larger than every one before.
    fn enqueue(&mut self, task: Pending<B>);
    /// The oldest task of a lane's most urgent level.
    fn first(&self, lane: Lane) -> Option<&Pending<B>>;
    /// Takes out what [`first`](Self::first) shows. The caller answers for it until it completes it or gives it back.
    fn lease(&mut self, lane: Lane) -> Option<Pending<B>>;
    /// A leased task has ended.
    fn complete(&mut self, sequence: u64);
    /// Returns a leased task to its place in the order of arrival.
    fn give_back(&mut self, task: Pending<B>);
    /// Takes out a task that waits.
    fn withdraw(&mut self, sequence: u64) -> Option<Pending<B>>;
    /// A task that waits.
    fn find(&self, sequence: u64) -> Option<&Pending<B>>;
    /// How many tasks wait.
    fn len(&self) -> usize;
}

/// Tasks in this process's memory.
#[derive(Debug)]
pub(crate) struct MemoryQueue<B> {
    lanes: [Levels<B>; Lane::ALL.len()],
    len: usize,
}

/// One lane: one queue a level, ordered by sequence number.
#[derive(Debug)]
struct Levels<B> {
    levels: Box<[VecDeque<Pending<B>>]>,
    /// The first level that holds a task, or the number of levels if none does.
    lowest: usize,
}

impl<B> MemoryQueue<B> {
    pub(crate) fn new(levels: u8) -> Self {
        Self { lanes: Lane::ALL.map(|_| Levels::new(levels)), len: 0 }
    }

    fn lane(&mut self, lane: Lane) -> &mut Levels<B> {
        &mut self.lanes[lane as usize]
    }
}

impl<B> Levels<B> {
    fn new(levels: u8) -> Self {
        Self { levels: (0..levels).map(|_| VecDeque::new()).collect(), lowest: usize::from(levels) }
    }

    fn skip_empty(&mut self) {
        while self.lowest < self.levels.len() && self.levels[self.lowest].is_empty() {
            self.lowest += 1;
        }
    }

    fn level(&mut self, priority: u8) -> &mut VecDeque<Pending<B>> {
        self.lowest = self.lowest.min(usize::from(priority));
        &mut self.levels[usize::from(priority)]
    }

    fn withdraw(&mut self, sequence: u64) -> Option<Pending<B>> {
        for level in &mut self.levels {
            if let Ok(place) = level.binary_search_by_key(&sequence, |task| task.sequence) {
                let task = level.remove(place);
                self.skip_empty();
                return task;
            }
        }
        None
    }
}

impl<B> TaskQueue<B> for MemoryQueue<B> {
    fn enqueue(&mut self, task: Pending<B>) {
        self.len += 1;
        let level = self.lane(task.lane()).level(task.priority);
        debug_assert!(level.back().is_none_or(|last| last.sequence < task.sequence));
        level.push_back(task);
    }

    fn first(&self, lane: Lane) -> Option<&Pending<B>> {
        let lane = &self.lanes[lane as usize];
        lane.levels.get(lane.lowest)?.front()
    }

    fn lease(&mut self, lane: Lane) -> Option<Pending<B>> {
        let lane = self.lane(lane);
        let task = lane.levels.get_mut(lane.lowest)?.pop_front()?;
        lane.skip_empty();
        self.len -= 1;
        Some(task)
    }

    fn complete(&mut self, _sequence: u64) {}

    fn give_back(&mut self, task: Pending<B>) {
        self.len += 1;
        let level = self.lane(task.lane()).level(task.priority);
        let place = level.partition_point(|other| other.sequence < task.sequence);
        level.insert(place, task);
    }

    fn withdraw(&mut self, sequence: u64) -> Option<Pending<B>> {
        let task = self.lanes.iter_mut().find_map(|lane| lane.withdraw(sequence))?;
        self.len -= 1;
        Some(task)
    }

    fn find(&self, sequence: u64) -> Option<&Pending<B>> {
        let levels = self.lanes.iter().flat_map(|lane| &lane.levels);
        levels.into_iter().find_map(|level| {
            let place = level.binary_search_by_key(&sequence, |task| task.sequence).ok()?;
            level.get(place)
        })
    }

    fn len(&self) -> usize {
        self.len
    }
}
