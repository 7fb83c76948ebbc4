//! The core of restarts by itself, in virtual time: single rules, and random histories against a model that looks through
//! the whole history each time.

use proptest::prelude::*;

use super::*;
use crate::testing::cases;

const PATIENCE: Duration = Duration::from_secs(60);
const MS: Duration = Duration::from_millis(1);

fn new(now: Instant, slots: usize) -> Restarts {
    let mut restarts = Restarts::new(now, PATIENCE);
    (0..slots).for_each(|slot| assert_eq!(restarts.add_slot(), slot));
    restarts
}

/// Restarts of a pool in which some worker has come up on slot 0 and run something.
fn used(now: Instant, slots: usize) -> Restarts {
    let mut restarts = new(now, slots);
    restarts.ready(now, 0);
    restarts.progress();
    restarts
}

#[test]
fn a_worker_that_worked_is_replaced_at_once_and_its_slot_forgets_what_was() {
    let now = Instant::now();
    let mut restarts = used(now, 1);
    assert_eq!(restarts.died(now, 0, WorkerUse::Ran, 255).delay, Duration::ZERO);
    assert_eq!(restarts.start_failed(now, 0, Prospect::MayPass, 255).delay, 10 * MS);
    assert_eq!(restarts.start_failed(now, 0, Prospect::MayPass, 255).delay, 20 * MS);
    restarts.ready(now, 0);
    assert_eq!(restarts.died(now, 0, WorkerUse::Ran, 255).delay, Duration::ZERO);
    assert_eq!(restarts.start_failed(now, 0, Prospect::MayPass, 255).delay, 10 * MS);
}

/// However many tries fail in however short a time.
#[test]
fn what_may_pass_is_waited_for_as_long_as_the_patience_says() {
    let now = Instant::now();
    let mut restarts = used(now, 2);
    restarts.died(now, 0, WorkerUse::Ran, 0);
    for number in 0..10_000 {
        assert_eq!(restarts.start_failed(now, number % 2, Prospect::MayPass, 0).verdict, None);
    }
    assert_eq!(restarts.start_failed(now + PATIENCE - MS, 0, Prospect::MayPass, 0).verdict, None);
    let late = restarts.start_failed(now + PATIENCE + MS, 1, Prospect::MayPass, 0).verdict;
    assert_eq!(late, Some(Verdict::Waited(PATIENCE + MS)));
    // It goes on: each later failure gives up what has come meanwhile.
    let later = restarts.start_failed(now + 2 * PATIENCE, 1, Prospect::MayPass, 0).verdict;
    assert_eq!(later, Some(Verdict::Waited(2 * PATIENCE)));
    // Until one comes up and is of use.
    restarts.ready(now + 2 * PATIENCE, 0);
    restarts.progress();
    restarts.died(now + 3 * PATIENCE, 0, WorkerUse::Ran, 0);
    assert_eq!(restarts.start_failed(now + 3 * PATIENCE, 0, Prospect::MayPass, 0).verdict, None);
}

#[test]
fn a_slot_that_is_added_is_tried_before_anything_is_given_up() {
    let now = Instant::now();
    let mut restarts = new(now, 1);
    assert_eq!(restarts.start_failed(now, 0, Prospect::Certain, 0).verdict, Some(Verdict::Certain));
    assert_eq!(restarts.add_slot(), 1);
    assert_eq!(restarts.start_failed(now, 0, Prospect::Certain, 0).verdict, None);
    assert_eq!(restarts.start_failed(now, 1, Prospect::Certain, 0).verdict, Some(Verdict::Certain));
}

#[test]
fn before_the_first_worker_the_patience_is_shorter() {
    let now = Instant::now();
    let mut restarts = new(now, 1);
    assert_eq!(restarts.start_failed(now + FIRST_PATIENCE - MS, 0, Prospect::MayPass, 0).verdict, None);
    let verdict = restarts.start_failed(now + FIRST_PATIENCE, 0, Prospect::MayPass, 0).verdict;
    assert_eq!(verdict, Some(Verdict::Waited(FIRST_PATIENCE)));
    let mut restarts = Restarts::new(now, MS);
    restarts.add_slot();
    let verdict = restarts.start_failed(now + MS, 0, Prospect::MayPass, 0).verdict;
    assert_eq!(verdict, Some(Verdict::Waited(MS)));
}

#[test]
fn what_cannot_pass_fails_at_once_when_every_slot_says_so() {
    let now = Instant::now();
    let mut restarts = new(now, 3);
    assert_eq!(restarts.start_failed(now, 0, Prospect::Certain, 0).verdict, None);
    assert_eq!(restarts.start_failed(now, 1, Prospect::MayPass, 0).verdict, None);
    assert_eq!(restarts.start_failed(now, 2, Prospect::Certain, 0).verdict, None);
    assert_eq!(restarts.start_failed(now, 1, Prospect::Certain, 0).verdict, Some(Verdict::Certain));
}

#[test]
fn while_one_worker_is_up_nothing_is_given_up_and_the_others_do_not_try_without_pause() {
    let now = Instant::now();
    let mut restarts = used(now, 2);
    for number in 0..100 {
        restarts.progress();
        let next = restarts.start_failed(now + number * PATIENCE, 1, Prospect::Certain, 255);
        assert_eq!(next.verdict, None);
        assert!(number < 10 || next.delay == LONGEST_DELAY, "{number}: {next:?}");
    }
}

#[test]
fn workers_that_greet_and_die_at_once_use_up_the_patience() {
    let begin = Instant::now();
    let mut restarts = used(begin, 1);
    restarts.died(begin, 0, WorkerUse::Ran, 0);
    let mut now = begin;
    let waited = loop {
        now += 500 * MS;
        restarts.ready(now, 0);
        now += 500 * MS;
        match restarts.died(now, 0, WorkerUse::Unused, 0).verdict {
            None => {}
            Some(Verdict::Waited(waited)) => break waited,
            Some(Verdict::Certain) => panic!("it may pass"),
        }
    };
    assert_eq!(waited, PATIENCE);
}

/// One that was up for a while without having begun anything, or when nothing waited, shows that workers can be up.
#[test]
fn a_worker_that_was_up_for_a_while_or_died_idle_ends_the_outage() {
    for (up, worker_use) in [(STEADY_AFTER, WorkerUse::Unused), (MS, WorkerUse::Idle)] {
        let now = Instant::now();
        let mut restarts = used(now, 1);
        restarts.died(now, 0, WorkerUse::Ran, 0);
        restarts.ready(now + PATIENCE, 0);
        let died = now + PATIENCE + up;
        assert_eq!(restarts.died(died, 0, worker_use, 0).verdict, None);
        assert_eq!(restarts.start_failed(died + PATIENCE - MS, 0, Prospect::MayPass, 0).verdict, None);
        let verdict = restarts.start_failed(died + PATIENCE, 0, Prospect::MayPass, 0).verdict;
        assert_eq!(verdict, Some(Verdict::Waited(PATIENCE)));
    }
}

/// Two slots notice the same stop of the whole program, one of them later.
#[test]
fn time_in_which_the_program_did_not_run_is_no_part_of_an_outage() {
    let now = Instant::now();
    let mut restarts = used(now, 2);
    restarts.died(now, 0, WorkerUse::Ran, 0);
    let stop = 100 * PATIENCE;
    for slot in 0..2 {
        assert_eq!(restarts.start_failed(now, slot, Prospect::MayPass, 0).verdict, None);
    }
    restarts.excuse(now + 10 * MS, now + stop);
    restarts.excuse(now + 20 * MS, now + stop + MS);
    let last = now + stop + PATIENCE - 10 * MS;
    assert_eq!(restarts.start_failed(last, 0, Prospect::MayPass, 0).verdict, None);
    let verdict = restarts.start_failed(last + MS, 1, Prospect::MayPass, 0).verdict;
    assert_eq!(verdict, Some(Verdict::Waited(PATIENCE)));
}

/// A start that takes long may be the one that works.
#[test]
fn a_slot_whose_start_is_under_way_keeps_what_waits() {
    let now = Instant::now();
    let mut restarts = new(now, 2);
    for number in 0..10 {
        assert_eq!(restarts.start_failed(now + number * PATIENCE, 0, Prospect::Certain, 0).verdict, None);
    }
    assert!(restarts.start_failed(now, 1, Prospect::Certain, 0).verdict.is_some());
}

#[derive(Clone, Copy, Debug)]
enum Input {
    Ready,
    Failed(Prospect),
    Died(WorkerUse),
    Progress,
}

fn input() -> impl Strategy<Value = Input> {
    let prospect = prop_oneof![3 => Just(Prospect::MayPass), 1 => Just(Prospect::Certain)];
    let worker_use =
        prop_oneof![3 => Just(WorkerUse::Unused), 1 => Just(WorkerUse::Idle), 2 => Just(WorkerUse::Ran)];
    prop_oneof![
        4 => Just(Input::Ready),
        6 => prospect.prop_map(Input::Failed),
        4 => worker_use.prop_map(Input::Died),
        1 => Just(Input::Progress),
    ]
}

/// Everything that ever happened, and nothing else.
#[derive(Default)]
struct History {
    events: Vec<(Instant, usize, Input)>,
}

impl History {
    fn last_of(&self, slot: usize) -> Option<(Instant, Input)> {
        let events = self.events.iter().rev();
        let own = events.filter(|(_, at, input)| *at == slot && !matches!(input, Input::Progress));
        own.map(|(at, _, input)| (*at, *input)).next()
    }

    fn is_up(&self, slot: usize) -> bool {
        matches!(self.last_of(slot), Some((_, Input::Ready)))
    }

    /// Tries and lives of a slot that came to nothing, in a row.
    fn failures(&self, slot: usize) -> u32 {
        let mut failures = 0;
        let mut up_at = None;
        for (at, _, input) in self.events.iter().filter(|(_, at, _)| *at == slot) {
            match input {
                Input::Ready => up_at = Some(*at),
                Input::Failed(_) => failures += 1,
                Input::Died(WorkerUse::Ran) => failures = 0,
                Input::Died(_) if up_at.is_some_and(|since| *at - since >= STEADY_AFTER) => failures = 1,
                Input::Died(_) => failures += 1,
                Input::Progress => {}
            }
        }
        failures
    }

    /// When the present outage began: after the last sign of use, when the last worker went.
    fn outage_since(&self, begin: Instant, slots: usize) -> Instant {
        let (mut up, mut since) = (vec![None; slots], Some(begin));
        for &(at, slot, input) in &self.events {
            match input {
                Input::Ready => up[slot] = Some(at),
                Input::Failed(_) => {}
                Input::Died(worker_use) => {
                    let steady = up[slot].take().is_some_and(|since: Instant| at - since >= STEADY_AFTER);
                    if steady || worker_use != WorkerUse::Unused {
                        since = None;
                    }
                }
                Input::Progress => since = None,
            }
            if up.iter().all(Option::is_none) && since.is_none() {
                since = Some(at);
            }
        }
        since.expect("nobody is up")
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn what_is_given_up_is_what_the_whole_history_says(
        slots in 1_usize..4,
        inputs in prop::collection::vec((0_u64..8_000, 0_usize..4, input()), 0..60),
    ) {
        let begin = Instant::now();
        let mut restarts = new(begin, slots);
        let (mut history, mut now) = (History::default(), begin);
        for (after_ms, slot, input) in inputs {
            now += Duration::from_millis(after_ms);
            let slot = slot % slots;
            // Only what can happen: who is up dies, who is not comes up or fails, and only who is up ends a task.
            match (input, history.is_up(slot)) {
                (Input::Ready | Input::Failed(_), false) | (Input::Died(_) | Input::Progress, true) => {}
                _ => continue,
            }
            let next = match input {
                Input::Ready => {
                    restarts.ready(now, slot);
                    None
                }
                Input::Progress => {
                    restarts.progress();
                    None
                }
                Input::Failed(prospect) => Some(restarts.start_failed(now, slot, prospect, 77)),
                Input::Died(worker_use) => Some(restarts.died(now, slot, worker_use, 77)),
            };
            let failures = history.failures(slot);
            let up_for = history.last_of(slot).map(|(at, _)| now - at);
            history.events.push((now, slot, input));
            let Some(next) = next else { continue };

            let delay = match input {
                Input::Died(WorkerUse::Ran) => Duration::ZERO,
                Input::Died(_) if up_for >= Some(STEADY_AFTER) => BACKOFF.delay(0, 77),
                _ => BACKOFF.delay(failures, 77),
            };
            prop_assert_eq!(next.delay, delay);

            let last = (0..slots).map(|slot| history.last_of(slot).map(|(_, input)| input));
            let failed = last.map(|input| match input {
                Some(Input::Failed(prospect)) => Some(prospect),
                Some(Input::Died(WorkerUse::Unused | WorkerUse::Idle)) => Some(Prospect::MayPass),
                _ => None,
            });
            let failed: Option<Vec<Prospect>> = failed.collect();
            let asked = matches!(input, Input::Failed(_) | Input::Died(WorkerUse::Unused));
            let expected = failed.filter(|_| asked).and_then(|prospects| {
                let waited = now - history.outage_since(begin, slots);
                let came_up = history.events.iter().any(|(_, _, input)| matches!(input, Input::Ready));
                let patience = if came_up { PATIENCE } else { FIRST_PATIENCE };
                if prospects.iter().all(|prospect| *prospect == Prospect::Certain) {
                    Some(Verdict::Certain)
                } else {
                    (waited >= patience).then_some(Verdict::Waited(waited))
                }
            });
            prop_assert_eq!(next.verdict, expected);
        }
    }
}
