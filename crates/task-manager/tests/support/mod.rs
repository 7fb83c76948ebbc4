//! What the tests of a pool share: each has the process for itself, leaves no child and no thread of a pool behind, and
//! cannot hang.

#![allow(dead_code, reason = "each test uses its part of this")]

pub(crate) mod acts;
pub(crate) mod deeds;
pub(crate) mod echo;
pub(crate) mod gate;
pub(crate) mod listener;
pub(crate) mod namespace;
pub(crate) mod notices;
pub(crate) mod policies;
pub(crate) mod process;
pub(crate) mod script;
pub(crate) mod task;
pub(crate) mod tasks;
pub(crate) mod watchdog;

use std::{
    fs,
    io::{self, Write},
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use watchdog::{Watchdog, watchdog};
use workfleet_task_manager::{
    ClosePolicy, CloseReport, DeathCertificate, KillReason, Pool, ProcessManager, ProcessManagerBuilder,
    Registry, TaskCounts,
};

/// How often something that announces itself nowhere is looked at: a worker's place in the statistics.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(1);

/// What the workers of a pool are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Processes,
    Threads,
}

/// Holds the process for one test: see [`alone`].
pub(crate) struct Alone {
    _only: MutexGuard<'static, ()>,
    _watchdog: Watchdog,
}

/// Waits for the process's other tests, so that its children, descriptors and threads are this test's own. When the
/// test has ended well, no child is left, dead or alive, and no thread of a pool but those whose abandoned tasks go on
/// for longer than their test. A test that hangs ends the process.
pub(crate) fn alone() -> Alone {
    static ONLY: Mutex<()> = Mutex::new(());
    let only = ONLY.lock().unwrap_or_else(PoisonError::into_inner);
    Alone { _only: only, _watchdog: watchdog() }
}

impl Drop for Alone {
    fn drop(&mut self) {
        tasks::end_the_abandoned();
        if !thread::panicking() {
            assert_no_child_left();
            // A thread that was joined may still be listed for an instant; one that is left hangs the test.
            // One that was abandoned before it began to wait for the end of its test is told again.
            until(|| {
                tasks::end_the_abandoned();
                pool_threads().is_empty()
            });
        }
    }
}

/// The names of this process's threads that belong to a pool.
pub(crate) fn pool_threads() -> Vec<String> {
    let threads = fs::read_dir("/proc/self/task").expect("threads are listed");
    // One that has ended meanwhile has no name.
    let names = threads.filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("comm")).ok());
    names.map(|name| name.trim_end().to_owned()).filter(|name| name.starts_with("workfleet")).collect()
}

/// Appends a line to a file, by one system call.
pub(crate) fn append_line(file: &Path, line: &str) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().create(true).append(true).open(file)?;
    file.write_all(format!("{line}\n").as_bytes())
}

/// Every child was reaped.
pub(crate) fn assert_no_child_left() {
    let left = process::children();
    let states: Vec<_> =
        left.iter().map(|pid| fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default()).collect();
    assert!(left.is_empty(), "children are left: {states:?}");
}

/// None of these processes is there any more, not even as a zombie.
pub(crate) fn assert_reaped(pids: &[u32]) {
    for pid in pids {
        assert!(!Path::new(&format!("/proc/{pid}")).exists(), "process {pid} was not reaped");
    }
}

/// A manager of a few workers whose grace is far beyond the limit on hanging: whoever waits for it, hangs.
pub(crate) fn builder(registry: Registry, workers: usize) -> ProcessManagerBuilder {
    ProcessManager::builder(registry).workers(workers).grace(Duration::from_secs(3600))
}

/// The process ids of the workers that are ready.
pub(crate) fn worker_pids(manager: &Pool) -> Vec<u32> {
    manager.stats().workers.iter().filter_map(|worker| worker.pid).collect()
}

/// Waits until all `workers` are ready. Returns their process ids, if they are processes.
pub(crate) fn all_ready(manager: &Pool, workers: usize) -> Vec<u32> {
    until(|| manager.stats().workers.iter().filter(|worker| worker.ready).count() == workers);
    worker_pids(manager)
}

/// The worker was stopped by this signal, and killed when it had been silent for this long.
pub(crate) fn assert_stopped(death: &DeathCertificate, by: i32, for_so_long: Duration) {
    match death.killed_because {
        Some(KillReason::Stopped { signal, silent_for, .. }) => {
            assert_eq!((signal, silent_for), (by, for_so_long), "{death}");
        }
        _ => panic!("{death}"),
    }
}

/// Waits for something that nobody announces, by looking again and again. [`alone`] bounds it.
pub(crate) fn until(mut it_is_so: impl FnMut() -> bool) {
    while !it_is_so() {
        thread::park_timeout(LOOK_AGAIN_AFTER);
    }
}

/// Lets time pass, where that is what a test is about, and not what it waits for.
#[expect(clippy::disallowed_methods, reason = "it synchronises nothing")]
pub(crate) fn let_pass(time: Duration) {
    thread::sleep(time);
}

/// Every task ended exactly once, and the report says how.
pub(crate) fn assert_balanced(report: &CloseReport) {
    let TaskCounts { scheduled, done, failed, cancelled, returned, pending, .. } = report.tasks;
    assert_eq!(pending, 0, "{report}");
    assert_eq!(scheduled, done + failed + cancelled + returned, "{report}");
}

/// Runs a test that leaves this process with no more descriptors than before.
pub(crate) fn without_leaks(test: impl FnOnce()) {
    let before = process::descriptors();
    test();
    // The last are closed by threads that notice the end by themselves; so may have been some that were there before.
    until(|| process::descriptors() <= before);
}

/// The process of the only worker; none while it is replaced.
pub(crate) fn only_worker(manager: &Pool) -> Option<u32> {
    let workers = manager.stats().workers;
    assert_eq!(workers.len(), 1);
    workers[0].pid
}

/// Closes by joining: the books balance, nothing is left, and no worker lives.
pub(crate) fn close(manager: &Pool) -> CloseReport {
    let workers: Vec<u32> = manager.stats().workers.iter().filter_map(|worker| worker.pid).collect();
    let report = manager.close(ClosePolicy::Join).expect("it closes");
    assert_balanced(&report);
    for pid in workers {
        assert!(!process::is_child(pid), "worker {pid} was not reaped");
    }
    report
}
