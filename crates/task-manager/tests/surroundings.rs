//! What a worker process sees of its program. This is such a program, which makes what it needs of its arguments before it
//! calls `init`, and at the same time the tests that run it: without a harness, whose arguments would be in the way.

use std::{
    cell::Cell,
    collections::BTreeMap,
    env,
    ffi::{OsStr, OsString},
    fs,
    os::unix::{
        ffi::{OsStrExt, OsStringExt},
        fs::PermissionsExt,
        process::CommandExt,
    },
    path::Path,
    process::{self, Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use rustix::{
    fs::Mode,
    process::{Resource, Rlimit, getpriority_process, getrlimit, setrlimit, umask},
};

use serde::{Deserialize, Serialize};
use workfleet_task_manager::{
    ClosePolicy, ExitStatus, ManagerStartError, ProcessManager, ProcessManagerBuilder, Registry,
    StartFailure, Task, TaskContext, TaskError, TaskSpec, init,
};

#[path = "support/harness.rs"]
mod harness;
#[path = "support/namespace.rs"]
mod namespace;

/// Says that this process is the program, and which part of it is to be played.
const PART: &str = "WORKFLEET_TEST_PART";

fn main() {
    match env::var(PART) {
        Ok(part) => program(&part),
        Err(_) => harness::run(TESTS),
    }
}

/// What a program makes of its arguments: strictly, as a parser of arguments does.
fn parse() -> Result<OsString, String> {
    let mut arguments = env::args_os().skip(1);
    match (arguments.next(), arguments.next(), arguments.next()) {
        (None, None, None) => Ok("default.bin".into()),
        (Some(flag), Some(file), None) if flag == "--file" => Ok(file),
        _ => Err(format!("Usage: surroundings [--file FILE], not {:?}", env::args_os().collect::<Vec<_>>())),
    }
}

/// The file that a worker works on.
struct Table(OsString);

/// What a task asks of its surroundings.
#[derive(Debug, Serialize, Deserialize)]
enum Ask {
    /// The name of the file that the session was made of.
    File,
    /// All arguments.
    Arguments,
    /// What a list of processes shows.
    ProcessName,
    /// What else it sees.
    Facts,
    /// Whether the worker heeds a polite signal: it does not return then.
    Terminate,
}

impl TaskSpec for Ask {
    const NAME: &'static str = "ask";
    type Output = Vec<Vec<u8>>;
}

impl Task for Ask {
    fn run(self, cx: &TaskContext) -> Result<Vec<Vec<u8>>, TaskError> {
        Ok(match self {
            Self::File => vec![cx.session::<Table>()?.0.as_bytes().to_vec()],
            Self::Arguments => env::args_os().map(OsString::into_vec).collect(),
            Self::ProcessName => vec![fs::read("/proc/self/comm")?],
            Self::Terminate => {
                // SAFETY: it takes numbers; the signal is for this process.
                assert_eq!(unsafe { libc::kill(libc::getpid(), libc::SIGTERM) }, 0);
                // Another thread may be the one that takes it.
                loop {
                    std::thread::park();
                }
            }
            Self::Facts => facts().into_iter().map(|(what, seen)| format!("{what}={seen}").into()).collect(),
        })
    }
}

/// Changed by the program behind `init`.
static A_STATIC: AtomicU32 = AtomicU32::new(1);

thread_local! {
    static A_THREAD_LOCAL: Cell<u32> = const { Cell::new(1) };
}

/// The variable that the program sets before it starts its manager, and the one that was set for it.
const SET_BY: &str = "WORKFLEET_TEST_SET_BY";

/// What a process sees of its surroundings.
fn facts() -> BTreeMap<&'static str, String> {
    let link = |path: &str| {
        fs::read_link(path).map_or_else(|error| error.to_string(), |to| to.display().to_string())
    };
    let status = fs::read_to_string("/proc/self/status").expect("there is /proc");
    let of_status = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).expect("the kernel says it");
        line.split_once(':').expect("it has a name").1.trim().to_owned()
    };
    // SAFETY: neither takes or returns a pointer. Both are 0 where the leader is outside this PID namespace.
    let (session, group) = unsafe { (libc::getsid(0), libc::getpgrp()) };
    BTreeMap::from([
        ("directory", env::current_dir().expect("there is one").display().to_string()),
        ("variable", env::var(SET_BY).unwrap_or_default()),
        ("mark of a guardian", env::var("WORKFLEET_GUARDIAN").is_ok().to_string()),
        ("mark of a worker", env::var("WORKFLEET_WORKER").is_ok().to_string()),
        ("mark of its manager", env::var("WORKFLEET_MANAGER").unwrap_or_default()),
        ("to notify", env::var("NOTIFY_SOCKET").unwrap_or_default()),
        ("watchdog", env::var("WATCHDOG_USEC").unwrap_or_default()),
        ("program", link("/proc/self/exe").trim_end_matches(" (deleted)").to_owned()),
        ("umask", of_status("Umask")),
        ("user", of_status("Uid")),
        ("group", of_status("Gid")),
        ("further groups", of_status("Groups")),
        ("capabilities", format!("{} {}", of_status("CapEff"), of_status("CapBnd"))),
        ("no new privileges", of_status("NoNewPrivs")),
        ("limits", fs::read_to_string("/proc/self/limits").expect("there is /proc")),
        ("nice", getpriority_process(None).expect("it has one").to_string()),
        ("control group", fs::read_to_string("/proc/self/cgroup").unwrap_or_default()),
        ("session", session.to_string()),
        ("leads its group", (group.unsigned_abs() == process::id()).to_string()),
        ("parent", std::os::unix::process::parent_id().to_string()),
        ("standard input", link("/proc/self/fd/0")),
        ("terminal", fs::File::open("/dev/tty").is_ok().to_string()),
        ("static", A_STATIC.load(Ordering::Relaxed).to_string()),
        ("thread-local", A_THREAD_LOCAL.get().to_string()),
        ("descriptor that is inherited", link(&format!("/proc/self/fd/{INHERITED}"))),
        ("descriptor that is not", link(&format!("/proc/self/fd/{NOT_INHERITED}"))),
    ])
}

/// Descriptors that the program has open.
const INHERITED: i32 = 100;
const NOT_INHERITED: i32 = 101;

/// What the page `worker-process.md` says: each line of its table is looked at here.
fn check_facts(builder: ProcessManagerBuilder) {
    // In a program whose state differs from that of a new process in all of it.
    umask(Mode::from_raw_mode(0o027));
    let files = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(333), ..files }).expect("less is allowed");
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(4096) }).expect("less is allowed");
    rustix::process::setpriority_process(None, 7).expect("less is allowed");
    // SAFETY: no other thread of this program runs yet.
    unsafe { env::set_var(SET_BY, "the program") };
    env::set_current_dir("/usr").expect("it is there");
    A_STATIC.store(2, Ordering::Relaxed);
    A_THREAD_LOCAL.set(2);
    let file = fs::File::open("/dev/zero").expect("it is there");
    for (number, flags) in
        [(INHERITED, rustix::io::DupFlags::empty()), (NOT_INHERITED, rustix::io::DupFlags::CLOEXEC)]
    {
        // SAFETY: the number is nobody else's.
        let mut at = unsafe { <std::os::fd::OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(number) };
        rustix::io::dup3(&file, &mut at, flags).expect("it is copied");
        std::mem::forget(at);
    }
    let own = facts();

    let manager = builder.start().expect("it starts");
    let seen = manager.submit(Ask::Facts).expect("it is taken").wait().expect("it is done");
    let seen: BTreeMap<String, String> = seen
        .into_iter()
        .map(|line| {
            let line = String::from_utf8(line).expect("it is text");
            let (what, seen) = line.split_once('=').expect("it says what");
            (what.to_owned(), seen.to_owned())
        })
        .collect();
    let pid = process::id().to_string();
    let stat = fs::read_to_string("/proc/self/stat").expect("there is /proc");
    // The time of its start is the 22nd field; the name, which may hold anything, is the second.
    let begun = stat.rsplit_once(") ").expect("it has a name").1.split(' ').nth(19).expect("it is there");
    let marked = format!("{pid}:{begun}");
    let other = |what: &str| match what {
        "leads its group" | "mark of a worker" => Some("true"),
        "mark of its manager" => Some(marked.as_str()),
        "to notify" | "watchdog" => Some(""),
        "parent" => Some(pid.as_str()),
        "standard input" => Some("/dev/null"),
        "static" | "thread-local" => Some("1"),
        "descriptor that is not" => Some("No such file or directory (os error 2)"),
        _ => None,
    };
    for (what, own) in &own {
        assert_eq!(seen[*what], other(what).unwrap_or(own), "{what}");
    }
    assert_eq!(
        (&*own["nice"], &*own["mark of a worker"]),
        ("7", "false"),
        "the program is what it made of itself"
    );
    assert_eq!(seen["terminal"], "false");
    assert_eq!(own["descriptor that is not"], "/dev/zero", "the program has it");
    manager.close(ClosePolicy::Join).expect("it closes");
}

/// A worker that is started once the program's file was replaced runs what the program runs.
fn check_replaced(builder: ProcessManagerBuilder) {
    let path = env::current_exe().expect("it has one");
    let manager = builder.start().expect("it starts");
    fs::remove_file(&path).expect("the program may remove itself");
    fs::write(&path, "#!/bin/false\n").expect("something else stands there");
    for _ in 0..2 {
        let name = manager.submit(Ask::ProcessName).expect("it is taken").wait().expect("it is done");
        assert_eq!(name, [b"wf:worker-0\n"]);
        let worker = manager.stats().workers[0].pid.expect("it is a process");
        rustix::process::kill_process(
            rustix::process::Pid::from_raw(worker.cast_signed()).expect("it is one"),
            rustix::process::Signal::KILL,
        )
        .expect("it lives");
    }
    manager.close(ClosePolicy::Join).expect("it closes");
}

/// How deep this process is below the program that was started first: its only argument.
fn depth() -> u32 {
    env::args().nth(1).map_or(0, |depth| depth.parse().expect("a number"))
}

/// Deeper than this nobody breeds, so that a failure of this test is no bomb.
const DEEPEST: u32 = 2;

/// A program that replaces its standard input before it calls `init`: its workers do not find their connection, and would
/// start workers of their own.
fn breed() {
    rustix::stdio::dup2_stdin(fs::File::open("/dev/null").expect("nothing")).expect("it is replaced");
    let registry = Registry::new().task::<Ask>();
    init(&registry);
    let depth = depth();
    if depth == DEEPEST {
        process::exit(43);
    }
    let next = (depth + 1).to_string();
    match ProcessManager::builder(registry).workers(1).arguments([next]).start().map(drop) {
        Err(ManagerStartError::InitNotReached) if depth > 0 => process::exit(42),
        Err(ManagerStartError::Workers(StartFailure::Died { certificate, .. })) if depth == 0 => {
            assert_eq!(certificate.status, ExitStatus::Exited(42), "{certificate}");
        }
        other => panic!("{depth}: {other:?}"),
    }
}

fn program(part: &str) {
    if part == "breeds" {
        return breed();
    }
    let file = match parse() {
        Ok(file) => file,
        Err(usage) => {
            eprintln!("{usage}");
            process::exit(2);
        }
    };
    if part == "holds-a-signal" {
        hold_back_sigterm();
    }
    let registry = Registry::new().task::<Ask>().session(move || Ok(Table(file.clone())));
    init(&registry);
    let builder = ProcessManager::builder(registry).workers(1);
    match part {
        "plain" => check(builder, parse().expect("its arguments"), &env::args_os().collect::<Vec<_>>()),
        "told" => {
            let own = env::args_os().next().expect("its name");
            let told = [own.as_os_str(), OsStr::new("--file"), OsStr::new("told.bin")].map(OsString::from);
            check(builder.arguments(["--file", "told.bin"]), "told.bin".into(), &told);
        }
        "wrong" => {
            let error = builder.arguments(["--no-such-option"]).start().map(drop).expect_err("it is refused");
            assert!(format!("{error:?}").contains("Usage: surroundings"), "{error:?}");
        }
        "facts" => check_facts(builder),
        "replaced" => check_replaced(builder),
        "holds-a-signal" => hold_a_signal(&builder),
        other => panic!("no part {other}"),
    }
}

/// As a program does that waits for it in one place: before it has any other thread, and so in its workers too.
fn hold_back_sigterm() -> libc::sigset_t {
    // SAFETY: the mask is this thread's own; all-zero is a valid set.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigaddset(&raw mut set, libc::SIGTERM);
        assert_eq!(libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()), 0);
        set
    }
}

/// The program has been sent a signal that it holds back: starting workers does not let it through. They heed it.
fn hold_a_signal(builder: &ProcessManagerBuilder) {
    // SAFETY: it takes numbers. Every thread of this process has blocked the signal, which is for the whole process.
    assert_eq!(unsafe { libc::kill(libc::getpid(), libc::SIGTERM) }, 0);
    for _ in 0..3 {
        let manager = builder.clone().crash_limit(1).start().expect("it starts");
        let failure = manager.submit(Ask::Terminate).expect("it is taken").wait().expect_err("it dies");
        let ends: Vec<_> = failure.deaths.iter().map(|death| death.status).collect();
        assert_eq!(ends, [ExitStatus::Signaled(libc::SIGTERM)], "{failure}");
        manager.close(ClosePolicy::Join).expect("it closes");
    }
    let (set, mut taken) = (hold_back_sigterm(), 0);
    // SAFETY: both are this function's own, and live longer than the call.
    assert_eq!(unsafe { libc::sigwait(&raw const set, &raw mut taken) }, 0);
    assert_eq!(taken, libc::SIGTERM);
}

/// A worker has these arguments, its name too, and made its session of that file.
fn check(builder: ProcessManagerBuilder, file: OsString, arguments: &[OsString]) {
    let manager = builder.start().expect("it starts");
    let ask = |ask| manager.submit(ask).expect("it is taken").wait().expect("it is done");
    assert_eq!(ask(Ask::File), [file.into_vec()]);
    assert_eq!(
        ask(Ask::Arguments),
        arguments.iter().map(|each| each.as_bytes().to_vec()).collect::<Vec<_>>()
    );
    assert_eq!(ask(Ask::ProcessName), [b"wf:worker-0\n"]);
    manager.close(ClosePolicy::Join).expect("it closes");
}

/// The tests of this file, as a harness would have them.
const TESTS: &[(&str, fn())] = &[
    ("a_worker_has_the_arguments_of_its_program", a_worker_has_the_arguments_of_its_program),
    ("the_builder_may_say_otherwise", the_builder_may_say_otherwise),
    (
        "a_signal_that_a_program_holds_back_stays_held_back",
        a_signal_that_a_program_holds_back_stays_held_back,
    ),
    (
        "a_worker_that_has_lost_its_connection_starts_no_workers",
        a_worker_that_has_lost_its_connection_starts_no_workers,
    ),
    ("a_variable_that_names_the_parent_makes_no_worker", a_variable_that_names_the_parent_makes_no_worker),
    ("a_worker_sees_of_its_program_what_the_page_says", a_worker_sees_of_its_program_what_the_page_says),
    (
        "a_worker_runs_what_its_program_runs_also_when_the_file_was_replaced",
        a_worker_runs_what_its_program_runs,
    ),
];

/// Runs the program in a part, which has to end well.
fn run(part: &str, set_up: impl FnOnce(&mut Command)) -> Output {
    run_program(Path::new("/proc/self/exe"), part, set_up)
}

fn run_program(program: &Path, part: &str, set_up: impl FnOnce(&mut Command)) -> Output {
    let mut command = Command::new(program);
    command.env(PART, part).stdin(Stdio::null());
    set_up(&mut command);
    assert_success(&mut command, part)
}

fn assert_success(command: &mut Command, part: &str) -> Output {
    let output = command.output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{part}: {}\n{said}", output.status);
    output
}

fn a_worker_has_the_arguments_of_its_program() {
    run("plain", |_| ());
    run("plain", |command| {
        command.args(["--file", "big.bin"]);
    });
    run("plain", |command| {
        command.args([OsStr::new("--file"), OsStr::from_bytes(b"\xff no text \n \xfe")]);
    });
}

fn the_builder_may_say_otherwise() {
    run("told", |_| ());
    run("wrong", |command| {
        command.args(["--file", "big.bin"]);
    });
}

fn a_worker_sees_of_its_program_what_the_page_says() {
    let services = [("NOTIFY_SOCKET", "@nobody"), ("WATCHDOG_USEC", "1000000")];
    run("facts", |command| {
        command.process_group(0).envs(services);
    });
    // The leaders of its session and its group are outside, so they have no number there.
    let mut first = namespace::first_of_a_namespace();
    first.arg(env::current_exe().expect("this program")).stdin(Stdio::null()).envs(services);
    assert_success(first.env(PART, "facts"), "as the first process");
}

fn a_worker_that_has_lost_its_connection_starts_no_workers() {
    run("breeds", |_| ());
    let mut first = namespace::first_of_a_namespace();
    first.arg(env::current_exe().expect("this program"));
    assert_success(first.env(PART, "breeds"), "as the first process");
}

/// As a variable of this name may do by accident, in a shell that exports its own number, say.
fn a_variable_that_names_the_parent_makes_no_worker() {
    run("plain", |command| {
        command.env("WORKFLEET_MANAGER", process::id().to_string()).process_group(0);
    });
}

fn a_worker_runs_what_its_program_runs() {
    let directory = tempfile::tempdir().expect("a directory");
    let copy = directory.path().join("surroundings");
    fs::copy("/proc/self/exe", &copy).expect("it is copied");
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).expect("it can be run");
    run_program(&copy, "replaced", |_| ());
}

fn a_signal_that_a_program_holds_back_stays_held_back() {
    run("holds-a-signal", |_| ());
}
