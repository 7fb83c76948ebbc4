//! What is at its limit, or slow, or hostile, costs nobody else: tasks of the largest size, workers that are killed as
//! fast as they start, a log that cannot be opened, an inbox that is full, a subscriber that looks at the manager.

mod support;

use std::{
    fs,
    os::unix::fs::OpenOptionsExt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use support::{
    alone, assert_balanced,
    process::{children, signal_child},
};
use tracing::{Event, Metadata, Subscriber, span};
use workfleet_task_manager::{
    ClosePolicy, NoMessage, Priority, ProcessManager, Registry, ScheduleErrorKind, StartError, StartFailure,
    Task, TaskContext, TaskError, TaskMessage, TaskSpec,
};

/// A task of any size; returns how large it is.
#[derive(Serialize, Deserialize)]
struct Blob(String);
impl std::fmt::Debug for Blob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Blob({} bytes)", self.0.len())
    }
}
impl TaskSpec for Blob {
    const NAME: &'static str = "blob";
    type Output = usize;
}
impl Task for Blob {
    fn run(self, _cx: &TaskContext) -> Result<usize, TaskError> {
        Ok(self.0.len())
    }
}

/// Schedules a [`Blob`] of this size; returns whether it was taken.
#[derive(Debug, Serialize, Deserialize)]
struct ScheduleBlob(usize);
impl TaskSpec for ScheduleBlob {
    const NAME: &'static str = "schedule-blob";
    type Output = bool;
}
impl Task for ScheduleBlob {
    fn run(self, cx: &TaskContext) -> Result<bool, TaskError> {
        match cx.schedule(Blob("x".repeat(self.0)), Priority(0)) {
            Ok(()) => Ok(true),
            Err(error) if matches!(error.kind(), ScheduleErrorKind::TooLarge { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// Sends a message of this many bytes.
#[derive(Debug, Serialize, Deserialize)]
struct Say(usize);
impl TaskSpec for Say {
    const NAME: &'static str = "say";
    type Output = ();
}
impl Task for Say {
    fn run(self, cx: &TaskContext) -> Result<(), TaskError> {
        Ok(cx.send_message(&Said(vec![0; self.0]))?)
    }
}
#[derive(Debug, Serialize, Deserialize)]
struct Said(Vec<u8>);
impl TaskMessage for Said {
    const NAME: &'static str = "said";
}

fn registry() -> Registry {
    Registry::new().task::<Blob>().task::<ScheduleBlob>().task::<Say>()
}
workfleet_task_manager::test_worker!(registry());

#[test]
fn a_task_of_any_size_is_refused_alike_from_outside_and_from_a_task() {
    const LIMIT_BYTES: u64 = 100_000;
    let _alone = alone();
    let manager =
        ProcessManager::builder(registry()).workers(1).frame_limit(LIMIT_BYTES).start().expect("it starts");
    let mut taken = Vec::new();
    for len in LIMIT_BYTES as usize - 100..=LIMIT_BYTES as usize {
        let from_outside = manager.submit(Blob("x".repeat(len)));
        let from_task = manager.submit(ScheduleBlob(len)).expect("it is small").wait().expect("it is done");
        assert_eq!(from_outside.is_ok(), from_task, "{len} bytes");
        if let Ok(handle) = from_outside {
            assert_eq!(handle.wait().expect("what was taken fits"), len);
            taken.push(len);
        }
    }
    assert!(!taken.is_empty() && taken.len() < 100, "{taken:?}");
    assert_eq!(manager.messages::<NoMessage>().count(), 0, "no child failed");
    let report = manager.close(ClosePolicy::Join).expect("it closes");
    assert_eq!((report.tasks.failed, report.tasks.pending), (0, 0));
}

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
            handles.push(manager.submit(Blob("x".repeat(handles.len() % 100))).expect("it is taken"));
            thread::park_timeout(Duration::from_micros(200));
        }
        for (number, handle) in handles.into_iter().enumerate() {
            assert_eq!(handle.wait().expect("it is done, sooner or later"), number % 100);
        }
        done.store(true, Ordering::Relaxed);
    });
    let report = manager.close(ClosePolicy::Join).expect("it closes");
    assert_balanced(&report);
    assert_eq!(report.tasks.done, report.tasks.scheduled);
}

#[test]
fn a_log_that_does_not_open_fails_its_worker_in_time() {
    let _alone = alone();
    let logs = tempfile::tempdir().expect("a directory");
    let fifo = logs.path().join("worker-0.log");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RWXU).expect("a fifo that nobody reads");
    let started = ProcessManager::builder(registry())
        .workers(1)
        .log_directory(logs.path())
        .init_limit(Duration::from_millis(50))
        .start();
    match started {
        Err(StartError::Workers(StartFailure::Spawn { source, .. })) => {
            assert_eq!(source.kind(), std::io::ErrorKind::TimedOut, "{source}");
        }
        other => panic!("{other:?}"),
    }
    // Lets the threads go that wait for a reader: nobody waits for them any more, so they start nothing.
    let _reader = fs::OpenOptions::new()
        .read(true)
        .custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed())
        .open(&fifo)
        .expect("the fifo");
}

#[test]
fn a_subscriber_may_look_at_the_manager_whatever_it_is_told() {
    static MANAGER: OnceLock<Arc<ProcessManager>> = OnceLock::new();
    static TOLD: AtomicU64 = AtomicU64::new(0);

    struct Curious;
    impl Subscriber for Curious {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            metadata.target().starts_with("workfleet")
        }
        fn new_span(&self, _span: &span::Attributes<'_>) -> span::Id {
            span::Id::from_u64(1)
        }
        fn record(&self, _span: &span::Id, _values: &span::Record<'_>) {}
        fn record_follows_from(&self, _span: &span::Id, _follows: &span::Id) {}
        fn event(&self, _event: &Event<'_>) {
            if let Some(manager) = MANAGER.get() {
                manager.stats();
                TOLD.fetch_add(1, Ordering::Relaxed);
            }
        }
        fn enter(&self, _span: &span::Id) {}
        fn exit(&self, _span: &span::Id) {}
    }

    let _alone = alone();
    // Other tests of this file have no manager here, so they are not looked at.
    tracing::subscriber::set_global_default(Curious).expect("no other is set");
    let manager = ProcessManager::builder(registry()).workers(1).inbox_limit(1).start().expect("it starts");
    let manager = MANAGER.get_or_init(|| Arc::new(manager));
    for _ in 0..20 {
        manager.schedule(Say(1000), Priority(0)).expect("it is taken");
    }
    assert_eq!(manager.messages::<Said>().filter(Result::is_ok).count(), 20);
    assert!(TOLD.load(Ordering::Relaxed) > 0, "the inbox was full at least once");
    assert_balanced(&manager.close(ClosePolicy::Join).expect("it closes"));
}
