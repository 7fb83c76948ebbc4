//! A program whose pool closes at the first signal, and which ends at the second.

mod support;

use std::process::exit;

use rustix::process::Signal;
use support::{
    all_ready, alone, builder,
    process::{Program, Watched, fork, numbers, part, reap, say, signal, wait_for_the_test},
    tasks::{self, Gate, next_text},
    until,
};
use workfleet_task_manager::{ClosePolicy, FailureCause, Pool, SignalWatch, ThreadManager};

workfleet_task_manager::test_worker!(tasks::registry());

/// Not a test by itself: the programs that the tests below start.
#[test]
fn program() {
    match part().as_deref() {
        None => {}
        Some("processes") => ends_its_work(&builder(tasks::registry(), 1).start().expect("it starts")),
        Some("threads") => {
            let manager = ThreadManager::builder(tasks::registry()).workers(1).start().expect("it starts");
            ends_its_work(&manager);
        }
        Some("stays") => stays(),
        Some("unwatched") => unwatched(),
        Some("forks") => forks(),
        Some(other) => panic!("no part is called {other}"),
    }
}

fn watch(manager: &Pool, policy: ClosePolicy) -> SignalWatch {
    let watch = manager.close_on_signal(policy).expect("signals can be caught");
    assert_eq!((watch.signal(), watch.exit_code()), (None, None));
    watch
}

/// One task runs and one waits behind it, when the program is interrupted.
fn ends_its_work(manager: &Pool) {
    let interrupted = watch(manager, ClosePolicy::Cancel);
    let runs = manager.submit(Gate::Obey).expect("it is taken");
    assert_eq!(next_text(manager), "begun");
    let waits = manager.submit(Gate::Obey).expect("it is taken");
    say("begun");
    assert_eq!(runs.wait().expect_err("it is cancelled").cause, FailureCause::Cancelled);
    assert_eq!(waits.wait().expect_err("it is not begun").cause, FailureCause::Returned);
    let report = manager.close(ClosePolicy::Join).expect("it closes");
    assert_eq!((report.tasks.cancelled, report.tasks.returned, report.tasks.pending), (1, 1, 0));
    say("closed");
    exit(interrupted.exit_code().expect("there was a signal").into())
}

/// Its task heeds nothing, and nothing kills it.
fn stays() {
    let manager = builder(tasks::registry(), 1).start().expect("it starts");
    let _interrupted = watch(&manager, ClosePolicy::Join);
    let workers = all_ready(&manager, 1);
    let runs = manager.submit(Gate::Ignore).expect("it is taken");
    assert_eq!(next_text(&manager), "begun");
    say(&workers[0].to_string());
    until(|| manager.submit(Gate::Obey).is_err());
    say("closing");
    drop(runs.wait());
    unreachable!("the second signal comes before");
}

/// Is watched no longer.
fn unwatched() {
    let manager = builder(tasks::registry(), 1).start().expect("it starts");
    drop(watch(&manager, ClosePolicy::Cancel));
    say("unwatched");
    wait_for_the_test();
}

/// Its copy drops the watch, whose thread it does not have.
fn forks() {
    let manager = ThreadManager::builder(tasks::registry()).workers(1).start().expect("it starts");
    let watch = watch(&manager, ClosePolicy::Cancel);
    assert_eq!(reap(fork(|| drop(watch))), 0);
}

fn interrupt(program: &Program, by: Signal) {
    signal(program.child.id(), by);
}

fn assert_code(mut program: Program, code: i32) {
    assert_eq!(program.child.wait().expect("it can be reaped").code(), Some(code));
}

#[test]
fn the_first_signal_answers_whoever_waits_and_the_program_goes_on() {
    let _alone = alone();
    for kind in ["processes", "threads"] {
        for (by, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
            let mut program = Program::start("program", kind);
            assert_eq!(program.hear(), "begun");
            interrupt(&program, by);
            assert_eq!(program.hear(), "closed", "{kind}");
            assert_code(program, code);
        }
    }
}

#[test]
fn the_second_signal_ends_the_program_and_its_workers() {
    let _alone = alone();
    let mut program = Program::start("program", "stays");
    let worker = Watched::new(numbers(&program.hear())[0]);
    interrupt(&program, Signal::INT);
    assert_eq!(program.hear(), "closing");
    interrupt(&program, Signal::TERM);
    assert_code(program, 143);
    worker.wait();
}

#[test]
fn a_copy_drops_the_watch_of_its_original() {
    let _alone = alone();
    Program::start("program", "forks").assert_success();
}

#[test]
fn a_signal_ends_a_program_that_watches_no_longer() {
    let _alone = alone();
    let mut program = Program::start("program", "unwatched");
    assert_eq!(program.hear(), "unwatched");
    interrupt(&program, Signal::INT);
    assert_code(program, 130);
}
