//! Where tasks wait for a worker.
//!
//! Invariant: within a lane and level, tasks leave in the order of their sequence numbers, also those that were given back.

use std::collections::VecDeque;

/// A task that waits to be run, with all that a further attempt at it has to know.
#[derive(Debug)]
pub struct Pending<B> {
    /// Its place in the order of arrival; unique.
    pub sequence: u64,
    /// 0 is the most urgent.
    pub priority: u8,
    /// Which type of task it is.
    pub class: Class,
    /// Its worker died while running it and others at once: it runs alone until it has ended, so that the next death
    /// tells which of them it was.
    pub suspect: bool,
    /// How often it was handed to a worker that began it, counting only attempts that ended with a death.
    pub crashes: u16,
    /// How often its worker was ended while running it, for what another task did.
    pub interruptions: u16,
    /// Children that its attempts scheduled so far: what a retry schedules below this index is a repetition.
    pub children: u32,
    /// What the driver keeps of it.
    pub body: B,
}

/// Which type of task it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Class {
    /// For estimates of its duration.
    pub number: u16,
    /// A worker may run several of its kind at once.
    pub concurrent: bool,
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
    /// How many attempts at it were begun, while it does not run. Only those that died are followed by another.
    pub(crate) fn attempts_begun(&self) -> u32 {
        u32::from(self.crashes) + u32::from(self.suspect) + u32::from(self.interruptions)
    }

    /// The number of its attempt, while it runs.
    pub(crate) fn attempt_number(&self) -> u32 {
        self.attempts_begun() + 1
    }

    fn lane(&self) -> Lane {
        match (self.suspect, self.class.concurrent) {
            (true, _) => Lane::Suspect,
            (false, true) => Lane::Concurrent,
            (false, false) => Lane::Single,
        }
    }
}

/// Tasks that wait.
#[derive(Debug)]
pub(crate) struct Queue<B> {
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

impl<B> Queue<B> {
    pub(crate) fn new(levels: u8) -> Self {
        Self { lanes: Lane::ALL.map(|_| Levels::new(levels)), len: 0 }
    }

    /// Takes a new task; its sequence number is larger than every one before.
    pub(crate) fn enqueue(&mut self, task: Pending<B>) {
        self.len += 1;
        let level = self.lane(task.lane()).level(task.priority);
        debug_assert!(level.back().is_none_or(|last| last.sequence < task.sequence));
        level.push_back(task);
    }

    /// The oldest task of a lane's most urgent level.
    pub(crate) fn first(&self, lane: Lane) -> Option<&Pending<B>> {
        let lane = &self.lanes[lane as usize];
        lane.levels.get(lane.lowest)?.front()
    }

    /// Whether all tasks that wait, one at least, are in this lane.
    pub(crate) fn holds_only(&self, lane: Lane) -> bool {
        let holds = |other: &Lane| self.first(*other).is_some();
        Lane::ALL.iter().all(|other| holds(other) == (*other == lane))
    }

    /// Takes out what [`first`](Self::first) shows.
    pub(crate) fn lease(&mut self, lane: Lane) -> Option<Pending<B>> {
        let lane = self.lane(lane);
        let task = lane.levels.get_mut(lane.lowest)?.pop_front()?;
        lane.skip_empty();
        self.len -= 1;
        Some(task)
    }

    /// Returns a task to its place in the order of arrival.
    pub(crate) fn give_back(&mut self, task: Pending<B>) {
        self.len += 1;
        let level = self.lane(task.lane()).level(task.priority);
        let place = level.partition_point(|other| other.sequence < task.sequence);
        level.insert(place, task);
    }

    /// Takes out a task that waits.
    pub(crate) fn withdraw(&mut self, sequence: u64) -> Option<Pending<B>> {
        let task = self.lanes.iter_mut().find_map(|lane| lane.withdraw(sequence))?;
        self.len -= 1;
        Some(task)
    }

    /// A task that waits.
    pub(crate) fn find(&self, sequence: u64) -> Option<&Pending<B>> {
        let levels = self.lanes.iter().flat_map(|lane| &lane.levels);
        levels.into_iter().find_map(|level| {
            let place = level.binary_search_by_key(&sequence, |task| task.sequence).ok()?;
            level.get(place)
        })
    }

    /// How many tasks wait.
    pub(crate) fn len(&self) -> usize {
        self.len
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
