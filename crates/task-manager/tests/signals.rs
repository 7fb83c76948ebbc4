//! How workers, and what their tasks start, take signals that the program blocks or ignores.

mod support;

use std::{fs, process::Command, ptr, thread};

use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use support::{
    alone, builder, close,
    process::{Program, Watched, numbers, part, signal},
    tasks::{self, Text, next_text},
};
use workfleet_task_manager::{
    ExitStatus, FailureCause, ProcessManager, Registry, Task, TaskContext, TaskError, TaskSpec,
};

/// What a task asks of its surroundings.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Ask {
    /// The `/proc/…/status` of its own thread.
    OwnStatus,
    /// That of a program that it starts.
    ChildStatus,
    /// It starts a program, says both process ids, and does not end.
    Stay,
}

impl TaskSpec for Ask {
    const NAME: &'static str = "ask";
    type Output = String;
}

impl Task for Ask {
    fn run(self, cx: &TaskContext) -> Result<String, TaskError> {
        Ok(match self {
            Self::OwnStatus => fs::read_to_string("/proc/thread-self/status")?,
            Self::ChildStatus => {
                let output = Command::new("cat").arg("/proc/self/status").output()?;
                String::from_utf8(output.stdout)?
            }
            Self::Stay => {
                let child = Command::new("sleep").arg("100000").spawn()?;
                cx.send_message(&Text(format!("{} {}", std::process::id(), child.id())))?;
                loop {
                    thread::park();
                }
            }
        })
    }
}

fn registry() -> Registry {
    tasks::registry().task::<Ask>()
}
workfleet_task_manager::test_worker!(registry());

fn ask(manager: &ProcessManager, what: Ask) -> String {
    manager.submit(what).expect("it is taken").wait().expect("it is done")
}

/// Not a test by itself: the programs that the tests below start.
#[test]
fn program() {
    let Some(part) = part() else { return };
    match &*part {
        "refuses-signals" => refuses_signals(),
        other => panic!("no part is called {other}"),
    }
}

/// What the program ignores in the test: some of it is undone in workers, some is meant for them too.
const IGNORED: [i32; 5] = [libc::SIGTERM, libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGUSR1];

fn refuse_signals() {
    // SAFETY: ignoring a signal runs nothing, and the mask is this thread's own; all-zero is a valid set.
    unsafe {
        for number in IGNORED {
            libc::signal(number, libc::SIG_IGN);
        }
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        assert_eq!(libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, ptr::null_mut()), 0);
    }
}

/// A set of signals of a `/proc/…/status`, as its numbers.
fn signals(status: &str, name: &str) -> Vec<i32> {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"));
    let set = u64::from_str_radix(line.expect("it is listed"), 16).expect("a number");
    (1..64).filter(|number| set & (1 << (number - 1)) != 0).collect()
}

/// A program that blocks every signal on its threads, as one does that waits for them in one place, and ignores some.
fn refuses_signals() {
    refuse_signals();
    let manager = builder(registry(), 1).crash_limit(1).start().expect("it starts");
    for what in [Ask::OwnStatus, Ask::ChildStatus] {
        let status = ask(&manager, what.clone());
        assert_eq!(signals(&status, "SigBlk"), [], "{what:?}");
        let ignored = signals(&status, "SigIgn");
        for (number, is_ignored) in [
            (libc::SIGTERM, false),
            // As `nohup` has it, and a shell that starts something in the background.
            (libc::SIGHUP, true),
            (libc::SIGINT, true),
            (libc::SIGQUIT, true),
            (libc::SIGUSR1, true),
        ] {
            assert_eq!(ignored.contains(&number), is_ignored, "{what:?}: signal {number} of {ignored:?}");
        }
    }
    let stays = manager.submit(Ask::Stay).expect("it is taken");
    let [worker, child] = numbers(&next_text(&manager))[..] else { panic!("two numbers") };
    let watched = Watched::new(child);
    signal(child, Signal::TERM);
    watched.wait();
    signal(worker, Signal::TERM);
    let failure = stays.wait().expect_err("its worker dies");
    assert_eq!((&failure.cause, failure.deaths.len()), (&FailureCause::WorkerDied, 1), "{failure}");
    assert_eq!(failure.deaths[0].status, ExitStatus::Signaled(libc::SIGTERM), "{failure}");
    close(&manager);
}

#[test]
fn what_a_program_blocks_is_not_blocked_in_workers_nor_in_what_they_start() {
    let _alone = alone();
    Program::start("program", "refuses-signals").assert_success();
}
