//! A program that stops a service by `run_until_signal` and closes a pool by `close_on_signal`, with real processes: the role at the
//! end of this file is sent signals when its output says that it is time.

#![cfg(all(feature = "task-signal", feature = "worker-signal"))]

use std::{
    future::pending,
    io::{BufRead, BufReader, Lines},
    process::{Child, ChildStdout, Command, Stdio, exit},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use workfleet::{
    prelude::*,
    task::SignalWatch,
    worker::{run_until_signal, worker_fn},
};

/// The role that this process plays.
const ROLE: &str = "WORKFLEET_TEST_ROLE";

/// What the role's own lines begin with, among those of the test harness.
const MARK: &str = "> ";

struct Program {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Program {
    fn start(role: &str) -> Self {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command
            .args(["program", "--exact", "--ignored", "--nocapture"])
            .env(ROLE, role)
            .stdout(Stdio::piped());
        let mut child = command.spawn().expect("it runs");
        let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        Self { child, lines }
    }

    fn says(&mut self) -> Option<String> {
        self.lines.find_map(|line| line.expect("text").strip_prefix(MARK).map(str::to_owned))
    }

    /// What it says next, in any order.
    fn says_both(&mut self) -> Vec<String> {
        let mut said: Vec<_> = [self.says(), self.says()].into_iter().flatten().collect();
        said.sort();
        said
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
fn the_first_signal_stops_the_service_and_closes_the_pool() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let mut program = Program::start("polite");
        assert_eq!(program.says_both(), ["service runs", "task runs"]);
        program.signal(signal);
        let (mut said, ended) = program.finish();
        said.sort();
        assert_eq!(
            (said, ended),
            (vec!["service stops".to_owned(), "task is cancelled".to_owned()], Some(code))
        );
    }
}

#[test]
fn the_second_signal_ends_the_program_whatever_the_service_does() {
    let mut program = Program::start("deaf");
    assert_eq!(program.says_both(), ["service runs", "task runs"]);
    program.signal(Signal::INT);
    assert_eq!(program.says_both(), ["service stops", "task is cancelled"]);
    program.signal(Signal::TERM);
    assert_eq!(program.finish(), (Vec::new(), Some(143)));
}

/// The handler of the service that had ended ended the program, and the pool was not closed.
#[test]
fn a_service_that_has_ended_leaves_the_first_signal_to_the_pool() {
    let mut program = Program::start("short");
    assert_eq!(program.says_both(), ["service has ended", "task runs"]);
    program.signal(Signal::INT);
    assert_eq!(program.finish(), (vec!["task is cancelled".to_owned()], Some(130)));
}

/// The handler of the watch that had ended ended the program, and the service was not stopped.
#[test]
fn a_watch_that_has_ended_leaves_the_first_signal_to_the_service() {
    let mut program = Program::start("unwatched");
    assert_eq!(program.says_both(), ["service runs", "task runs"]);
    program.signal(Signal::INT);
    assert_eq!(program.finish(), (vec!["service stops".to_owned()], Some(0)));
}

fn say(what: &str) {
    println!("{MARK}{what}");
}

/// Waits until it is cancelled.
#[derive(Debug, Serialize, Deserialize)]
struct Wait;

impl TaskSpec for Wait {
    const NAME: &'static str = "both-signals-wait";
    type Output = ();
}

impl AsyncTask for Wait {
    async fn run(self, cx: &TaskContext) -> Result<(), TaskError> {
        say("task runs");
        cx.cancellation_token().cancelled().await;
        say("task is cancelled");
        Ok(cx.check_cancelled()?)
    }
}

/// Until a signal stops it; or, if it is deaf, for longer than that.
async fn service(is_deaf: bool) -> u8 {
    let waits = move |cx: WorkerContext| async move {
        say("service runs");
        cx.stopping().await;
        say("service stops");
        if is_deaf {
            pending::<()>().await;
        }
    };
    // Nobody waits for this: it is far beyond the tests' limit.
    let waits = worker_fn(waits).with_grace(Duration::from_secs(3600));
    run_until_signal(waits).await.expect("it starts").exit_code()
}

#[tokio::test]
#[ignore = "a role of the tests above"]
async fn program() {
    let role = std::env::var(ROLE).expect("it is a role");
    let builder = ThreadManager::builder(Registry::new().async_task::<Wait>()).workers(1);
    let manager = builder.start_async().await.expect("it starts");
    let watch: SignalWatch = manager.close_on_signal(ClosePolicy::Cancel).expect("signals can be caught");
    let task = manager.submit(Wait).expect("it is taken");
    match role.as_str() {
        "polite" | "deaf" => drop(service(role == "deaf").await),
        "short" => {
            run_until_signal(|_: WorkerContext| async {}).await.expect("it starts");
            say("service has ended");
        }
        "unwatched" => {
            drop(watch);
            exit(service(false).await.into())
        }
        other => panic!("no role is called {other}"),
    }
    let failure = task.await.expect_err("it was cancelled");
    assert_eq!(failure.cause, FailureCause::Cancelled);
    manager.close_async(ClosePolicy::Join).await.expect("it closes");
    exit(watch.exit_code().expect("there was a signal").into())
}
