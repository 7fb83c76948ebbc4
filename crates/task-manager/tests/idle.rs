//! What a pool costs that has nothing to do: no wake-ups, and descriptors for its workers only.

mod support;

use std::{
    fs,
    sync::mpsc::{RecvTimeoutError, channel},
    time::Duration,
};

use support::{
    all_ready, alone, builder,
    process::numbers,
    tasks::{self, Fail, Gate, Say, next_text},
    until,
};
use workfleet_task_manager::{ClosePolicy, ProcessManager, Registry};

fn registry() -> Registry {
    tasks::registry()
}
workfleet_task_manager::test_worker!(registry());

const WORKERS: usize = 3;

/// How long each look at an idle pool lasts.
const WINDOW: Duration = Duration::from_millis(300);

/// How often the threads of these processes have gone to sleep by themselves: whoever wakes up does so once more.
/// The thread that looks is left out.
fn voluntary_switches(processes: &[u32]) -> u64 {
    let own = fs::read_link("/proc/thread-self").expect("this thread");
    let own = own.file_name().expect("its number");
    let mut switches = 0;
    for process in processes {
        for thread in fs::read_dir(format!("/proc/{process}/task")).expect("the process lives") {
            let thread = thread.expect("a thread").path();
            if thread.ends_with(own) {
                continue;
            }
            // A thread that has ended meanwhile was awake.
            let status = fs::read_to_string(thread.join("status")).unwrap_or_default();
            let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
            switches += line.map_or(0, |count| u64::from(numbers(count)[0]));
        }
    }
    switches
}

/// Looks until nobody was awake in three windows in a row. Whatever polls at an interval below a window never lets
/// that happen, and [`alone`] then ends the test. It is a count, not a measurement of time: threads that have just
/// been used may still end, and late timers run out, but all of that comes to an end.
fn assert_falls_silent(manager: &ProcessManager) {
    let processes: Vec<_> = all_ready(manager, WORKERS).into_iter().chain([std::process::id()]).collect();
    let (_keep, never) = channel::<()>();
    let mut silent_windows = 0;
    while silent_windows < 3 {
        let before = voluntary_switches(&processes);
        // The window itself: nothing comes through this channel.
        assert_eq!(never.recv_timeout(WINDOW), Err(RecvTimeoutError::Timeout));
        let awake = voluntary_switches(&processes) - before;
        silent_windows = if awake == 0 { silent_windows + 1 } else { 0 };
    }
}

fn start() -> ProcessManager {
    builder(registry(), WORKERS).start().expect("it starts")
}

#[test]
fn a_pool_that_never_had_a_task_makes_no_wake_ups() {
    let _alone = alone();
    let manager = start();
    assert_falls_silent(&manager);
    manager.close(ClosePolicy::Join).expect("it closes");
}

#[test]
fn a_pool_whose_tasks_have_ended_makes_no_wake_ups() {
    let _alone = alone();
    let manager = start();
    for n in 0..1000 {
        manager.schedule(Say { text: "x".repeat(1000), times: 3 }).expect("it is taken");
        manager.schedule(Fail(n)).expect("it is taken");
    }
    assert_eq!(manager.messages::<tasks::Text>().count(), 4000);
    assert_falls_silent(&manager);
    manager.close(ClosePolicy::Join).expect("it closes");
}

#[test]
fn a_pool_whose_tasks_wait_makes_no_wake_ups() {
    let _alone = alone();
    let manager = start();
    let gates: Vec<_> = (0..WORKERS).map(|_| manager.submit(Gate::Finish).expect("it is taken")).collect();
    (0..WORKERS).for_each(|_| assert_eq!(next_text(&manager), "begun"));
    (0..1000).for_each(|n| manager.schedule(Fail(n)).expect("it is taken"));
    assert_falls_silent(&manager);
    gates.iter().for_each(|gate| gate.cancel());
    let report = manager.close(ClosePolicy::Join).expect("it closes");
    assert_eq!((report.tasks.done, report.tasks.failed), (3, 1000));
}

/// How many descriptors this process has open.
fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").expect("descriptors are listed").count()
}

#[test]
fn waiting_tasks_and_their_handles_take_no_descriptors() {
    let _alone = alone();
    let before = descriptors();
    let manager = start();
    let gates: Vec<_> = (0..WORKERS).map(|_| manager.submit(Gate::Finish).expect("it is taken")).collect();
    (0..WORKERS).for_each(|_| assert_eq!(next_text(&manager), "begun"));
    let with_workers = descriptors();
    let handles: Vec<_> = (0..100_000).map(|n| manager.submit(Fail(n)).expect("it is taken")).collect();
    until(|| manager.stats().workers.iter().all(|worker| worker.in_flight == 1));
    assert_eq!(descriptors(), with_workers);
    assert!(with_workers - before <= 8 + 5 * WORKERS, "{before}, then {with_workers}");
    gates.iter().for_each(|gate| gate.cancel());
    handles.into_iter().for_each(|handle| drop(handle.wait().expect_err("it fails")));
    assert_eq!(descriptors(), with_workers);
    let report = manager.close(ClosePolicy::Join).expect("it closes");
    assert_eq!(report.tasks.failed, 100_000);
    // Nothing is left open. The last are closed by threads that notice the end by themselves.
    until(|| descriptors() == before);
}

#[test]
fn workers_that_die_leave_no_descriptors_behind() {
    let _alone = alone();
    let before = descriptors();
    let manager = start();
    all_ready(&manager, WORKERS);
    let with_workers = descriptors();
    for _ in 0..20 {
        let pids = all_ready(&manager, WORKERS);
        // A pool that works replaces its dead at once; idle ones that die again and again come back later and later.
        manager.submit(Fail(0)).expect("it is taken").wait().expect_err("it fails");
        pids.iter().for_each(|&pid| support::process::signal(pid, rustix::process::Signal::KILL));
        until(|| manager.stats().workers.iter().all(|w| w.pid.is_some_and(|pid| !pids.contains(&pid))));
    }
    // The dead ones' pipes are closed by whoever reads them, soon after.
    until(|| descriptors() == with_workers);
    manager.close(ClosePolicy::Join).expect("it closes");
    until(|| descriptors() == before);
}
