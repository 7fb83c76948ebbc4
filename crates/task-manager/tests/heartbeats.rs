//! Heartbeats of tasks in worker processes that die, are stopped, or are killed for another's silence; and the other
//! signal: whether the process lives at all.

#[path = "support/both.rs"]
mod both;
mod support;

use std::{
    fs,
    path::PathBuf,
    process, thread,
    time::{Duration, Instant},
};

use both::{Door, GRACE, Guest, come_to, names, wait_at};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use support::{
    all_ready, alone, assert_balanced, assert_stopped, builder, close, let_pass, only_worker,
    process::{Program, all_threads_stopped, await_death, part, say, signal, status, wait_for_the_test},
    tasks, until,
};
use workfleet_task_manager::{
    AsyncTask, ClosePolicy, ExitStatus, FailureCause, KillReason, Priority, ProcessManager,
    ProcessManagerBuilder, Registry, Task, TaskContext, TaskError, TaskHandle, TaskSpec, ThreadManager,
};

/// How long a [`Timed`] or [`Ignores`], which beat at first or all the time, may be silent.
const TIMEOUT: Duration = Duration::from_secs(1);
/// How long a [`Mute`], which never beats, may be silent.
const MUTE_TIMEOUT: Duration = Duration::from_millis(100);
/// Far more often than that, beats go out in these tests.
const THROTTLE: Duration = Duration::from_millis(20);

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Step {
    Say(u32),
    /// Says all numbers up to this one; fails if that takes much memory.
    SayMany(u32),
    SayOftenUntil(PathBuf),
    /// The same, with messages between them, as many as go.
    SayAndSendUntil(PathBuf),
    Flush,
    WaitAt(PathBuf),
    WaitForCancellation,
    Block(Duration),
    Compute(Duration),
    Die(End),
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum End {
    Kill,
    Exit,
    Fail,
    Panic,
}

/// Does these steps in its first attempt, and nothing in those that follow.
#[derive(Debug, Serialize, Deserialize)]
struct Once(Vec<Step>);

/// Does these steps in every attempt.
#[derive(Debug, Serialize, Deserialize)]
struct Always(Vec<Step>);

/// The same, and may not be silent.
#[derive(Debug, Serialize, Deserialize)]
struct Timed(Vec<Step>);

/// The same, for less long.
#[derive(Debug, Serialize, Deserialize)]
struct Mute(Vec<Step>);

/// Comes to a door and waits there, beside others.
#[derive(Debug, Serialize, Deserialize)]
struct Beside(PathBuf, String);

/// Never ends, beside others, and may not be silent.
#[derive(Debug, Serialize, Deserialize)]
struct Ignores(PathBuf);

/// The attempt that ended, what those before it had said last, and where it ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Done {
    attempt: u32,
    last: Option<u32>,
    pid: u32,
}

fn done(cx: &TaskContext) -> Result<Done, TaskError> {
    Ok(Done { attempt: cx.attempt(), last: cx.last_heartbeat()?, pid: process::id() })
}

macro_rules! task {
    ($type:ident, $name:literal, $timeout:expr, $steps:expr) => {
        impl TaskSpec for $type {
            const NAME: &'static str = $name;
            type Output = Done;
            const HEARTBEAT_TIMEOUT: Option<Duration> = $timeout;
        }
        impl Task for $type {
            fn run(self, cx: &TaskContext) -> Result<Done, TaskError> {
                let steps: fn(u32) -> bool = $steps;
                for step in self.0.iter().filter(|_| steps(cx.attempt())) {
                    step.carry_out(cx)?;
                }
                done(cx)
            }
        }
    };
}
task!(Once, "once", None, |attempt| attempt == 1);
task!(Always, "always", None, |_| true);
task!(Timed, "timed", Some(TIMEOUT), |_| true);
task!(Mute, "mute", Some(MUTE_TIMEOUT), |_| true);

impl TaskSpec for Beside {
    const NAME: &'static str = "beside";
    type Output = Done;
}

impl AsyncTask for Beside {
    async fn run(self, cx: &TaskContext) -> Result<Done, TaskError> {
        come_to(&self.0, &self.1).await?;
        done(cx)
    }
}

impl TaskSpec for Ignores {
    const NAME: &'static str = "ignores";
    type Output = Done;
    const HEARTBEAT_TIMEOUT: Option<Duration> = Some(TIMEOUT);
}

impl AsyncTask for Ignores {
    async fn run(self, cx: &TaskContext) -> Result<Done, TaskError> {
        cx.heartbeat(&9_u32)?;
        loop {
            come_to(&self.0, "ignores").await?;
        }
    }
}

impl Step {
    fn carry_out(&self, cx: &TaskContext) -> Result<(), TaskError> {
        match self {
            Self::Say(number) => cx.heartbeat(number)?,
            Self::SayMany(numbers) => {
                let before = status("VmHWM");
                (0..=*numbers).try_for_each(|number| cx.heartbeat(&number))?;
                let grown_kib = status("VmHWM") - before;
                assert!(grown_kib < 8 * 1024, "{grown_kib} KiB for what does not last");
            }
            Self::SayOftenUntil(file) => {
                while !file.exists() {
                    cx.heartbeat(&1_u32)?;
                    let_pass(Duration::from_millis(5));
                }
            }
            Self::SayAndSendUntil(file) => {
                while !file.exists() {
                    cx.heartbeat(&1_u32)?;
                    cx.send_message(&tasks::Text("x".repeat(64 << 10)))?;
                }
            }
            Self::Flush => cx.flush()?,
            Self::WaitAt(door) => wait_at(door, "waits")?,
            Self::WaitForCancellation => tasks::wait_for_cancellation(cx)?,
            Self::Block(time) => let_pass(*time),
            Self::Compute(time) => {
                let end = Instant::now() + *time;
                while Instant::now() < end {
                    std::hint::spin_loop();
                }
            }
            Self::Die(End::Kill) => signal(process::id(), Signal::KILL),
            Self::Die(End::Exit) => process::exit(0),
            Self::Die(End::Fail) => return Err("it fails".into()),
            Self::Die(End::Panic) => panic!("it panics"),
        }
        Ok(())
    }
}

fn registry() -> Registry {
    let registry = tasks::registry().task::<Once>().task::<Always>().task::<Timed>().task::<Mute>();
    registry.async_task::<Beside>().async_task::<Ignores>()
}

workfleet_task_manager::test_worker!(registry());

fn one_worker() -> ProcessManagerBuilder {
    builder(registry(), 1)
}

fn start(builder: ProcessManagerBuilder) -> ProcessManager {
    builder.start().expect("it starts")
}

fn submit<T: TaskSpec>(manager: &ProcessManager, task: T) -> TaskHandle<T::Output> {
    manager.submit(task).expect("it is taken")
}

fn said<O: serde::de::DeserializeOwned>(handle: &TaskHandle<O>) -> Option<u32> {
    handle.last_heartbeat().map(|details| details.decode().expect("it is a number"))
}

// ---- What a retry finds ----

#[test]
fn a_retry_finds_the_last_that_had_arrived() {
    use Step::{Die, Flush, Say};
    let _alone = alone();
    let manager = start(one_worker());
    let cases = [
        // Of what is held back when the worker is killed, nothing arrives.
        (vec![Die(End::Kill)], None),
        (vec![Say(1), Flush, Die(End::Kill)], Some(1)),
        (vec![Say(1), Say(2), Say(3), Flush, Say(4), Die(End::Kill)], Some(3)),
        (vec![Say(1), Say(2), Flush, Die(End::Exit)], Some(2)),
        // What is held back goes out on the way out.
        (vec![Say(1), Say(2), Say(3), Die(End::Exit)], Some(3)),
    ];
    for (steps, last) in cases {
        let done = submit(&manager, Once(steps)).wait().expect("the second attempt does nothing");
        assert_eq!((done.attempt, done.last), (2, last));
    }
    close(&manager);
}

#[test]
fn a_task_whose_workers_all_die_fails_with_the_last_that_had_arrived() {
    use Step::{Die, Flush, Say};
    let _alone = alone();
    let manager = start(one_worker());
    let handle = submit(&manager, Always(vec![Say(1), Say(2), Flush, Die(End::Kill)]));
    until(|| handle.is_finished());
    assert_eq!(said(&handle), Some(2));
    let failure = handle.wait().expect_err("its workers die");
    assert_eq!((&failure.cause, failure.deaths.len()), (&FailureCause::WorkerDied, 3));
    assert_eq!(failure.last_heartbeat.as_ref().map(|last| last.decode()), Some(Ok(2_u32)));
    for end in [End::Fail, End::Panic] {
        let failure = submit(&manager, Always(vec![Say(1), Say(2), Die(end)])).wait().expect_err("it fails");
        assert_eq!(failure.last_heartbeat.as_ref().map(|last| last.decode()), Some(Ok(2_u32)));
    }
    close(&manager);
}

#[test]
fn a_task_that_waits_for_its_next_attempt_still_shows_what_it_said() {
    use Step::{Flush, Say, WaitAt};
    let _alone = alone();
    let door = Door::new();
    let manager = start(one_worker());
    let handle = submit(&manager, Once(vec![Say(1), Flush, WaitAt(door.path())]));
    let guest = door.next();
    let urgent = Always(vec![WaitAt(door.path())]);
    let urgent = manager.submit_with(urgent, Priority(0)).expect("it is taken");
    signal(guest.pid, Signal::KILL);
    let guest = door.next();
    until(|| manager.stats().queued == 1);
    assert_eq!(said(&handle), Some(1));
    guest.go_on();
    urgent.wait().expect("it is done");
    assert_eq!(handle.wait().expect("it is tried again").last, Some(1));
    close(&manager);
}

// ---- What goes out, and when ----

#[test]
fn what_is_held_back_goes_out_in_time_although_the_task_says_nothing_more() {
    use Step::{Say, WaitAt};
    let _alone = alone();
    let door = Door::new();
    let manager = start(one_worker().default_heartbeat_throttle(THROTTLE));
    let handle = submit(&manager, Once(vec![Say(1), Say(2), Say(3), WaitAt(door.path())]));
    let guest = door.next();
    until(|| said(&handle) == Some(3));
    guest.go_on();
    handle.wait().expect("it is done");
    close(&manager);
}

#[test]
fn a_flush_covers_the_latest_heartbeat() {
    use Step::{Flush, Say, WaitAt};
    let _alone = alone();
    let door = Door::new();
    let manager = start(one_worker());
    let mut steps = vec![Say(1), Say(2), Flush, WaitAt(door.path())];
    steps.extend([Say(3), WaitAt(door.path())]);
    let handle = submit(&manager, Once(steps));
    let guest = door.next();
    assert_eq!(said(&handle), Some(2));
    guest.go_on();
    let guest = door.next();
    assert_eq!(said(&handle), Some(2), "the next is held back");
    guest.go_on();
    handle.wait().expect("it is done");
    close(&manager);
}

#[test]
fn a_cancellation_sends_what_is_held_back_before_the_task_hears_of_it() {
    use Step::{Die, Say, WaitAt, WaitForCancellation};
    let _alone = alone();
    let door = Door::new();
    let manager = start(one_worker());
    let steps = vec![Say(1), Say(2), WaitAt(door.path()), WaitForCancellation, Die(End::Kill)];
    let handle = submit(&manager, Always(steps.clone()));
    door.next().go_on();
    handle.cancel();
    let failure = handle.wait().expect_err("it is cancelled, and dies of that");
    assert_eq!(failure.cause, FailureCause::Cancelled);
    assert_eq!(failure.last_heartbeat.as_ref().map(|last| last.decode()), Some(Ok(2_u32)));
    // The same when its manager closes.
    let handle = submit(&manager, Always(steps));
    door.next().go_on();
    assert_balanced(&manager.close(ClosePolicy::Cancel).expect("it closes"));
    let failure = handle.wait().expect_err("it is cancelled, and dies of that");
    assert_eq!(failure.last_heartbeat.as_ref().map(|last| last.decode()), Some(Ok(2_u32)));
}

#[test]
fn a_million_heartbeats_take_no_memory() {
    use Step::{Die, Flush, SayMany};
    let _alone = alone();
    let manager = start(one_worker().default_heartbeat_throttle(THROTTLE));
    let steps = vec![SayMany(1_000_000), Flush, Die(End::Kill)];
    let before = status("VmHWM");
    let done = submit(&manager, Once(steps)).wait().expect("the second attempt does nothing");
    assert_eq!((done.attempt, done.last), (2, Some(1_000_000)));
    let grown_kib = status("VmHWM") - before;
    assert!(grown_kib < 8 * 1024, "{grown_kib} KiB for what does not last");
    close(&manager);
}

// ---- Workers that are killed for a silent task ----

#[test]
fn who_runs_beside_a_task_that_ignores_its_timeout_is_neither_charged_nor_suspected() {
    let _alone = alone();
    let door = Door::new();
    let grace = Duration::from_millis(50);
    let manager = start(one_worker().async_tasks(3).crash_limit(1).heartbeat_grace(grace));
    let beside: Vec<_> =
        ["one", "two"].map(|name| submit(&manager, Beside(door.path(), name.into()))).into_iter().collect();
    let before = door.next_few(2);
    let ignores = submit(&manager, Ignores(door.path()));
    let ignoring = door.next();
    let failure = ignores.wait().expect_err("it is silent");
    assert!(matches!(failure.cause, FailureCause::HeartbeatTimeout { timeout, .. } if timeout == TIMEOUT));
    assert_eq!(failure.last_heartbeat.as_ref().map(|last| last.decode()), Some(Ok(9_u32)));
    assert_eq!((failure.attempt, failure.deaths.len()), (1, 1));
    let death = &failure.deaths[0];
    assert_eq!(death.killed_because, Some(KillReason::HeartbeatMissed(TIMEOUT)), "{death}");
    assert_eq!((death.charged, death.status), (Some(failure.task), ExitStatus::Signaled(libc::SIGKILL)));
    // Both are tried again, at once: a suspect would have its worker to itself. With a limit of one crash, who is charged
    // fails.
    let after = door.next_few(2);
    assert_eq!(names(&after), names(&before));
    assert!(after[0].pid == after[1].pid && after[0].pid != before[0].pid);
    after.into_iter().for_each(Guest::go_on);
    for handle in beside {
        assert_eq!(handle.wait().expect("it is done").attempt, 2);
    }
    drop((before, ignoring));
    close(&manager);
}

#[test]
fn who_runs_on_a_thread_that_is_abandoned_for_another_is_run_again_on_the_next() {
    let _alone = alone();
    let door = Door::new();
    let builder = ThreadManager::builder(registry()).workers(1).async_tasks(3).grace(GRACE);
    let manager = builder.heartbeat_grace(Duration::from_millis(50)).start().expect("it starts");
    let beside =
        ["one", "two"].map(|name| manager.submit(Beside(door.path(), name.into())).expect("it is taken"));
    let before = door.next_few(2);
    let ignores = manager.submit(Ignores(door.path())).expect("it is taken");
    let ignoring = door.next();
    let failure = ignores.wait().expect_err("it is silent");
    assert!(matches!(failure.cause, FailureCause::HeartbeatTimeout { timeout, .. } if timeout == TIMEOUT));
    let after = door.next_few(2);
    assert_eq!(names(&after), names(&before));
    // What the abandoned thread still brings about is nobody's.
    before.into_iter().for_each(Guest::go_on);
    assert!(beside.iter().all(|handle| !handle.is_finished()));
    after.into_iter().for_each(Guest::go_on);
    for handle in beside {
        assert_eq!(handle.wait().expect("it is done").attempt, 2);
    }
    let report = manager.close(ClosePolicy::Join).expect("it closes");
    assert_balanced(&report);
    assert_eq!(report.abandoned.iter().map(|left| left.task).collect::<Vec<_>>(), [failure.task]);
    drop(ignoring);
}

#[test]
fn a_task_that_ends_within_the_grace_costs_no_worker() {
    let _alone = alone();
    let manager = start(one_worker());
    let pid = all_ready(&manager, 1)[0];
    let failure = submit(&manager, Mute(vec![Step::WaitForCancellation])).wait().expect_err("it is silent");
    assert!(matches!(failure.cause, FailureCause::HeartbeatTimeout { .. }), "{failure}");
    assert_eq!(failure.deaths, []);
    assert_eq!(submit(&manager, Once(Vec::new())).wait().expect("it is done").pid, pid);
    close(&manager);
}

#[test]
fn a_worker_that_dies_of_a_task_that_has_missed_is_not_given_it_again() {
    let _alone = alone();
    let manager = start(one_worker());
    let steps = vec![Step::WaitForCancellation, Step::Die(End::Kill)];
    let failure = submit(&manager, Mute(steps)).wait().expect_err("it is silent");
    assert!(matches!(failure.cause, FailureCause::HeartbeatTimeout { .. }), "{failure}");
    assert_eq!(failure.deaths.len(), 1);
    assert_eq!((failure.deaths[0].killed_because, failure.deaths[0].charged), (None, Some(failure.task)));
    close(&manager);
}

#[test]
fn killing_a_pool_ends_a_task_that_has_missed_by_that() {
    let _alone = alone();
    let manager = start(one_worker().heartbeat_grace(Duration::from_secs(3600)));
    let door = Door::new();
    let handle = submit(&manager, Mute(vec![Step::WaitForCancellation, Step::WaitAt(door.path())]));
    // Nobody but the clock has cancelled it.
    let guest = door.next();
    assert!(!handle.is_finished(), "it runs still");
    assert_balanced(&manager.close(ClosePolicy::Kill).expect("it closes"));
    let failure = handle.wait().expect_err("it was silent");
    assert!(matches!(failure.cause, FailureCause::HeartbeatTimeout { .. }), "{failure}");
    drop(guest);
}

// ---- The other signal ----

fn silent_for(manager: &ProcessManager) -> Option<Duration> {
    manager.stats().workers[0].silent_for
}

#[test]
fn a_worker_that_is_stopped_shows_as_silent_and_is_killed_past_the_limit() {
    let _alone = alone();
    let door = Door::new();
    let limit = Duration::from_secs(4);
    let manager = start(one_worker().silence_limit(limit).crash_limit(2));
    let handle = submit(&manager, Always(vec![Step::WaitAt(door.path())]));
    let guest = door.next();
    assert_eq!(silent_for(&manager), None);
    signal(guest.pid, Signal::STOP);
    until(|| silent_for(&manager).is_some_and(|silent| silent >= limit / 2));
    await_death(guest.pid);
    // It is tried elsewhere.
    let again = door.next();
    assert_ne!(again.pid, guest.pid);
    assert_eq!(silent_for(&manager), None);
    signal(again.pid, Signal::KILL);
    let failure = handle.wait().expect_err("both of its workers died");
    assert_eq!(failure.deaths.len(), 2, "{failure}");
    assert_stopped(&failure.deaths[0], libc::SIGSTOP, limit);
    assert_eq!(failure.deaths[1].killed_because, None, "{failure}");
    close(&manager);
}

#[test]
fn a_worker_that_goes_on_in_time_does_so_as_if_nothing_had_been() {
    let _alone = alone();
    let door = Door::new();
    let manager = start(one_worker().silence_limit(Duration::from_secs(4)));
    let handle = submit(&manager, Always(vec![Step::WaitAt(door.path())]));
    let guest = door.next();
    let pid = guest.pid;
    signal(pid, Signal::STOP);
    until(|| silent_for(&manager).is_some());
    assert!(all_threads_stopped(pid));
    signal(pid, Signal::CONT);
    until(|| silent_for(&manager).is_none());
    guest.go_on();
    assert_eq!(handle.wait().expect("it is done"), Done { attempt: 1, last: None, pid });
    assert_eq!(only_worker(&manager), Some(pid));
    close(&manager);
}

#[test]
fn a_task_that_blocks_or_computes_leaves_its_worker_its_voice() {
    let _alone = alone();
    let limit = Duration::from_secs(2);
    let manager = start(builder(registry(), 2).silence_limit(limit));
    let steps = [Step::Block(limit * 3 / 2), Step::Compute(limit * 3 / 2)];
    for handle in steps.map(|step| submit(&manager, Always(vec![step]))) {
        assert_eq!(handle.wait().expect("its worker lives").attempt, 1);
    }
    close(&manager);
}

// ---- A manager that is late itself ----

/// Not a test by itself: the program that the tests below start. It throws away what its task sends.
#[test]
fn program() {
    let Some(part) = part() else { return };
    let (how, file) = part.split_once(' ').expect("both");
    let steps = match how {
        "says" => vec![Step::SayOftenUntil(file.into())],
        _ => vec![Step::SayAndSendUntil(file.into())],
    };
    let manager = start(one_worker().max_heartbeat_throttle(THROTTLE));
    let handle = submit(&manager, Timed(steps));
    thread::scope(|scope| {
        scope.spawn(|| manager.messages::<tasks::Text>().for_each(drop));
        until(|| said(&handle).is_some());
        say("ready");
        wait_for_the_test();
        assert_eq!(handle.wait().expect("it has beaten all the time").attempt, 1);
        close(&manager);
    });
}

/// Stops a manager so many times, each for longer than its task may be silent.
fn stop_the_manager_of(how: &str, times: u32) {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("end");
    let mut program = Program::start("program", &format!("{how} {}", file.to_str().expect("a text")));
    assert_eq!(program.hear(), "ready");
    for _ in 0..times {
        program.stop_for(TIMEOUT * 5 / 4);
        let_pass(TIMEOUT / 4);
    }
    fs::write(&file, "").expect("a file");
    program.go_on();
    program.assert_success();
}

#[test]
fn a_manager_that_was_stopped_finds_the_beats_that_came_meanwhile() {
    let _alone = alone();
    stop_the_manager_of("says", 2);
}

#[test]
fn a_manager_that_was_stopped_does_not_blame_a_task_that_could_say_nothing_meanwhile() {
    let _alone = alone();
    stop_the_manager_of("says-and-sends", 1);
}
