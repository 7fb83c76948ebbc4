//! The end of a worker's sessions: in whichever way a worker leaves in order, its sessions are dropped, on the task's thread,
//! the last made first, and within the grace.

#[path = "support/both.rs"]
mod both;
mod support;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process,
    sync::{Mutex, PoisonError},
    thread::{self, ThreadId},
    time::Duration,
};

use both::{GRACE, Kind, Started, on_both, start};
use serde::{Deserialize, Serialize};
use support::{
    alone, append_line, assert_balanced, assert_no_child_left,
    gate::{Gate, wait_at},
    notices, policies,
    tasks::{Text, ignore_everything, next_text, wait_for_cancellation},
    until,
};
use tempfile::TempDir;
use workfleet_task_manager::{
    ClosePolicy, ManagerStartError, Pool, Priority, ProcessManager, Registry, StartFailure, Task,
    TaskContext, TaskError, TaskSpec, ThreadManager,
};

/// What a session's destructor does once it has said that it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Deed {
    Nothing,
    Panic,
    Hang,
    Abort,
}

/// A session that says in a file where and when it is dropped, if it was told the file.
struct Fate {
    name: &'static str,
    made_on: ThreadId,
    orders: Mutex<Option<(PathBuf, Deed)>>,
}

impl Fate {
    fn new(name: &'static str) -> Self {
        Self { name, made_on: thread::current().id(), orders: Mutex::default() }
    }

    fn arrange(&self, file: &Path, deed: Deed) {
        *self.orders.lock().unwrap_or_else(PoisonError::into_inner) = Some((file.into(), deed));
    }
}

impl Drop for Fate {
    fn drop(&mut self) {
        let orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some((file, deed)) = orders else { return };
        let place = if self.made_on == thread::current().id() { "" } else { " elsewhere" };
        append_line(&file, &format!("{}{place}", self.name)).expect("the file is there");
        match deed {
            Deed::Nothing => {}
            Deed::Panic => panic!("the destructor of a session"),
            // On a thread it ends with the test.
            Deed::Hang => ignore_everything(),
            Deed::Abort => process::abort(),
        }
    }
}

struct First(Fate);
struct Second(Fate);
/// The directory of a worker.
struct Scratch(TempDir);

/// Has the sessions of its worker do this when they are dropped.
#[derive(Debug, Serialize, Deserialize)]
struct Arrange {
    file: PathBuf,
    first: Deed,
    second: Deed,
}

impl TaskSpec for Arrange {
    const NAME: &'static str = "arrange";
    type Output = u32;
}

impl Task for Arrange {
    fn run(self, cx: &TaskContext) -> Result<u32, TaskError> {
        cx.session::<First>()?.0.arrange(&self.file, self.first);
        cx.session::<Second>()?.0.arrange(&self.file, self.second);
        Ok(process::id())
    }
}

/// Says "begun". When it is cancelled, it waits until the sessions of another worker were dropped, and ends with its output.
#[derive(Debug, Serialize, Deserialize)]
struct OutlastIdle {
    file: PathBuf,
}

impl TaskSpec for OutlastIdle {
    const NAME: &'static str = "outlast-idle";
    type Output = ();
}

impl Task for OutlastIdle {
    fn run(self, cx: &TaskContext) -> Result<(), TaskError> {
        cx.send_message(&Text("begun".into()))?;
        wait_for_cancellation(cx)?;
        until(|| lines(&self.file) == IN_ORDER);
        Ok(())
    }
}

/// The path of its worker's directory.
#[derive(Debug, Serialize, Deserialize)]
struct WhereIsScratch;

impl TaskSpec for WhereIsScratch {
    const NAME: &'static str = "where-is-scratch";
    type Output = PathBuf;
}

impl Task for WhereIsScratch {
    fn run(self, cx: &TaskContext) -> Result<PathBuf, TaskError> {
        Ok(cx.session::<Scratch>()?.0.path().into())
    }
}

fn tasks() -> Registry {
    Registry::new().task::<Arrange>().task::<OutlastIdle>().task::<WhereIsScratch>()
}

/// With a gate, each worker waits there while it makes its sessions, and says beside it when they are dropped.
fn registry_with(gate: Option<PathBuf>) -> Registry {
    let told = gate.clone();
    tasks()
        .session(move || {
            let fate = Fate::new("first");
            told.iter().for_each(|gate| fate.arrange(&dropped_beside(gate), Deed::Nothing));
            Ok(First(fate))
        })
        .session(move || {
            let fate = Fate::new("second");
            if let Some(gate) = &gate {
                fate.arrange(&dropped_beside(gate), Deed::Nothing);
                wait_at(gate)?;
            }
            Ok(Second(fate))
        })
        .session(|| Ok(Scratch(tempfile::tempdir()?)))
}

fn registry() -> Registry {
    let argument =
        |name: &str| env::args().find_map(|argument| argument.strip_prefix(name).map(PathBuf::from));
    match argument("fails=") {
        Some(file) => registry_that_fails(file),
        None => registry_with(argument("gate=")),
    }
}
workfleet_task_manager::test_worker!(registry());

/// The sessions after the first two cannot be made.
fn registry_that_fails(file: PathBuf) -> Registry {
    let told = file.clone();
    tasks()
        .session(move || {
            let fate = Fate::new("first");
            fate.arrange(&told, Deed::Nothing);
            Ok(First(fate))
        })
        .session(move || {
            let fate = Fate::new("second");
            fate.arrange(&file, Deed::Panic);
            Ok(Second(fate))
        })
        .session(|| Err::<Scratch, _>("there is no space".into()))
}

/// The arguments by which a worker of this test binary finds a file.
fn arguments(name: &str, file: &Path) -> [String; 4] {
    let file = format!("{name}={}", file.display());
    ["workfleet_worker".into(), "--exact".into(), "--nocapture".into(), file]
}

fn dropped_beside(gate: &Path) -> PathBuf {
    gate.with_file_name("dropped")
}

const IN_ORDER: [&str; 2] = ["second", "first"];
const NORMAL: Priority = Priority(1);
/// Long enough for a worker to exit on a machine that is busy, and short enough to be waited for.
const SHORT: Duration = Duration::from_millis(100);

fn lines(file: &Path) -> Vec<String> {
    fs::read_to_string(file).unwrap_or_default().lines().map(str::to_owned).collect()
}

/// A file that sessions write, and the directory that it is in.
fn file() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("dropped");
    (directory, file)
}

fn arrange(pool: &Pool, file: &Path, first: Deed, second: Deed) -> u32 {
    let arrange = Arrange { file: file.into(), first, second };
    pool.submit(arrange).expect("it is taken").wait().expect("it is done")
}

fn arrange_nothing(pool: &Pool, file: &Path) {
    arrange(pool, file, Deed::Nothing, Deed::Nothing);
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime")
}

/// A way to end a pool, and its name.
type Way = (&'static str, fn(Started));

fn end_in_every_way(kind: Kind) {
    const WAYS: &[Way] = &[
        ("close(Join)", |pool| assert_balanced(&pool.close(ClosePolicy::Join).expect("it closes"))),
        ("close(Cancel)", |pool| assert_balanced(&pool.close(ClosePolicy::Cancel).expect("it closes"))),
        ("close_async(Join)", |pool| {
            runtime().block_on(async { pool.close_async(ClosePolicy::Join).await.expect("it closes") });
        }),
        ("close_async(Cancel)", |pool| {
            runtime().block_on(async { pool.close_async(ClosePolicy::Cancel).await.expect("it closes") });
        }),
        ("dropped", |pool| drop(pool)),
        ("dropped inside a runtime", |pool| {
            runtime().block_on(async { drop(pool) });
            // It closes in the background.
            until(|| support::process::children().is_empty() && support::pool_threads().is_empty());
        }),
    ];
    for (way, end) in WAYS {
        let (_directory, file) = file();
        let pool = start!(kind, registry(), workers(1));
        arrange_nothing(&pool, &file);
        assert_eq!(lines(&file), Vec::<String>::new(), "they live as long as their worker");
        end(pool);
        assert_eq!(lines(&file), IN_ORDER, "{way}");
    }
}

fn end_with_a_scope(kind: Kind) {
    let (_directory, file) = file();
    let scope = |pool: &Pool| {
        arrange_nothing(pool, &file);
        Ok::<_, TaskError>(())
    };
    match kind {
        Kind::Processes => {
            let builder = ProcessManager::builder(registry()).workers(1).grace(GRACE);
            builder.scope(|pool| scope(pool)).map(drop).expect("it ends well");
        }
        Kind::Threads => {
            let builder = ThreadManager::builder(registry()).workers(1).grace(GRACE);
            builder.scope(|pool| scope(pool)).map(drop).expect("it ends well");
        }
    }
    assert_eq!(lines(&file), IN_ORDER);
}

fn end_with_a_workers_share(kind: Kind) {
    let (_directory, file) = file();
    let pool = start!(kind, registry(), workers(1), tasks_per_worker(1));
    arrange_nothing(&pool, &file);
    // The next worker takes the slot when this one has gone.
    let (_other_directory, other_file) = self::file();
    arrange_nothing(&pool, &other_file);
    assert_eq!(lines(&file), IN_ORDER);
    pool.close(ClosePolicy::Join).expect("it closes");
    assert_eq!(lines(&other_file), IN_ORDER);
}

fn end_although_one_panics(kind: Kind) {
    let (_directory, file) = file();
    let pool = start!(kind, registry(), workers(1));
    arrange(&pool, &file, Deed::Panic, Deed::Panic);
    pool.close(ClosePolicy::Join).expect("it closes");
    assert_eq!(lines(&file), IN_ORDER);
}

fn that_hang_do_not_hold_up_a_close_beyond_the_grace(kind: Kind) {
    for policy in policies::patient() {
        let (_directory, file) = file();
        let before = notices::count("a worker died") + notices::count(LEFT_ALONE);
        let pool = start!(kind, registry(), workers(1), grace(SHORT));
        arrange(&pool, &file, Deed::Nothing, Deed::Hang);
        assert_balanced(&pool.close(policy).expect("it closes"));
        assert_no_child_left();
        assert_eq!(lines(&file), ["second"], "it was ended amid this");
        assert_eq!(notices::count("a worker died") + notices::count(LEFT_ALONE), before + 1, "{policy:?}");
    }
}

/// What is logged of a thread that does not end.
const LEFT_ALONE: &str = "a thread has not ended within the grace and is left alone";

fn of_idle_workers_end_while_others_take_their_grace(kind: Kind) {
    let (_directory, file) = file();
    let pool = start!(kind, registry(), workers(2));
    let busy = pool.submit(OutlastIdle { file: file.clone() }).expect("it is taken");
    assert_eq!(next_text(&pool), "begun");
    arrange_nothing(&pool, &file);
    // It hangs if the busy worker is waited for before the idle one may go.
    assert_balanced(&pool.close(ClosePolicy::Cancel).expect("it closes"));
    busy.wait().expect("it finishes when it is told");
    assert_eq!(lines(&file), IN_ORDER);
}

fn that_are_still_being_made_end_when_the_manager_closes(kind: Kind) {
    for policy in policies::patient() {
        let gate = Gate::new();
        let path = gate.path();
        let starts = thread::spawn(move || match kind {
            Kind::Processes => {
                let builder = ProcessManager::builder(registry()).workers(2).grace(GRACE);
                let builder = builder.arguments(arguments("gate", &path));
                Started::Processes(builder.start().expect("one starts"))
            }
            Kind::Threads => {
                let builder = ThreadManager::builder(registry_with(Some(path))).workers(2).grace(GRACE);
                Started::Threads(builder.start().expect("one starts"))
            }
        });
        gate.wait().go_on();
        let late = gate.wait();
        let pool = starts.join().expect("it does not panic");
        thread::scope(|scope| {
            let closes = scope.spawn(|| pool.close(policy).expect("it closes"));
            until(|| pool.schedule_with(WhereIsScratch, NORMAL).is_err());
            late.go_on();
            assert_balanced(&closes.join().expect("it does not panic"));
        });
        let mut dropped = lines(&dropped_beside(&gate.path()));
        dropped.sort_unstable();
        assert_eq!(dropped, ["first", "first", "second", "second"], "{policy:?}");
    }
}

fn made_before_one_that_fails_end(kind: Kind) {
    let (_directory, file) = file();
    let patience = Duration::ZERO;
    let error = match kind {
        Kind::Processes => {
            let builder = ProcessManager::builder(registry()).workers(1).grace(GRACE);
            let builder = builder.arguments(arguments("fails", &file)).outage_patience(patience);
            builder.start().expect_err("no session")
        }
        Kind::Threads => {
            let builder = ThreadManager::builder(registry_that_fails(file.clone())).workers(1).grace(GRACE);
            builder.outage_patience(patience).start().expect_err("no session")
        }
    };
    match error {
        ManagerStartError::Workers(StartFailure::Session { reason, .. }) => {
            assert!(reason.contains("there is no space"), "{reason}");
        }
        other => panic!("{other}"),
    }
    assert_eq!(lines(&file)[..2], IN_ORDER);
}

fn that_are_directories_are_removed(kind: Kind) {
    for policy in policies::patient() {
        let pool = start!(kind, registry(), workers(1));
        let scratch = pool.submit(WhereIsScratch).expect("it is taken").wait().expect("it is done");
        assert!(scratch.exists());
        pool.close(policy).expect("it closes");
        assert!(!scratch.exists(), "{policy:?}");
    }
}

on_both!(
    end_in_every_way,
    end_with_a_scope,
    end_with_a_workers_share,
    end_although_one_panics,
    that_hang_do_not_hold_up_a_close_beyond_the_grace,
    of_idle_workers_end_while_others_take_their_grace,
    that_are_still_being_made_end_when_the_manager_closes,
    made_before_one_that_fails_end,
    that_are_directories_are_removed,
);

/// What a task returned is with its manager before a destructor runs that may end the process.
#[test]
fn a_result_arrives_before_sessions_end() {
    let _alone = alone();
    let (_directory, file) = file();
    let manager = ProcessManager::builder(registry()).workers(1).tasks_per_worker(1).start();
    let manager = manager.expect("it starts");
    let pid = arrange(&manager, &file, Deed::Nothing, Deed::Abort);
    let next = arrange(&manager, &file, Deed::Nothing, Deed::Nothing);
    assert_ne!(pid, next);
    let report = manager.close(ClosePolicy::Join).expect("it closes");
    assert_eq!((report.tasks.done, report.tasks.failed), (2, 0));
    assert_eq!(lines(&file), ["second", "second", "first"]);
}

#[test]
fn a_killed_worker_drops_none() {
    let _alone = alone();
    let (_directory, file) = file();
    let manager = ProcessManager::builder(registry()).workers(1).start().expect("it starts");
    arrange_nothing(&manager, &file);
    manager.close(ClosePolicy::Kill).expect("it closes");
    assert_eq!(lines(&file), Vec::<String>::new());
}
