//! What an attempt did before it ended stays done, however it ended: its messages and its children. What the next
//! attempt does again is not doubled, and what was flushed is never lost.

mod support;

use std::{fs, path::Path, process, sync::Barrier, thread};

use proptest::{prelude::*, test_runner::RngSeed};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use support::{
    all_ready, alone, close,
    gate::Gate,
    process::{await_death, signal_child},
    script::{ATTEMPTS, Attempt, End, Run, Scripted, Step, describe},
};
use workfleet_task_manager::{
    FailureCause, ManagerExt, Message, MessageError, ProcessManager, Registry, Task, TaskContext, TaskError,
    TaskMessage, TaskSpec,
};

/// Names its process; then, in its first attempt, sends or schedules without end and without a
/// flush, and in the next as often as it is told.
#[derive(Debug, Serialize, Deserialize)]
struct Burst {
    what: What,
    then: u32,
}

/// Numbers from here on are those of processes.
const FIRST_PID: u32 = 1 << 31;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum What {
    Messages,
    Children,
}

/// Sends its number.
#[derive(Debug, Serialize, Deserialize)]
struct Child(u32);

#[derive(Debug, Serialize, Deserialize)]
struct Number(u32, String);

impl Number {
    fn new(number: u32) -> Self {
        Self(number, String::new())
    }
}

impl TaskMessage for Number {
    const NAME: &'static str = "number";
}

impl TaskSpec for Burst {
    const NAME: &'static str = "burst";
    type Output = ();
}

impl Task for Burst {
    fn run(self, cx: &TaskContext) -> Result<(), TaskError> {
        cx.send_message(&Number::new(FIRST_PID + process::id()))?;
        let count = if cx.attempt() == 1 { FIRST_PID } else { self.then };
        for number in 0..count {
            match self.what {
                What::Messages => cx.send_message(&Number::new(number))?,
                What::Children => cx.schedule(Child(number))?,
            }
        }
        Ok(())
    }
}

impl TaskSpec for Child {
    const NAME: &'static str = "child";
    type Output = ();
}

impl Task for Child {
    fn run(self, cx: &TaskContext) -> Result<(), TaskError> {
        Ok(cx.send_message(&Number::new(self.0))?)
    }
}

/// Schedules other children in each attempt, and dies in the first.
#[derive(Debug, Serialize, Deserialize)]
struct Whimsical;

impl TaskSpec for Whimsical {
    const NAME: &'static str = "whimsical";
    type Output = ();
}

impl Task for Whimsical {
    fn run(self, cx: &TaskContext) -> Result<(), TaskError> {
        if cx.attempt() == 1 {
            cx.schedule(Child(1))?;
            cx.flush()?;
            support::process::signal(process::id(), Signal::KILL);
        }
        cx.schedule(Child(2))?;
        Ok(cx.schedule(Child(3))?)
    }
}

/// Sends many messages and then ends in some way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Talk {
    Fail,
    Panic,
    Exit,
    /// While another thread of it still sends.
    ExitAmidSending,
    /// In the moment in which its flush returns.
    KillBehindFlush,
}

/// More than the socket and the outbox hold.
const MANY: u32 = 50_000;
/// More than the socket holds, and less than the outbox: whoever sends them waits for nobody.
const LARGE: u32 = 15;
const LARGE_BYTES: usize = 60_000;

impl TaskSpec for Talk {
    const NAME: &'static str = "talk";
    type Output = ();
}

impl Task for Talk {
    fn run(self, cx: &TaskContext) -> Result<(), TaskError> {
        if self == Self::ExitAmidSending {
            let (proxy, begun) = (cx.proxy(), Barrier::new(2));
            return thread::scope(|scope| {
                scope.spawn(|| {
                    (0..MANY).for_each(|number| {
                        // It cannot fail before the process is gone.
                        let _ = proxy.send_message(&Number::new(number));
                        if number == MANY / 2 {
                            begun.wait();
                        }
                    });
                });
                begun.wait();
                process::exit(13);
            });
        }
        for number in 0..MANY {
            cx.send_message(&Number::new(number))?;
        }
        match self {
            Self::Fail => Err("enough".into()),
            Self::Panic => panic!("enough"),
            Self::Exit | Self::ExitAmidSending => process::exit(13),
            Self::KillBehindFlush => {
                for number in MANY..MANY + LARGE {
                    cx.send_message(&Number(number, "x".repeat(LARGE_BYTES)))?;
                }
                cx.flush()?;
                support::process::signal(process::id(), Signal::KILL);
                Err("it has survived SIGKILL".into())
            }
        }
    }
}

fn registry() -> Registry {
    Registry::new().task::<Scripted>().task::<Burst>().task::<Child>().task::<Whimsical>().task::<Talk>()
}
workfleet_task_manager::test_worker!(registry());

fn start(workers: usize) -> ProcessManager {
    support::builder(registry(), workers).start().expect("it starts")
}

fn attempt(steps: Vec<Step>, end: End) -> Attempt {
    Attempt { steps, end }
}

/// A task with so many children, each of which returns.
fn parent(children: usize, attempts: Vec<Attempt>, directory: &Path) -> Scripted {
    let children = (0..children).map(|_| Scripted::leaf(0)).collect();
    let mut task = Scripted { id: 0, children, attempts, flushes: "".into(), padding: Vec::new() };
    task.prepare(&mut 0, &directory.join("flushes"));
    task
}

/// Runs a scripted task on some workers and compares everything with its script.
fn run(task: &Scripted, workers: usize) -> Run {
    // Each run's flushes are its own.
    let _ = fs::remove_file(&task.flushes);
    let manager = start(workers);
    let run = Run::of(&manager, task);
    run.check(task, &close(&manager));
    run
}

/// An attempt that schedules, flushes and is killed; the last only schedules.
fn dying(counts: &[usize], last: End) -> Vec<Attempt> {
    let attempts = counts.iter().enumerate().map(|(number, &count)| {
        let mut steps = vec![Step::Schedule; count];
        let dies = number + 1 < counts.len();
        steps.extend(dies.then_some(Step::Flush));
        attempt(steps, if dies { End::Kill } else { last })
    });
    attempts.collect()
}

#[test]
fn a_retry_may_schedule_more_children_than_the_dead_attempt_did_or_fewer() {
    let _alone = alone();
    let directory = tempfile::tempdir().expect("a directory");
    for counts in [[1, 3], [3, 1], [3, 3], [0, 3], [3, 0]] {
        for workers in [1, 2] {
            let most = counts[0].max(counts[1]);
            let task = parent(most, dying(&counts, End::Return), directory.path());
            assert_eq!(run(&task, workers).ended().len(), 1 + most, "{counts:?}");
        }
    }
}

#[test]
fn a_chain_of_three_deaths_leaves_every_child_once() {
    let _alone = alone();
    let directory = tempfile::tempdir().expect("a directory");
    for counts in [[1, 2, 4], [4, 2, 1], [2, 5, 0], [0, 0, 3]] {
        let most = counts.into_iter().max().expect("three counts");
        let mut attempts = dying(&counts, End::Kill);
        attempts[2].steps.push(Step::Flush);
        let task = parent(most, attempts, directory.path());
        assert_eq!(run(&task, 2).ended().len(), 1 + most, "{counts:?}: it is given up, its children are not");
    }
}

#[test]
fn more_deaths_than_the_usual_limit_double_nothing() {
    let _alone = alone();
    let directory = tempfile::tempdir().expect("a directory");
    let counts = [1, 3, 0, 2, 5, 4];
    let task = parent(5, dying(&counts, End::Return), directory.path());
    let manager = support::builder(registry(), 2).crash_limit(10).start().expect("it starts");
    let run = Run::of(&manager, &task);
    assert_eq!(run.ended(), (0..=5).collect());
    assert_eq!(run.said(0, 6), 1, "the sixth attempt returns");
    assert_eq!(close(&manager).tasks.done, 6);
}

/// By its place among its attempt's children, whatever it is: a task that schedules children should do so in the same
/// order each time.
#[test]
fn a_child_is_recognised_by_its_index() {
    let _alone = alone();
    let manager = start(2);
    manager.schedule(Whimsical).expect("it is taken");
    let mut ran: Vec<_> = manager.messages::<Number>().map(|m| m.expect("a number").content.0).collect();
    ran.sort_unstable();
    assert_eq!(ran, [1, 3], "the second took the place of the first, which was there already");
    close(&manager);
}

#[test]
fn a_worker_killed_right_after_or_right_before_its_flush_loses_nothing_that_was_flushed() {
    let _alone = alone();
    let directory = tempfile::tempdir().expect("a directory");
    let some = [Step::Say, Step::Schedule, Step::Say, Step::Schedule];
    for flushed_at in [None, Some(1), Some(2), Some(4)] {
        let mut steps = some.to_vec();
        if let Some(place) = flushed_at {
            steps.insert(place, Step::Flush);
        }
        for end in [End::Kill, End::Abort, End::ExitAtOnce] {
            let attempts = vec![attempt(steps.clone(), end), attempt(steps.clone(), End::Return)];
            let task = parent(2, attempts, directory.path());
            assert_eq!(run(&task, 1).ended().len(), 3, "{flushed_at:?}, {end:?}");
        }
    }
}

/// The same, killed from outside: the test sees the task at its gate behind the flush, and nothing else tells it.
#[test]
fn a_worker_killed_from_outside_behind_its_flush_loses_nothing() {
    let _alone = alone();
    let (directory, gate) = (tempfile::tempdir().expect("a directory"), Gate::new());
    let steps = |last| [vec![Step::Say, Step::Schedule, Step::Say, Step::Flush], last].concat();
    let attempts = vec![
        attempt(steps(vec![Step::WaitAt(gate.path())]), End::Killed),
        attempt(steps(vec![]), End::Return),
    ];
    let task = parent(1, attempts, directory.path());
    let manager = start(1);
    manager.schedule(task.clone()).expect("it is taken");
    kill(&gate);
    let mut run = Run::default();
    run.read_to_end(&manager);
    run.check(&task, &close(&manager));
    assert_eq!((run.said(0, 1), run.said(0, 2)), (2, 3));
}

/// Kills the worker whose task comes to the gate.
fn kill(gate: &Gate) {
    let waiting = gate.wait();
    signal_child(waiting.pid, Signal::KILL);
    await_death(waiting.pid);
}

/// Child and parent at the same time: another worker has the child in hand when its parent dies, and stays there.
#[test]
fn a_child_that_runs_elsewhere_when_its_parent_dies_is_run_once() {
    let _alone = alone();
    let directory = tempfile::tempdir().expect("a directory");
    let (gate, child_gate) = (Gate::new(), Gate::new());
    let steps = vec![Step::Schedule, Step::Flush];
    let attempts = vec![
        attempt([steps.clone(), vec![Step::WaitAt(gate.path())]].concat(), End::Killed),
        attempt(steps, End::Return),
    ];
    let mut task = parent(1, attempts, directory.path());
    let child_steps = vec![Step::Say, Step::Flush, Step::WaitAt(child_gate.path()), Step::Say];
    task.children[0].attempts = vec![attempt(child_steps, End::Return)];
    let manager = start(2);
    all_ready(&manager, 2);
    let mut run = Run::default();
    manager.schedule(task.clone()).expect("it is taken");
    let child = child_gate.wait();
    kill(&gate);
    // The parent's second attempt has scheduled it again and ended: the child still waits.
    run.read_until(&manager, 0);
    child.go_on();
    run.read_to_end(&manager);
    run.check(&task, &close(&manager));
    assert_eq!((run.said(1, 1), run.said(0, 2)), (3, 1));
}

#[test]
fn a_child_that_has_ended_when_its_parent_dies_is_not_run_again() {
    let _alone = alone();
    let (directory, gate) = (tempfile::tempdir().expect("a directory"), Gate::new());
    let steps = vec![Step::Schedule, Step::Flush];
    let attempts = vec![
        attempt([steps.clone(), vec![Step::WaitAt(gate.path())]].concat(), End::Killed),
        attempt([steps.clone(), vec![Step::WaitAt(gate.path())]].concat(), End::Killed),
        attempt(steps, End::Return),
    ];
    let task = parent(1, attempts, directory.path());
    let manager = start(2);
    let mut run = Run::default();
    manager.schedule(task.clone()).expect("it is taken");
    run.read_until(&manager, 1);
    kill(&gate);
    kill(&gate);
    run.read_to_end(&manager);
    run.check(&task, &close(&manager));
    assert_eq!(run.said(1, 1), 1);
}

/// Killed in the middle of a flood that it never flushes: what came is a beginning of what was sent, without a gap.
#[test]
fn a_worker_killed_amid_a_burst_leaves_a_beginning_without_a_gap() {
    const THEN: u32 = 500;
    let _alone = alone();
    for what in [What::Messages, What::Children] {
        let manager = start(2);
        let parent = manager.submit(Burst { what, then: THEN }).expect("it is taken");
        let mut messages = manager.messages::<Number>().map(|message| message.expect("a number"));
        let pid = messages.next().expect("the first is its process").content.0 - FIRST_PID;
        let mut heard = vec![messages.next().expect("it goes on")];
        signal_child(pid, Signal::KILL);
        heard.extend(messages);
        parent.wait().expect("its second attempt comes to an end");
        // The second attempt names its process too.
        heard.retain(|message| message.content.0 < FIRST_PID);
        match what {
            What::Messages => {
                let of = |attempt| heard.iter().filter(move |message| message.attempt == attempt);
                assert_eq!(of(1).count() + of(2).count(), heard.len());
                assert!(of(1).map(|message| message.content.0).eq(0..of(1).count() as u32));
                assert!(of(2).map(|message| message.content.0).eq(0..THEN));
            }
            What::Children => {
                let mut ran: Vec<_> = heard.iter().map(|message| message.content.0).collect();
                ran.sort_unstable();
                assert!(ran.len() >= THEN as usize);
                assert!(ran.iter().copied().eq(0..ran.len() as u32), "{} ran", ran.len());
            }
        }
        assert_eq!(close(&manager).tasks.failed, 0);
    }
}

/// What a flush covers may be more than the socket holds: it returns when the manager has it, not when it has left.
#[test]
fn what_was_said_before_an_exit_a_flush_a_panic_or_an_error_arrives_in_order() {
    const DYING: u32 = ATTEMPTS as u32;
    let _alone = alone();
    let ends = [(Talk::Fail, 1), (Talk::Panic, 1), (Talk::Exit, DYING), (Talk::KillBehindFlush, DYING)];
    for (end, attempts) in ends {
        let manager = start(1);
        manager.schedule(end).expect("it is taken");
        let count = if end == Talk::KillBehindFlush { MANY + LARGE } else { MANY };
        let mut expected = (1..=attempts).flat_map(|attempt| (0..count).map(move |number| (attempt, number)));
        let mut failure = None;
        for item in manager.messages::<Number>() {
            match item {
                Ok(Message { content, attempt, .. }) => {
                    assert_eq!(Some((attempt, content.0)), expected.next());
                    assert!(failure.is_none(), "a message comes behind the failure of its task");
                }
                Err(error) => failure = Some(error),
            }
        }
        assert_eq!(expected.next(), None);
        let Some(MessageError::Failed(failure)) = failure else { panic!("{end:?}: {failure:?}") };
        match (&failure.cause, end) {
            (FailureCause::Error { .. }, Talk::Fail) | (FailureCause::Panicked { .. }, Talk::Panic) => {}
            (FailureCause::WorkerDied, Talk::Exit | Talk::KillBehindFlush) => {
                assert_eq!(failure.deaths.len(), ATTEMPTS)
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(close(&manager).tasks.failed, 1);
    }
}

/// Another thread of the task is still sending: all that was sent before the exit comes, and maybe some more.
#[test]
fn an_exit_amid_the_sending_of_another_thread_loses_nothing_that_was_sent_before() {
    let _alone = alone();
    let manager = start(1);
    let talk = manager.submit(Talk::ExitAmidSending).expect("it is taken");
    let mut came = [0; ATTEMPTS];
    for message in manager.messages::<Number>() {
        let message = message.expect("a number");
        let next = &mut came[message.attempt as usize - 1];
        assert_eq!(message.content.0, *next);
        *next += 1;
    }
    assert!(came.iter().all(|&came| came > MANY / 2), "{came:?}");
    let failure = talk.wait().expect_err("it always exits");
    assert_eq!((&failure.cause, failure.deaths.len()), (&FailureCause::WorkerDied, ATTEMPTS));
    close(&manager);
}

/// Only the task that ran is charged with a death: one that ended just before, and whose end had not left the worker,
/// is done once more under the same number, and says everything once more.
#[test]
fn a_task_whose_end_was_not_reported_is_run_again_under_the_same_number() {
    let _alone = alone();
    let directory = tempfile::tempdir().expect("a directory");
    let manager = start(1);
    let mut next_id = 0;
    // Whether an end leaves before the next task dies is a matter of microseconds: what holds does so either way.
    for _ in 0..300 {
        let quick = attempt(vec![Step::Say, Step::Flush], End::Return);
        let dies = attempt(vec![], End::ExitAtOnce);
        let mut task = |attempts| {
            let mut task = parent(0, attempts, directory.path());
            task.prepare(&mut next_id, &directory.path().join("flushes"));
            task
        };
        let quick = task(vec![quick]);
        let ids: Vec<_> = [quick.clone(), task(vec![dies, attempt(vec![], End::Return)])]
            .map(|task| manager.submit(task).expect("it is taken"))
            .into_iter()
            .map(|handle| {
                let id = handle.id();
                handle.wait().expect("it is done");
                id
            })
            .collect();
        let mut run = Run::default();
        run.read_to_end(&manager);
        run.check_attempts(&quick, ids[0]);
        assert_eq!(run.said(quick.id, 2), 0);
    }
    close(&manager);
}

fn config() -> ProptestConfig {
    let cases = std::env::var("WORKFLEET_PROPTEST_CASES");
    let cases = cases.ok().map(|cases| cases.parse().expect("WORKFLEET_PROPTEST_CASES is a number"));
    ProptestConfig {
        // Each starts its workers and replaces those that die.
        cases: cases.unwrap_or(12),
        rng_seed: if cases.is_some() { RngSeed::Random } else { RngSeed::Fixed(1) },
        failure_persistence: None,
        max_shrink_iters: 200,
        ..ProptestConfig::default()
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![3 => Just(Step::Say), 3 => Just(Step::Schedule), 1 => Just(Step::Flush)];
    proptest::collection::vec(step, 0..7)
}

fn ends() -> impl Strategy<Value = End> {
    prop_oneof![
        6 => Just(End::Return),
        1 => prop::sample::select(vec![End::Fail, End::Panic]),
        3 => prop::sample::select(vec![End::Kill, End::Abort, End::Exit, End::ExitAtOnce]),
    ]
}

/// Tasks that schedule tasks, and die here and there.
fn trees() -> impl Strategy<Value = Scripted> {
    let attempts = || {
        let attempt = (steps(), ends()).prop_map(|(steps, end)| Attempt { steps, end });
        proptest::collection::vec(attempt, 1..=ATTEMPTS)
    };
    let task =
        |children, attempts| Scripted { id: 0, children, attempts, flushes: "".into(), padding: Vec::new() };
    let leaf = attempts().prop_map(move |attempts| task(Vec::new(), attempts));
    leaf.prop_recursive(3, 30, 4, move |child| {
        (proptest::collection::vec(child, 1..=4), attempts())
            .prop_map(move |(children, attempts)| task(children, attempts))
    })
}

proptest! {
    #![proptest_config(config())]

    /// Whatever dies where: no child is doubled, none is lost that was flushed, and the books say the same.
    #[test]
    fn trees_of_tasks_that_die_anywhere_lose_and_double_nothing(mut tree in trees(), workers in 1..=3_usize) {
        let _alone = alone();
        let directory = tempfile::tempdir().expect("a directory");
        tree.prepare(&mut 0, &directory.path().join("flushes"));
        let checked = std::panic::catch_unwind(|| run(&tree, workers));
        prop_assert!(checked.is_ok(), "\n{}", describe(&tree));
    }
}
