//! Outages cost time, and no task: what the system refuses for a while is waited for.

mod support;

use std::{
    env, fs,
    fs::File,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process, thread,
    time::Duration,
};

use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};
use support::{
    all_ready, alone, close, notices, policies,
    process::{Program, part, signal_child},
    task::task,
    until,
};
use tempfile::TempDir;
use workfleet_task_manager::{
    FailureCause, ManagerStartError, Pool, ProcessManager, ProcessManagerBuilder, Registry, StartFailure,
    Task, TaskContext, TaskError, TaskHandle, TaskSpec, ThreadManager,
};

workfleet_task_manager::test_worker!(registry());

fn registry() -> Registry {
    Registry::new().task::<Echo>().task::<Print>().task::<Die>().session(connect)
}

/// A session that cannot be made while there is a file that the worker's arguments name.
fn connect() -> Result<(), TaskError> {
    let lock = env::args().find_map(|argument| argument.strip_prefix("lock=").map(PathBuf::from));
    match lock.is_some_and(|lock| lock.exists()) {
        true => Err("the table is locked".into()),
        false => Ok(()),
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Echo(u32);
impl TaskSpec for Echo {
    const NAME: &'static str = "echo";
    type Output = u32;
}
impl Task for Echo {
    fn run(self, _cx: &TaskContext) -> Result<u32, TaskError> {
        Ok(self.0)
    }
}

/// Prints a line.
#[derive(Debug, Serialize, Deserialize)]
struct Print(String);
impl TaskSpec for Print {
    const NAME: &'static str = "print";
    type Output = u32;
}
impl Task for Print {
    fn run(self, _cx: &TaskContext) -> Result<u32, TaskError> {
        eprintln!("{}", self.0);
        Ok(process::id())
    }
}

/// Prints its last words and aborts its worker.
#[derive(Debug, Serialize, Deserialize)]
struct Die;
task!(Die, "die", (), |self, _cx| {
    eprintln!("last words");
    process::abort()
});

/// As good as forever: a test that waits for this hangs.
const NEVER: Duration = Duration::from_secs(3600);

/// What is logged of each start that fails.
const NOT_STARTED: &str = "a worker did not start";
/// So many starts on each slot have to fail before an outage ends.
const FAILURES_PER_SEAT: u64 = 3;
const WORKERS: usize = 8;
/// The same for a pool of so many workers.
const FAILURES: u64 = FAILURES_PER_SEAT * WORKERS as u64;
/// A first start waits for 10 s only, whatever else the machine does: so few workers, whose first starts fail and some more.
const FIRST_WORKERS: usize = 2;
const FIRST_FAILURES: u64 = 2 * FIRST_WORKERS as u64;

/// A file that keeps sessions from being made.
struct Lock {
    directory: TempDir,
}

impl Lock {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().expect("a directory") }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("lock")
    }

    fn close(&self) {
        File::create(self.path()).expect("a file");
    }

    fn open(&self) {
        fs::remove_file(self.path()).expect("it is there");
    }

    /// A manager whose workers heed it.
    fn builder(&self, workers: usize) -> ProcessManagerBuilder {
        // The harness skips the tests of that name: there are none.
        let lock = format!("lock={}", self.path().display());
        ProcessManager::builder(registry()).workers(workers).arguments([
            "workfleet_worker",
            "--nocapture",
            "--skip",
            &lock,
        ])
    }
}

fn kill_all(pids: &[u32]) {
    pids.iter().for_each(|&pid| signal_child(pid, Signal::KILL));
}

fn submit(manager: &Pool, tasks: u32) -> Vec<TaskHandle<u32>> {
    (0..tasks).map(|number| manager.submit(Echo(number)).expect("it is taken")).collect()
}

fn assert_done(handles: Vec<TaskHandle<u32>>) {
    for (number, handle) in handles.into_iter().enumerate() {
        assert_eq!(handle.wait().expect("an outage fails no task"), number as u32);
    }
}

/// Not a test by itself: what has the whole process for itself.
#[test]
fn plays_a_part() {
    match part().as_deref() {
        None => {}
        Some("descriptors") => without_descriptors_for_a_while(),
        Some("descriptors-at-first") => without_descriptors_at_first(),
        Some(other) => panic!("no part {other}"),
    }
}

fn allow_descriptors(current: u64) {
    let limit = Rlimit { current: Some(current), maximum: getrlimit(Resource::Nofile).maximum };
    setrlimit(Resource::Nofile, limit).expect("it is lower than the maximum");
}

fn without_descriptors_for_a_while() {
    let all = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let manager = ProcessManager::builder(registry()).workers(WORKERS).start().expect("it starts");
    let pids = all_ready(&manager, WORKERS);
    let before = notices::count(NOT_STARTED);
    // What is open stays open, and nothing can be opened.
    allow_descriptors(3);
    pids.iter().for_each(|&pid| {
        rustix::process::kill_process(support::process::to_pid(pid), Signal::KILL).expect("it is there");
    });
    let waiting = submit(&manager, 5000);
    notices::await_more(NOT_STARTED, before, FAILURES);
    allow_descriptors(all);
    assert_done(waiting);
    assert_eq!(close(&manager).tasks.done, 5000);
}

#[test]
fn no_descriptor_for_a_while_costs_no_task() {
    let _alone = alone();
    Program::start("plays_a_part", "descriptors").assert_success();
}

/// What is logged if the manager's own threads or descriptors are refused.
const OWN_THREADS: &str = "the manager's own threads could not be started and are tried again";

fn without_descriptors_at_first() {
    let all = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let before = notices::count(OWN_THREADS);
    allow_descriptors(3);
    thread::scope(|scope| {
        scope.spawn(|| {
            notices::await_more(OWN_THREADS, before, 1);
            allow_descriptors(all);
        });
        let manager = ProcessManager::builder(registry()).workers(WORKERS).start().expect("it starts late");
        assert_done(submit(&manager, 100));
        close(&manager);
    });
}

#[test]
fn a_first_start_waits_for_descriptors() {
    let _alone = alone();
    Program::start("plays_a_part", "descriptors-at-first").assert_success();
}

#[test]
fn a_first_start_waits_for_its_sessions() {
    let _alone = alone();
    let lock = Lock::new();
    lock.close();
    let before = notices::count(NOT_STARTED);
    thread::scope(|scope| {
        scope.spawn(|| {
            notices::await_more(NOT_STARTED, before, FIRST_FAILURES);
            lock.open();
        });
        let manager = lock.builder(FIRST_WORKERS).start().expect("it starts late");
        assert_done(submit(&manager, 100));
        close(&manager);
    });
}

#[test]
fn a_first_start_that_waits_in_vain_says_what_it_waited_for() {
    let _alone = alone();
    let lock = Lock::new();
    lock.close();
    match lock.builder(2).outage_patience(Duration::from_millis(1)).start() {
        Err(ManagerStartError::Workers(StartFailure::Session { reason, .. })) => {
            assert!(reason.contains("the table is locked"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn threads_wait_for_their_sessions_as_processes_do() {
    let _alone = alone();
    let lock = Lock::new();
    lock.close();
    let (path, before) = (lock.path(), notices::count(NOT_STARTED));
    let registry = Registry::new().task::<Echo>().session(move || match path.exists() {
        true => Err("the table is locked".into()),
        false => Ok(()),
    });
    thread::scope(|scope| {
        scope.spawn(|| {
            notices::await_more(NOT_STARTED, before, FIRST_FAILURES);
            lock.open();
        });
        let manager =
            ThreadManager::builder(registry).workers(FIRST_WORKERS).start().expect("it starts late");
        assert_done(submit(&manager, 100));
        close(&manager);
    });
}

/// A manager whose workers have died and do not start, with a task that waits.
fn in_an_outage(builder: ProcessManagerBuilder, lock: &Lock) -> (ProcessManager, TaskHandle<u32>) {
    let manager = builder.start().expect("it starts");
    let workers = manager.stats().workers.len();
    let pids = all_ready(&manager, workers);
    let before = notices::count(NOT_STARTED);
    lock.close();
    kill_all(&pids);
    notices::await_more(NOT_STARTED, before, FAILURES_PER_SEAT * workers as u64);
    let waits = manager.submit(Echo(7)).expect("it is taken");
    (manager, waits)
}

#[test]
fn what_waits_when_the_patience_is_over_fails_with_the_reason_and_the_time() {
    let _alone = alone();
    let lock = Lock::new();
    let patience = Duration::from_millis(20);
    let (manager, waits) = in_an_outage(lock.builder(2).outage_patience(patience), &lock);
    let failure = waits.wait().expect_err("no worker starts");
    let FailureCause::NeverStarted { reason, waited, .. } = &failure.cause else { panic!("{failure}") };
    assert!(reason.starts_with("no worker has started for "), "{reason}");
    assert!(waited.is_some_and(|waited| waited >= patience), "{waited:?}");
    assert!(reason.ends_with("the table is locked"), "{reason}");
    assert_eq!((failure.attempt, failure.deaths.len()), (0, 0));
    // The pool goes on trying.
    lock.open();
    while let Err(failure) = manager.submit(Echo(1)).expect("it is taken").wait() {
        assert!(matches!(failure.cause, FailureCause::NeverStarted { .. }), "{failure}");
    }
    close(&manager);
}

#[test]
fn a_task_that_was_begun_and_is_not_started_again_says_so() {
    let _alone = alone();
    let lock = Lock::new();
    let manager =
        lock.builder(1).outage_patience(Duration::from_millis(1)).crash_limit(9).start().expect("it starts");
    all_ready(&manager, 1);
    lock.close();
    let (begun, waits) = (manager.submit(Die).expect("it is taken"), submit(&manager, 1));
    let failure = begun.wait().expect_err("it dies, and no worker starts");
    let FailureCause::NotStartedAgain { attempts: 1, reason, .. } = &failure.cause else {
        panic!("{failure}")
    };
    assert!(reason.ends_with("the table is locked"), "{reason}");
    assert_eq!((failure.attempt, failure.deaths.len()), (1, 1));
    assert!(failure.to_string().contains("not started again after its first attempt"), "{failure}");
    for handle in waits {
        let failure = handle.wait().expect_err("it was not begun");
        assert!(matches!(failure.cause, FailureCause::NeverStarted { .. }), "{failure}");
    }
    lock.open();
    close(&manager);
}

#[test]
fn closing_by_joining_waits_for_the_end_of_an_outage() {
    let _alone = alone();
    let lock = Lock::new();
    let (manager, waits) = in_an_outage(lock.builder(2).outage_patience(NEVER), &lock);
    thread::scope(|scope| {
        let closing = scope.spawn(|| close(&manager));
        until(|| manager.submit(Echo(0)).is_err());
        let before = notices::count(NOT_STARTED);
        notices::await_more(NOT_STARTED, before, 2);
        lock.open();
        let tasks = closing.join().expect("it closes").tasks;
        assert_eq!(tasks.done, tasks.scheduled);
    });
    assert_eq!(waits.wait().expect("it is run"), 7);
}

#[test]
fn closing_by_joining_ends_when_the_patience_does() {
    let _alone = alone();
    let lock = Lock::new();
    let patience = Duration::from_millis(1);
    let (manager, waits) = in_an_outage(lock.builder(2).outage_patience(patience), &lock);
    assert_eq!(close(&manager).tasks.done, 0);
    waits.wait().expect_err("no worker starts");
}

/// A test that waited for the patience here, or for the pause before the next try, would hang.
#[test]
fn closing_otherwise_does_not_wait_for_an_outage() {
    let _alone = alone();
    for policy in policies::halting() {
        let lock = Lock::new();
        let (manager, waits) = in_an_outage(lock.builder(2).outage_patience(NEVER), &lock);
        let report = manager.close(policy).expect("it closes");
        assert_eq!((report.tasks.returned, report.tasks.pending), (1, 0), "{policy:?}");
        waits.wait().expect_err("it was not begun");
    }
}

#[test]
fn a_program_that_is_gone_fails_at_once_what_waits() {
    let _alone = alone();
    let home = tempfile::tempdir().expect("a directory");
    let program = home.path().join("program");
    symlink(env::current_exe().expect("this program"), &program).expect("a link");
    let manager = ProcessManager::builder(registry())
        .program(&program)
        .workers(2)
        .outage_patience(NEVER)
        .start()
        .expect("it starts");
    let pids = all_ready(&manager, 2);
    fs::remove_file(&program).expect("it is there");
    kill_all(&pids);
    let failure = loop {
        // The workers may be about to die.
        if let Err(failure) = manager.submit(Echo(1)).expect("it is taken").wait() {
            break failure;
        }
    };
    let FailureCause::NeverStarted { reason, waited: None, .. } = &failure.cause else { panic!("{failure}") };
    assert!(reason.starts_with("no worker can start: "), "{reason}");
    close(&manager);
}

/// Whatever becomes of the others, and whatever the patience.
#[test]
fn while_one_worker_is_up_no_task_fails() {
    let _alone = alone();
    let lock = Lock::new();
    let manager = lock.builder(WORKERS).outage_patience(Duration::ZERO).start().expect("it starts");
    let pids = all_ready(&manager, WORKERS);
    let before = notices::count(NOT_STARTED);
    lock.close();
    kill_all(&pids[1..]);
    let waiting = submit(&manager, 1000);
    notices::await_more(NOT_STARTED, before, FAILURES);
    assert_done(waiting);
    assert_done(submit(&manager, 1000));
    lock.open();
    close(&manager);
}

/// The disk is full, as far as this log is concerned.
#[test]
fn a_full_disk_costs_lines_and_says_so() {
    let _alone = alone();
    let logs = tempfile::tempdir().expect("a directory");
    symlink("/dev/full", logs.path().join("worker-0.log")).expect("a link");
    let texts = ["a worker's log cannot be written", "lines of a worker are missing in its log"];
    let before = texts.map(notices::count);
    let manager =
        ProcessManager::builder(registry()).workers(1).log_directory(logs.path()).start().expect("it starts");
    for _ in 0..10 {
        manager.submit(Print("nowhere".into())).expect("it is taken").wait().expect("it is run");
    }
    close(&manager);
    assert_eq!(texts.map(notices::count), before.map(|count| count + 1));
}

#[test]
fn a_session_that_cannot_be_made_for_a_while_costs_no_task() {
    let _alone = alone();
    let lock = Lock::new();
    let manager = lock.builder(WORKERS).start().expect("it starts");
    let pids = all_ready(&manager, WORKERS);
    let before = notices::count(NOT_STARTED);
    lock.close();
    kill_all(&pids);
    let waiting = submit(&manager, 3000);
    notices::await_more(NOT_STARTED, before, FAILURES);
    lock.open();
    assert_done(waiting);
    assert_eq!(close(&manager).tasks.done, 3000);
}

#[test]
fn a_log_directory_that_is_away_costs_no_task() {
    let _alone = alone();
    let home = tempfile::tempdir().expect("a directory");
    let logs = home.path().join("logs");
    let manager =
        ProcessManager::builder(registry()).workers(WORKERS).log_directory(&logs).start().expect("it starts");
    let pids = all_ready(&manager, WORKERS);
    fs::remove_dir_all(&logs).expect("it is there");
    fs::write(&logs, "in the way").expect("a file");
    kill_all(&pids);
    assert_done(submit(&manager, 3000));
    let failure = manager.submit(Die).expect("it is taken").wait().expect_err("it aborts");
    assert_eq!(failure.deaths.len(), 3, "{failure}");
    for death in &failure.deaths {
        assert!(death.stderr_tail.ends_with("last words"), "{death}");
    }
    // While nothing can be written, and once it can.
    let print = |text: &str| manager.submit(Print(text.into())).expect("it is taken").wait();
    print("nowhere").expect("it is run");
    fs::remove_file(&logs).expect("it is there");
    until(|| {
        print("here again").expect("it is run");
        read_all(&logs).contains("here again")
    });
    close(&manager);
}

/// What all logs say; nothing where there are none.
fn read_all(logs: &Path) -> String {
    let Ok(entries) = fs::read_dir(logs) else { return String::new() };
    entries.map(|entry| fs::read_to_string(entry.expect("an entry").path()).expect("a text")).collect()
}
