//! A process that cannot stop ends anyway, with real processes: the role at the end of this file is sent a signal when its
//! output says that it is time.

#![cfg(feature = "signal")]

mod support;

use std::{
    io::{BufRead, BufReader, Read},
    process::{Command, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use support::watchdog;
use workfleet_worker_lifecycle::{RunOptions, WorkerContext, Workers, run_until_signal_with, worker_fn};

/// What holds up the role.
const HOW: &str = "WORKFLEET_TEST_HOW";

/// Runs the role until it has ended, after one signal. Returns its exit code and what it said on standard error.
fn end_by_one_signal(how: &str) -> (Option<i32>, String) {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["program", "--exact", "--ignored", "--nocapture"]).env(HOW, how);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
    let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    assert!(lines.any(|line| line.expect("text").ends_with("> running")), "it says so");
    kill_process(Pid::from_child(&child), Signal::TERM).expect("it runs");
    let mut said = String::new();
    child.stderr.take().expect("it is piped").read_to_string(&mut said).expect("text");
    (child.wait().expect("it is ours").code(), said)
}

#[test]
fn a_worker_that_blocks_the_only_thread_is_named_and_left_behind() {
    let _watchdog = watchdog();
    let (code, said) = end_by_one_signal("worker");
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("it was held up by `service/inner/blocks`"), "{said}");
}

#[test]
fn a_program_that_does_not_end_after_its_workers_is_ended() {
    let _watchdog = watchdog();
    let (code, said) = end_by_one_signal("program");
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("its workers have ended, and the program has not"), "{said}");
}

#[test]
fn a_program_that_ends_in_time_says_nothing() {
    let _watchdog = watchdog();
    let (code, said) = end_by_one_signal("nothing");
    assert_eq!(code, Some(0), "{said}");
    assert!(!said.contains("workfleet:"), "{said}");
}

// On a runtime that has no other thread.
#[tokio::test(flavor = "current_thread")]
#[ignore = "a role of the tests above"]
async fn program() {
    let how = std::env::var(HOW).expect("it is a role");
    let blocks = how == "worker";
    let worker = worker_fn(move |cx: WorkerContext| async move {
        println!("> running");
        if blocks {
            loop {
                std::thread::park();
            }
        }
        cx.stopping().await;
    });
    // Nobody waits for the hour: it is far beyond the tests' limit.
    let margin = if how == "nothing" { Duration::from_secs(3600) } else { Duration::from_millis(100) };
    let service = Workers::new("service")
        .with_grace(Duration::from_millis(100))
        .with_child(Workers::new("inner").with_child(worker.with_name("blocks")))
        .with_child(worker_fn(|cx: WorkerContext| async move { cx.stopping().await }));
    let ended = run_until_signal_with(service, RunOptions::default().exit_margin(margin)).await;
    let ended = ended.expect("it starts");
    if how == "program" {
        loop {
            std::thread::park();
        }
    }
    ended.exit()
}
