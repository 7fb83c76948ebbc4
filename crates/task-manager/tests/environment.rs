//! The surroundings that a program may be started in, one row each: there it works, or its first manager says what is missing.
//!
//! A row is a test of its own. It starts this binary as a program of its own, which makes the rest of its surroundings itself,
//! starts a manager of two worker processes, and has them run tasks.

#![cfg(any(target_os = "linux", target_os = "android"))]

mod support;

use std::{
    env,
    ffi::CStr,
    fs::{self, File, OpenOptions},
    io,
    os::fd::FromRawFd,
    path::{Path, PathBuf},
    process::{self, Command, Stdio},
    ptr,
    time::Duration,
};

use rustix::{
    fs::Mode,
    process::{Resource, Rlimit, getpid, getrlimit, setrlimit, setsid, umask},
};
use serde::{Deserialize, Serialize};
use support::{
    alone, builder, close,
    process::{PART, part},
    watchdog::watchdog,
};
use workfleet_task_manager::{
    Pool, ProcessManagerBuilder, Registry, Task, TaskContext, TaskError, TaskSpec, ThreadManager,
};

#[derive(Debug, Serialize, Deserialize)]
struct Double(u32);

impl TaskSpec for Double {
    const NAME: &'static str = "double";
    type Output = u32;
}

impl Task for Double {
    fn run(self, _cx: &TaskContext) -> Result<u32, TaskError> {
        Ok(2 * self.0)
    }
}

fn registry() -> Registry {
    Registry::new().task::<Double>()
}
workfleet_task_manager::test_worker!(registry());

/// What becomes of a program.
#[derive(Clone, Copy)]
enum Outcome {
    /// Its workers do what they are asked to.
    Works,
    /// Its manager does not start, by an error that says all of this.
    Says(&'static [&'static str]),
}
use Outcome::{Says, Works};

struct Row {
    name: &'static str,
    /// The command that starts the program, to which the program is appended.
    start: fn() -> Command,
    /// What the program does to its surroundings.
    inside: fn(),
    /// What it asks of its manager.
    settings: fn(ProcessManagerBuilder) -> ProcessManagerBuilder,
    outcome: Outcome,
}

/// What says which part of a start has failed, and not by what.
const LAYERS: [&str; 5] = [
    "could not be started",
    "the guardian process",
    "its connection failed",
    "could not be replaced",
    "no worker starts",
];

/// What a program exits with that has found its row to be true. Where its streams are closed, nothing else can say so.
const DONE: i32 = 42;

/// Makes a table of rows, and a test of each.
macro_rules! rows {
    ($($name:ident: $start:expr, $inside:expr, $settings:expr => $outcome:expr;)+) => {
        const ROWS: &[Row] = &[$(Row {
            name: stringify!($name),
            start: $start,
            inside: $inside,
            settings: $settings,
            outcome: $outcome,
        }),+];
        $(#[test]
        fn $name() {
            run(stringify!($name));
        })+
    };
}

const NOT_IMPLEMENTED: &str = "Function not implemented (os error 38)";
const NOT_PERMITTED: &str = "Operation not permitted (os error 1)";
const NO_SUCH_FILE: &str = "No such file or directory (os error 2)";
const NO_PROC: &str = "starting /proc/self/exe (no /proc is mounted here: ";
const FEW_DESCRIPTORS: &str = "Too many open files (os error 24)";

rows! {
    nothing_special: plain, || (), as_it_is => Works;
    // Standard streams.
    no_standard_input: || closed("0<&-"), || (), as_it_is => Works;
    no_standard_output: || closed("1>&-"), || (), as_it_is => Works;
    no_standard_error: || closed("2>&-"), || (), as_it_is => Works;
    no_standard_stream: || closed("0<&- 1>&- 2>&-"), || (), as_it_is => Works;
    closed_standard_streams_while_it_runs: plain, close_standard_streams, as_it_is => Works;
    // Files of the system.
    no_proc: || mounted_over("/proc"), || (), as_it_is => Says(&[NO_PROC, "ProcessManagerBuilder::program", NO_SUCH_FILE]);
    no_proc_for_a_program_with_a_main: || mounted_over("/proc"), || (), with_arguments
        => Says(&[NO_PROC, "the guardian process: ", NO_SUCH_FILE]);
    no_proc_but_a_named_program: || mounted_over("/proc"), || (), with_a_name => Works;
    no_dev_null: || mounted_over("/dev"), || (), as_it_is => Says(&["opening /dev/null: ", NO_SUCH_FILE]);
    no_dev_null_for_a_program_with_a_main: || mounted_over("/dev"), || (), with_arguments
        => Says(&["the guardian process: opening /dev/null: ", NO_SUCH_FILE]);
    no_dev_null_for_workers: plain, || (), with_workers_without_dev
        => Says(&["its standard input could not be replaced: opening /dev/null: ", NO_SUCH_FILE]);
    a_deleted_directory: plain, work_in_a_deleted_directory, as_it_is => Works;
    // Calls of the system.
    no_pidfd_open: plain, || refuse(libc::SYS_pidfd_open, libc::ENOSYS), as_it_is
        => Says(&["pidfd_open (it takes Linux 5.3", NOT_IMPLEMENTED]);
    a_forbidden_pidfd_open: plain, || refuse(libc::SYS_pidfd_open, libc::EPERM), as_it_is
        => Says(&["pidfd_open (it takes Linux 5.3", NOT_PERMITTED]);
    no_memfd_create: plain, || refuse(libc::SYS_memfd_create, libc::ENOSYS), as_it_is
        => Says(&["memfd_create (a manager shares memory with its workers): ", NOT_IMPLEMENTED]);
    a_forbidden_memfd_create: plain, || refuse(libc::SYS_memfd_create, libc::EPERM), as_it_is
        => Says(&["memfd_create (a manager shares memory with its workers): ", NOT_PERMITTED]);
    neither_of_both_for_threads: plain, || {
        refuse(libc::SYS_pidfd_open, libc::ENOSYS);
        refuse(libc::SYS_memfd_create, libc::ENOSYS);
        let manager = ThreadManager::builder(registry()).workers(2).start().expect("it starts");
        run_tasks(&manager);
    }, as_it_is => Says(&["memfd_create", NOT_IMPLEMENTED]);
    no_pidfd_send_signal: plain, || refuse(libc::SYS_pidfd_send_signal, libc::ENOSYS), as_it_is
        => Says(&["pidfd_send_signal (it takes Linux 5.1", NOT_IMPLEMENTED]);
    a_forbidden_pidfd_send_signal: plain, || refuse(libc::SYS_pidfd_send_signal, libc::EPERM), as_it_is
        => Says(&["pidfd_send_signal (it takes Linux 5.1", NOT_PERMITTED]);
    a_forbidden_socketpair: plain, || refuse(libc::SYS_socketpair, libc::EPERM), as_it_is
        => Says(&["socketpair: ", NOT_PERMITTED]);
    a_forbidden_sendmsg: plain, || refuse(libc::SYS_sendmsg, libc::EPERM), as_it_is
        => Says(&["the guardian process: writing to its socket: ", NOT_PERMITTED]);
    a_forbidden_epoll: plain, || refuse(libc::SYS_epoll_create1, libc::EPERM), as_it_is
        => Says(&["epoll_create1", NOT_PERMITTED]);
    a_forbidden_execve: plain, || refuse(libc::SYS_execve, libc::EPERM), with_arguments
        => Says(&["starting /proc/self/exe: ", NOT_PERMITTED]);
    a_forbidden_recvmsg: plain, || refuse(libc::SYS_recvmsg, libc::EPERM), as_it_is
        => Says(&["its connection failed: recvmsg: ", NOT_PERMITTED]);
    a_forbidden_recvfrom: plain, || refuse(libc::SYS_recvfrom, libc::EPERM), as_it_is
        => Says(&["recv of its connection failed", NOT_PERMITTED]);
    a_forbidden_poll: plain, || refuse(libc::SYS_ppoll, libc::EPERM), as_it_is
        => Says(&["poll of the list of tests: ", NOT_PERMITTED]);
    forbidden_limits: plain, || refuse(libc::SYS_prlimit64, libc::EPERM), as_it_is => Works;
    no_pidfd_signal_for_groups: plain, || refuse_flags(libc::SYS_pidfd_send_signal, 3, libc::EINVAL), as_it_is => Works;
    // Limits.
    files_of_a_few_bytes: plain, || limit(Resource::Fsize, 100), as_it_is => Says(&["(RLIMIT_FSIZE)"]);
    few_descriptors: plain, || limit(Resource::Nofile, 12), as_it_is => Says(&[FEW_DESCRIPTORS]);
    no_core_and_small_stacks: plain, || { limit(Resource::Core, 0); limit(Resource::Stack, 1 << 20); }, as_it_is => Works;
    // Signals.
    all_signals_blocked: plain, block_all_signals, as_it_is => Works;
    all_signals_ignored: plain, ignore_all_signals, as_it_is => Works;
    // Who it is.
    the_first_process: support::namespace::first_of_a_namespace, || assert!(getpid().is_init()), as_it_is => Works;
    a_subreaper: plain, become_subreaper, as_it_is => Works;
    under_a_terminal: plain, take_a_terminal, as_it_is => Works;
    files_that_nobody_may_touch: plain, || {
        umask(Mode::from_raw_mode(0o777));
    }, as_it_is => Works;
    // What it is told.
    an_empty_environment: || { let mut command = plain(); command.env_clear(); command }, || (), as_it_is => Works;
    markers_of_others: with_markers_of_others, || (), as_it_is => Works;
}

/// Not a test by itself: the program that each row starts.
#[test]
fn program() {
    let Some(part) = part() else { return };
    let _watchdog = watchdog();
    let row = ROWS.iter().find(|row| row.name == part).expect("there is such a row");
    (row.inside)();
    // What may pass is not waited for.
    let builder = (row.settings)(builder(registry(), 2).outage_patience(Duration::ZERO));
    match (builder.start(), row.outcome) {
        (Ok(manager), Works) => {
            run_tasks(&manager);
        }
        (Err(error), Says(texts)) => {
            let said = format!("{error:?}");
            assert!(texts.iter().all(|text| said.contains(text)), "{said}");
            // Before the system's own words stands what it refused, and not what that was for.
            if let Some((systems, _)) = said.split_once(" (os error") {
                let refused = systems.rsplit(": ").nth(1).expect("it says more");
                assert!(!LAYERS.iter().any(|layer| refused.ends_with(layer)), "{said}");
            }
        }
        (Err(error), Works) => panic!("{error:?}"),
        (Ok(_), Says(texts)) => panic!("it starts, without {texts:?}"),
    }
    if Path::new("/proc/self").exists() {
        support::assert_no_child_left();
    }
    process::exit(DONE);
}

fn run_tasks(pool: &Pool) {
    let submit = |n| pool.submit(Double(n)).expect("it is taken");
    let handles: Vec<_> = (0..20).map(submit).collect();
    for (n, handle) in (0..).zip(handles) {
        assert_eq!(handle.wait().expect("it is done"), 2 * n);
    }
    close(pool);
}

/// Runs a row's program, which does by itself what the row says.
fn run(row: &str) {
    let _alone = alone();
    let mut command = (ROWS.iter().find(|known| known.name == row).expect("it is one of them").start)();
    let output = command
        .arg(env::current_exe().expect("this program"))
        .args(["program", "--exact", "--nocapture", "--test-threads=1"])
        .env(PART, row)
        .stdin(Stdio::null())
        .output()
        .expect("it starts");
    let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert_eq!(output.status.code(), Some(DONE), "{}\n{}", output.status, said.join("\n"));
}

fn as_it_is(builder: ProcessManagerBuilder) -> ProcessManagerBuilder {
    builder
}

const ENTRY: [&str; 3] = ["workfleet_worker", "--exact", "--nocapture"];

/// As in a program that calls `init` in `main`, which nobody has to ask for its tests.
fn with_arguments(builder: ProcessManagerBuilder) -> ProcessManagerBuilder {
    builder.arguments(ENTRY)
}

/// This program, by the name that it was started by.
fn own_name() -> String {
    env::args().next().expect("a name")
}

fn with_a_name(builder: ProcessManagerBuilder) -> ProcessManagerBuilder {
    builder.program(own_name()).arguments(ENTRY)
}

fn with_workers_without_dev(builder: ProcessManagerBuilder) -> ProcessManagerBuilder {
    let command = mounted_over("/dev");
    let arguments = command.get_args().map(ToOwned::to_owned);
    let arguments = arguments.chain([own_name().into()]).chain(ENTRY.map(Into::into));
    builder.program(command.get_program()).arguments(arguments)
}

/// Runs what is appended.
fn plain() -> Command {
    Command::new("env")
}

/// With such redirections of the shell.
fn closed(redirections: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("exec \"$@\" {redirections}"), "sh"]);
    command
}

/// With nothing in this directory.
fn mounted_over(directory: &str) -> Command {
    let mut command = Command::new("unshare");
    // Without the rights of root, those of a user namespace do.
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command.args(["--mount", "sh", "-c", "mount -t tmpfs none \"$0\" && exec \"$@\"", directory]);
    let mut probe = Command::new(command.get_program());
    let possible = probe.args(command.get_args()).arg("true").status();
    assert!(
        possible.as_ref().is_ok_and(std::process::ExitStatus::success),
        "this system allows no mount namespace, so this test proves nothing here: {possible:?}"
    );
    command
}

fn with_markers_of_others() -> Command {
    let mut command = plain();
    for mark in ["WORKFLEET_WORKER", "WORKFLEET_GUARDIAN", "WORKFLEET_MANAGER"] {
        command.env(mark, "1:1");
    }
    command
}

fn close_standard_streams() {
    for stream in 0..3 {
        // SAFETY: nothing in this process owns them, and whoever writes to them is told that they are closed.
        unsafe { libc::close(stream) };
    }
}

fn work_in_a_deleted_directory() {
    let directory = tempfile::tempdir().expect("a directory");
    env::set_current_dir(directory.path()).expect("it is there");
    fs::remove_dir(directory.path()).expect("it is empty");
}

fn limit(resource: Resource, current: u64) {
    let limit = Rlimit { current: Some(current), maximum: getrlimit(resource).maximum };
    setrlimit(resource, limit).expect("it is lower than the maximum");
}

fn block_all_signals() {
    // SAFETY: the set is filled before it is used, and outlives the calls.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        assert_eq!(libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, ptr::null_mut()), 0);
    }
}

fn ignore_all_signals() {
    for signal in 1..32 {
        // SAFETY: ignoring a signal runs nothing. Of two signals it is an error, and changes nothing.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

fn become_subreaper() {
    // SAFETY: the request takes a number and touches no memory.
    let set = unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) };
    assert_eq!(set, 0, "{}", io::Error::last_os_error());
}

/// Begins a session under a new terminal, whose other end stays open.
fn take_a_terminal() {
    // SAFETY: the descriptor is fresh, and owned by what is made of it; the name is copied before another call may replace it.
    let (controller, name) = unsafe {
        let controller = libc::posix_openpt(libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC);
        assert!(controller >= 0, "{}", io::Error::last_os_error());
        assert_eq!((libc::grantpt(controller), libc::unlockpt(controller)), (0, 0));
        let name = CStr::from_ptr(libc::ptsname(controller)).to_str().expect("a path");
        (File::from_raw_fd(controller), PathBuf::from(name))
    };
    setsid().expect("this program leads no group");
    let terminal = OpenOptions::new().read(true).write(true).open(name).expect("a terminal");
    File::open("/dev/tty").expect("this program has a terminal");
    // For as long as the program runs.
    std::mem::forget((controller, terminal));
}

/// Has the system refuse a call with this error from now on, to this process and to all that it starts.
fn refuse(call: libc::c_long, error: i32) {
    set_filter(call, None, error);
}

/// As a kernel does that does not know these flags, which are the argument of this index.
fn refuse_flags(call: libc::c_long, index: u32, error: i32) {
    set_filter(call, Some(index), error);
}

/// With `flags`, the call is refused only where that argument is not 0.
fn set_filter(call: libc::c_long, flags: Option<u32>, error: i32) {
    let statement = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let (call, error) = (u32::try_from(call).expect("a number"), error.unsigned_abs());
    // Code of the kernel's filters is 16 bits wide.
    let code = |parts: &[u32]| u16::try_from(parts.iter().fold(0, |all, part| all | part)).expect("a code");
    let load = |offset| statement(code(&[libc::BPF_LD, libc::BPF_W, libc::BPF_ABS]), 0, 0, offset);
    // What is not refused jumps behind the refusal.
    let goes_on_if =
        |value, yes, no| statement(code(&[libc::BPF_JMP, libc::BPF_JEQ, libc::BPF_K]), yes, no, value);
    let low_half = if cfg!(target_endian = "big") { 4 } else { 0 };
    // Where there are no flags, the number of the call is looked at twice.
    let (second, refused, let_pass) = match flags {
        Some(index) => (16 + 8 * index + low_half, 0, (1, 0)),
        None => (0, call, (0, 1)),
    };
    let mut filter = [
        // The number of the call is what stands first.
        load(0),
        goes_on_if(call, 0, 3),
        load(second),
        goes_on_if(refused, let_pass.0, let_pass.1),
        statement(code(&[libc::BPF_RET, libc::BPF_K]), 0, 0, libc::SECCOMP_RET_ERRNO | error),
        statement(code(&[libc::BPF_RET, libc::BPF_K]), 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let length = u16::try_from(filter.len()).expect("it is short");
    let program = libc::sock_fprog { len: length, filter: filter.as_mut_ptr() };
    // SAFETY: the program and its filter outlive the call, which copies them.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0, "{}", io::Error::last_os_error());
        let set = libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_TSYNC,
            &raw const program,
        );
        assert_eq!(
            set,
            0,
            "this system allows no filter, so this proves nothing: {}",
            io::Error::last_os_error()
        );
    }
}
