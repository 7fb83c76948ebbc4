//! A `main` that forgets to wait is told what is lost. This is such a program, in each way to forget, and at the same time the
//! tests that run it: without a harness, because what counts is how `main` ends.

use std::{
    cell::RefCell,
    env, mem,
    ops::Deref,
    process::{self, Command, Output, Stdio},
    sync::{Mutex, PoisonError},
    thread,
    time::Duration,
};

use listener::{Listener, fields};
use serde::{Deserialize, Serialize};
use tracing::{Event, Level};
use workfleet_task_manager::{
    ClosePolicy, FailureCause, Pool, ProcessManager, Registry, Task, TaskContext, TaskError, TaskMessage,
    TaskSpec, ThreadManager, init,
};

#[path = "support/harness.rs"]
mod harness;
#[path = "support/listener.rs"]
mod listener;

/// Is set for a process that is the program: what its manager is, how the program ends, and who listens, with blanks between.
const PART: &str = "WORKFLEET_TEST_PART";

/// Keeps the lines from standard error.
const VARIABLE: &str = "WORKFLEET_WARNINGS";

fn main() {
    match env::var(PART) {
        Ok(part) => program(&part),
        Err(_) => harness::run(TESTS),
    }
}

/// Runs until it is cancelled.
#[derive(Debug, Serialize, Deserialize)]
struct Hold;

#[derive(Debug, Serialize, Deserialize)]
struct Begun;

impl TaskMessage for Begun {
    const NAME: &'static str = "begun";
}

impl TaskSpec for Hold {
    const NAME: &'static str = "hold";
    type Output = ();
}

impl Task for Hold {
    fn run(self, cx: &TaskContext) -> Result<(), TaskError> {
        cx.send_message(&Begun)?;
        cx.flush()?;
        while !cx.is_cancelled() {
            thread::park_timeout(Duration::from_millis(1));
        }
        Err("it was told to end".into())
    }
}

/// Has a manager of its own in its worker, forgets it, and ends its worker.
#[derive(Debug, Serialize, Deserialize)]
struct Forget;

impl TaskSpec for Forget {
    const NAME: &'static str = "forget";
    type Output = ();
}

impl Task for Forget {
    fn run(self, _: &TaskContext) -> Result<(), TaskError> {
        let manager = ThreadManager::builder(registry()).workers(1).start()?;
        begin(&manager, TASKS);
        mem::forget(manager);
        process::exit(3)
    }
}

fn registry() -> Registry {
    Registry::new().task::<Hold>().task::<Forget>()
}

/// Any manager, whatever its workers are.
type Started = Box<dyn Deref<Target = Pool> + Send + Sync>;

/// One of them runs, and the others wait.
const TASKS: usize = 3;

/// Submits this many tasks, of which one has begun, and forgets their handles.
fn begin(pool: &Pool, tasks: usize) {
    let mut begun = pool.messages::<Begun>();
    for _ in 0..tasks {
        drop(pool.submit(Hold).expect("it is taken"));
    }
    begun.next().expect("it begins").expect("it is one");
}

fn program(part: &str) {
    init(&registry());
    let mut words = part.split(' ');
    let (kind, end) = (words.next().expect("a kind"), words.next().expect("an end"));
    if words.next() == Some("heard") {
        tracing::subscriber::set_global_default(Listener { up_to: Level::WARN, hears: print })
            .expect("it is the only one");
        // It has something for this thread, which has been dropped by the time of the hook.
        tracing::warn!("begun");
    }
    let manager: Started = match kind {
        "processes" => Box::new(ProcessManager::builder(registry()).workers(1).start().expect("it starts")),
        "threads" => Box::new(ThreadManager::builder(registry()).workers(1).start().expect("it starts")),
        other => panic!("no kind {other}"),
    };
    static MANAGER: Mutex<Option<Started>> = Mutex::new(None);
    let keep = |manager| *MANAGER.lock().unwrap_or_else(PoisonError::into_inner) = Some(manager);
    let tasks = if end == "drops-one" { 1 } else { TASKS };
    if end != "forgets-nothing" {
        begin(&manager, tasks);
    }
    match end {
        "drops" | "drops-one" => drop(manager),
        "forgets" | "forgets-nothing" => mem::forget(manager),
        "keeps" => keep(manager),
        "exits" => process::exit(0),
        "panics" => panic!("on purpose"),
        "leaves-to-a-thread" => {
            thread::spawn(move || {
                loop {
                    thread::park();
                    mem::forget(manager.stats());
                }
            });
        }
        "drops-in-a-runtime" => {
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("it is made");
            runtime.block_on(async { drop(manager) });
        }
        "closes" => {
            let report = manager.close(ClosePolicy::Cancel).expect("it closes");
            assert_eq!(report.tasks.returned, TASKS as u64 - 1);
        }
        "forks" => {
            keep(manager);
            // SAFETY: the copy ends at once, by the way that is tested.
            match unsafe { libc::fork() } {
                // SAFETY: what else is to be done at the exit of this program is done in a copy as well as in the original.
                0 => unsafe { libc::exit(0) },
                copy => {
                    let mut status = 0;
                    // SAFETY: the pointer is to a number that outlives the call.
                    assert_eq!(unsafe { libc::waitpid(copy, &raw mut status, 0) }, copy);
                    assert_eq!(status, 0);
                }
            }
        }
        "forgets-in-a-worker" => {
            drop(manager);
            forget_in_a_worker();
        }
        other => panic!("no end {other}"),
    }
}

/// A worker's own lines go where its standard error goes.
fn forget_in_a_worker() {
    let logs = tempfile::tempdir().expect("a directory");
    let builder = ProcessManager::builder(registry()).workers(1).crash_limit(1).log_directory(logs.path());
    let manager = builder.start().expect("it starts");
    let failure = manager.submit(Forget).expect("it is taken").wait().expect_err("it dies");
    assert!(matches!(failure.cause, FailureCause::WorkerDied), "{failure}");
    manager.close(ClosePolicy::Join).expect("it closes");
    let log = std::fs::read_to_string(logs.path().join("worker-0.log")).expect("there is one");
    let said: Vec<_> =
        log.lines().filter_map(|line| line.split_once(' ')).map(|(_time, line)| line).collect();
    let [line] = said[..] else { panic!("{log}") };
    assert_eq!(line, EXITS.trim_end());
    assert_eq!(failure.deaths[0].stderr_tail, line);
}

thread_local! {
    static BUFFER: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Prints what is said to it, and needs what is local to a thread for that, as others do.
fn print(event: &Event<'_>) {
    BUFFER.with_borrow_mut(|buffer| {
        buffer.clear();
        fields(event, |name, value| buffer.push_str(&format!(" {name}={value:?}")));
        println!("heard{buffer}");
    });
}

/// The tests of this file, as a harness would have them.
const TESTS: &[(&str, fn())] = &[
    ("a_main_that_drops_its_manager_with_tasks_is_told", drops),
    ("a_main_that_ends_before_its_manager_closes_is_told", ends_before),
    ("a_main_that_panics_is_told", panics),
    ("a_main_that_drops_its_manager_in_a_runtime_is_told_once", drops_in_a_runtime),
    ("a_main_that_loses_nothing_is_told_nothing", loses_nothing),
    ("a_subscriber_is_told_and_standard_error_is_not", is_heard),
    ("a_main_that_wants_no_warnings_gets_none", is_switched_off),
    ("a_standard_error_that_takes_nothing_changes_nothing", takes_nothing),
    ("a_task_that_forgets_a_manager_of_its_own_is_told_in_the_log_of_its_worker", in_a_worker),
];

const KINDS: [&str; 2] = ["processes", "threads"];
/// In these ways, nothing of the manager's own runs before the program ends.
const ENDS: [&str; 5] = ["forgets", "keeps", "exits", "leaves-to-a-thread", "forks"];

const EXITS: &str = "workfleet: the program ends, and a manager that has not closed loses what it has: wait for the handles of its \
    tasks, or close it by ClosePolicy::Join, before the program ends (tasks=3, unread=0)\n";

fn command(part: &str) -> Command {
    let mut command = Command::new(env::current_exe().expect("this program"));
    command
        .env(PART, part)
        .env_remove(VARIABLE)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn output(command: &mut Command, code: i32) -> (String, String) {
    let Output { status, stdout, stderr } = command.output().expect("it runs");
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert_eq!(status.code(), Some(code), "{command:?}: {status}\n{stdout}\n{stderr}");
    (stdout.into_owned(), stderr.into_owned())
}

/// What stands on the standard error of the program, which ends well.
fn stderr(part: &str) -> String {
    output(&mut command(part), 0).1
}

fn dropped(counts: &str) -> String {
    format!(
        "workfleet: a manager was dropped and loses what it had: wait for its tasks, read its messages, or close it by \
         ClosePolicy::Join (report={counts}; 0 messages and 0 failures unread)\n"
    )
}

const THREE: &str = "3 tasks: 0 done, 0 failed, 1 cancelled, 2 returned, 0 pending";

fn drops() {
    for kind in KINDS {
        assert_eq!(stderr(&format!("{kind} drops")), dropped(THREE));
        let one = "1 tasks: 0 done, 0 failed, 1 cancelled, 0 returned, 0 pending";
        assert_eq!(stderr(&format!("{kind} drops-one")), dropped(one));
    }
}

fn ends_before() {
    for kind in KINDS {
        for end in ENDS {
            assert_eq!(stderr(&format!("{kind} {end}")), EXITS, "{kind} {end}");
        }
    }
}

fn panics() {
    for kind in KINDS {
        let (_, stderr) = output(&mut command(&format!("{kind} panics")), 101);
        let lines: Vec<_> = stderr.lines().filter(|line| line.starts_with("workfleet: ")).collect();
        let [line] = lines[..] else { panic!("{stderr}") };
        assert!(line.contains("(report=3 tasks: "), "{line}");
    }
}

fn drops_in_a_runtime() {
    for kind in KINDS {
        let stderr = stderr(&format!("{kind} drops-in-a-runtime"));
        let lines: Vec<_> = stderr.lines().collect();
        let [first, second] = lines[..] else { panic!("{stderr}") };
        assert!(first.contains("inside an async runtime"), "{first}");
        // Whether the manager or the program ends first is for them to say.
        assert!(
            second.contains("(report=3 tasks: ") || second.contains("before the program ends (tasks=3, "),
            "{second}"
        );
    }
}

fn loses_nothing() {
    for kind in KINDS {
        for end in ["closes", "forgets-nothing"] {
            assert_eq!(stderr(&format!("{kind} {end}")), "", "{kind} {end}");
        }
    }
}

fn is_heard() {
    for (end, text) in
        [("drops", "loses what it had"), ("forgets", "that has not closed"), ("exits", "that has not closed")]
    {
        for kind in KINDS {
            let (stdout, stderr) = output(&mut command(&format!("{kind} {end} heard")), 0);
            let heard: Vec<_> = stdout.lines().filter(|line| line.starts_with("heard")).collect();
            let ["heard message=begun", line] = heard[..] else { panic!("{kind} {end}: {stdout}\n{stderr}") };
            assert!(line.contains(text) && line.contains('3'), "{line}");
            assert_eq!(stderr, "", "{kind} {end}");
        }
    }
}

fn is_switched_off() {
    for kind in KINDS {
        for end in ENDS.into_iter().chain(["drops"]) {
            let (_, stderr) = output(command(&format!("{kind} {end}")).env(VARIABLE, "off"), 0);
            assert_eq!(stderr, "", "{kind} {end}");
        }
    }
}

fn takes_nothing() {
    for kind in KINDS {
        for end in ["drops", "forgets"] {
            let part = format!("{kind} {end}");
            let (reader, writer) = std::io::pipe().expect("a pipe");
            drop(reader);
            output(command(&part).stderr(writer), 0);
            let mut closed = Command::new("/bin/sh");
            closed.args(["-c", "exec \"$0\" 2>&-"]).arg(env::current_exe().expect("this program"));
            output(closed.env(PART, &part).env_remove(VARIABLE).stdin(Stdio::null()), 0);
        }
    }
}

fn in_a_worker() {
    assert_eq!(stderr("processes forgets-in-a-worker").lines().count(), 1, "what its first manager loses");
}
