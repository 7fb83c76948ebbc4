//! What is left when something dies: nothing. Counted where every process can be seen: in a PID namespace of the test's
//! own, or below a subreaper.

mod support;

use std::{
    env, fs,
    process::{self, Command},
};

use rustix::process::getpid;
use serde::{Deserialize, Serialize};
use support::{
    alone, builder, close,
    process::{Program, children, is_alive, part},
};
use workfleet_task_manager::{ClosePolicy, Registry, Task, TaskContext, TaskError, TaskSpec};

/// How many processes a task starts.
const STARTED: usize = 30;

/// What a task does in its first attempt; in later ones it returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Deed {
    Nothing,
    /// Starts processes, which start others, and dies of its own doing.
    StartAndAbort,
    /// Starts processes and returns.
    StartAndReturn,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Act(Deed);

impl TaskSpec for Act {
    const NAME: &'static str = "act";
    type Output = u32;
}

impl Task for Act {
    fn run(self, cx: &TaskContext) -> Result<u32, TaskError> {
        if self.0 != Deed::Nothing && cx.attempt() == 1 {
            for number in 0..STARTED {
                start_process(number)?;
            }
            if self.0 == Deed::StartAndAbort {
                process::abort();
            }
        }
        Ok(cx.attempt())
    }
}

/// Some refuse what can be refused, and some start others.
fn start_process(number: usize) -> Result<(), TaskError> {
    let script = match number % 3 {
        0 => "exec sleep 1000",
        1 => "trap '' HUP INT TERM QUIT; sleep 1000; sleep 1000",
        _ => "sleep 1000 & sleep 1000 & wait",
    };
    Command::new("sh").args(["-c", script]).spawn()?;
    Ok(())
}

fn registry() -> Registry {
    Registry::new().task::<Act>()
}
workfleet_task_manager::test_worker!(registry());

/// Not a test by itself: the programs that the tests below start.
#[test]
fn program() {
    let Some(part) = part() else { return };
    match &*part {
        "first" => {
            assert!(getpid().is_init(), "it is the first process of its namespace");
            buries();
        }
        "subreaper" => {
            become_subreaper();
            buries();
        }
        other => panic!("no part is called {other}"),
    }
}

fn become_subreaper() {
    // SAFETY: the request takes a number and touches no memory.
    let set = unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) };
    assert_eq!(set, 0, "this process becomes the parent of its descendants' orphans");
}

/// A command that runs this program as the first process of a PID namespace of its own, with the `/proc` of that.
fn first_of_a_namespace() -> Command {
    let mut command = Command::new("unshare");
    // Without the rights of root, those of a user namespace do.
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command.args(["--pid", "--fork", "--mount-proc", "--kill-child", "--"]);
    let mut probe = Command::new(command.get_program());
    let possible = probe.args(command.get_args()).arg("true").status();
    assert!(
        possible.as_ref().is_ok_and(process::ExitStatus::success),
        "this system allows no PID namespace, so this test proves nothing here: {possible:?}"
    );
    command.arg(env::current_exe().expect("this program"));
    command
}

/// Those that are dead and not reaped.
fn zombies() -> Vec<u32> {
    children().into_iter().filter(|&child| !is_alive(child)).collect()
}

/// Workers die, and leave what their tasks have started to this process.
fn buries() {
    let manager = builder(registry(), 1).start().expect("it starts");
    for deed in [Deed::StartAndAbort, Deed::StartAndReturn, Deed::StartAndAbort] {
        manager.submit(Act(deed)).expect("it is taken").wait().expect("it is done");
        assert_eq!(zombies(), [], "{deed:?}");
    }
    close(&manager);
    assert_eq!(children(), []);
    // As a worker that is killed.
    let manager = builder(registry(), 2).start().expect("it starts");
    let acts: Vec<_> =
        (0..2).map(|_| manager.submit(Act(Deed::StartAndReturn)).expect("it is taken")).collect();
    for act in acts {
        act.wait().expect("it is done");
    }
    manager.close(ClosePolicy::Kill).expect("it closes");
    assert_eq!(children(), []);
    let processes = fs::read_dir("/proc").expect("processes are listed");
    let others: Vec<u32> = processes
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|&other| other != process::id())
        .collect();
    assert!(!getpid().is_init() || others.is_empty(), "{others:?}");
}

#[test]
fn nothing_is_left_of_dead_workers_where_the_program_is_the_first_process() {
    let _alone = alone();
    Program::start_by(first_of_a_namespace(), "program", "first").assert_success();
}

#[test]
fn nothing_is_left_of_dead_workers_where_the_program_is_a_subreaper() {
    let _alone = alone();
    Program::start("program", "subreaper").assert_success();
}
