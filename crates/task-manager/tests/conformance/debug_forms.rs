//! A failed task's `Debug` form is made where the task ran: whatever that code does, it is in nobody else's way. What could
//! not be made there is said without it.

use std::{
    fmt,
    path::PathBuf,
    process,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use workfleet_task_manager::{
    ClosePolicy, EncodedTask, FailureCause, MessageError, NoMessage, Registry, Task, TaskContext, TaskError,
    TaskSpec,
};

use crate::{
    KIND, builder,
    support::{
        Kind, alone, close,
        gate::{Gate, wait_at},
        tasks::{Gate as Runs, Mark, next_text, wait_for_cancellation},
    },
};

pub(super) fn register(registry: Registry) -> Registry {
    registry.task::<Shown>().task::<Late>()
}

/// What its `Debug` does.
#[derive(Clone, Serialize, Deserialize)]
enum Form {
    /// Waits at a gate.
    Waits(PathBuf),
    /// Says something without end, for as long as it is taken.
    Endless,
    Panics,
    Counts,
}

/// How often a form was made in this process that counts.
static COUNTED: AtomicUsize = AtomicUsize::new(0);

impl fmt::Debug for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Waits(gate) => {
                wait_at(gate).map_err(|_| fmt::Error)?;
                f.write_str("Waits")
            }
            Self::Endless => loop {
                f.write_str("äö")?;
            },
            Self::Panics => panic!("it is not to be seen"),
            Self::Counts => {
                COUNTED.fetch_add(1, Ordering::Relaxed);
                f.write_str("Counts")
            }
        }
    }
}

/// What happens to a task.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Fate {
    Fails,
    Aborts,
    /// Fails once it is cancelled.
    IsCancelled,
}

/// A task that fails.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Shown {
    form: Form,
    fate: Fate,
}

impl TaskSpec for Shown {
    const NAME: &'static str = "shown";
    type Output = ();
}

impl Task for Shown {
    fn run(self, cx: &TaskContext) -> Result<(), TaskError> {
        match self.fate {
            Fate::Fails => Err("it fails".into()),
            Fate::Aborts => process::abort(),
            Fate::IsCancelled => {
                cx.send_message(&crate::support::tasks::Text("begun".into()))?;
                wait_for_cancellation(cx)?;
                Ok(cx.check_cancelled()?)
            }
        }
    }
}

/// A task that misses its heartbeat, and ends when it is cancelled for that.
#[derive(Debug, Serialize, Deserialize)]
struct Late(Form);

impl TaskSpec for Late {
    const NAME: &'static str = "late";
    type Output = ();
    const HEARTBEAT_TIMEOUT: Option<Duration> = Some(Duration::from_millis(20));
}

impl Task for Late {
    fn run(self, cx: &TaskContext) -> Result<(), TaskError> {
        wait_for_cancellation(cx)?;
        Ok(cx.check_cancelled()?)
    }
}

fn shown(form: Form, fate: Fate) -> Shown {
    Shown { form, fate }
}

/// What stands for the form of a task whose code nobody has run for that.
fn described<T: TaskSpec>(task: &T) -> String {
    let encoded = EncodedTask::new(task).expect("it encodes");
    format!("{} ({} bytes)", T::NAME, encoded.payload().len())
}

#[test]
fn a_debug_form_that_blocks_holds_up_its_own_task_alone() {
    let _alone = alone();
    let gate = Gate::new();
    let manager = builder(2).start().expect("it starts");
    let task = shown(Form::Waits(gate.path()), Fate::Fails);
    let stuck = manager.submit(task.clone()).expect("it is taken");
    let waiting = gate.wait();
    assert_eq!(waiting.pid == process::id(), KIND == Kind::Threads, "it is made where its task ran");
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("marks");
    for line in ["one", "two"] {
        // A caller that schedules turns the core by itself, and everything else is the manager's thread's.
        let others = manager.submit(Mark { file: file.clone(), line: line.into() }).expect("it is taken");
        others.wait().expect("it is run");
    }
    assert_eq!(manager.stats().tasks.done, 2);
    assert!(!stuck.is_finished());
    waiting.go_on();
    let failure = stuck.wait().expect_err("it fails");
    assert_eq!(failure.debug, "Shown { form: Waits, fate: Fails }");
    // The same where the failure comes with the messages.
    manager.schedule(task).expect("it is taken");
    gate.wait().go_on();
    match manager.messages::<NoMessage>().next() {
        Some(Err(MessageError::Failed(failure))) => {
            assert_eq!(failure.debug, "Shown { form: Waits, fate: Fails }");
        }
        other => panic!("{other:?}"),
    }
    close(&manager);
}

#[test]
fn a_debug_form_is_cut_and_its_panic_is_said() {
    let _alone = alone();
    let manager = builder(1).start().expect("it starts");
    let failure = manager.submit(shown(Form::Endless, Fate::Fails)).expect("it is taken").wait();
    let debug = failure.expect_err("it fails").into_report().debug;
    assert!(debug.starts_with("Shown { form: äöäö") && debug.ends_with('…'), "{debug}");
    assert!((2040..=2048 + '…'.len_utf8()).contains(&debug.len()), "{}", debug.len());
    let task = shown(Form::Panics, Fate::Fails);
    let failure = manager.submit(task.clone()).expect("it is taken").wait().expect_err("it fails");
    assert_eq!(failure.debug, described(&task).replace(')', "; its Debug form panics)"));
    assert!(matches!(&failure.cause, FailureCause::Error { chain, .. } if chain == &["it fails"]));
    close(&manager);
}

#[test]
fn a_task_that_is_cancelled_while_it_runs_has_its_form() {
    let _alone = alone();
    let manager = builder(1).start().expect("it starts");
    let handle = manager.submit(shown(Form::Counts, Fate::IsCancelled)).expect("it is taken");
    assert_eq!(next_text(&manager), "begun");
    handle.cancel();
    let failure = handle.wait().expect_err("it is cancelled");
    assert_eq!(failure.cause, FailureCause::Cancelled);
    assert_eq!(failure.debug, "Shown { form: Counts, fate: IsCancelled }");
    let failure = manager.submit(Late(Form::Counts)).expect("it is taken").wait().expect_err("it is late");
    assert!(matches!(failure.cause, FailureCause::HeartbeatTimeout { .. }), "{failure}");
    assert_eq!(failure.debug, "Late(Counts)");
    close(&manager);
}

#[test]
fn a_task_that_did_not_begin_is_named_with_its_size() {
    let _alone = alone();
    let counted = COUNTED.load(Ordering::Relaxed);
    let manager = builder(1).start().expect("it starts");
    let running = manager.submit(Runs::Obey).expect("it is taken");
    assert_eq!(next_text(&manager), "begun");
    let task = shown(Form::Counts, Fate::Fails);
    let cancelled = manager.submit(task.clone()).expect("it is taken");
    let returned = manager.submit(task.clone()).expect("it is taken");
    cancelled.cancel();
    let failure = cancelled.wait().expect_err("it is cancelled");
    assert_eq!((&failure.cause, &failure.debug), (&FailureCause::Cancelled, &described(&task)));
    manager.close(ClosePolicy::Cancel).expect("it closes");
    assert_eq!(running.wait().expect_err("it obeys").debug, "Obey");
    let failure = returned.wait().expect_err("it was not begun");
    assert!(matches!(failure.cause, FailureCause::Returned), "{failure}");
    assert_eq!(failure.debug, described(&task));
    assert!(failure.to_string().contains(&format!("{}: never started", described(&task))), "{failure}");
    assert_eq!(COUNTED.load(Ordering::Relaxed), counted, "nobody has run its code");
}

#[test]
fn a_task_whose_worker_died_is_named_with_its_size() {
    let _alone = alone();
    if KIND == Kind::Threads {
        // An abort ends the program.
        return;
    }
    let counted = COUNTED.load(Ordering::Relaxed);
    let manager = builder(1).start().expect("it starts");
    let task = shown(Form::Counts, Fate::Aborts);
    let failure = manager.submit(task.clone()).expect("it is taken").wait().expect_err("it aborts");
    assert_eq!((&failure.cause, &failure.debug), (&FailureCause::WorkerDied, &described(&task)));
    assert_eq!(COUNTED.load(Ordering::Relaxed), counted, "nobody has run its code");
    close(&manager);
}
