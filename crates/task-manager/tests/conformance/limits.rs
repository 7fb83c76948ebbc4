//! What is at its limit costs nobody else: tasks of the largest size, an inbox that is full while somebody looks at the
//! manager.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU64, Ordering},
};

use serde::{Deserialize, Serialize};
use tracing::{Event, Level};
use workfleet_task_manager::{
    ClosePolicy, NoMessage, Registry, ScheduleErrorKind, Task, TaskContext, TaskError, TaskMessage, TaskSpec,
};

use crate::{
    Manager, builder,
    support::{alone, assert_balanced, listener::Listener},
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
        match cx.schedule(Blob("x".repeat(self.0))) {
            Ok(()) => Ok(true),
            Err(error) if matches!(error.kind(), ScheduleErrorKind::TooLarge { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// Sends a message of this many bytes.
#[derive(Debug, Serialize, Deserialize)]
struct SayBytes(usize);
impl TaskSpec for SayBytes {
    const NAME: &'static str = "say-bytes";
    type Output = ();
}
impl Task for SayBytes {
    fn run(self, cx: &TaskContext) -> Result<(), TaskError> {
        Ok(cx.send_message(&Said(vec![0; self.0]))?)
    }
}
#[derive(Debug, Serialize, Deserialize)]
struct Said(Vec<u8>);
impl TaskMessage for Said {
    const NAME: &'static str = "said";
}

pub(super) fn register(registry: Registry) -> Registry {
    registry.task::<Blob>().task::<ScheduleBlob>().task::<SayBytes>()
}

#[test]
fn a_task_of_any_size_is_refused_alike_from_outside_and_from_a_task() {
    const LIMIT_BYTES: u64 = 100_000;
    let _alone = alone();
    let manager = builder(1).frame_limit(LIMIT_BYTES).start().expect("it starts");
    let mut taken = Vec::new();
    for len in LIMIT_BYTES as usize - 50..=LIMIT_BYTES as usize + 10 {
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

#[test]
fn a_subscriber_may_look_at_the_manager_whatever_it_is_told() {
    static MANAGER: OnceLock<Arc<Manager>> = OnceLock::new();
    static TOLD: AtomicU64 = AtomicU64::new(0);

    let _alone = alone();
    let look = |_: &Event<'_>| {
        if let Some(manager) = MANAGER.get() {
            manager.stats();
            TOLD.fetch_add(1, Ordering::Relaxed);
        }
    };
    let listener = Listener { up_to: Level::TRACE, hears: look };
    // Tests before this one have no manager here; those after it look at one that is closed.
    tracing::subscriber::set_global_default(listener).expect("no other is set");
    let manager = builder(1).inbox_limit(1).start().expect("it starts");
    let manager = MANAGER.get_or_init(|| Arc::new(manager));
    for _ in 0..20 {
        manager.schedule(SayBytes(1000)).expect("it is taken");
    }
    assert_eq!(manager.messages::<Said>().filter(Result::is_ok).count(), 20);
    assert!(TOLD.load(Ordering::Relaxed) > 0, "the inbox was full at least once");
    assert_balanced(&manager.close(ClosePolicy::Join).expect("it closes"));
}
