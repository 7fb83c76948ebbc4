//! Under a terminal: no touch of it stops a worker, and Ctrl-Z harms nobody.

mod support;

use std::{
    env,
    fs::{File, OpenOptions},
    io::{self, Write},
    os::{
        fd::{AsRawFd, FromRawFd},
        unix::{fs::OpenOptionsExt, process::CommandExt},
    },
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use rustix::{
    io::Errno,
    process::{Signal, getpid, getsid, setsid},
};
use serde::{Deserialize, Serialize};
use support::{
    alone, assert_stopped, builder, close,
    gate::{Gate, wait_at},
    let_pass, only_worker,
    process::{Program, await_stop, part, say, signal, signal_child, wait_for_the_test},
};
use workfleet_task_manager::{
    FailureCause, ManagerStartError, ProcessManager, Registry, StartFailure, Task, TaskContext, TaskError,
    TaskSpec,
};

/// Names the terminal that a program of these tests is under.
const TERMINAL: &str = "WORKFLEET_TEST_TERMINAL";
/// Names the gate of the tasks of a program under Ctrl-Z.
const GATE: &str = "WORKFLEET_TEST_GATE";

/// Longer than a worker on a busy machine takes to answer.
const SILENCE_LIMIT: Duration = Duration::from_secs(2);

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Deed {
    Nothing,
    /// Runs a command of the shell. Yields its code, and what it printed.
    Shell(String),
    /// Opens the terminal of the process.
    OpenTerminal,
    /// Opens a terminal by its name, and does with it what stops a process in the background.
    UseTerminal(PathBuf),
    StopBy(i32),
    /// Comes to a gate twice.
    WaitTwice(PathBuf),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Act(Deed);

impl TaskSpec for Act {
    const NAME: &'static str = "act";
    type Output = (u32, String);
}

impl Task for Act {
    fn run(self, cx: &TaskContext) -> Result<(u32, String), TaskError> {
        let mut said = String::new();
        match self.0 {
            Deed::Nothing => {}
            Deed::Shell(command) => {
                let output = Command::new("sh").args(["-c", &command]).output()?;
                said = format!("{:?} {}", output.status.code(), String::from_utf8_lossy(&output.stderr));
            }
            Deed::OpenTerminal => match File::open("/dev/tty") {
                Ok(_) => return Err("it has a terminal".into()),
                Err(error) => said = format!("{:?}", error.raw_os_error()),
            },
            Deed::UseTerminal(path) => use_terminal(&path)?,
            Deed::StopBy(number) => {
                // SAFETY: a signal to this process itself runs nothing but what the signal does.
                unsafe { libc::raise(number) };
            }
            Deed::WaitTwice(gate) => {
                wait_at(&gate)?;
                wait_at(&gate)?;
            }
        }
        Ok((cx.attempt(), said))
    }
}

/// Opened without further words, which would make it the terminal of a process that may have one.
fn use_terminal(path: &Path) -> io::Result<()> {
    let mut terminal = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    // SAFETY: the descriptor is open, and the settings are a plain C struct that outlives the calls.
    unsafe {
        let mut settings: libc::termios = std::mem::zeroed();
        if libc::tcgetattr(terminal.as_raw_fd(), &raw mut settings) != 0 {
            return Err(io::Error::last_os_error());
        }
        // So that also a process in the background that writes is stopped.
        settings.c_lflag |= libc::TOSTOP;
        if libc::tcsetattr(terminal.as_raw_fd(), libc::TCSANOW, &raw const settings) != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    terminal.write_all(b"written\n")?;
    match io::Read::read(&mut terminal, &mut [0; 16]) {
        // Nobody types.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        other => Err(io::Error::other(format!("{other:?}"))),
    }
}

fn registry() -> Registry {
    Registry::new().task::<Act>()
}

workfleet_task_manager::test_worker!({
    if env::args().any(|argument| argument == "touches-first") {
        let _ = Command::new("stty").arg("-echo").stdin(File::open("/dev/tty").expect("it")).status();
    }
    registry()
});

/// Not a test by itself: the programs that the tests below start.
#[test]
fn program() {
    let Some(part) = part() else { return };
    match &*part {
        "touches" => touches(),
        "touches-before" => touches_before(),
        "shell" => shell(),
        "job" => job(),
        other => panic!("no part is called {other}"),
    }
}

/// A new terminal: its controlling end, and the name of the other.
fn terminal() -> (File, PathBuf) {
    // SAFETY: the descriptor is fresh, and owned by what is made of it; the name is read before another call may
    // replace it, because each test program has one terminal.
    unsafe {
        let controller = libc::posix_openpt(libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC);
        assert!(controller >= 0, "{}", io::Error::last_os_error());
        assert_eq!(libc::grantpt(controller), 0);
        assert_eq!(libc::unlockpt(controller), 0);
        let name = std::ffi::CStr::from_ptr(libc::ptsname(controller));
        (File::from_raw_fd(controller), PathBuf::from(name.to_str().expect("a path")))
    }
}

/// Begins a session under this terminal.
fn take_terminal(name: &Path) -> io::Result<File> {
    setsid()?;
    // A session's leader without a terminal gets the first that it opens.
    OpenOptions::new().read(true).write(true).open(name)
}

/// Runs a part that takes a terminal of its own.
fn run_under_terminal(part: &str) {
    let (_controller, name) = terminal();
    Program::start_as("/proc/self/exe", "program", part, |command| {
        command.env(TERMINAL, &name);
    })
    .assert_success();
}

/// Takes the terminal that the test has made. Returns its name, and a descriptor of it.
fn given_terminal() -> (PathBuf, File) {
    let path = PathBuf::from(env::var(TERMINAL).expect("its name"));
    let terminal = take_terminal(&path).expect("a terminal");
    File::open("/dev/tty").expect("this program has a terminal");
    (path, terminal)
}

fn one_worker() -> ProcessManager {
    builder(registry(), 1).crash_limit(1).silence_limit(SILENCE_LIMIT).start().expect("it starts")
}

fn touches() {
    let (path, _terminal) = given_terminal();
    let manager = one_worker();
    let run = |deed| {
        let (attempt, said) = manager.submit(Act(deed)).expect("it is taken").wait().expect("it is done");
        assert_eq!(attempt, 1);
        said
    };
    let no_terminal = format!("{:?}", Some(Errno::NXIO.raw_os_error()));
    assert_eq!(run(Deed::OpenTerminal), no_terminal);
    for command in ["stty -echo </dev/tty", "cat </dev/tty", "echo text >/dev/tty"] {
        let said = run(Deed::Shell(command.into()));
        assert!(said.contains("/dev/tty") && !said.starts_with("Some(0)"), "{said}");
    }
    run(Deed::UseTerminal(path.clone()));
    // A terminal that is opened does not become that of the worker.
    assert_eq!(run(Deed::OpenTerminal), no_terminal);
    let path = path.display();
    for command in [format!("stty -echo <{path}"), format!("exec 1>{path}; stty sane <&1; echo text")] {
        let said = run(Deed::Shell(command));
        assert!(said.starts_with("Some(0)"), "{said}");
    }
    close(&manager);
}

#[test]
fn a_task_that_touches_the_terminal_gets_an_error_and_is_not_stopped() {
    let _alone = alone();
    run_under_terminal("touches");
}

/// The terminal is given up by `init`: before that, the process is one in the background.
fn touches_before() {
    let _terminal = given_terminal();
    let started = builder(registry(), 1)
        .arguments(["workfleet_worker", "--nocapture", "--skip", "touches-first"])
        .init_limit(Duration::from_secs(1))
        .start();
    match started {
        Err(ManagerStartError::Workers(failure @ StartFailure::InitNotReached { .. })) => {
            assert!(failure.to_string().contains("stopped by SIGTTOU"), "{failure}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_worker_that_a_terminal_stops_before_init_says_so() {
    let _alone = alone();
    run_under_terminal("touches-before");
}

#[test]
fn a_worker_that_was_stopped_says_by_what() {
    let _alone = alone();
    for number in [libc::SIGSTOP, libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU] {
        let limit = Duration::from_millis(200);
        let manager = builder(registry(), 1).crash_limit(1).silence_limit(limit).start().expect("it starts");
        let worker = only_worker(&manager).expect("it has just started");
        let failure = match number {
            // The kernel does not let a terminal's signals stop a group that no shell looks after.
            libc::SIGSTOP => manager.submit(Act(Deed::StopBy(number))),
            _ => {
                let gate = Gate::new();
                let handle = manager.submit(Act(Deed::WaitTwice(gate.path())));
                let _waiting = gate.wait();
                signal_child(worker, Signal::from_named_raw(number).expect("its name"));
                handle
            }
        };
        let failure = failure.expect("it is taken").wait().expect_err("it dies");
        assert_eq!((&failure.cause, failure.deaths.len()), (&FailureCause::WorkerDied, 1), "{failure}");
        assert_stopped(&failure.deaths[0], number, limit);
        close(&manager);
    }
}

/// A shell, as far as Ctrl-Z is concerned: it has the terminal, types, and lets the job go on.
fn shell() {
    let (mut controller, name) = terminal();
    let terminal = take_terminal(&name).expect("a terminal");
    assert_eq!(getsid(None), Ok(getpid()));
    let gate = Gate::new();
    let mut job = Program::start_as("/proc/self/exe", "program", "job", |command| {
        command.env(GATE, gate.path()).process_group(0);
    });
    let pid = job.child.id();
    // SAFETY: the descriptor is open.
    let given = unsafe { libc::tcsetpgrp(terminal.as_raw_fd(), pid.cast_signed()) };
    assert_eq!(given, 0, "{}", io::Error::last_os_error());
    assert_eq!(job.hear(), "working");
    let running: Vec<_> = (0..JOB_WORKERS).map(|_| gate.wait()).collect();
    // Ctrl-Z.
    controller.write_all(b"\x1a").expect("it is typed");
    await_stop(pid);
    running.into_iter().for_each(|task| task.go_on());
    // The workers go on meanwhile: their tasks come to the gate again.
    let running: Vec<_> = (0..JOB_WORKERS).map(|_| gate.wait()).collect();
    let_pass(2 * SILENCE_LIMIT + Duration::from_millis(500));
    running.into_iter().for_each(|task| task.go_on());
    signal(pid, Signal::CONT);
    job.go_on();
    job.assert_success();
    // SAFETY: ignoring a signal runs nothing. The terminal hangs up when its other end is closed.
    unsafe { libc::signal(libc::SIGHUP, libc::SIG_IGN) };
}

const JOB_WORKERS: usize = 2;

fn job() {
    let gate = PathBuf::from(env::var(GATE).expect("its path"));
    let manager = builder(registry(), JOB_WORKERS).silence_limit(SILENCE_LIMIT).start().expect("it starts");
    let mut handles: Vec<_> = (0..JOB_WORKERS)
        .map(|_| manager.submit(Act(Deed::WaitTwice(gate.clone()))).expect("it is taken"))
        .collect();
    handles.extend((0..20).map(|_| manager.submit(Act(Deed::Nothing)).expect("it is taken")));
    say("working");
    wait_for_the_test();
    for handle in handles {
        assert_eq!(handle.wait().expect("it is done").0, 1, "nobody is killed, and nobody is charged");
    }
    let report = close(&manager);
    assert_eq!(report.tasks.failed, 0, "{report}");
}

#[test]
fn a_manager_that_ctrl_z_stops_goes_on_where_it_was_while_its_workers_go_on_without_it() {
    let _alone = alone();
    Program::start("program", "shell").assert_success();
}
