//! What becomes of a task when its manager closes: a table of every way to close × every state of a task × every kind
//! of workers, observed and compared with `close_table.txt`, which a person has reviewed.
//!
//! After a change that is meant, `WORKFLEET_UPDATE_TABLES=1` writes the file anew: review what became different.
//!
//! The grace is an hour, far beyond the limit on hanging, so whoever waits for it hangs the test. Only where a task
//! has to outlast the grace is it 20 ms.

#[path = "close_table/stops.rs"]
mod stops;
mod support;

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    io::Write as _,
    ops::Deref,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use futures_util::FutureExt;
use rustix::process::Signal;
use stops::{BEGUN, Held, Manner, REFUSED, Stop, Stops, TAKEN, TOLD};
use support::{
    Kind, alone, assert_balanced, assert_no_child_left, notices,
    process::{Program, Watched, await_stop, children, numbers, part, say, signal, signal_child},
    tasks::{self, Fail, Mark, Nothing, Say},
    until,
};
use workfleet_task_manager::{
    ClosePolicy, CloseReport, FailureCause, Pool, Priority, ProcessManager, Registry, ScopeError,
    TaskFailure, TaskHandle, TaskId, TaskSpec as _, ThreadManager,
};

fn registry() -> Registry {
    tasks::registry().task::<Held>().task::<Nothing>()
}
workfleet_task_manager::test_worker!(registry());

const NORMAL: Priority = Priority(1);
const URGENT: Priority = Priority(0);
const AN_HOUR: Duration = Duration::from_secs(3600);

/// A kind of pool, started, closed and used as a scope by blocking, or, inside a runtime, by the asynchronous twins.
trait Fleet: Deref<Target = Pool> + Send + Sync + Sized + 'static {
    const KIND: Kind;
    fn start(place: Place, workers: usize, grace: Duration) -> impl Future<Output = Self> + Send;
    fn scope(
        place: Place,
        workers: usize,
        grace: Duration,
        scope: impl FnOnce(&Self) -> Result<(), String> + Send,
    ) -> impl Future<Output = Result<((), CloseReport), ScopeError<String>>> + Send;
}

macro_rules! fleet {
    ($manager:ident, $kind:ident) => {
        impl Fleet for $manager {
            const KIND: Kind = Kind::$kind;
            async fn start(place: Place, workers: usize, grace: Duration) -> Self {
                let builder = $manager::builder(registry()).workers(workers).grace(grace);
                let started = match place {
                    Place::NoRuntime => builder.start(),
                    _ => builder.start_async().await,
                };
                started.expect("it starts")
            }
            async fn scope(
                place: Place,
                workers: usize,
                grace: Duration,
                scope: impl FnOnce(&Self) -> Result<(), String> + Send,
            ) -> Result<((), CloseReport), ScopeError<String>> {
                let builder = $manager::builder(registry()).workers(workers).grace(grace);
                match place {
                    Place::NoRuntime => builder.scope(scope),
                    _ => builder.scope_async(async |manager| scope(manager)).await,
                }
            }
        }
    };
}
fleet!(ProcessManager, Processes);
fleet!(ThreadManager, Threads);

/// A way in which a manager ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Close(ClosePolicy),
    ScopeEndsWell,
    ScopeFails,
    ScopePanics,
    Dropped,
    DroppedWhilePanicking,
}

const OTHER_WAYS: [Way; 5] =
    [Way::ScopeEndsWell, Way::ScopeFails, Way::ScopePanics, Way::Dropped, Way::DroppedWhilePanicking];

impl Way {
    fn name(self) -> String {
        match self {
            Self::Close(policy) => format!("close({policy:?})"),
            Self::ScopeEndsWell => "a scope that ends well".into(),
            Self::ScopeFails => "a scope that ends in an error".into(),
            Self::ScopePanics => "a scope that panics".into(),
            Self::Dropped => "dropped".into(),
            Self::DroppedWhilePanicking => "dropped while panicking".into(),
        }
    }

    /// As whose close it is to be.
    fn policy(self) -> ClosePolicy {
        match self {
            Self::Close(policy) => policy,
            Self::ScopeEndsWell | Self::Dropped => ClosePolicy::Cancel,
            Self::ScopeFails | Self::ScopePanics | Self::DroppedWhilePanicking => ClosePolicy::Kill,
        }
    }

    /// Where nobody can be blocked, it does not wait for the manager.
    fn is_a_drop(self) -> bool {
        matches!(self, Self::Dropped | Self::DroppedWhilePanicking)
    }

    /// Ends a manager this way, after `setup`.
    async fn end<F: Fleet>(
        self,
        place: Place,
        workers: usize,
        grace: Duration,
        setup: impl FnOnce(&Pool) + Send,
        stops: Arc<Stops>,
    ) -> Option<CloseReport> {
        match self {
            Self::Close(policy) => {
                let manager = Arc::new(F::start(place, workers, grace).await);
                setup(&manager);
                // Refusing newcomers is the first thing that a close does.
                let announces = thread::spawn({
                    let manager = Arc::clone(&manager);
                    move || {
                        until(|| manager.schedule_with(Nothing, NORMAL).is_err());
                        stops.announce(CLOSING);
                    }
                });
                let report = match place {
                    Place::NoRuntime => manager.close(policy),
                    _ => manager.close_async(policy).await,
                };
                announces.join().expect("it does not panic");
                Some(report.expect("it closes"))
            }
            Self::ScopeEndsWell => {
                let ended = F::scope(place, workers, grace, |manager| {
                    setup(manager);
                    Ok(())
                });
                Some(ended.await.expect("it ends well").1)
            }
            Self::ScopeFails => {
                let ended = F::scope(place, workers, grace, |manager| {
                    setup(manager);
                    Err("enough".into())
                });
                match ended.await {
                    Err(ScopeError::Scope { report, .. }) => Some(*report),
                    other => panic!("{other:?}"),
                }
            }
            Self::ScopePanics => {
                let ended = F::scope(place, workers, grace, |manager| {
                    setup(manager);
                    panic!("enough")
                });
                let panic = AssertUnwindSafe(ended).catch_unwind().await.expect_err("it panics");
                assert_eq!(panic.downcast_ref(), Some(&"enough"));
                None
            }
            Self::Dropped => {
                let manager = F::start(place, workers, grace).await;
                setup(&manager);
                drop(manager);
                None
            }
            Self::DroppedWhilePanicking => {
                let manager = F::start(place, workers, grace).await;
                let panics = AssertUnwindSafe(|| {
                    let manager = manager;
                    setup(&manager);
                    panic!("enough");
                });
                assert_eq!(catch_unwind(panics).expect_err("it panics").downcast_ref(), Some(&"enough"));
                None
            }
        }
    }
}

/// What a task was doing when its manager began to close.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Queued,
    Prefetched,
    Obeying,
    Finishing,
    Ignoring,
    Done,
    Failed,
    Said,
    Parent,
}

const STATES: [State; 9] = [
    State::Queued,
    State::Prefetched,
    State::Obeying,
    State::Finishing,
    State::Ignoring,
    State::Done,
    State::Failed,
    State::Said,
    State::Parent,
];

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Prefetched => "prefetched",
            Self::Obeying => "runs, ends when told",
            Self::Finishing => "runs, finishes when told",
            Self::Ignoring => "runs on, whatever it is told",
            Self::Done => "done, output unread",
            Self::Failed => "failed, failure unread",
            Self::Said => "done, message unread",
            Self::Parent => "child of one that runs",
        }
    }

    fn workers(self) -> usize {
        match self {
            Self::Prefetched | Self::Obeying | Self::Finishing | Self::Ignoring => 2,
            _ => 1,
        }
    }
}

/// A manager begins to close; it has closed.
const CLOSING: &str = "closing";
const CLOSED: &str = "closed";

/// The tasks in question, one with a handle and one without.
struct Subject {
    handle: Option<TaskHandle<()>>,
    /// What ran beside them, which the table says nothing of.
    beside: Vec<TaskId>,
    conductor: JoinHandle<Conducted>,
}

/// Who lets tasks go on while their manager closes.
struct Conductor {
    kind: Kind,
    policy: ClosePolicy,
    state: State,
    stops: Arc<Stops>,
    /// What runs beside the tasks in question.
    blockers: Vec<(TaskHandle<()>, Stop)>,
    /// The tasks in question that run.
    held: Vec<Stop>,
    /// Workers that were stopped.
    stopped: Vec<u32>,
}

/// What the conductor saw.
struct Conducted {
    /// How many of the tasks in question still ran when their manager had closed.
    left_running: usize,
    child: Option<String>,
}

impl Conductor {
    fn start(self, handle: Option<TaskHandle<()>>) -> Subject {
        let beside = self.blockers.iter().map(|(handle, _)| handle.id()).collect();
        Subject { handle, beside, conductor: thread::spawn(|| self.conduct()) }
    }

    fn conduct(mut self) -> Conducted {
        let mut child = None;
        let mut told = Vec::new();
        loop {
            let stop = self.stops.next();
            match &*stop.said {
                CLOSED => break,
                CLOSING => {
                    self.stopped.drain(..).for_each(|pid| signal_child(pid, Signal::CONT));
                    if self.policy == ClosePolicy::Join {
                        self.held.clear();
                        self.blockers.clear();
                    }
                }
                // Whoever does not wait for it hangs or says so below.
                TOLD if self.policy != ClosePolicy::Kill => drop(stop),
                TOLD => told.push(stop),
                TAKEN | REFUSED => child = Some(stop.said.clone()),
                other => panic!("{other:?} in between"),
            }
        }
        let left_running = self.held.iter_mut().filter_map(|stop| stop.is_alive().then_some(())).count();
        // Whatever was left goes on now, too late.
        drop(told);
        self.held.clear();
        self.blockers.clear();
        while self.state == State::Parent
            && self.kind == Kind::Threads
            && self.policy == ClosePolicy::Kill
            && child.is_none()
        {
            let stop = self.stops.next();
            child = (stop.said != TOLD).then(|| stop.said.clone());
        }
        Conducted { left_running, child }
    }
}

/// Brings tasks into a state.
fn set_up(pool: &Pool, kind: Kind, policy: ClosePolicy, state: State, stops: &Arc<Stops>) -> Subject {
    let held = |manner| Held { stops: stops.path(), manner };
    let mark = || Mark { file: stops.marks(), line: String::new() };
    let next = || {
        let stop = stops.next();
        assert_eq!(stop.said, BEGUN);
        stop
    };
    let mut conductor = Conductor {
        kind,
        policy,
        state,
        stops: Arc::clone(stops),
        blockers: Vec::new(),
        held: Vec::new(),
        stopped: Vec::new(),
    };
    let ended = |count| {
        until(|| {
            let tasks = pool.stats().tasks;
            tasks.done + tasks.failed == count
        });
    };
    let handle = match state {
        State::Queued => {
            let blocker = pool.submit_with(held(Manner::Obey), URGENT).expect("it is taken");
            conductor.blockers.push((blocker, next()));
            let handle = pool.submit(mark()).expect("it is taken");
            pool.schedule_with(mark(), NORMAL).expect("it is taken");
            // What was handed out behind the blocker has been taken back.
            until(|| pool.stats().queued == 2);
            handle
        }
        State::Prefetched => {
            // Behind each blocker there is room for one, and who is stopped gives nothing back.
            support::all_ready(pool, 2);
            for _ in 0..2 {
                let blocker = pool.submit_with(held(Manner::Obey), URGENT).expect("it is taken");
                conductor.blockers.push((blocker, next()));
            }
            conductor.stopped = support::worker_pids(pool);
            for &worker in &conductor.stopped {
                signal(worker, Signal::STOP);
                await_stop(worker);
            }
            let handle = pool.submit(mark()).expect("it is taken");
            pool.schedule_with(mark(), NORMAL).expect("it is taken");
            until(|| pool.stats().workers.iter().all(|worker| worker.in_flight == 2));
            handle
        }
        State::Obeying | State::Finishing | State::Ignoring => {
            let manner = || match state {
                State::Obeying => Manner::Obey,
                State::Finishing => Manner::Finish,
                _ => Manner::Ignore,
            };
            let handle = pool.submit(held(manner())).expect("it is taken");
            pool.schedule_with(held(manner()), NORMAL).expect("it is taken");
            conductor.held = vec![next(), next()];
            handle
        }
        State::Done => {
            let handle = pool.submit(mark()).expect("it is taken");
            pool.schedule_with(mark(), NORMAL).expect("it is taken");
            ended(2);
            handle
        }
        State::Failed => {
            let handle = pool.submit(Fail(1)).expect("it is taken");
            pool.schedule_with(Fail(2), NORMAL).expect("it is taken");
            ended(2);
            handle
        }
        State::Said => {
            let say = || Say { text: String::new(), times: 1 };
            let handle = pool.submit(say()).expect("it is taken");
            pool.schedule_with(say(), NORMAL).expect("it is taken");
            ended(2);
            handle
        }
        State::Parent => {
            let parent = pool.submit(held(Manner::Breed { marks: stops.marks() })).expect("it is taken");
            conductor.blockers.push((parent, next()));
            return conductor.start(None);
        }
    };
    conductor.start(Some(handle))
}

/// What became of the tasks in question.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Cell {
    run: String,
    handle: String,
    report: String,
    logged: String,
}

async fn observe<F: Fleet>(place: Place, way: Way, state: State) -> Cell {
    let stops = Arc::new(Stops::new());
    let policy = way.policy();
    let outlasts = state == State::Ignoring && policy == ClosePolicy::Cancel;
    let grace = if outlasts { Duration::from_millis(20) } else { AN_HOUR };
    let mut subject = None;
    let setup = |pool: &Pool| {
        let set_up = set_up(pool, F::KIND, policy, state, &stops);
        // There is no telling from outside when these begin to close.
        if !matches!(way, Way::Close(_)) && policy == ClosePolicy::Cancel {
            stops.announce(CLOSING);
        }
        // Only what is logged from here on stands in the table.
        drop(notices::take());
        subject = Some(set_up);
    };
    let report = way.end::<F>(place, state.workers(), grace, setup, Arc::clone(&stops)).await;
    if way.is_a_drop() && place != Place::NoRuntime {
        // Nobody waits for what goes on in the background: for the last process, and for the manager's own thread.
        until(|| children().is_empty() && !support::pool_threads().iter().any(|name| name == "workfleet"));
    }
    let logged = notices::take();
    assert_no_child_left();
    stops.announce(CLOSED);
    let Subject { handle, beside, conductor } = subject.expect("it was set up");
    let Conducted { left_running, child } = conductor.join().expect("the conductor does not panic");

    if let Some(report) = &report {
        assert_balanced(report);
    }
    let outcome = handle.map(|handle| {
        assert!(handle.is_finished(), "it is decided when the manager has closed");
        handle.wait()
    });
    let runs = fs::read_to_string(stops.marks()).unwrap_or_default().lines().count();
    let killed =
        outcome.as_ref().is_some_and(|outcome| matches!(outcome, Err(failure) if !failure.deaths.is_empty()));
    let run = match state {
        State::Queued | State::Prefetched => match runs {
            0 => "not run".into(),
            2 => "run".into(),
            other => format!("{other} of 2 run"),
        },
        State::Obeying | State::Finishing | State::Ignoring => match left_running {
            0 if killed => "killed".into(),
            0 => "to its end".into(),
            2 => "left running".into(),
            other => format!("{other} of 2 left running"),
        },
        State::Done | State::Failed | State::Said => "to its end".into(),
        State::Parent => match (child.as_deref(), runs) {
            (None, 0) => "parent killed".into(),
            (Some(REFUSED), 0) => "refused".into(),
            (Some(TAKEN), 0) => "not run".into(),
            (Some(TAKEN), 1) => "run".into(),
            other => format!("{other:?}"),
        },
    };
    Cell {
        run,
        handle: outcome.map_or_else(|| "-".into(), |outcome| shown(&outcome)),
        report: report.map_or_else(|| "none".into(), |report| of_report(&report, &beside)),
        logged: of_log(&logged),
    }
}

fn shown(outcome: &Result<(), TaskFailure>) -> String {
    match outcome {
        Ok(()) => "output".into(),
        Err(failure) => cause(failure).into(),
    }
}

fn cause(failure: &TaskFailure) -> &'static str {
    match failure.cause {
        FailureCause::Cancelled => "cancelled",
        FailureCause::Returned => "never started",
        FailureCause::Error { .. } => "failed",
        _ => "something else",
    }
}

/// What a report says of the tasks in question. What ran beside them has a handle, so it can only be among the abandoned.
fn of_report(report: &CloseReport, beside: &[TaskId]) -> String {
    let mut said = Vec::new();
    let unstarted = report.unstarted.iter().filter(|task| task.name() == "mark").count();
    if unstarted > 0 {
        said.push(format!("{unstarted} unstarted"));
    }
    let mut failures = BTreeMap::<_, u32>::new();
    // What only looks whether the manager refuses newcomers may run when it begins to close.
    let of_question = |name: &str| name != Nothing::NAME;
    let failed = report.failures.iter().filter(|failure| of_question(&failure.name));
    failed.for_each(|failure| *failures.entry(cause(failure)).or_default() += 1);
    said.extend(failures.into_iter().map(|(cause, count)| format!("{count} failure ({cause})")));
    if report.unread_messages > 0 {
        said.push(format!("{} unread", report.unread_messages));
    }
    let abandoned = report.abandoned.iter().filter(|left| of_question(&left.name));
    let abandoned = abandoned.filter(|left| !beside.contains(&left.task)).count();
    if abandoned > 0 {
        said.push(format!("{abandoned} abandoned"));
    }
    if said.is_empty() { "nothing".into() } else { said.join(", ") }
}

fn of_log(logged: &[String]) -> String {
    let mut logged = logged.to_vec();
    logged.sort_unstable();
    logged.dedup();
    if logged.is_empty() { "-".into() } else { logged.join("; ") }
}

/// Where a manager lives and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    NoRuntime,
    CurrentThread,
    MultiThread,
}

impl Place {
    fn observe<F: Fleet>(self, way: Way, state: State) -> Cell {
        use tokio::runtime::Builder;
        let observed = observe::<F>(self, way, state);
        match self {
            Self::NoRuntime => observed.now_or_never().expect("it blocks rather than wait"),
            Self::CurrentThread => {
                Builder::new_current_thread().build().expect("a runtime").block_on(observed)
            }
            Self::MultiThread => {
                let runtime = Builder::new_multi_thread().worker_threads(1).build().expect("a runtime");
                runtime.block_on(async { tokio::spawn(observed).await.expect("it does not panic") })
            }
        }
    }
}

fn line(table: &mut String, columns: [&str; 5]) {
    let [state, run, handle, report, logged] = columns;
    let text = format!("  {state:<29} {run:<14} {handle:<14} {report:<37} {logged}");
    writeln!(table, "{}", text.trim_end()).expect("a string takes all");
}

/// One way to close a kind of pool, everywhere.
fn table_of<F: Fleet>(way: Way, table: &mut String) {
    const INSIDE: &[Place] = &[Place::CurrentThread, Place::MultiThread];
    const EVERYWHERE: &[Place] = &[Place::NoRuntime, Place::CurrentThread, Place::MultiThread];
    if way.is_a_drop() {
        table_at::<F>(way, "", &[Place::NoRuntime], table);
        table_at::<F>(way, " inside a runtime", INSIDE, table);
    } else {
        table_at::<F>(way, "", EVERYWHERE, table);
    }
}

/// The same in several places, which are alike.
fn table_at<F: Fleet>(way: Way, at: &str, places: &[Place], table: &mut String) {
    writeln!(table, "\n{:?}, {}{at}", F::KIND, way.name()).expect("a string takes all");
    line(table, ["task", "run", "its handle", "the report", "logged"]);
    for state in STATES {
        if state == State::Prefetched && F::KIND == Kind::Threads {
            continue;
        }
        let cells = places.iter().map(|&place| {
            let cell = place.observe::<F>(way, state);
            until(|| F::KIND == Kind::Processes || support::pool_threads().is_empty());
            (place, cell)
        });
        let cells: Vec<_> = cells.collect();
        let [(_, cell), others @ ..] = &cells[..] else { panic!("{at}: nowhere") };
        for (place, other) in others {
            assert_eq!(other, cell, "{way:?} {state:?}: the same at {place:?}");
        }
        line(table, [state.name(), &cell.run, &cell.handle, &cell.report, &cell.logged]);
    }
}

/// Not a test by itself: the manager that the table's last part kills. Its part is where its tasks stop.
#[test]
fn program() {
    let Some(part) = part() else { return };
    let stops = Path::new(&part).to_owned();
    let marks = stops.with_file_name("marks");
    let started = <ProcessManager as Fleet>::start(Place::NoRuntime, 4, AN_HOUR).now_or_never();
    let manager = started.expect("it blocks rather than wait");
    for manner in [Manner::Obey, Manner::Finish, Manner::Ignore, Manner::Breed { marks: marks.clone() }] {
        manager.schedule_with(Held { stops: stops.clone(), manner }, URGENT).expect("it is taken");
    }
    // Until the test has seen them.
    let _ = std::io::stdin().read_line(&mut String::new());
    for _ in 0..20 {
        manager
            .schedule_with(Mark { file: marks.clone(), line: String::new() }, NORMAL)
            .expect("it is taken");
    }
    support::all_ready(&manager, 4);
    let pids: Vec<_> = support::worker_pids(&manager).iter().map(u32::to_string).collect();
    say(&pids.join(" "));
    loop {
        thread::park();
    }
}

fn table_of_a_killed_manager(table: &mut String) {
    let stops = Stops::new();
    let mut program = Program::start("program", &stops.path().display().to_string());
    let mut held: Vec<_> = (0..4).map(|_| stops.next()).collect();
    program.child.stdin.as_mut().expect("it is piped").write_all(b"\n").expect("it reads");
    let workers: Vec<_> = numbers(&program.hear()).into_iter().map(Watched::new).collect();
    assert!(workers.len() == 4 && held.iter_mut().all(Stop::is_alive));
    program.child.kill().expect("it can be killed");
    program.child.wait().expect("it can be reaped");
    workers.iter().for_each(Watched::wait);
    let survivors = held.iter_mut().filter_map(|stop| stop.is_alive().then_some(())).count();
    let run = fs::read_to_string(stops.marks()).unwrap_or_default().lines().count();
    writeln!(table, "\nProcesses, the manager itself killed by SIGKILL").expect("a string takes all");
    line(table, ["task", "run", "its handle", "the report", "logged"]);
    let run = if run == 0 { "not run" } else { "run" };
    line(table, ["queued, or prefetched", run, "gone", "none", "-"]);
    let running = if survivors == 0 { "killed" } else { "left running" };
    line(table, ["runs, whatever it does", running, "gone", "none", "-"]);
}

#[test]
fn every_way_to_close_treats_every_task_as_the_table_says() {
    let _alone = alone();
    notices::listen();
    let mut table = String::from(HEAD);
    for way in ClosePolicy::ALL.map(Way::Close).into_iter().chain(OTHER_WAYS) {
        table_of::<ProcessManager>(way, &mut table);
        table_of::<ThreadManager>(way, &mut table);
    }
    table_of_a_killed_manager(&mut table);

    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/close_table.txt");
    if std::env::var_os("WORKFLEET_UPDATE_TABLES").is_some() {
        fs::write(&file, &table).expect("it can be written");
    }
    let reviewed = fs::read_to_string(&file).unwrap_or_default();
    for (number, (found, expected)) in table.lines().zip(reviewed.lines()).enumerate() {
        assert_eq!(found, expected, "line {} of {}", number + 1, file.display());
    }
    assert_eq!(table.lines().count(), reviewed.lines().count());
}

const HEAD: &str = "\
What becomes of tasks when their manager closes. Made by tests/close_table.rs.

Each state has one task with a handle and one without, which the report speaks for; a child has none.
What closes or is a scope holds for the blocking call outside of runtimes, and for its asynchronous twin inside a
current-thread runtime and inside a multi-thread runtime. What is dropped there closes in the background.
";
