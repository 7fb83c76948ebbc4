//! The order of tasks with many priority levels, also while tasks are on their way back to their manager.

#[path = "support/both.rs"]
mod both;
mod support;

use both::{Kind, on_both, start};
use serde::{Deserialize, Serialize};
use support::until;
use workfleet_task_manager::{
    ClosePolicy, Pool, Priority, Registry, ScheduleErrorKind, Task, TaskContext, TaskError, TaskHandle,
    TaskMessage, TaskSpec,
};

/// Which task it is: its level, and its place among those of its level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Step(u8, u32);
impl TaskMessage for Step {
    const NAME: &'static str = "step";
}
impl TaskSpec for Step {
    const NAME: &'static str = "step";
    type Output = ();
}
impl Task for Step {
    fn run(self, cx: &TaskContext) -> Result<(), TaskError> {
        Ok(cx.send_message(&self)?)
    }
}

/// Says that it has begun, and ends when it is cancelled.
///
/// The cancellation travels on the same connection as tasks and recalls: whatever was sent before has arrived by then.
#[derive(Debug, Serialize, Deserialize)]
struct Gate;
impl TaskSpec for Gate {
    const NAME: &'static str = "gate";
    type Output = ();
}
impl Task for Gate {
    fn run(self, cx: &TaskContext) -> Result<(), TaskError> {
        cx.send_message(&Step(0, u32::MAX))?;
        support::tasks::wait_for_cancellation(cx)
    }
}

fn registry() -> Registry {
    Registry::new().task::<Step>().task::<Gate>()
}
workfleet_task_manager::test_worker!(registry());

const LEVELS: u8 = 128;

/// A generator of numbers that look random: the same ones each time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % limit
    }
}

/// Shuts the only worker's gate.
fn shut(pool: &Pool) -> TaskHandle<()> {
    let gate = pool.submit_with(Gate, Priority(0)).expect("it is taken");
    let begun = pool.messages::<Step>().next().expect("it begins").expect("a message");
    assert_eq!(begun.content, Step(0, u32::MAX));
    gate
}

fn schedule(pool: &Pool, step: Step) {
    pool.schedule_with(step, Priority(step.0)).expect("it is taken");
}

/// The order in which everything scheduled was run, the gate open.
fn order(pool: &Pool, gate: &TaskHandle<()>) -> Vec<Step> {
    gate.cancel();
    pool.messages().map(|message| message.expect("a message").content).collect()
}

/// Compares two long lists; says where they part.
fn assert_same(found: &[Step], expected: &[Step], what: &str) {
    if let Some(place) = found.iter().zip(expected).position(|(found, expected)| found != expected) {
        let end = (place + 5).min(found.len());
        panic!("{what}: at {place} of {} {:?}, not {:?}", found.len(), &found[place..end], expected[place]);
    }
    assert_eq!(found.len(), expected.len(), "{what}");
}

/// How steps are put before a worker whose gate is shut.
#[derive(Clone, Copy, Debug)]
struct Case {
    /// Their type is known to be short: many of them are handed out together.
    learnt: bool,
    /// Each batch is scheduled once what came before has been taken back, as far as it will.
    settled: bool,
}

impl Case {
    const ALL: [Self; 4] = [
        Self { learnt: false, settled: false },
        Self { learnt: false, settled: true },
        Self { learnt: true, settled: false },
        Self { learnt: true, settled: true },
    ];

    /// Checks that batches, each of a level and a length, run in the order of their levels.
    fn check(self, pool: &Pool, batches: &[(u8, u32)], what: &str) {
        if self.learnt {
            (0..20).for_each(|n| schedule(pool, Step(0, n)));
            assert_eq!(pool.messages::<Step>().count(), 20);
        }
        let gate = shut(pool);
        let mut expected = Vec::new();
        let mut next = [0; LEVELS as usize];
        for &(level, length) in batches {
            for _ in 0..length {
                let step = Step(level, next[usize::from(level)]);
                next[usize::from(level)] += 1;
                schedule(pool, step);
                expected.push(step);
            }
            if self.settled {
                until(|| pool.stats().workers[0].in_flight == 1);
            }
        }
        expected.sort_unstable();
        assert_same(&order(pool, &gate), &expected, &format!("{what}, {self:?}, {batches:?}"));
    }
}

on_both!(
    each_of_128_levels_is_before_the_next_whatever_came_first,
    batches_of_random_levels_run_in_the_order_of_their_levels,
    an_urgent_task_goes_before_everything_that_has_not_begun,
    a_level_beyond_the_last_is_refused,
    a_task_without_a_priority_has_that_of_level_1,
);

fn each_of_128_levels_is_before_the_next_whatever_came_first(kind: Kind) {
    let manager = start!(kind, registry(), workers(1), priority_levels(LEVELS));
    for case in Case::ALL.into_iter().filter(|case| kind == Kind::Processes || !case.settled) {
        let up: Vec<_> = (0..LEVELS).map(|level| (level, 3)).collect();
        let down: Vec<_> = (0..LEVELS).rev().map(|level| (level, 3)).collect();
        case.check(&manager, &up, "up");
        case.check(&manager, &down, "down");
        case.check(&manager, &[(127, 300), (64, 300), (1, 300), (0, 300)], "few");
    }
}

fn batches_of_random_levels_run_in_the_order_of_their_levels(kind: Kind) {
    let manager = start!(kind, registry(), workers(1), priority_levels(LEVELS));
    let mut numbers = Numbers(7);
    for round in 0..40 {
        let levels = [3, 5, 128][round % 3];
        let batches: Vec<_> = (0..2 + numbers.below(12))
            .map(|_| (numbers.below(levels) as u8, 1 + numbers.below(80) as u32))
            .collect();
        for case in Case::ALL.into_iter().filter(|case| !case.settled) {
            case.check(&manager, &batches, &format!("round {round}"));
        }
    }
}

/// One by one, each more urgent than all before: nothing less urgent is ever begun before it.
fn an_urgent_task_goes_before_everything_that_has_not_begun(kind: Kind) {
    let manager = start!(kind, registry(), workers(1), priority_levels(LEVELS));
    let gate = shut(&manager);
    let levels: Vec<_> = (0..LEVELS).rev().collect();
    levels.iter().for_each(|&level| schedule(&manager, Step(level, 0)));
    let expected: Vec<_> = levels.iter().rev().map(|&level| Step(level, 0)).collect();
    assert_same(&order(&manager, &gate), &expected, "one by one");
}

fn a_level_beyond_the_last_is_refused(kind: Kind) {
    for levels in [1, 3, LEVELS] {
        let manager = start!(kind, registry(), workers(1), priority_levels(levels));
        manager.schedule_with(Step(levels - 1, 0), Priority(levels - 1)).expect("it is the last level");
        let error = manager.schedule_with(Step(0, 1), Priority(levels)).expect_err("there is no such level");
        assert!(matches!(error.kind(), ScheduleErrorKind::Priority { .. }), "{error}");
        assert_eq!(error.into_task(), Step(0, 1));
        assert_eq!(manager.close(ClosePolicy::Join).expect("it closes").tasks.done, 1);
    }
}

fn a_task_without_a_priority_has_that_of_level_1(kind: Kind) {
    let pool = start!(kind, registry(), workers(1), priority_levels(3));
    let gate = shut(&pool);
    schedule(&pool, Step(2, 0));
    let handle = pool.submit(Step(1, 0)).expect("it is taken");
    schedule(&pool, Step(0, 0));
    schedule(&pool, Step(1, 1));
    assert_eq!(order(&pool, &gate), [Step(0, 0), Step(1, 0), Step(1, 1), Step(2, 0)]);
    handle.wait().expect("it has run");
}
