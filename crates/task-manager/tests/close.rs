//! Every way in which a manager of processes ends, while they die, are stopped, have processes of their own, or the
//! manager itself is killed: the books balance, and no process is left.

mod support;

use std::{
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use rustix::process::Signal;
use support::{
    all_ready, alone, assert_balanced, assert_no_child_left, assert_reaped, builder, policies,
    process::{Program, Watched, all_threads_stopped, numbers, part, say, signal},
    tasks::{self, Die, Fail, Nest, next_text},
    until, worker_pids,
};
use workfleet_task_manager::{ClosePolicy, FailureCause, Priority, ProcessManager, Registry};

const WORKERS: usize = 2;
const NORMAL: Priority = Priority(1);

fn registry() -> Registry {
    tasks::registry().task::<Die>()
}
workfleet_task_manager::test_worker!(registry());

fn start() -> ProcessManager {
    builder(registry(), WORKERS).start().expect("it starts")
}

/// A limit of "forever" is a natural thing to ask for.
#[test]
fn the_longest_limits_are_accepted() {
    let _alone = alone();
    for policy in ClosePolicy::ALL {
        let builder = builder(registry(), 1).grace(Duration::MAX).session_limit(Duration::MAX);
        let manager = builder.init_limit(Duration::MAX).start().expect("it starts");
        assert_eq!(manager.close(policy).expect("it closes").tasks.scheduled, 0);
    }
}

/// Every policy, while each worker runs a task with a process of its own, and tasks wait.
#[test]
fn processes_that_tasks_started_in_their_workers_group_end_with_the_worker() {
    let _alone = alone();
    for policy in policies::halting() {
        let manager =
            builder(registry(), WORKERS).grace(Duration::from_millis(20)).start().expect("it starts");
        let nests: Vec<_> = (0..WORKERS).map(|_| manager.submit(Nest).expect("it is taken")).collect();
        let pids: Vec<_> = (0..WORKERS).flat_map(|_| numbers(&next_text(&manager))).collect();
        let grandchildren: Vec<_> = pids.iter().skip(1).step_by(2).map(|&pid| Watched::new(pid)).collect();
        let report = manager.close(policy).expect("it closes");
        assert_no_child_left();
        grandchildren.iter().for_each(Watched::wait);
        assert_balanced(&report);
        assert_eq!(report.tasks.cancelled, 2);
        for nest in nests {
            assert_eq!(nest.wait().expect_err("it was killed").cause, FailureCause::Cancelled);
        }
    }
}

#[test]
fn stopped_workers_do_not_hold_up_a_close_beyond_the_grace() {
    let _alone = alone();
    for policy in ClosePolicy::ALL {
        let manager =
            builder(registry(), WORKERS).grace(Duration::from_millis(30)).start().expect("it starts");
        let pids = all_ready(&manager, WORKERS);
        pids.iter().for_each(|&pid| signal(pid, Signal::STOP));
        manager.close(policy).expect("it closes");
        assert_no_child_left();
        assert_reaped(&pids);
    }
}

#[test]
fn a_close_amid_deaths_leaves_balanced_books_and_no_process() {
    let _alone = alone();
    for policy in ClosePolicy::ALL.into_iter().cycle().take(9) {
        let manager = start();
        let stop = AtomicBool::new(false);
        let handles: Vec<_> = (0..6).map(|_| manager.submit(Die).expect("it is taken")).collect();
        (0..50).for_each(|n| manager.schedule_with(Fail(n), NORMAL).expect("it is taken"));
        let report = thread::scope(|scope| {
            // Kills from outside, too.
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    for pid in worker_pids(&manager) {
                        let pid = rustix::process::Pid::from_raw(pid as i32).expect("not 0");
                        // It may be gone already.
                        let _ = rustix::process::kill_process(pid, Signal::KILL);
                    }
                    thread::park_timeout(Duration::from_millis(3));
                }
            });
            until(|| manager.stats().tasks.failed > 3);
            let report = manager.close(policy).expect("it closes");
            stop.store(true, Ordering::Relaxed);
            report
        });
        assert_no_child_left();
        assert_balanced(&report);
        for handle in handles {
            handle.wait().expect_err("it cannot be done");
        }
    }
}

/// Not a test by itself: the programs that the tests below start, kill, and let exit.
#[test]
fn program() {
    let Some(part) = part() else { return };
    let manager = Arc::new(builder(registry(), WORKERS).start().expect("it starts"));
    let mut pids = all_ready(&manager, WORKERS);
    match &*part {
        "idle" => {}
        "stopped" => {
            pids.iter().for_each(|&pid| signal(pid, Signal::STOP));
            // Only whom it finds stopped when its parent dies does the kernel wake up and hang up on.
            until(|| pids.iter().all(|&pid| all_threads_stopped(pid)));
        }
        "busy" | "exits" => {
            for _ in 0..WORKERS {
                manager.schedule_with(Nest, NORMAL).expect("it is taken");
            }
            pids = (0..WORKERS).flat_map(|_| numbers(&next_text(&manager))).collect();
            (0..1000).for_each(|n| manager.schedule_with(Fail(n), NORMAL).expect("it is taken"));
        }
        "closing" => {
            manager.schedule_with(Nest, NORMAL).expect("it is taken");
            pids.extend(numbers(&next_text(&manager)));
            let closing = Arc::clone(&manager);
            thread::spawn(move || closing.close(ClosePolicy::Cancel));
            until(|| manager.schedule_with(Fail(1), NORMAL).is_err());
        }
        other => panic!("no part is called {other}"),
    }
    let pids: Vec<_> = pids.iter().map(u32::to_string).collect();
    say(&pids.join(" "));
    // Until the test says that it has seen.
    let _ = std::io::stdin().read_line(&mut String::new());
    if part == "exits" {
        std::process::exit(0);
    }
    loop {
        thread::park();
    }
}

#[test]
fn a_killed_manager_takes_its_workers_and_their_processes_with_it() {
    let _alone = alone();
    for part in ["idle", "busy", "closing", "stopped"] {
        let mut program = Program::start("program", part);
        let watched: Vec<_> = numbers(&program.hear()).into_iter().map(Watched::new).collect();
        assert!(watched.len() >= WORKERS);
        program.child.kill().expect("it can be killed");
        program.child.wait().expect("it can be reaped");
        watched.iter().for_each(Watched::wait);
    }
}

#[test]
fn a_manager_that_exits_without_closing_takes_its_workers_with_it() {
    let _alone = alone();
    let mut program = Program::start("program", "exits");
    let watched: Vec<_> = numbers(&program.hear()).into_iter().map(Watched::new).collect();
    assert_eq!(watched.len(), 2 * WORKERS);
    program.child.stdin.take().expect("it is piped").write_all(b"\n").expect("it reads");
    assert!(program.child.wait().expect("it can be reaped").success());
    watched.iter().for_each(Watched::wait);
}
