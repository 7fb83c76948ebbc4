//! Workers that run their tasks where and when their program likes, by [`WorkerLoop`].

#[path = "support/both.rs"]
mod both;
mod support;

use std::{
    mem,
    path::{Path, PathBuf},
    process,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use both::Door;
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use support::{
    all_ready, alone, assert_balanced, builder, only_worker, policies,
    process::{Watched, signal},
    task::task,
    tasks::Text,
    until,
};
use workfleet_task_manager::{
    AsyncTask, ClosePolicy, ExitStatus, FailureCause, ManagerStartError, NextTask, ProcessManager,
    ProcessManagerBuilder, Registry, StartFailure, TaskContext, TaskError, TaskHandle, TaskSpec, WorkerLoop,
};

/// How long the program waits for a task before it looks after other things.
const PATIENCE: Duration = Duration::from_millis(1);

/// The name of the thread that a worker's session was made on.
struct MadeOn(String);

impl Drop for MadeOn {
    fn drop(&mut self) {
        if let Some(file) = FAREWELL.lock().unwrap_or_else(PoisonError::into_inner).take() {
            std::fs::write(file, thread_name()).expect("a file");
        }
    }
}

fn thread_name() -> String {
    thread::current().name().unwrap_or_default().to_owned()
}

/// How often the program has waited in vain.
static WAITS: AtomicU32 = AtomicU32::new(0);
/// Whether the task that was run last has ended well, as the program was told.
static LAST_DONE: AtomicBool = AtomicBool::new(false);
/// Where the session says by which thread it was dropped.
static FAREWELL: Mutex<Option<PathBuf>> = Mutex::new(None);
/// Where the program is to go.
static ERRAND: Mutex<Option<PathBuf>> = Mutex::new(None);

/// Its process, the name of its thread, and that of the thread its session was made on.
#[derive(Debug, Serialize, Deserialize)]
struct Where;
task!(Where, "where", (u32, String, String), |self, cx| {
    Ok((process::id(), thread_name(), cx.session::<MadeOn>()?.0.clone()))
});

/// What the program knows: how often it has waited in vain, and whether the last task has ended well.
#[derive(Debug, Serialize, Deserialize)]
struct Ask;
task!(Ask, "ask", (u32, bool), |self, _cx| {
    Ok((WAITS.load(Ordering::Relaxed), LAST_DONE.load(Ordering::Relaxed)))
});

#[derive(Debug, Serialize, Deserialize)]
struct Double(u32);
task!(Double, "double", (u32, u32), |self, cx| Ok((2 * self.0, cx.attempt())));

#[derive(Debug, Serialize, Deserialize)]
struct DoubleLater(u32);
impl TaskSpec for DoubleLater {
    const NAME: &'static str = "double-later";
    type Output = u32;
}
impl AsyncTask for DoubleLater {
    async fn run(self, _cx: &TaskContext) -> Result<u32, TaskError> {
        tokio::time::sleep(Duration::from_millis(1)).await;
        Ok(2 * self.0)
    }
}

/// Leaves somebody in the background who comes to a door.
#[derive(Debug, Serialize, Deserialize)]
struct LeaveInBackground(PathBuf);
impl TaskSpec for LeaveInBackground {
    const NAME: &'static str = "leave-in-background";
    type Output = ();
}
impl AsyncTask for LeaveInBackground {
    async fn run(self, _cx: &TaskContext) -> Result<(), TaskError> {
        tokio::spawn(async move { both::come_to(&self.0, "background").await });
        Ok(())
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Panic;
task!(Panic, "panic", (), |self, _cx| panic!("out of luck"));

/// Says "begun", and ends when it is cancelled.
#[derive(Debug, Serialize, Deserialize)]
struct AwaitCancellation;
task!(AwaitCancellation, "await-cancellation", (), |self, cx| {
    cx.send_message(&Text("begun".into()))?;
    support::tasks::wait_for_cancellation(cx)?;
    Ok(cx.check_cancelled()?)
});

/// The program drops it instead of running it.
#[derive(Debug, Serialize, Deserialize)]
struct DropMe;
task!(DropMe, "drop-me", (), |self, _cx| unreachable!("it is dropped"));

/// The program runs it, and drops it instead of acknowledging it.
#[derive(Debug, Serialize, Deserialize)]
struct DropMyEnd {
    ends_well: bool,
}
task!(DropMyEnd, "drop-my-end", u32, |self, _cx| if self.ends_well { Ok(7) } else { Err("no luck".into()) });

/// When it has ended, the program goes to a door and waits there.
#[derive(Debug, Serialize, Deserialize)]
struct RunErrand(PathBuf);
task!(RunErrand, "run-errand", (), |self, _cx| {
    *ERRAND.lock().unwrap_or_else(PoisonError::into_inner) = Some(self.0);
    Ok(())
});

/// When the session is dropped, it says so in this file.
#[derive(Debug, Serialize, Deserialize)]
struct Farewell(PathBuf);
task!(Farewell, "farewell", (), |self, _cx| {
    *FAREWELL.lock().unwrap_or_else(PoisonError::into_inner) = Some(self.0);
    Ok(())
});

/// When it has ended, the program drops its loop.
#[derive(Debug, Serialize, Deserialize)]
struct Leave;
task!(Leave, "leave", (), |self, _cx| Ok(()));

/// When it has ended, the program forgets to say so, and panics.
#[derive(Debug, Serialize, Deserialize)]
struct PanicOutside;
task!(PanicOutside, "panic-outside", (), |self, _cx| Ok(()));

fn tasks() -> Registry {
    Registry::new()
        .task::<Where>()
        .task::<Ask>()
        .task::<Double>()
        .async_task::<DoubleLater>()
        .async_task::<LeaveInBackground>()
        .task::<Panic>()
        .task::<AwaitCancellation>()
        .task::<DropMe>()
        .task::<DropMyEnd>()
        .task::<RunErrand>()
        .task::<Farewell>()
        .task::<Leave>()
        .task::<PanicOutside>()
}

fn registry() -> Registry {
    tasks().session(|| Ok(MadeOn(thread_name())))
}

/// The usual worker.
#[test]
fn workfleet_worker() {
    run_program(&registry());
}

/// A worker that cannot make its session.
#[test]
fn worker_without_session() {
    run_program(&tasks().session(|| Err::<MadeOn, _>("there is none today".into())));
}

/// A worker whose program does not even wait for the I/O thread, and then has other things to do forever.
#[test]
fn worker_without_patience() {
    look_once(Duration::from_nanos(1));
}

/// The same, after it has watched its connection by itself for a while.
#[test]
fn worker_with_some_patience() {
    look_once(20 * PATIENCE);
}

/// Nothing, unless this process is a worker: its program waits for a task once, in vain.
fn look_once(patience: Duration) {
    if let Some(mut worker) = WorkerLoop::setup(&registry()).expect("it is a worker, or not") {
        let next = worker.next_task(patience);
        assert!(matches!(next, NextTask::None(_)), "{next:?}");
        std::fs::write(away_file(process::id()), "").expect("a file");
        loop {
            thread::park();
        }
    }
}

/// By which the program of this process tells that it has gone away.
fn away_file(pid: u32) -> PathBuf {
    std::env::temp_dir().join(format!("workfleet-worker-loop-{pid}"))
}

/// Has the workers play the part of another of the entries above.
fn by_entry(builder: ProcessManagerBuilder, entry: &str) -> ProcessManagerBuilder {
    builder.arguments([entry, "--exact", "--nocapture", "--test-threads=1"])
}

/// Nothing, unless this process is a worker.
fn run_program(registry: &Registry) {
    match WorkerLoop::setup(registry) {
        Ok(None) => {}
        Ok(Some(mut worker)) => while look(worker.next_task(PATIENCE)) {},
        Err(error) => {
            eprintln!("{error}");
            process::exit(3);
        }
    }
}

/// Runs tasks as long as there are any, then looks after other things. False: the program wants no more.
fn look(mut next: NextTask<'_>) -> bool {
    loop {
        let task = match next {
            NextTask::Task(task) => task,
            NextTask::None(_) => {
                WAITS.fetch_add(1, Ordering::Relaxed);
                return true;
            }
            NextTask::Close(request) => request.exit(),
        };
        match task.name() {
            DropMe::NAME => {
                drop(task);
                return true;
            }
            Leave::NAME => {
                drop(task.run());
                return false;
            }
            PanicOutside::NAME => {
                mem::forget(task.run());
                panic!("a fault of the program's own");
            }
            DropMyEnd::NAME => {
                let finished = task.run();
                LAST_DONE.store(finished.is_done(), Ordering::Relaxed);
                drop(finished);
                return true;
            }
            RunErrand::NAME => {
                drop(task.run());
                let door = ERRAND.lock().unwrap_or_else(PoisonError::into_inner).take();
                both::wait_at(&door.expect("it says where"), "the program").expect("it comes back");
                return true;
            }
            _ => next = task.run().acknowledge_and_next_task(Duration::ZERO),
        }
    }
}

fn usual(workers: usize) -> ProcessManagerBuilder {
    by_entry(builder(registry(), workers), "workfleet_worker")
}

fn start(workers: usize) -> ProcessManager {
    usual(workers).start().expect("it starts")
}

fn doubles(manager: &ProcessManager, count: u32) -> Vec<TaskHandle<(u32, u32)>> {
    (0..count).map(|n| manager.submit(Double(n)).expect("it is taken")).collect()
}

/// Their worker has not died.
fn assert_doubled(handles: Vec<TaskHandle<(u32, u32)>>) {
    for (n, handle) in (0..).zip(handles) {
        assert_eq!(handle.wait().expect("it is done"), (2 * n, 1));
    }
}

/// Sends the program of the only worker to a door.
fn send_away(manager: &ProcessManager, door: &Door) -> both::Guest {
    manager.submit(RunErrand(door.path())).expect("it is taken").wait().expect("it is reported");
    door.next()
}

#[test]
fn a_process_that_no_manager_started_is_no_worker() {
    assert!(WorkerLoop::setup(&registry()).expect("that is no error").is_none());
}

#[test]
fn tasks_run_on_the_thread_that_asks_for_them() {
    let _alone = alone();
    let manager = start(1);
    let (pid, runs_on, made_on) = manager.submit(Where).expect("it is taken").wait().expect("it is done");
    assert_ne!(pid, process::id());
    assert_eq!(runs_on, made_on);
    assert_ne!(runs_on, "workfleet-task");
    assert_doubled(doubles(&manager, 3000));
    let later: Vec<_> = (0..20).map(|n| manager.submit(DoubleLater(n)).expect("it is taken")).collect();
    for (n, handle) in (0..).zip(later) {
        assert_eq!(handle.wait().expect("it is done"), 2 * n);
    }
    let failure = manager.submit(Panic).expect("it is taken").wait().expect_err("it panics");
    assert!(matches!(&failure.cause, FailureCause::Panicked { message, .. } if message == "out of luck"));
    let report = manager.close(ClosePolicy::Join).expect("it closes");
    assert_balanced(&report);
    assert_eq!((report.tasks.done, report.tasks.failed), (3021, 1));
}

#[test]
fn asynchronous_tasks_run_one_at_a_time_whatever_the_manager_allows() {
    let _alone = alone();
    let manager = usual(1).async_tasks(8).start().expect("it starts");
    let later: Vec<_> = (0..50).map(|n| manager.submit(DoubleLater(n)).expect("it is taken")).collect();
    for (n, handle) in (0..).zip(later) {
        assert_eq!(handle.wait().expect("it is done"), 2 * n);
    }
}

#[test]
fn what_is_in_the_background_goes_on_while_the_program_waits_for_tasks() {
    let _alone = alone();
    let manager = start(1);
    let door = Door::new();
    manager.submit(LeaveInBackground(door.path())).expect("it is taken").wait().expect("it is done");
    let guest = door.next();
    assert_doubled(doubles(&manager, 100));
    guest.go_on();
    assert_doubled(doubles(&manager, 100));
    assert_balanced(&manager.close(ClosePolicy::Join).expect("it closes"));
}

#[test]
fn a_wait_in_vain_ends_and_the_next_may_not_be_in_vain() {
    let _alone = alone();
    let manager = start(1);
    let ask = || manager.submit(Ask).expect("it is taken").wait().expect("it is done").0;
    let first = ask();
    until(|| ask() > first + 3);
}

#[test]
fn a_task_that_is_dropped_fails() {
    let _alone = alone();
    let manager = start(1);
    let failure = manager.submit(DropMe).expect("it is taken").wait().expect_err("it is dropped");
    assert_eq!(failure.attempt, 1);
    assert!(
        matches!(&failure.cause, FailureCause::Rejected { reason, .. } if reason == "the worker's loop dropped it"),
        "{failure}"
    );
    assert_doubled(doubles(&manager, 10));
}

#[test]
fn the_end_of_a_task_is_reported_also_if_it_is_dropped() {
    let _alone = alone();
    let manager = start(1);
    let end = |ends_well| manager.submit(DropMyEnd { ends_well }).expect("it is taken").wait();
    let last_was_done = || manager.submit(Ask).expect("it is taken").wait().expect("it is done").1;
    assert_eq!(end(true).expect("it is done"), 7);
    assert!(last_was_done());
    let failure = end(false).expect_err("it fails");
    assert!(matches!(&failure.cause, FailureCause::Error { chain, .. } if chain == &["no luck"]));
    assert!(!last_was_done());
}

#[test]
fn a_running_task_is_cancelled() {
    let _alone = alone();
    let manager = start(1);
    let handle = manager.submit(AwaitCancellation).expect("it is taken");
    assert_eq!(manager.messages::<Text>().next().expect("it begins").expect("a message").content.0, "begun");
    handle.cancel();
    assert_eq!(handle.wait().expect_err("it is cancelled").cause, FailureCause::Cancelled);
    assert_doubled(doubles(&manager, 10));
}

#[test]
fn while_the_program_is_away_its_tasks_are_cancelled_and_it_is_not_silent() {
    let _alone = alone();
    let limit = Duration::from_millis(500);
    let manager = usual(1).silence_limit(limit).start().expect("it starts");
    let worker = only_worker(&manager);
    let door = Door::new();
    let guest = send_away(&manager, &door);

    let behind = doubles(&manager, 100);
    until(|| manager.stats().workers[0].in_flight > 0);
    // Prefetched, or taken back: it is not begun either way.
    behind[0].cancel();
    until(|| behind[0].is_finished());
    // As long as it takes to kill a worker that is silent: nothing comes through this channel.
    let (_keep, never) = mpsc::channel::<()>();
    assert_eq!(never.recv_timeout(3 * limit), Err(mpsc::RecvTimeoutError::Timeout));

    guest.go_on();
    for (n, handle) in (0..).zip(behind) {
        match handle.wait() {
            Ok(doubled) => assert_eq!(doubled, (2 * n, 1)),
            Err(failure) => assert_eq!((n, &failure.cause), (0, &FailureCause::Cancelled)),
        }
    }
    assert_eq!(only_worker(&manager), worker, "it was not replaced");
}

#[test]
fn a_program_that_goes_away_after_a_wait_in_vain_leaves_nobody_waiting() {
    let _alone = alone();
    for entry in ["worker_without_patience", "worker_with_some_patience"] {
        // Its silence would not be noticed before the test hangs.
        let builder = builder(registry(), 1).silence_limit(Duration::from_secs(3600));
        let manager = by_entry(builder, entry).start().expect("it starts");
        let away = away_file(all_ready(&manager, 1)[0]);
        until(|| std::fs::remove_file(&away).is_ok());
        let handle = manager.submit(Double(1)).expect("it is taken");
        until(|| manager.stats().workers[0].in_flight == 1);
        handle.cancel();
        assert_eq!(handle.wait().expect_err("it is cancelled").cause, FailureCause::Cancelled);
        manager.close(ClosePolicy::Kill).expect("it closes");
    }
}

#[test]
fn closing_reaches_a_program_that_waits_and_one_that_comes_back() {
    let _alone = alone();
    let manager = start(2);
    let pids = all_ready(&manager, 2);
    let deaths: Vec<_> = pids.iter().map(|&pid| Watched::new(pid)).collect();
    let door = Door::new();
    let guest = send_away(&manager, &door);
    thread::scope(|scope| {
        // The grace is an hour: nobody kills them.
        let closing = scope.spawn(|| manager.close(ClosePolicy::Join).expect("it closes"));
        until(|| manager.submit(Double(0)).is_err());
        guest.go_on();
        let report = closing.join().expect("it does not panic");
        assert_eq!(report.tasks.done, report.tasks.scheduled);
    });
    deaths.iter().for_each(Watched::wait);
}

#[test]
fn a_session_that_cannot_be_made_is_a_failed_start_with_its_reason() {
    let _alone = alone();
    let error = by_entry(builder(registry(), 2), "worker_without_session")
        .outage_patience(Duration::ZERO)
        .start()
        .expect_err("no session");
    match &error {
        ManagerStartError::Workers(StartFailure::Session { reason, .. }) => {
            assert!(reason.ends_with("there is none today"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_program_that_drops_its_loop_ends_and_is_replaced() {
    let _alone = alone();
    let manager = start(1);
    let mut before = only_worker(&manager).expect("it is ready");
    for _ in 0..3 {
        let death = Watched::new(before);
        manager.submit(Leave).expect("it is taken").wait().expect("its end was sent before");
        let behind = doubles(&manager, 20);
        death.wait();
        assert_doubled(behind);
        let (after, ..) = manager.submit(Where).expect("it is taken").wait().expect("it is done");
        assert_ne!(after, before);
        before = after;
    }
    assert_eq!(manager.close(ClosePolicy::Join).expect("it closes").tasks.failed, 0);
}

#[test]
fn a_program_that_panics_beside_its_tasks_exits_as_every_panic_does() {
    let _alone = alone();
    let manager = usual(1).crash_limit(1).start().expect("it starts");
    let directory = tempfile::tempdir().expect("a directory");
    let farewell = directory.path().join("farewell");
    say_farewell(&manager, &farewell);
    let failure = manager.submit(PanicOutside).expect("it is taken").wait().expect_err("it is charged");
    let death = &failure.deaths[0];
    assert_eq!(death.status, ExitStatus::Exited(101), "{failure}");
    assert!(death.stderr_tail.contains("a fault of the program's own"), "{failure}");
    assert!(farewell.exists(), "its session was dropped");
    assert_doubled(doubles(&manager, 10));
}

/// The session of the only worker says in this file when it is dropped. Returns the name of the thread that it was made on.
fn say_farewell(manager: &ProcessManager, file: &Path) -> String {
    manager.submit(Farewell(file.into())).expect("it is taken").wait().expect("it is done");
    manager.submit(Where).expect("it is taken").wait().expect("it is done").2
}

#[test]
fn a_program_that_drops_its_loop_or_is_asked_to_close_drops_its_session() {
    let _alone = alone();
    let directory = tempfile::tempdir().expect("a directory");
    let dropped = |name: &str| {
        let file = directory.path().join(name);
        (file.clone(), move || std::fs::read_to_string(file).expect("it was dropped"))
    };
    let manager = start(1);
    let (file, dropped_on) = dropped("loop");
    let made_on = say_farewell(&manager, &file);
    let death = Watched::new(only_worker(&manager).expect("it is ready"));
    manager.submit(Leave).expect("it is taken").wait().expect("its end was sent before");
    death.wait();
    assert_eq!(dropped_on(), made_on);
    for policy in policies::patient() {
        let manager = start(1);
        let (file, dropped_on) = dropped(&format!("{policy:?}"));
        let made_on = say_farewell(&manager, &file);
        manager.close(policy).expect("it closes");
        assert_eq!(dropped_on(), made_on, "{policy:?}");
    }
}

#[test]
fn a_worker_that_is_killed_while_its_program_is_away_is_charged_to_nobody() {
    let _alone = alone();
    let manager = start(1);
    let door = Door::new();
    let guest = send_away(&manager, &door);
    let behind = doubles(&manager, 20);
    until(|| manager.stats().workers[0].in_flight > 0);
    signal(guest.pid, Signal::KILL);
    assert_doubled(behind);
}

/// A program that stays away keeps one task at most: whatever stands behind that one is taken back.
#[test]
fn a_program_that_stays_away_holds_up_one_task_at_most() {
    const TASKS: usize = 100;
    let _alone = alone();
    let manager = start(2);
    all_ready(&manager, 2);
    let door = Door::new();
    let guest = send_away(&manager, &door);
    for _ in 0..5 {
        let handles = doubles(&manager, TASKS as u32);
        until(|| handles.iter().filter(|handle| handle.is_finished()).count() + 1 >= TASKS);
    }
    // What was held up in one round came back in the next, for want of a better place.
    until(|| manager.stats().tasks.pending <= 1);
    guest.go_on();
    let report = manager.close(ClosePolicy::Join).expect("it closes");
    assert_eq!(report.tasks.done, 1 + 5 * TASKS as u64);
}
