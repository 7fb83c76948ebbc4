//! Every way in which a manager ends: no task is lost from the books, no handle hangs, no worker is left.

use std::{
    fs::read_to_string,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::{
        Arc, Barrier, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use futures_util::{FutureExt, StreamExt};
use serde::{Deserialize, Serialize};
use tokio::runtime::Runtime;
use workfleet_task_manager::{
    CloseError, ClosePolicy, CloseReport, FailureCause, ManagerStartError, Priority, Registry,
    ScheduleErrorKind, ScopeError, Task, TaskContext, TaskError, TaskHandle, TaskSpec,
};

use crate::{
    KIND, Manager, builder,
    support::{
        Kind, all_ready, alone, assert_balanced, assert_no_child_left, assert_reaped, gate, policies,
        pool_threads,
        process::children,
        tasks::{self, Fail, Gate, Mark, Say, next_text},
        until,
    },
};

const WORKERS: usize = 2;
const NORMAL: Priority = Priority(1);

/// Schedules two of itself and so on, down to depth 0.
#[derive(Debug, Serialize, Deserialize)]
struct Breed(u32);

impl TaskSpec for Breed {
    const NAME: &'static str = "breed";
    type Output = ();
}

impl Task for Breed {
    fn run(self, cx: &TaskContext) -> Result<(), TaskError> {
        if let Some(depth) = self.0.checked_sub(1) {
            cx.schedule_with(Breed(depth), NORMAL)?;
            cx.schedule_with(Breed(depth), NORMAL)?;
        }
        Ok(())
    }
}

/// Says that it has begun, waits until it is told to end, and then until its test lets it.
#[derive(Debug, Serialize, Deserialize)]
struct Farewell {
    gate: PathBuf,
}

impl TaskSpec for Farewell {
    const NAME: &'static str = "farewell";
    type Output = ();
}

impl Task for Farewell {
    fn run(self, cx: &TaskContext) -> Result<(), TaskError> {
        cx.send_message(&tasks::Text("begun".into()))?;
        tasks::wait_for_cancellation(cx)?;
        Ok(gate::wait_at(&self.gate)?)
    }
}

pub(super) fn register(registry: Registry) -> Registry {
    registry.task::<Breed>().task::<Farewell>()
}

fn start() -> Manager {
    builder(WORKERS).start().expect("it starts")
}

/// Occupies every worker, and waits until it is so.
fn occupy(manager: &Manager, gate: fn() -> Gate) -> Vec<TaskHandle<()>> {
    let gates =
        (0..WORKERS).map(|_| manager.submit_with(gate(), Priority(0)).expect("it is taken")).collect();
    (0..WORKERS).for_each(|_| assert_eq!(next_text(manager), "begun"));
    gates
}

#[test]
fn an_idle_manager_closes_by_every_policy() {
    let _alone = alone();
    for policy in ClosePolicy::ALL {
        let manager = start();
        let pids = all_ready(&manager, WORKERS);
        let report = manager.close(policy).expect("it closes");
        assert_reaped(&pids);
        assert_eq!(report.tasks.scheduled, 0);
    }
}

#[test]
fn a_manager_closes_while_its_workers_still_start() {
    let _alone = alone();
    for policy in ClosePolicy::ALL.into_iter().cycle().take(12) {
        let manager = builder(4).start().expect("it starts");
        assert_balanced(&manager.close(policy).expect("it closes"));
        assert_no_child_left();
    }
}

#[test]
fn join_waits_for_every_task_and_hands_over_what_nobody_read() {
    let _alone = alone();
    let manager = start();
    for n in 0..50 {
        manager.schedule_with(Say { text: "unread".into(), times: 3 }, NORMAL).expect("it is taken");
        manager.schedule_with(Fail(n), NORMAL).expect("it is taken");
    }
    let report = manager.close(ClosePolicy::Join).expect("it closes");
    assert_balanced(&report);
    assert_eq!((report.tasks.done, report.tasks.failed), (50, 50));
    assert_eq!((report.unread_messages, report.failures.len()), (150, 50));
    assert!(report.unstarted.is_empty());
}

#[test]
fn join_takes_the_children_of_running_tasks() {
    let _alone = alone();
    let manager = start();
    manager.schedule_with(Breed(9), NORMAL).expect("it is taken");
    let report = manager.close(ClosePolicy::Join).expect("it closes");
    assert_balanced(&report);
    assert_eq!(report.tasks.done, (1 << 10) - 1);
}

#[test]
fn join_goes_on_past_a_full_inbox() {
    let _alone = alone();
    let manager = builder(WORKERS).inbox_limit(4096).start().expect("it starts");
    for _ in 0..200 {
        manager.schedule_with(Say { text: "x".repeat(1000), times: 5 }, NORMAL).expect("it is taken");
    }
    let report = manager.close(ClosePolicy::Join).expect("it closes");
    assert_balanced(&report);
    assert_eq!((report.tasks.done, report.unread_messages), (200, 1000));
}

#[test]
fn what_was_never_begun_is_returned_and_not_run() {
    let _alone = alone();
    let directory = tempfile::tempdir().expect("a directory");
    for (policy, gate, stalled) in [
        (ClosePolicy::Cancel, (|| Gate::Obey) as fn() -> Gate, false),
        (ClosePolicy::Cancel, || Gate::Obey, true),
        (ClosePolicy::Cancel, || Gate::Finish, false),
        (ClosePolicy::Kill, || Gate::Ignore, false),
        (ClosePolicy::Kill, || Gate::Ignore, true),
    ] {
        let file = directory.path().join("marks");
        let manager = builder(WORKERS).return_limit(7).start().expect("it starts");
        // So that marks are known to be short, and more than one is handed out at a time.
        let first = Mark { file: "/dev/null".into(), line: String::new() };
        manager.submit(first).expect("it is taken").wait().expect("it is done");
        let gates = occupy(&manager, gate);
        let mut marks = Vec::new();
        for n in 0..200 {
            let mark = Mark { file: file.clone(), line: n.to_string() };
            if n % 2 == 0 {
                marks.push(manager.submit(mark).expect("it is taken"));
            } else {
                manager.schedule_with(mark, NORMAL).expect("it is taken");
            }
        }
        if stalled {
            // What was handed out behind the gates has been taken back.
            until(|| manager.stats().workers.iter().all(|worker| worker.in_flight == 1));
        }
        let report = manager.close(policy).expect("it closes");
        assert_no_child_left();
        assert_balanced(&report);
        assert!(!file.exists(), "{policy:?}: a mark was run: {:?}", read_to_string(&file));
        assert_eq!(report.tasks.returned, 200, "{report}");
        assert_eq!(report.unstarted.len(), 7);
        assert!(report.unstarted.iter().all(|task| task.name() == "mark"));
        assert!(report.failures.is_empty(), "{:?}", report.failures);
        for mark in marks {
            let failure = mark.wait().expect_err("it was not run");
            assert!(matches!(failure.cause, FailureCause::Returned), "{failure}");
            assert_eq!(failure.attempt, 0);
        }
        let ended: Vec<_> =
            gates.into_iter().map(|gate| gate.wait().map_err(|failure| failure.cause.clone())).collect();
        match gate() {
            Gate::Finish => assert_eq!(ended, [Ok(()), Ok(())]),
            _ => assert_eq!(ended, [Err(FailureCause::Cancelled), Err(FailureCause::Cancelled)]),
        }
    }
}

#[test]
fn unstarted_tasks_are_handed_back_in_the_order_they_were_scheduled_in() {
    let _alone = alone();
    let manager = builder(WORKERS).return_limit(usize::MAX).start().expect("it starts");
    occupy(&manager, || Gate::Obey);
    for n in 0..500_u32 {
        manager.schedule_with(Fail(n), NORMAL).expect("it is taken");
    }
    until(|| manager.stats().workers.iter().all(|worker| worker.in_flight == 1));
    let report = manager.close(ClosePolicy::Cancel).expect("it closes");
    let expected: Vec<_> = (0..500_u32)
        .map(|n| workfleet_task_manager::EncodedTask::new(&Fail(n)).expect("it encodes").payload().to_vec())
        .collect();
    let unstarted: Vec<_> = report.unstarted.iter().map(|task| task.payload().to_vec()).collect();
    assert_eq!(unstarted, expected);
}

/// Of tasks that did not end when they were told to: worker processes were killed, threads are left alone.
fn assert_abandoned(report: &CloseReport, gates: &[TaskHandle<()>]) {
    let mut expected: Vec<_> = match KIND {
        Kind::Processes => Vec::new(),
        Kind::Threads => gates.iter().map(|gate| (gate.id(), "gate")).collect(),
    };
    expected.sort_unstable();
    let mut abandoned: Vec<_> = report.abandoned.iter().map(|left| (left.task, &*left.name)).collect();
    abandoned.sort_unstable();
    assert_eq!(abandoned, expected);
    let mut workers: Vec<_> = report.abandoned.iter().map(|left| &left.worker).collect();
    workers.sort_unstable();
    workers.dedup();
    assert_eq!(workers.len(), abandoned.len(), "each on its own: {report}");
    for left in &report.abandoned {
        assert!(report.to_string().contains(&format!("{} still runs gate {}", left.worker, left.task)));
    }
}

#[test]
fn a_task_that_ignores_its_cancellation_is_killed_or_abandoned_after_the_grace() {
    let _alone = alone();
    let manager = builder(WORKERS).grace(Duration::from_millis(30)).start().expect("it starts");
    let gates = occupy(&manager, || Gate::Ignore);
    let report = manager.close(ClosePolicy::Cancel).expect("it closes");
    assert_no_child_left();
    assert_balanced(&report);
    assert_eq!(report.tasks.cancelled, 2);
    assert_abandoned(&report, &gates);
    for gate in gates {
        let failure = gate.wait().expect_err("it was ended");
        assert_eq!((&failure.cause, failure.attempt), (&FailureCause::Cancelled, 1));
        let deaths = match KIND {
            Kind::Processes => 1,
            Kind::Threads => 0,
        };
        assert_eq!(failure.deaths.len(), deaths, "its worker's death is certified: {failure}");
    }
}

#[test]
fn a_task_that_obeys_ends_as_cancelled_and_one_that_finishes_is_done() {
    let _alone = alone();
    let manager = start();
    let obeys = manager.submit(Gate::Obey).expect("it is taken");
    let finishes = manager.submit(Gate::Finish).expect("it is taken");
    (0..2).for_each(|_| assert_eq!(next_text(&manager), "begun"));
    let report = manager.close(ClosePolicy::Cancel).expect("it closes");
    assert_eq!((report.tasks.done, report.tasks.cancelled), (1, 1));
    let failure = obeys.wait().expect_err("it was cancelled");
    assert_eq!((failure.cause.clone(), failure.deaths.len()), (FailureCause::Cancelled, 0));
    finishes.wait().expect("it chose to finish");
}

#[test]
fn the_failures_of_cancelled_tasks_without_a_handle_are_in_the_report() {
    let _alone = alone();
    let manager = start();
    for _ in 0..WORKERS {
        manager.schedule_with(Gate::Obey, NORMAL).expect("it is taken");
    }
    (0..WORKERS).for_each(|_| assert_eq!(next_text(&manager), "begun"));
    let report = manager.close(ClosePolicy::Cancel).expect("it closes");
    assert_eq!(report.failures.len(), 2);
    assert!(report.failures.iter().all(|failure| failure.cause == FailureCause::Cancelled));
}

/// A grace of "forever" is a natural thing to ask for.
#[test]
fn the_longest_grace_is_accepted() {
    let _alone = alone();
    for policy in ClosePolicy::ALL {
        let manager =
            builder(WORKERS).grace(Duration::MAX).session_limit(Duration::MAX).start().expect("it starts");
        manager.submit(Breed(0)).expect("it is taken").wait().expect("it is done");
        assert_eq!(manager.close(policy).expect("it closes").tasks.done, 1);
    }
}

#[test]
fn a_task_after_the_close_is_handed_back() {
    let _alone = alone();
    for policy in ClosePolicy::ALL {
        let manager = start();
        manager.close(policy).expect("it closes");
        let refused = manager.schedule_with(Fail(7), NORMAL).expect_err("it is closed");
        assert!(matches!(refused.kind(), ScheduleErrorKind::Closed), "{refused:?}");
        assert_eq!(refused.into_task().0, 7);
        let refused = manager.submit(Fail(8)).expect_err("it is closed");
        assert!(matches!(refused.kind(), ScheduleErrorKind::Closed), "{refused:?}");
        assert_eq!(refused.into_task().0, 8);
        manager.send_message(&tasks::Text("late".into())).expect_err("it is closed");
        assert!(manager.messages::<tasks::Text>().next().is_none());
        assert!(manager.stats().workers.iter().all(|worker| !worker.ready));
    }
}

#[test]
fn a_scope_that_ends_well_cancels() {
    let _alone = alone();
    let (value, report) = builder(WORKERS)
        .scope(|manager| {
            occupy(manager, || Gate::Finish);
            manager.schedule_with(Fail(0), NORMAL).expect("it is taken");
            Ok::<_, TaskError>(7)
        })
        .expect("it ends well");
    assert_no_child_left();
    assert_balanced(&report);
    assert_eq!((value, report.tasks.done, report.tasks.returned), (7, 2, 1));
}

#[test]
fn a_scope_that_ends_in_an_error_kills() {
    let _alone = alone();
    let mut gates = Vec::new();
    let ended = builder(WORKERS).scope(|manager| {
        // The grace is an hour.
        gates = occupy(manager, || Gate::Ignore);
        manager.schedule_with(Fail(0), NORMAL).expect("it is taken");
        Err::<(), _>("enough")
    });
    assert_no_child_left();
    let Err(ScopeError::Scope { error, report, .. }) = ended else { panic!("{ended:?}") };
    assert_balanced(&report);
    assert_eq!((error, report.tasks.cancelled, report.tasks.returned), ("enough", 2, 1));
    assert_abandoned(&report, &gates);
}

#[test]
fn a_scope_that_panics_kills_and_panics_on() {
    let _alone = alone();
    let panic = catch_unwind(|| {
        builder(WORKERS).scope(|manager| -> Result<(), TaskError> {
            occupy(manager, || Gate::Ignore);
            panic!("enough")
        })
    });
    assert_no_child_left();
    assert_eq!(panic.expect_err("it panics").downcast_ref(), Some(&"enough"));
}

#[test]
fn dropping_a_manager_cancels() {
    let _alone = alone();
    let manager = start();
    let gates = occupy(&manager, || Gate::Finish);
    let waits = manager.submit(Fail(0)).expect("it is taken");
    drop(manager);
    assert_no_child_left();
    gates.into_iter().for_each(|gate| gate.wait().expect("it chose to finish"));
    let failure = waits.wait().expect_err("it was not run");
    assert!(matches!(failure.cause, FailureCause::Returned), "{failure}");
}

#[test]
fn dropping_a_manager_while_panicking_kills() {
    let _alone = alone();
    let mut gates = Vec::new();
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let manager = start();
        gates = occupy(&manager, || Gate::Ignore);
        panic!("enough");
    }));
    assert_no_child_left();
    assert!(panicked.is_err());
    for gate in gates {
        assert_eq!(gate.wait().expect_err("it was killed").cause, FailureCause::Cancelled);
    }
}

fn runtimes() -> [Runtime; 2] {
    let multi = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().expect("a runtime");
    [tokio::runtime::Builder::new_current_thread().build().expect("a runtime"), multi]
}

/// Runs a future in either kind of runtime, by `block_on` and as a task.
fn inside_runtimes<F: Future<Output = ()> + Send + 'static>(future: impl Fn() -> F) {
    for runtime in runtimes() {
        runtime.block_on(future());
        runtime.block_on(async { tokio::spawn(future()).await }).expect("it does not panic");
    }
}

/// Whoever closes in the background has no one to tell.
fn until_nothing_is_left() {
    until(|| children().is_empty() && pool_threads().is_empty());
}

async fn start_async() -> Manager {
    builder(WORKERS).start_async().await.expect("it starts")
}

/// Waits until a task says that it has begun.
async fn begun(manager: &Manager) {
    let begun = manager.message_stream::<tasks::Text>().next().await;
    begun.expect("a task is pending").expect("it is a message");
}

#[test]
fn a_manager_is_started_and_closed_inside_a_runtime() {
    let _alone = alone();
    for policy in ClosePolicy::ALL {
        inside_runtimes(move || async move {
            let manager = start_async().await;
            let output = manager.submit(Breed(3)).expect("it is taken").await;
            output.expect("it is done");
            assert_balanced(&manager.close_async(policy).await.expect("it closes"));
            assert_no_child_left();
        });
    }
}

#[test]
fn blocking_calls_are_refused_where_a_runtime_polls_and_work_on_its_threads_for_blocking() {
    let _alone = alone();
    inside_runtimes(|| async {
        let refused = builder(WORKERS).start().expect_err("it would block");
        assert!(matches!(refused, ManagerStartError::InsideRuntime), "{refused}");
        let refused = builder(WORKERS).scope(|_| Ok::<_, TaskError>(())).expect_err("it would block");
        assert!(matches!(refused, ScopeError::Start(ManagerStartError::InsideRuntime)), "{refused}");
        let blocking = tokio::task::spawn_blocking(|| builder(WORKERS).start());
        let manager = Arc::new(blocking.await.expect("it does not panic").expect("it starts"));
        for policy in ClosePolicy::ALL {
            let refused = manager.close(policy).expect_err("it would block");
            assert!(matches!(refused, CloseError::InsideRuntime), "{refused}");
        }
        // It is open.
        manager.submit(Breed(1)).expect("it is taken").await.expect("it is done");
        let closes = Arc::clone(&manager);
        let blocking = tokio::task::spawn_blocking(move || closes.close(ClosePolicy::Join));
        let report = blocking.await.expect("it does not panic").expect("it closes");
        assert_eq!(report.tasks.done, 3);
    });
}

/// A blocking call stopped the only thread, on which something had to act before the task could end.
#[test]
fn a_join_waits_for_a_task_that_needs_another_future_of_the_same_thread() {
    let _alone = alone();
    let [current, _] = runtimes();
    current.block_on(async {
        let manager = start_async().await;
        let mut gate = manager.submit(Gate::Finish).expect("it is taken");
        begun(&manager).await;
        let closes = manager.close_async(ClosePolicy::Join);
        // Polled after the close, which waits by then.
        let acts = async {
            assert!((&mut gate).now_or_never().is_none());
            gate.cancel();
        };
        let (report, ()) = tokio::join!(closes, acts);
        assert_eq!(report.expect("it closes").tasks.done, 1);
    });
}

#[test]
fn a_close_that_nobody_awaits_any_more_goes_on_and_its_report_is_kept() {
    let _alone = alone();
    inside_runtimes(|| async {
        let manager = start_async().await;
        let gate = manager.submit(Gate::Finish).expect("it is taken");
        begun(&manager).await;
        manager.schedule_with(Fail(0), NORMAL).expect("it is taken");
        assert!(manager.close_async(ClosePolicy::Join).now_or_never().is_none(), "the gate is shut");
        manager.schedule_with(Fail(1), NORMAL).expect_err("it closes");
        gate.cancel();
        gate.await.expect("it finishes");
        until(|| !manager.stats().workers.iter().any(|worker| worker.ready));
        let report = manager.close_async(ClosePolicy::Join).await.expect("it closes");
        assert_eq!((report.tasks.done, report.failures.len()), (1, 1));
        let again = manager.close_async(ClosePolicy::Join).await.expect("it has closed");
        assert_eq!((again.tasks, again.failures.len()), (report.tasks, 0), "it is handed out once");
    });
}

#[test]
fn blocking_and_asynchronous_closes_hurry_one_another() {
    fn inside_a_runtime<F: Future>(future: F) -> F::Output {
        let [current, _] = runtimes();
        current.block_on(future)
    }
    let _alone = alone();
    for (patient, blocks) in policies::patient().flat_map(|policy| [(policy, false), (policy, true)]) {
        let manager = start();
        let gates = occupy(&manager, || Gate::Ignore);
        let close = |policy, blocks| {
            if blocks { manager.close(policy) } else { inside_a_runtime(manager.close_async(policy)) }
        };
        let (one, other) = thread::scope(|scope| {
            let patient = scope.spawn(move || close(patient, blocks).expect("it closes"));
            until(|| manager.schedule_with(Fail(1), NORMAL).is_err());
            let harsh = close(ClosePolicy::Kill, !blocks);
            (patient.join().expect("it does not panic"), harsh.expect("it closes"))
        });
        assert_no_child_left();
        assert_balanced(&one);
        assert_eq!(one.tasks, other.tasks);
        assert!(gates.into_iter().all(|gate| gate.wait().is_err()));
    }
}

/// A blocking drop would wait here for its task, and the task for what comes after the drop.
#[test]
fn a_manager_that_is_dropped_inside_a_runtime_closes_in_the_background() {
    let _alone = alone();
    inside_runtimes(|| async {
        let door = gate::Gate::new();
        let manager = start_async().await;
        let farewell = manager.submit(Farewell { gate: door.path() }).expect("it is taken");
        begun(&manager).await;
        let waits =
            (0..WORKERS).map(|_| manager.submit(Gate::Obey).expect("it is taken")).collect::<Vec<_>>();
        drop(manager);
        // It was told to end, and goes on here.
        door.wait().go_on();
        farewell.await.expect("it ends within the grace");
        for gate in waits {
            gate.await.expect_err("it was cancelled, or never began");
        }
        until_nothing_is_left();
    });
}

#[test]
fn a_manager_that_is_dropped_inside_a_runtime_while_panicking_kills_in_the_background() {
    let _alone = alone();
    for runtime in runtimes() {
        let gates = Arc::new(Mutex::new(Vec::new()));
        let panics = {
            let gates = Arc::clone(&gates);
            async move {
                let manager = start_async().await;
                let ignores = manager.submit(Gate::Ignore).expect("it is taken");
                begun(&manager).await;
                gates.lock().expect("no panic").push(ignores);
                panic!("enough");
            }
        };
        let ended: Result<(), _> = runtime.block_on(async { tokio::spawn(panics).await });
        assert!(ended.expect_err("it panics").is_panic());
        until(|| children().is_empty());
        // The grace is an hour.
        let gate = gates.lock().expect("no panic").pop().expect("it was submitted");
        assert_eq!(gate.wait().expect_err("it was ended").cause, FailureCause::Cancelled);
    }
}

#[test]
fn a_start_that_nobody_awaits_any_more_leaves_nothing() {
    let _alone = alone();
    inside_runtimes(|| async {
        let mut start = Box::pin(builder(WORKERS).start_async());
        // Threads may be faster than the test.
        let started = start.as_mut().now_or_never();
        assert!(started.is_none() || KIND == Kind::Threads);
        drop((start, started));
        until_nothing_is_left();
    });
}

#[test]
fn an_asynchronous_scope_ends_as_a_blocking_one() {
    let _alone = alone();
    inside_runtimes(|| async {
        let ends_well = builder(WORKERS).scope_async(async |manager| {
            let done = manager.submit(Breed(0)).expect("it is taken").await;
            done.expect("it is done");
            Ok::<_, String>(7)
        });
        let (value, report) = ends_well.await.expect("it ends well");
        assert_eq!((value, report.tasks.done), (7, 1));
        assert_no_child_left();

        let fails = builder(WORKERS).scope_async(async |manager| {
            let ignores = manager.submit(Gate::Ignore).expect("it is taken");
            begun(manager).await;
            drop(ignores);
            Err::<(), _>("enough")
        });
        let Err(ScopeError::Scope { error, report, .. }) = fails.await else { panic!("it fails") };
        assert_eq!((error, report.tasks.cancelled), ("enough", 1));
        assert_no_child_left();
    });
    for runtime in runtimes() {
        let panics = builder(WORKERS).scope_async(async |manager: &Manager| -> Result<(), TaskError> {
            drop(manager.submit(Gate::Ignore).expect("it is taken"));
            tokio::task::yield_now().await;
            panic!("enough")
        });
        let panic = catch_unwind(AssertUnwindSafe(|| runtime.block_on(panics)));
        assert_eq!(panic.expect_err("it panics").downcast_ref(), Some(&"enough"));
        assert_no_child_left();
    }
}

#[test]
fn closing_twice_is_harmless() {
    let _alone = alone();
    for first in ClosePolicy::ALL {
        for second in ClosePolicy::ALL {
            let manager = start();
            manager.schedule_with(Fail(0), NORMAL).expect("it is taken");
            let first = manager.close(first).expect("it closes");
            let second = manager.close(second).expect("it closes again");
            assert_eq!(first.tasks, second.tasks);
            // What one report hands over, the other does not.
            assert!(second.unstarted.is_empty() && second.failures.is_empty());
        }
    }
}

#[test]
fn a_kill_on_another_thread_hurries_a_close_that_waits() {
    let _alone = alone();
    for patient in policies::patient() {
        let manager = start();
        let gates = occupy(&manager, || Gate::Ignore);
        let waiting = manager.submit(Fail(0)).expect("it is taken");
        let (one, other) = thread::scope(|scope| {
            let patient = scope.spawn(|| manager.close(patient).expect("it closes"));
            // Refusing newcomers is the first thing that a close does; then it waits for the gates.
            until(|| manager.schedule_with(Fail(1), NORMAL).is_err());
            let harsh = manager.close(ClosePolicy::Kill).expect("it closes");
            (patient.join().expect("it does not panic"), harsh)
        });
        assert_no_child_left();
        assert_balanced(&one);
        assert_eq!(one.tasks, other.tasks);
        for gate in gates {
            assert_eq!(gate.wait().expect_err("it was killed").cause, FailureCause::Cancelled);
        }
        waiting.wait().expect_err("it was not run");
        let handed_over = one.unstarted.len() + other.unstarted.len();
        assert_eq!(handed_over as u64, one.tasks.returned);
    }
}

#[test]
fn many_threads_close_and_schedule_at_once() {
    let _alone = alone();
    for policy in ClosePolicy::ALL.into_iter().cycle().take(15) {
        let manager = start();
        let (begin, accepted) = (Barrier::new(4), AtomicU64::new(0));
        let handles = thread::scope(|scope| {
            let schedulers: Vec<_> = (0..2)
                .map(|_| {
                    scope.spawn(|| {
                        begin.wait();
                        let mut handles = Vec::new();
                        // Until it is closed.
                        while let Ok(handle) = manager.submit(Breed(2)) {
                            accepted.fetch_add(1, Ordering::Relaxed);
                            handles.push(handle);
                        }
                        handles
                    })
                })
                .collect();
            let closers: Vec<_> = (0..2)
                .map(|_| {
                    scope.spawn(|| {
                        begin.wait();
                        until(|| accepted.load(Ordering::Relaxed) > 100);
                        manager.close(policy).expect("it closes")
                    })
                })
                .collect();
            closers.into_iter().for_each(|closer| assert_balanced(&closer.join().expect("no panic")));
            let handles = schedulers.into_iter().flat_map(|scheduler| scheduler.join().expect("no panic"));
            handles.collect::<Vec<_>>()
        });
        assert_no_child_left();
        let tasks = manager.stats().tasks;
        assert_eq!(handles.len() as u64, accepted.into_inner());
        let outcomes: Vec<_> =
            handles.into_iter().map(|handle| handle.wait().map_err(|f| f.cause.clone())).collect();
        let done = outcomes.iter().filter(|outcome| outcome.is_ok()).count() as u64;
        assert!(tasks.done >= done && tasks.scheduled >= outcomes.len() as u64, "{tasks}");
        if policy == ClosePolicy::Join {
            assert_eq!(tasks.done, 7 * done);
            assert_eq!(tasks.done, tasks.scheduled);
        }
    }
}

#[test]
fn a_close_amid_tasks_that_schedule_tasks_leaves_balanced_books() {
    let _alone = alone();
    for policy in policies::halting() {
        for rounds in 1..12 {
            let manager = start();
            manager.schedule_with(Breed(40), NORMAL).expect("it is taken");
            until(|| manager.stats().tasks.done > rounds * 50);
            let report = manager.close(policy).expect("it closes");
            assert_no_child_left();
            assert_balanced(&report);
            assert!(report.tasks.returned > 0, "{report}");
            assert_eq!(report.failures.len() as u64, report.tasks.cancelled, "{report}");
        }
    }
}
