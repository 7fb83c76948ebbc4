//! Workers that are killed as fast as they start, and a log that cannot be opened, cost nobody else.

mod support;

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Duration,
};

use rustix::process::Signal;
use support::{
    alone, assert_balanced,
    process::{children, signal_child},
    tasks::{Say, registry},
};
use workfleet_task_manager::{ClosePolicy, ProcessManager};

workfleet_task_manager::test_worker!(registry());

/// However many workers are killed before they have begun anything, in whatever short time: the tasks are not to blame.
#[test]
fn workers_killed_while_they_start_cost_no_task() {
    const KILLS: u64 = 60;
    let _alone = alone();
    let manager =
        ProcessManager::builder(registry()).workers(4).crash_limit(u16::MAX).start().expect("it starts");
    let (kills, done) = (AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            while kills.load(Ordering::Relaxed) < KILLS && !done.load(Ordering::Relaxed) {
                for worker in children() {
                    signal_child(worker, Signal::KILL);
                    kills.fetch_add(1, Ordering::Relaxed);
                }
                thread::yield_now();
            }
        });
        // Tasks come until the killing is over, so that some always wait.
        let mut handles = Vec::new();
        while kills.load(Ordering::Relaxed) < KILLS {
            handles.push(manager.submit(Say { text: String::new(), times: 0 }).expect("it is taken"));
            thread::park_timeout(Duration::from_micros(200));
        }
        for handle in handles {
            handle.wait().expect("it is done, sooner or later");
        }
        done.store(true, Ordering::Relaxed);
    });
    let report = manager.close(ClosePolicy::Join).expect("it closes");
    assert_balanced(&report);
    assert_eq!(report.tasks.done, report.tasks.scheduled);
}

/// A pipe that nobody reads, in the place of a log: it opens for nobody, and that is no condition of the worker's start.
#[test]
fn a_log_that_does_not_open_holds_up_nobody() {
    let _alone = alone();
    let logs = tempfile::tempdir().expect("a directory");
    let fifo = logs.path().join("worker-0.log");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RWXU).expect("a fifo that nobody reads");
    let manager = ProcessManager::builder(registry())
        .workers(1)
        .log_directory(logs.path())
        .outage_patience(Duration::ZERO)
        .start()
        .expect("it starts");
    manager.submit(Say { text: String::new(), times: 0 }).expect("it is taken").wait().expect("it is run");
    assert_balanced(&manager.close(ClosePolicy::Join).expect("it closes"));
}
