//! Signals, with real processes: the role at the end of this file is sent them when its output says that it is time.

#![cfg(feature = "signal")]

mod support;

use std::{
    future::pending,
    io::{BufRead, BufReader, Lines},
    process::{Child, ChildStdout, Command, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use support::watchdog;
use workfleet_worker_lifecycle::{Worker, WorkerContext, WorkerError, run_until_signal};

/// How the worker of the role takes a stop.
const HOW: &str = "WORKFLEET_TEST_HOW";

/// What the role's own lines begin with, among those of the test harness.
const MARK: &str = "> ";

struct Program {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Program {
    fn start(how: &str) -> Self {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.args(["program", "--exact", "--ignored", "--nocapture"]).env(HOW, how).stdout(Stdio::piped());
        let mut child = command.spawn().expect("it runs");
        let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        Self { child, lines }
    }

    fn says(&mut self) -> Option<String> {
        self.lines.find_map(|line| line.expect("text").strip_prefix(MARK).map(str::to_owned))
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it runs");
    }

    /// What it still says, and its exit code.
    fn finish(mut self) -> (Vec<String>, Option<i32>) {
        let rest = std::iter::from_fn(|| self.says()).collect();
        (rest, self.child.wait().expect("it is ours").code())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_first_signal_stops_gracefully() {
    let _watchdog = watchdog();
    for signal in [Signal::INT, Signal::TERM] {
        let mut program = Program::start("polite");
        assert_eq!(program.says().as_deref(), Some("running"));
        program.signal(signal);
        let (said, code) = program.finish();
        assert_eq!((said, code), (vec!["stopping".into(), "ended 0 normal shutdown".into()], Some(0)));
    }
}

#[test]
fn the_second_signal_aborts() {
    let _watchdog = watchdog();
    for (second, expected) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let mut program = Program::start("deaf");
        assert_eq!(program.says().as_deref(), Some("running"));
        program.signal(Signal::TERM);
        assert_eq!(program.says().as_deref(), Some("stopping"));
        program.signal(second);
        assert_eq!(program.finish(), (vec!["ended 1 forced shutdown".into()], Some(expected)));
    }
}

#[test]
fn a_second_ctrl_c_does_something_even_if_the_only_thread_is_blocked() {
    let _watchdog = watchdog();
    let mut program = Program::start("stuck");
    assert_eq!(program.says().as_deref(), Some("running"));
    // Nothing tells when the first was heard, and two of a kind may become one: but these two are not of a kind.
    program.signal(Signal::INT);
    program.signal(Signal::TERM);
    let (said, code) = program.finish();
    assert!(said.is_empty(), "{said:?}");
    // Whichever of the two was heard last.
    assert!(matches!(code, Some(130 | 143)), "{code:?}");
}

#[test]
fn a_signal_during_start_up_stops_it() {
    let _watchdog = watchdog();
    let mut program = Program::start("starting");
    assert_eq!(program.says().as_deref(), Some("running"));
    program.signal(Signal::INT);
    assert_eq!(program.finish(), (vec!["ended 0 normal shutdown".into()], Some(0)));
}

struct Demo(String);

fn say(what: &str) {
    println!("{MARK}{what}");
}

impl Worker for Demo {
    fn grace(&self) -> Option<Duration> {
        // Nobody waits for this: it is far beyond the tests' limit.
        Some(Duration::from_secs(3600))
    }

    async fn on_startup(&mut self, cx: &WorkerContext) -> Result<(), WorkerError> {
        if self.0 == "starting" {
            say("running");
            cx.stopping().await;
        }
        Ok(())
    }

    async fn run(&mut self, cx: &WorkerContext) -> Result<(), WorkerError> {
        say("running");
        if self.0 == "stuck" {
            loop {
                std::thread::park();
            }
        }
        cx.stopping().await;
        say("stopping");
        if self.0 == "deaf" {
            pending::<()>().await;
        }
        Ok(())
    }

    fn after_shutdown(&mut self, reason: &str, code: u8) {
        say(&format!("ended {code} {reason}"));
    }
}

// On a runtime that has no other thread.
#[tokio::test(flavor = "current_thread")]
#[ignore = "a role of the tests above"]
async fn program() {
    let how = std::env::var(HOW).expect("it is a role");
    run_until_signal(Demo(how)).await.expect("it starts").exit();
}

/// It ran into tokio's panic at the first signal.
#[test]
fn without_a_timer_nothing_runs_until_a_signal() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let worker = |cx: WorkerContext| async move { cx.stopping().await };
    let error = runtime.block_on(run_until_signal(worker)).expect_err("there is no timer");
    assert!(error.to_string().contains("call `enable_time`"), "{error}");
}
