//! Forks of a program that has managers: every call on a manager of the original fails at once, and does not wait forever for a
//! thread that the fork does not have; a manager that the fork starts itself works.

mod support;

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use support::{
    alone,
    gate::{Gate, wait_at},
    process::{Program, fork, part, reap},
};
use workfleet_task_manager::{
    CloseError, ClosePolicy, FailureCause, MessageError, MessageSendError, Pool, ProcessManager, Registry,
    ScheduleErrorKind, Task, TaskContext, TaskError, TaskMessage, TaskSpec, ThreadManager, init,
};

#[derive(Debug, Serialize, Deserialize)]
struct Note;

impl TaskMessage for Note {
    const NAME: &'static str = "note";
}

/// Waits at a gate, if it is given one.
#[derive(Debug, Serialize, Deserialize)]
struct WaitAt(Option<std::path::PathBuf>);

impl TaskSpec for WaitAt {
    const NAME: &'static str = "wait-at";
    type Output = ();
}

impl Task for WaitAt {
    fn run(self, _cx: &TaskContext) -> Result<(), TaskError> {
        Ok(self.0.map_or(Ok(()), |gate| wait_at(&gate))?)
    }
}

/// Forks, and does what only the original may.
#[derive(Debug, Serialize, Deserialize)]
struct Forks;

impl TaskSpec for Forks {
    const NAME: &'static str = "forks";
    type Output = i32;
}

impl Task for Forks {
    fn run(self, cx: &TaskContext) -> Result<i32, TaskError> {
        // SAFETY: the copy has one thread, and takes no lock that another thread may have held, which is what is tested.
        match unsafe { libc::fork() } {
            0 => {
                // SAFETY: it takes a number.
                unsafe { libc::alarm(60) };
                let sent = cx.send_message(&Note);
                let scheduled = cx.schedule(WaitAt(None));
                let is_right = matches!(sent, Err(MessageSendError::AttemptEnded))
                    && scheduled.is_err_and(|error| matches!(error.kind(), ScheduleErrorKind::AttemptEnded))
                    && cx.heartbeat(&1).is_err();
                match is_right {
                    // The copy ends where it returns.
                    true => Ok(0),
                    // SAFETY: it ends the process and runs nothing.
                    false => unsafe { libc::_exit(1) },
                }
            }
            copy => Ok(reap(copy.cast_unsigned())),
        }
    }
}

fn registry() -> Registry {
    Registry::new().task::<WaitAt>().task::<Forks>()
}

#[test]
fn workfleet_worker() {
    init(&registry());
}

/// In a fork: what may not hang. It is killed if it does.
fn checked(check: impl FnOnce()) {
    // SAFETY: it takes a number.
    unsafe { libc::alarm(60) };
    if catch_unwind(AssertUnwindSafe(check)).is_err() {
        // SAFETY: it ends the process and runs nothing.
        unsafe { libc::_exit(1) };
    }
}

/// Every way to use a manager, in a fork.
fn refuses_everything(pool: &Pool) {
    let error = pool.submit(WaitAt(None)).expect_err("nobody would run it");
    assert!(matches!(error.kind(), ScheduleErrorKind::Forked), "{error}");
    assert!(error.to_string().contains("fork"), "{error}");
    let error = pool.schedule(WaitAt(None)).expect_err("nobody would run it");
    assert!(matches!(error.kind(), ScheduleErrorKind::Forked), "{error}");
    assert!(matches!(pool.send_message(&Note), Err(MessageSendError::Forked)));
    for mut messages in [pool.messages::<Note>(), pool.messages_until_close::<Note>()] {
        assert!(matches!(messages.next(), Some(Err(MessageError::Forked))));
        assert!(messages.next().is_none());
    }
    assert!(pool.stats().workers.is_empty());
    for policy in ClosePolicy::ALL {
        assert!(matches!(pool.close(policy), Err(CloseError::Forked)));
    }
    let event = pool.event("stop").expect("it is short");
    assert!(event.set().is_err() && event.blocking_wait().is_err());
}

fn works(pool: &Pool) {
    pool.submit(WaitAt(None)).expect("it is taken").wait().expect("it is done");
    assert_eq!(pool.close(ClosePolicy::Join).expect("it closes").tasks.done, 1);
}

fn forks_with(pool: &Pool, start_another: impl FnOnce()) {
    let gate = Gate::new();
    let event = pool.event("go").expect("it is short");
    let mut waited_for = pool.submit(WaitAt(Some(gate.path()))).expect("it is taken");
    let mut awaited = pool.submit(WaitAt(Some(gate.path()))).expect("it is taken");
    let waiting = [gate.wait(), gate.wait()];
    let reader = pool.message_stream::<Note>();
    let child = fork(|| {
        checked(|| {
            refuses_everything(pool);
            assert!(waited_for.is_finished());
            waited_for.cancel();
            let failure = waited_for
                .wait_timeout(Duration::from_secs(3600))
                .expect("at once")
                .expect_err("it is out of reach");
            assert_eq!(failure.cause, FailureCause::Forked, "{failure}");
            let polled = pin!(&mut awaited).poll(&mut Context::from_waker(Waker::noop()));
            assert!(matches!(polled, Poll::Ready(Err(failure)) if failure.cause == FailureCause::Forked));
            event.set().expect_err("it is lost here");
            drop(reader);
            start_another();
        });
    });
    assert_eq!(reap(child), 0, "it exited with code 0");
    waiting.into_iter().for_each(|waiting| waiting.go_on());
    waited_for.wait().expect("nothing of that has changed anything here");
    awaited.wait().expect("nothing of that has changed anything here");
    assert_eq!(pool.close(ClosePolicy::Join).expect("it closes").tasks.done, 2);
}

/// Not a test by itself: the programs that the tests below start. A fork of the test harness itself would be one of all its
/// threads.
#[test]
fn program() {
    let processes = || ProcessManager::builder(registry()).workers(2).start().expect("it starts");
    let threads = || ThreadManager::builder(registry()).workers(2).start().expect("it starts");
    match part().as_deref() {
        Some("processes") => forks_with(&processes(), || works(&processes())),
        Some("processes, then threads") => forks_with(&processes(), || works(&threads())),
        Some("threads") => forks_with(&threads(), || works(&threads())),
        Some("threads, then processes") => forks_with(&threads(), || works(&processes())),
        Some("a task of a thread") => {
            let manager = threads();
            assert_eq!(manager.submit(Forks).expect("it is taken").wait().expect("it is done"), 0);
            assert_eq!(manager.close(ClosePolicy::Join).expect("it closes").tasks.done, 1);
        }
        _ => {}
    }
}

fn run(part: &str) {
    let _alone = alone();
    Program::start("program", part).assert_success();
}

#[test]
fn a_fork_of_a_program_with_worker_processes_gets_errors_at_once_and_may_start_its_own() {
    run("processes");
    run("processes, then threads");
}

#[test]
fn a_fork_of_a_program_with_worker_threads_gets_errors_at_once_and_may_start_its_own() {
    run("threads");
    run("threads, then processes");
}

#[test]
fn a_copy_that_a_task_on_a_thread_forks_is_no_worker_and_ends_with_the_task() {
    run("a task of a thread");
}
