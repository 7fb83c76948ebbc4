//! The scheduler against a model that is too simple to be wrong.
//!
//! The model knows each task's state and nothing else: no queues, no tables, no loads, no estimates. It says what must
//! be true of any scheduler; how well tasks are spread is not its concern.
//! `WORKFLEET_PROPTEST_CASES=n` runs n sequences from fresh seeds instead of the few fixed ones.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::{prelude::*, sample::select};

use super::*;
use crate::{testing::cases, worker::Worker};
use naive_wait::NaiveWait;

#[path = "../../../heartbeat/src/cores/naive_wait.rs"]
mod naive_wait;

const SLOTS: usize = 3;
/// The last of them is concurrent.
const CLASSES: u16 = 3;
const CONCURRENT: u32 = 2;
const TASKS_PER_WORKER: u64 = 20;

fn class(number: u16) -> Class {
    Class { number, concurrent: number == CLASSES - 1 }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Waiting,
    Leased { slot: usize, lease: Lease, cancelling: bool, beats: Option<Beats> },
    Ended,
}

/// An attempt that has to beat.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Beats {
    verdict: Verdict,
    wait: NaiveWait,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Verdict {
    Beats,
    Doubted { at: Instant },
    Missed,
    Overdue { at: Instant },
}

impl Beats {
    fn has_missed(self) -> bool {
        matches!(self.verdict, Verdict::Missed | Verdict::Overdue { .. })
    }

    /// When something follows from its silence.
    fn deadline(self) -> Option<Instant> {
        match self.verdict {
            Verdict::Beats | Verdict::Missed => Some(self.wait.next_look()),
            Verdict::Doubted { .. } | Verdict::Overdue { .. } => None,
        }
    }
}

#[derive(Debug)]
struct Known {
    priority: u8,
    concurrent: bool,
    /// It ran beside others when their worker died.
    suspect: bool,
    deaths: u16,
    /// How often it ran when its worker was killed for another.
    interruptions: u16,
    state: State,
    /// The children that any of its attempts scheduled.
    children: BTreeSet<u32>,
    /// How many children its present attempt scheduled.
    next_child: u32,
}

#[derive(Debug, Default)]
struct Model {
    /// By sequence number.
    tasks: Vec<Known>,
    books: Books,
    open: [bool; SLOTS],
    /// How many tasks each worker was given and did not give back.
    given: [u64; SLOTS],
    paused: bool,
    halting: bool,
    /// Leases that ended, with their slots.
    stale: Vec<(usize, Lease)>,
    /// From which priority each slot was asked to give tasks back, and has not answered yet.
    recalled: BTreeMap<usize, VecDeque<u8>>,
    /// Effects that have to come before the scheduler is idle.
    due_endings: BTreeMap<u64, (Ending, u32)>,
    due_cancels: Vec<(usize, Lease)>,
    /// One for each doubt; there may be more, for workers that are silent.
    due_catch_ups: Vec<usize>,
}

impl Known {
    /// How many attempts at it have died.
    fn begun(&self) -> u32 {
        u32::from(self.deaths) + u32::from(self.suspect) + u32::from(self.interruptions)
    }

    /// Those that wait for the same thing.
    fn lane(&self) -> (bool, bool) {
        (self.suspect, self.concurrent && !self.suspect)
    }
}

impl Model {
    fn task(&mut self, sequence: u64) -> &mut Known {
        &mut self.tasks[sequence as usize]
    }

    /// Waiting tasks, in the order in which they have to leave.
    fn waiting(&self) -> Vec<u64> {
        let mut waiting: Vec<u64> = (0..self.tasks.len() as u64).collect();
        waiting.retain(|&sequence| self.tasks[sequence as usize].state == State::Waiting);
        waiting.sort_by_key(|&sequence| (self.tasks[sequence as usize].priority, sequence));
        waiting
    }

    /// Tasks in flight: sequence, slot, lease.
    fn leased(&self) -> Vec<(u64, usize, Lease)> {
        let leased = |(sequence, task): (usize, &Known)| match task.state {
            State::Leased { slot, lease, .. } => Some((sequence as u64, slot, lease)),
            State::Waiting | State::Ended => None,
        };
        self.tasks.iter().enumerate().filter_map(leased).collect()
    }

    fn hand(&self, slot: usize) -> Vec<(u64, usize, Lease)> {
        self.leased().into_iter().filter(|&(_, on, _)| on == slot).collect()
    }

    fn scheduled(&mut self, priority: u8, class: Class) {
        let sequence = self.tasks.len() as u64;
        self.tasks.push(Known {
            priority,
            concurrent: class.concurrent,
            suspect: false,
            deaths: 0,
            interruptions: 0,
            state: State::Waiting,
            children: BTreeSet::new(),
            next_child: 0,
        });
        self.books.scheduled += 1;
        if self.halting {
            self.end(sequence, Ending::Returned);
        }
    }

    /// The task's end, which the scheduler has to announce. It counts the attempts that began: those that died.
    fn end(&mut self, sequence: u64, ending: Ending) {
        assert_ne!(self.task(sequence).state, State::Ended);
        self.task(sequence).state = State::Ended;
        // What was begun cannot be returned as if it had not been.
        let begun = self.task(sequence).begun() > 0;
        let ending = if begun && ending == Ending::Returned { Ending::Cancelled } else { ending };
        match ending {
            Ending::Cancelled => self.books.cancelled += 1,
            Ending::Returned => self.books.returned += 1,
            Ending::Crashed | Ending::NeverStarted | Ending::HeartbeatMissed { .. } => self.books.failed += 1,
        }
        // The attempt that missed counts as well.
        let missed = matches!(ending, Ending::HeartbeatMissed { .. });
        let begun = self.task(sequence).begun() + u32::from(missed);
        self.due_endings.insert(sequence, (ending, begun));
    }

    fn beats(&mut self, sequence: u64) -> Option<&mut Beats> {
        match &mut self.task(sequence).state {
            State::Leased { beats, .. } => beats.as_mut(),
            State::Waiting | State::Ended => None,
        }
    }

    fn has_missed(&mut self, sequence: u64) -> bool {
        self.beats(sequence).is_some_and(|beats| beats.has_missed())
    }

    /// Ends the lease of an attempt that has missed, and its task with it. False if it has not.
    fn end_missed(&mut self, sequence: u64, slot: usize) -> bool {
        let missed = self.has_missed(sequence);
        if missed {
            self.release(sequence);
            self.end(sequence, Ending::HeartbeatMissed { slot, timeout: HEARTBEAT });
        }
        missed
    }

    fn beat(&mut self, now: Instant, sequence: u64, timed: bool) {
        let State::Leased { beats, .. } = &mut self.task(sequence).state else {
            panic!("task {sequence} is not in flight")
        };
        if beats.is_some_and(Beats::has_missed) {
            return;
        }
        if beats.is_some() || timed {
            *beats = Some(Beats { verdict: Verdict::Beats, wait: NaiveWait::begin(now, HEARTBEAT, AWAY) });
        }
    }

    /// Everything was handled that the worker had sent by then. True if it has an attempt that it has to be killed for.
    fn caught_up(&mut self, now: Instant, slot: usize, sent_by: Instant) -> bool {
        let mut is_overdue = false;
        for (sequence, ..) in self.hand(slot) {
            let Some(beats) = self.beats(sequence) else { continue };
            match beats.verdict {
                Verdict::Doubted { at } if at <= sent_by => {
                    *beats = Beats {
                        verdict: Verdict::Missed,
                        wait: NaiveWait::begin(now, HEARTBEAT_GRACE, AWAY),
                    };
                    self.cancelled(sequence);
                }
                Verdict::Overdue { at } => is_overdue |= at <= sent_by,
                Verdict::Beats | Verdict::Doubted { .. } | Verdict::Missed => {}
            }
        }
        is_overdue
    }

    fn time_has_passed(&mut self, now: Instant) {
        for (sequence, slot, _) in self.leased() {
            let Some(beats) = self.beats(sequence) else { continue };
            match beats.verdict {
                Verdict::Beats if beats.wait.is_over(now) => {
                    beats.verdict = Verdict::Doubted { at: now };
                    self.due_catch_ups.push(slot);
                }
                Verdict::Missed if beats.wait.is_over(now) => {
                    beats.verdict = Verdict::Overdue { at: now };
                    self.due_catch_ups.push(slot);
                }
                _ => {}
            }
        }
    }

    /// Ends a lease: the task waits again. True if its cancellation was asked for.
    fn release(&mut self, sequence: u64) -> bool {
        let State::Leased { slot, lease, cancelling, .. } = self.task(sequence).state else {
            panic!("task {sequence} is not in flight")
        };
        self.task(sequence).state = State::Waiting;
        self.stale.push((slot, lease));
        cancelling
    }

    fn given_back(&mut self, sequence: u64, slot: usize) {
        if self.end_missed(sequence, slot) {
            return;
        }
        if self.release(sequence) {
            self.end(sequence, Ending::Cancelled);
        } else if self.halting {
            self.end(sequence, Ending::Returned);
        }
    }

    fn cancelled(&mut self, sequence: u64) {
        match self.tasks.get_mut(sequence as usize).map(|task| &mut task.state) {
            Some(State::Waiting) => self.end(sequence, Ending::Cancelled),
            Some(State::Leased { slot, lease, cancelling, .. }) if !*cancelling => {
                *cancelling = true;
                self.due_cancels.push((*slot, *lease));
            }
            _ => {}
        }
    }

    fn gone(&mut self, slot: usize, running: &[Lease], gone: Gone) {
        let suspects = self.hand(slot).iter().filter(|(.., lease)| running.contains(lease)).count();
        self.open[slot] = false;
        self.recalled.remove(&slot);
        self.due_cancels.retain(|&(to, _)| to != slot);
        self.due_catch_ups.retain(|&to| to != slot);
        for (sequence, _, lease) in self.hand(slot) {
            if self.end_missed(sequence, slot) {
                continue;
            }
            if !running.contains(&lease) {
                self.given_back(sequence, slot);
                continue;
            }
            if gone == Gone::Overdue {
                self.task(sequence).interruptions += 1;
            } else if suspects > 1 {
                self.task(sequence).suspect = true;
            } else {
                self.task(sequence).deaths += 1;
                let last = self.task(sequence).deaths == CRASH_LIMIT;
                let cancelling = self.release(sequence);
                if cancelling || self.halting {
                    self.end(sequence, Ending::Cancelled);
                } else if last {
                    self.end(sequence, Ending::Crashed);
                }
                continue;
            }
            self.given_back(sequence, slot);
        }
    }

    fn check_dispatch(&mut self, dispatch: &Dispatch<'_, u32>) {
        let Dispatch { slot, lease, attempt, task } = *dispatch;
        assert!(self.open[slot] && !self.paused && !self.halting);
        let lane = self.task(task.sequence).lane();
        let first = self.waiting().into_iter().find(|&waiting| self.task(waiting).lane() == lane);
        assert_eq!(first, Some(task.sequence), "the oldest of the most urgent level of those like it");
        let hand = self.hand(slot);
        assert!(!task.suspect || hand.is_empty(), "a suspect gets a worker to itself");
        assert!(hand.iter().all(|&(other, ..)| !self.task(other).suspect), "and shares it with none");
        let beside = hand.iter().filter(|&&(other, ..)| self.task(other).concurrent).count();
        assert!(!task.class.concurrent || task.suspect || beside < CONCURRENT as usize, "{beside} at once");
        assert!(self.stale.iter().all(|&(_, old)| old != lease), "a lease is never granted twice");
        assert!(lease.to_bits() != 0 && Lease::from_bits(lease.to_bits()) == lease);
        let known = self.task(task.sequence);
        assert_eq!(
            (task.priority, task.crashes, task.suspect),
            (known.priority, known.deaths, known.suspect)
        );
        assert_eq!((task.body, attempt), (u32::from(known.deaths), known.begun() + 1));
        known.state = State::Leased { slot, lease, cancelling: false, beats: None };
        known.next_child = 0;
        self.given[slot] += 1;
        assert!(self.given[slot] <= TASKS_PER_WORKER);
    }

    fn check_effect(&mut self, effect: &Effect<u32>) {
        match *effect {
            Effect::Ended { ref task, ending, attempt } => {
                let due = self.due_endings.remove(&task.sequence);
                assert_eq!(due, Some((ending, attempt)), "task {} ends as it must, once", task.sequence);
            }
            Effect::Cancel { slot, lease } => {
                let due = self.due_cancels.iter().position(|&due| due == (slot, lease));
                self.due_cancels.remove(due.expect("somebody asked for this cancellation"));
            }
            Effect::Recall { slot, at_most, from } => {
                assert!(from <= LEVELS);
                assert!(self.open[slot] && at_most > 0);
                let stalled = at_most == u32::MAX;
                assert!(stalled || !(self.paused || self.halting), "nobody else could begin these tasks");
                let unanswered = self.recalled.entry(slot).or_default();
                assert!(
                    unanswered.back().is_none_or(|&last| from < last),
                    "each asks for more than the last"
                );
                unanswered.push_back(from);
            }
            Effect::CatchUp { slot } => {
                assert!(self.open[slot]);
                let due = self.due_catch_ups.iter().position(|&due| due == slot);
                due.map(|due| self.due_catch_ups.remove(due));
            }
            Effect::Ping { slot } => assert!(self.open[slot]),
            Effect::Retire { slot } => {
                assert!(self.open[slot] && self.hand(slot).is_empty());
                let has_had_its_share = self.given[slot] == TASKS_PER_WORKER;
                assert!(has_had_its_share || self.halting, "not before it has had its share");
                self.open[slot] = false;
                // Whatever it still answers, its successor was asked nothing.
                self.recalled.remove(&slot);
            }
        }
    }

    /// The scheduler has nothing to do for now.
    fn check_idle(&self) {
        assert!(self.due_endings.is_empty(), "{:?}", self.due_endings);
        assert!(self.due_cancels.is_empty(), "{:?}", self.due_cancels);
        assert!(self.due_catch_ups.is_empty(), "{:?}", self.due_catch_ups);
        if !self.paused && !self.halting && !self.waiting().is_empty() {
            let has_work = |slot: usize| !self.open[slot] || !self.hand(slot).is_empty();
            assert!((0..SLOTS).all(has_work), "a task waits although a worker has nothing to do");
        }
        if self.halting {
            let has_gone = |slot: usize| !self.open[slot] || !self.hand(slot).is_empty();
            assert!((0..SLOTS).all(has_gone), "a worker stays although nothing will come");
        }
    }

    /// What has to hold after every single call.
    fn check(&self, core: &mut Core) {
        let (waiting, leased) = (self.waiting(), self.leased());
        let summary = *core.roster.summary();
        assert_eq!(summary, core.roster.summary_of_each());
        assert_eq!(core.books(), self.books);
        assert_eq!(self.books.pending(), (waiting.len() + leased.len()) as u64);
        assert_eq!(core.queued(), waiting.len());
        for slot in 0..SLOTS {
            assert_eq!(core.in_flight(slot), self.hand(slot).len());
        }
        for &(sequence, slot, lease) in &leased {
            let (task, attempt) = core.leased(slot, lease).expect("the lease stands");
            let begun = self.tasks[sequence as usize].begun();
            assert_eq!((task.sequence, attempt), (sequence, begun + 1));
        }
        for task in &self.tasks {
            if let State::Leased { slot, lease, beats: Some(beats), .. } = task.state {
                assert_eq!(core.has_missed(slot, lease), beats.has_missed());
                if let Some(deadline) = beats.deadline() {
                    assert!(
                        core.poll_timeout().is_some_and(|at| at <= deadline),
                        "it is looked after in time"
                    );
                }
            }
        }
        if leased.is_empty() {
            assert_eq!(core.flights.alarms().len(), 0);
            assert_eq!(core.poll_timeout(), None, "nothing in hand, nothing to wake up for");
        }
        let demand = core.demand();
        if self.paused || self.halting {
            assert_eq!(demand, Demand::default());
            return;
        }
        // One that is kept for a suspect, or has one, has no demand.
        let open: Vec<usize> = (0..SLOTS)
            .filter(|&slot| {
                core.reserved != Some(slot) && core.worker(slot).is_some_and(Worker::may_become_empty)
            })
            .collect();
        let known = |sequence: u64| &self.tasks[sequence as usize];
        let singles = |slot| self.hand(slot).into_iter().filter(move |&(task, ..)| !known(task).concurrent);
        // One that stalls takes nothing while it has in hand what stalls it.
        let stalled = |slot: usize| {
            core.worker(slot).is_some_and(|worker| worker.load.is_stalled()) && singles(slot).count() > 0
        };
        for level in 0..LEVELS {
            let busy = |slot| stalled(slot) || singles(slot).any(|(task, ..)| known(task).priority <= level);
            if open.iter().any(|&slot| !busy(slot)) {
                assert!(demand.is_for(class(0), level), "a worker has demand at {level}");
            }
        }
        let full = |slot| self.hand(slot).len() - singles(slot).count() >= CONCURRENT as usize;
        if open.iter().any(|&slot| !stalled(slot) && !full(slot)) {
            assert!(demand.is_for(class(CLASSES - 1), LEVELS - 1), "a worker has room");
        }
    }
}

// ---- Commands ----

/// A `usize` that stands for one of many things picks it modulo their number.
#[derive(Clone, Debug)]
enum Command {
    Schedule {
        priority: u8,
        class: u16,
        count: usize,
    },
    Child {
        parent: usize,
        priority: u8,
        class: u16,
    },
    Cancel {
        task: usize,
    },
    Ready {
        slot: usize,
    },
    Gone {
        slot: usize,
        running: Running,
        overdue: bool,
    },
    Beat {
        task: usize,
        timed: bool,
    },
    /// The driver began to catch up so long before it says so.
    CaughtUp {
        slot: usize,
        took: Duration,
    },
    DispatchOne,
    Done {
        task: usize,
        took: Duration,
    },
    Failed {
        task: usize,
        took: Duration,
        by_cancellation: bool,
    },
    ReportStale {
        lease: usize,
    },
    ReportFromElsewhere {
        task: usize,
    },
    AnswerRecall {
        slot: usize,
        give_back: usize,
    },
    Heard {
        slot: usize,
    },
    Pause {
        paused: bool,
    },
    FailQueued,
    Halt,
    Advance {
        by: Duration,
    },
    Timeout {
        late: Duration,
    },
}

/// Which attempt a dead worker seems to have been running.
#[derive(Clone, Debug)]
enum Running {
    OneOfItsOwn(usize),
    TwoOfItsOwn(usize, usize),
    Unknown,
    Stale(usize),
    OnAnotherSeat(usize),
}

fn command() -> impl Strategy<Value = Command> {
    let number = || 0..1000usize;
    let took = || select(vec![1, 100, 1_000, 20_000]).prop_map(Duration::from_micros);
    let time = || (0..30_000u64).prop_map(Duration::from_micros);
    let running = prop_oneof![
        4 => number().prop_map(Running::OneOfItsOwn),
        4 => (number(), number()).prop_map(|(one, other)| Running::TwoOfItsOwn(one, other)),
        1 => Just(Running::Unknown),
        1 => number().prop_map(Running::Stale),
        1 => number().prop_map(Running::OnAnotherSeat),
    ];
    prop_oneof![
        60 => (0..LEVELS, 0..CLASSES, 1..6usize)
            .prop_map(|(priority, class, count)| Command::Schedule { priority, class, count }),
        20 => (number(), 0..LEVELS, 0..CLASSES)
            .prop_map(|(parent, priority, class)| Command::Child { parent, priority, class }),
        25 => number().prop_map(|task| Command::Cancel { task }),
        10 => Just(Command::DispatchOne),
        40 => (0..SLOTS).prop_map(|slot| Command::Ready { slot }),
        20 => (0..SLOTS, running, prop::bool::weighted(0.3))
            .prop_map(|(slot, running, overdue)| Command::Gone { slot, running, overdue }),
        40 => (number(), prop::bool::weighted(0.8)).prop_map(|(task, timed)| Command::Beat { task, timed }),
        40 => (0..SLOTS, prop_oneof![Just(Duration::ZERO), time()])
            .prop_map(|(slot, took)| Command::CaughtUp { slot, took }),
        40 => (number(), took()).prop_map(|(task, took)| Command::Done { task, took }),
        15 => (number(), took(), any::<bool>())
            .prop_map(|(task, took, by_cancellation)| Command::Failed { task, took, by_cancellation }),
        15 => number().prop_map(|lease| Command::ReportStale { lease }),
        5 => number().prop_map(|task| Command::ReportFromElsewhere { task }),
        25 => (0..SLOTS, 0..4usize).prop_map(|(slot, give_back)| Command::AnswerRecall { slot, give_back }),
        10 => (0..SLOTS).prop_map(|slot| Command::Heard { slot }),
        10 => any::<bool>().prop_map(|paused| Command::Pause { paused }),
        2 => Just(Command::FailQueued),
        1 => Just(Command::Halt),
        15 => time().prop_map(|by| Command::Advance { by }),
        20 => time().prop_map(|late| Command::Timeout { late }),
    ]
}

/// Commands, and after which of them the driver finds time to dispatch and to carry out effects.
fn commands() -> impl Strategy<Value = Vec<(Command, bool)>> {
    prop::collection::vec((command(), prop::bool::weighted(0.7)), 1..200)
}

fn pick<T: Copy>(from: &[T], number: usize) -> Option<T> {
    from.get(number % from.len().max(1)).copied()
}

// ---- Both, side by side ----

struct Pair {
    core: Core,
    model: Model,
    start: Instant,
    now: Instant,
    trace: Vec<String>,
}

impl Pair {
    fn run(commands: &[(Command, bool)]) -> Vec<String> {
        let start = Instant::now();
        let core = core_with(PrefetchBudget { prefetch: true, concurrent: CONCURRENT }, TASKS_PER_WORKER);
        let mut pair = Self { core, model: Model::default(), start, now: start, trace: Vec::new() };
        for (command, settle) in commands {
            pair.carry_out(command);
            pair.model.check(&mut pair.core);
            if *settle {
                pair.settle();
            }
        }
        pair.drain();
        pair.trace
    }

    fn dispatch_one(&mut self) -> bool {
        let Some(dispatch) = self.core.next_dispatch(self.now) else { return false };
        self.trace.push(format!("{dispatch:?}"));
        self.model.check_dispatch(&dispatch);
        true
    }

    fn settle(&mut self) {
        while self.dispatch_one() {}
        while let Some(effect) = self.core.poll_effect() {
            self.trace.push(format!("{effect:?}"));
            self.model.check_effect(&effect);
        }
        self.trace.push(format!("{:?}", self.core.poll_timeout().map(|at| at - self.start)));
        self.model.check_idle();
        self.model.check(&mut self.core);
    }

    fn carry_out(&mut self, command: &Command) {
        match *command {
            Command::Schedule { priority, class: number, count } => {
                for _ in 0..count {
                    let sequence = push(&mut self.core, priority, class(number));
                    assert_eq!(sequence, self.model.tasks.len() as u64);
                    self.model.scheduled(priority, class(number));
                }
            }
            Command::Child { parent, priority, class: number } => {
                let Some((sequence, slot, lease)) = pick(&self.model.leased(), parent) else { return };
                let parent = self.model.task(sequence);
                let index = parent.next_child;
                parent.next_child += 1;
                let new = parent.children.insert(index);
                assert_eq!(self.core.admits_child(slot, lease, index), new);
                if new {
                    push(&mut self.core, priority, class(number));
                    self.model.scheduled(priority, class(number));
                }
            }
            Command::Cancel { task } => {
                let waiting = pick(&self.model.waiting(), task / 3);
                let leased = pick(&self.model.leased(), task / 3).map(|(sequence, ..)| sequence);
                let ended_or_unknown = Some(task as u64 % (self.model.tasks.len() as u64 + 1));
                let Some(sequence) = [waiting, leased, ended_or_unknown][task % 3] else { return };
                self.core.cancel(sequence);
                self.model.cancelled(sequence);
            }
            Command::Ready { slot } => {
                if !std::mem::replace(&mut self.model.open[slot], true) {
                    self.model.given[slot] = 0;
                    self.core.worker_ready(self.now, slot);
                }
            }
            Command::Gone { slot, ref running, overdue } => {
                self.worker_gone(slot, running, if overdue { Gone::Overdue } else { Gone::Died });
            }
            Command::Beat { task, timed } => {
                let Some((sequence, slot, lease)) = pick(&self.model.leased(), task) else { return };
                let taken = self.core.heartbeat(self.now, slot, lease, timed.then_some(HEARTBEAT));
                assert_eq!(taken.is_some(), !self.model.has_missed(sequence));
                self.model.beat(self.now, sequence, timed);
            }
            Command::CaughtUp { slot, took } => {
                let sent_by = self.now - took;
                let is_overdue = self.model.caught_up(self.now, slot, sent_by);
                match self.core.caught_up(self.now, slot, sent_by) {
                    Some(Kill::Silent) => assert!(self.core.silent_since(slot).is_some()),
                    Some(Kill::HeartbeatMissed { timeout }) => assert!(is_overdue && timeout == HEARTBEAT),
                    None => assert!(!is_overdue),
                }
            }
            Command::DispatchOne => {
                self.dispatch_one();
            }
            Command::Done { task, took } => {
                let Some((sequence, slot, lease)) = pick(&self.model.leased(), task) else { return };
                let ended = self.core.done(self.now, slot, lease, took);
                if self.model.end_missed(sequence, slot) {
                    return assert!(ended.is_none());
                }
                self.check_report(sequence, ended);
                self.model.books.done += 1;
            }
            Command::Failed { task, took, by_cancellation } => {
                let Some((sequence, slot, lease)) = pick(&self.model.leased(), task) else { return };
                let ended = self.core.failed(self.now, slot, lease, took, by_cancellation);
                if self.model.end_missed(sequence, slot) {
                    return assert!(ended.is_none());
                }
                self.check_report(sequence, ended);
                let books = &mut self.model.books;
                *(if by_cancellation { &mut books.cancelled } else { &mut books.failed }) += 1;
            }
            Command::ReportStale { lease } => {
                let never_granted = (0, Lease { index: 1 << 20, fence: 1 });
                let (slot, lease) = pick(&self.model.stale, lease).unwrap_or(never_granted);
                self.report_stale(slot, lease);
            }
            Command::ReportFromElsewhere { task } => {
                let Some((_, slot, lease)) = pick(&self.model.leased(), task) else { return };
                self.report_stale((slot + 1) % SLOTS, lease);
            }
            Command::AnswerRecall { slot, give_back } => self.answer_recall(slot, give_back),
            Command::Heard { slot } => self.core.heard(self.now, slot),
            Command::Pause { paused } => {
                self.core.pause(paused);
                self.model.paused = paused;
            }
            Command::FailQueued => {
                self.core.fail_queued();
                self.model.waiting().into_iter().for_each(|task| self.model.end(task, Ending::NeverStarted));
            }
            Command::Halt => {
                self.core.halt();
                self.model.halting = true;
                self.model.waiting().into_iter().for_each(|task| self.model.end(task, Ending::Returned));
            }
            Command::Advance { by } => self.now += by,
            Command::Timeout { late } => {
                if let Some(at) = self.core.poll_timeout() {
                    self.now = self.now.max(at + late);
                }
                self.core.handle_timeout(self.now);
                self.model.time_has_passed(self.now);
                assert!(self.core.poll_timeout().is_none_or(|at| at > self.now), "time-outs do not spin");
            }
        }
    }

    fn check_report(&mut self, sequence: u64, ended: Option<Ended<u32>>) {
        let ended = ended.expect("the lease stands");
        self.model.release(sequence);
        let task = self.model.task(sequence);
        task.state = State::Ended;
        assert_eq!((ended.task.sequence, ended.attempt), (sequence, task.begun() + 1));
    }

    /// Nobody listens to a lease that does not stand: `Model::check` then finds everything unchanged.
    fn report_stale(&mut self, slot: usize, lease: Lease) {
        let (core, took) = (&mut self.core, Duration::from_millis(1));
        assert!(core.leased(slot, lease).is_none());
        assert!(core.done(self.now, slot, lease, took).is_none());
        assert!(core.failed(self.now, slot, lease, took, true).is_none());
        assert!(!core.given_back(slot, lease));
        assert!(core.heartbeat(self.now, slot, lease, Some(HEARTBEAT)).is_none());
        assert!(!core.has_missed(slot, lease));
        assert!(!core.admits_child(slot, lease, u32::MAX));
    }

    fn worker_gone(&mut self, slot: usize, running: &Running, gone: Gone) {
        let hand = self.model.hand(slot);
        let of_its_own = |number| pick(&hand, number).map(|(.., lease)| lease);
        let mut running: Vec<Lease> = match *running {
            Running::OneOfItsOwn(number) => of_its_own(number).into_iter().collect(),
            Running::TwoOfItsOwn(one, other) => {
                of_its_own(one).into_iter().chain(of_its_own(other)).collect()
            }
            Running::Unknown => Vec::new(),
            Running::Stale(number) => {
                pick(&self.model.stale, number).map(|(_, lease)| lease).into_iter().collect()
            }
            Running::OnAnotherSeat(number) => {
                let elsewhere = self.model.hand((slot + 1) % SLOTS);
                pick(&elsewhere, number).map(|(.., lease)| lease).into_iter().collect()
            }
        };
        running.dedup();
        let mut marked = Vec::new();
        let count = self.core.worker_gone(slot, &running, gone, |task| {
            task.body += 1;
            marked.push(task.sequence);
        });
        assert_eq!(count, hand.len());
        let ran: Vec<u64> = hand
            .iter()
            .filter(|(.., lease)| running.contains(lease))
            .map(|&(sequence, ..)| sequence)
            .collect();
        let charged: Vec<u64> = match gone {
            Gone::Died if ran.len() == 1 => ran,
            Gone::Died => Vec::new(),
            Gone::Overdue => {
                let late = |&sequence: &u64| self.model.has_missed(sequence);
                hand.iter().map(|&(sequence, ..)| sequence).filter(late).collect()
            }
        };
        assert_eq!(marked, charged);
        self.model.gone(slot, &running, gone);
    }

    fn answer_recall(&mut self, slot: usize, give_back: usize) {
        if self.model.recalled.get_mut(&slot).and_then(VecDeque::pop_front).is_none() {
            return;
        }
        for (sequence, _, lease) in self.model.hand(slot).into_iter().rev().take(give_back) {
            assert!(self.core.given_back(slot, lease));
            self.model.given[slot] -= 1;
            self.model.given_back(sequence, slot);
        }
        self.core.recall_answered(slot);
    }

    /// One willing worker is enough for everything to end, and each round of reports brings the end nearer.
    fn drain(&mut self) {
        self.carry_out(&Command::Pause { paused: false });
        self.carry_out(&Command::Ready { slot: 0 });
        self.settle();
        while self.core.books().pending() > 0 {
            // It may have had its share.
            self.carry_out(&Command::Ready { slot: 0 });
            self.settle();
            let before = self.core.books().pending();
            for slot in 0..SLOTS {
                self.answer_recall(slot, self.model.hand(slot).len().saturating_sub(1));
            }
            for _ in self.model.leased() {
                self.carry_out(&Command::Done { task: 0, took: Duration::from_micros(10) });
            }
            self.settle();
            assert!(self.core.books().pending() < before, "{:?}", self.core);
        }
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn whatever_happens_it_does_what_the_model_says(commands in commands()) {
        Pair::run(&commands);
    }

    #[test]
    fn one_sequence_of_calls_gives_one_trace(commands in commands()) {
        prop_assert_eq!(Pair::run(&commands), Pair::run(&commands));
    }
}
