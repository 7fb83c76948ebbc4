//! The core of events against what is obviously right: a tree of processes whose messages arrive in order, but at any time.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::{Change, EventCore, News, Send, Step};
use crate::testing::cases;

/// Home, two copies, and a copy below the second.
const ABOVE: [Option<usize>; 4] = [None, Some(0), Some(0), Some(2)];

#[derive(Clone, Copy, Debug)]
enum Message {
    Operation(News),
    Done(News),
    State(News),
    Taken,
}

#[derive(Debug)]
struct Process {
    core: EventCore,
    shown: Option<bool>,
    /// How often it was set, as far as is known here.
    sets: u64,
    up: VecDeque<Message>,
    down: VecDeque<Message>,
    /// Who waits here since before the set with this number, and has not been told.
    waits: Vec<u64>,
}

struct Fleet {
    processes: Vec<Process>,
    /// How many sets there were, anywhere.
    sets: u64,
}

impl Fleet {
    fn new() -> Self {
        let core = |above: Option<usize>| if above.is_some() { EventCore::copy() } else { EventCore::home() };
        let process = |&above: &Option<usize>| Process {
            core: core(above),
            shown: above.is_none().then_some(false),
            sets: 0,
            up: VecDeque::new(),
            down: VecDeque::new(),
            waits: Vec::new(),
        };
        let mut fleet = Self { processes: ABOVE.iter().map(process).collect(), sets: 0 };
        for (at, above) in ABOVE.iter().enumerate() {
            if let Some(above) = *above {
                let step = fleet.processes[above].core.add_copy((at as u64, at as u64));
                fleet.carry_out(above, step);
            }
        }
        fleet
    }

    fn carry_out(&mut self, at: usize, step: Step) {
        if let Some(Change::Is { set, pulsed }) = step.change {
            let process = &mut self.processes[at];
            process.shown = Some(set);
            process.sets += u64::from(pulsed);
            if pulsed || set {
                process.waits.clear();
            }
        }
        for message in step.send {
            match message {
                Send::Operation(news) => self.processes[at].up.push_back(Message::Operation(news)),
                Send::State((below, _), news) => {
                    self.processes[below as usize].down.push_back(Message::State(news));
                }
                Send::Done((below, _), news) => {
                    self.processes[below as usize].down.push_back(Message::Done(news));
                }
                Send::Gone(copy) => unreachable!("nothing is lost, also not for {copy:?}"),
            }
        }
        let in_flight = self.processes[at].up.iter().filter(|m| matches!(m, Message::Operation(_))).count();
        assert!(in_flight <= 1, "one unanswered operation at most");
        for process in &self.processes {
            let states = process.down.iter().filter(|m| matches!(m, Message::State(_))).count();
            assert!(states <= 1, "one unanswered state at most");
        }
    }

    fn operate(&mut self, at: usize, set: bool) {
        self.sets += u64::from(set);
        let step = self.processes[at].core.operate(set).expect("nothing is lost");
        self.carry_out(at, step);
        assert_eq!(self.processes[at].shown, Some(set), "whoever changes it sees that at once");
    }

    /// The next message from or to the process at `at` arrives.
    fn deliver(&mut self, at: usize, upwards: bool) -> bool {
        let Some(above) = ABOVE[at] else { return false };
        let process = &mut self.processes[at];
        let queue = if upwards { &mut process.up } else { &mut process.down };
        let Some(message) = queue.pop_front() else { return false };
        let copy = (at as u64, at as u64);
        let (to, step) = match message {
            Message::Operation(news) => (above, self.processes[above].core.on_operation(copy, news)),
            Message::Taken => (above, self.processes[above].core.on_taken(copy)),
            Message::State(news) => (at, self.processes[at].core.on_state(news)),
            Message::Done(news) => (at, self.processes[at].core.on_done(news)),
        };
        self.carry_out(to, step);
        if matches!(message, Message::State(_)) {
            self.processes[at].up.push_back(Message::Taken);
        }
        true
    }

    fn settle(&mut self) {
        while (0..ABOVE.len()).any(|at| self.deliver(at, true) || self.deliver(at, false)) {}
    }
}

#[derive(Clone, Debug)]
enum Action {
    Operate(usize, bool),
    Deliver(usize, bool),
    Wait(usize),
}

fn action() -> impl Strategy<Value = Action> {
    let at = 0..ABOVE.len();
    prop_oneof![
        2 => (at.clone(), any::<bool>()).prop_map(|(at, set)| Action::Operate(at, set)),
        5 => (at.clone(), any::<bool>()).prop_map(|(at, upwards)| Action::Deliver(at, upwards)),
        1 => at.prop_map(Action::Wait),
    ]
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn whatever_the_order_all_agree_in_the_end_and_nobody_misses_a_set(
        actions in proptest::collection::vec(action(), 0..200),
    ) {
        let mut fleet = Fleet::new();
        for action in actions {
            match action {
                Action::Operate(at, set) => fleet.operate(at, set),
                Action::Deliver(at, upwards) => { fleet.deliver(at, upwards); }
                Action::Wait(at) => {
                    // While a clear is under way, who sees it waits for what home orders after it: that is nothing a
                    // test can tell from the order of calls.
                    fleet.settle();
                    if fleet.processes[at].shown == Some(false) {
                        let sets = fleet.sets;
                        fleet.processes[at].waits.push(sets);
                    }
                }
            }
        }
        fleet.settle();
        let home = fleet.processes[0].shown;
        for (at, process) in fleet.processes.iter().enumerate() {
            prop_assert_eq!(process.shown, home, "process {}", at);
            // Whoever still waits has waited since the last set, wherever it was.
            prop_assert!(process.waits.iter().all(|&since| since == fleet.sets), "process {} misses a set", at);
        }
    }
}

#[test]
fn a_flood_of_changes_costs_one_message_while_nobody_answers() {
    let mut fleet = Fleet::new();
    fleet.settle();
    for _ in 0..100_000 {
        fleet.operate(0, true);
        fleet.operate(0, false);
        fleet.operate(3, true);
    }
    let waiting: usize = fleet.processes.iter().map(|process| process.up.len() + process.down.len()).sum();
    assert!(waiting <= 2 * ABOVE.len(), "{waiting} messages wait");
    fleet.settle();
    assert_eq!(fleet.processes[1].shown, fleet.processes[0].shown);
}
