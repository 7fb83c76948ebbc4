//! What idle workers cost: nobody wakes up.

#![cfg(target_os = "linux")]

mod support;

use std::{
    fs,
    sync::mpsc::{RecvTimeoutError, channel},
    time::Duration,
};

use support::{two_threads, watchdog};
use workfleet_worker_lifecycle::{
    AsyncConsumer, AsyncDispatcher, EventMessage, QueueConsumerWorker, WorkerContext, WorkerFunction,
    WorkerState, Workers, start,
};

/// How long each look lasts.
const WINDOW: Duration = Duration::from_millis(300);

struct Nothing;
impl EventMessage for Nothing {
    fn event_type(&self) -> &str {
        "nothing"
    }
}

/// How often the other threads of this process have gone to sleep by themselves: whoever wakes up does so once more.
fn voluntary_switches() -> u64 {
    let own = fs::read_link("/proc/thread-self").expect("this thread");
    let own = own.file_name().expect("its number");
    let mut switches = 0;
    for thread in fs::read_dir("/proc/self/task").expect("this process") {
        let thread = thread.expect("a thread").path();
        if thread.ends_with(own) {
            continue;
        }
        // A thread that has ended meanwhile was awake.
        let status = fs::read_to_string(thread.join("status")).unwrap_or_default();
        let count = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        switches += count.and_then(|count| count.trim().parse::<u64>().ok()).unwrap_or(1);
    }
    switches
}

/// aio-fluid wakes each consumer twice a second, and each group ten times.
#[test]
fn idle_workers_make_no_wake_ups() {
    let _watchdog = watchdog();
    let runtime = two_threads();
    let hour = Duration::from_secs(3600);
    let mut group = Workers::new("group");
    for _ in 0..50 {
        let dispatcher: AsyncDispatcher<Nothing> = AsyncDispatcher::new();
        group = group
            .with_child(QueueConsumerWorker::new(|_: u32| std::future::ready(())))
            .with_child(AsyncConsumer::new(dispatcher))
            .with_child(WorkerFunction::new(|| std::future::ready(())).with_interval(hour))
            .with_child(|cx: WorkerContext| async move { cx.stopping().await })
            .with_child(Workers::new("empty"));
    }
    let group = runtime.block_on(start(group)).expect("it starts");
    // Looks until nobody was awake in three windows in a row. Whoever polls at an interval below a window never lets that
    // happen, and the watchdog then ends the test. It is a count, not a measurement of time.
    let (_keep, never) = channel::<()>();
    let mut silent_windows = 0;
    while silent_windows < 3 {
        let before = voluntary_switches();
        // The window itself: nothing comes through this channel.
        assert_eq!(never.recv_timeout(WINDOW), Err(RecvTimeoutError::Timeout));
        silent_windows = if voluntary_switches() == before { silent_windows + 1 } else { 0 };
    }
    assert_eq!(group.state(), WorkerState::Running);
    let outcome = runtime.block_on(group.shutdown()).expect("groups are not stuck");
    assert_eq!(outcome.state(), WorkerState::Stopped);
}
