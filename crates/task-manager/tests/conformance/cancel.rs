//! Cancelling tasks, and handles as blocking callers and as async ones use them.

use std::{
    fs::read_to_string,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use futures_util::FutureExt;
use serde::{Deserialize, Serialize};
use workfleet_task_manager::{ClosePolicy, FailureCause, Registry, Task, TaskContext, TaskError, TaskSpec};

use crate::{
    Manager, builder,
    support::{
        alone, assert_balanced,
        tasks::{self, Fail, Gate, Mark, Text, next_text},
        until,
    },
};

/// Asks again and again whether it is cancelled, and says when it began.
#[derive(Debug, Serialize, Deserialize)]
struct Ask;

impl TaskSpec for Ask {
    const NAME: &'static str = "ask";
    type Output = ();
}

impl Task for Ask {
    fn run(self, cx: &TaskContext) -> Result<(), TaskError> {
        cx.send_message(&Text("begun".into()))?;
        loop {
            cx.check_cancelled()?;
            thread::yield_now();
        }
    }
}

/// Begins, asks for two tokens, and waits for both at once; says what they say afterwards.
#[derive(Debug, Serialize, Deserialize)]
struct Await;

impl TaskSpec for Await {
    const NAME: &'static str = "await";
    type Output = (bool, bool);
}

impl Task for Await {
    fn run(self, cx: &TaskContext) -> Result<(bool, bool), TaskError> {
        let (one, other) = (cx.cancellation_token(), cx.cancellation_token());
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        cx.send_message(&Text("begun".into()))?;
        runtime.block_on(async { tokio::join!(one.cancelled(), other.cancelled()) });
        Ok((cx.is_cancelled(), cx.cancellation_token().is_cancelled()))
    }
}

/// Waits to be cancelled, then panics.
#[derive(Debug, Serialize, Deserialize)]
struct PanicWhenCancelled;

impl TaskSpec for PanicWhenCancelled {
    const NAME: &'static str = "panic-when-cancelled";
    type Output = ();
}

impl Task for PanicWhenCancelled {
    fn run(self, cx: &TaskContext) -> Result<(), TaskError> {
        cx.send_message(&Text("begun".into()))?;
        tasks::wait_for_cancellation(cx)?;
        panic!("cancelled, but not amused");
    }
}

/// Whether it was cancelled from the start.
#[derive(Debug, Serialize, Deserialize)]
struct IsCancelled;

impl TaskSpec for IsCancelled {
    const NAME: &'static str = "is-cancelled";
    type Output = bool;
}

impl Task for IsCancelled {
    fn run(self, cx: &TaskContext) -> Result<bool, TaskError> {
        Ok(cx.is_cancelled() || cx.cancellation_token().is_cancelled())
    }
}

pub(super) fn register(registry: Registry) -> Registry {
    registry.task::<Ask>().task::<Await>().task::<PanicWhenCancelled>().task::<IsCancelled>()
}

fn start(workers: usize) -> Manager {
    builder(workers).start().expect("it starts")
}

#[test]
fn a_task_that_waits_is_cancelled_without_being_run() {
    let _alone = alone();
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("marks");
    // At once: in the manager's queue, or behind the gate in the worker's. Later: taken back from there.
    for stalled in [false, true] {
        let manager = start(1);
        let gate = manager.submit(Gate::Finish).expect("it is taken");
        assert_eq!(next_text(&manager), "begun");
        let marks: Vec<_> = (0..50)
            .map(|_| manager.submit(Mark { file: file.clone(), line: String::new() }).expect("it is taken"))
            .collect();
        if stalled {
            until(|| manager.stats().workers[0].in_flight == 1);
        }
        marks.iter().for_each(|mark| mark.cancel());
        for mark in marks {
            // While the gate is shut.
            let failure = mark.wait().expect_err("it is cancelled");
            assert_eq!((&failure.cause, failure.attempt), (&FailureCause::Cancelled, 0));
        }
        assert!(!gate.is_finished());
        gate.cancel();
        gate.wait().expect("it finishes");
        let report = manager.close(ClosePolicy::Join).expect("it closes");
        assert_balanced(&report);
        assert_eq!((report.tasks.done, report.tasks.cancelled), (1, 50));
        assert!(!file.exists(), "{:?}", read_to_string(&file));
    }
}

#[test]
fn only_the_task_that_was_meant_is_cancelled() {
    let _alone = alone();
    let manager = start(1);
    for _ in 0..50 {
        let asks = manager.submit(Ask).expect("it is taken");
        let behind: Vec<_> = (0..5).map(|_| manager.submit(IsCancelled).expect("it is taken")).collect();
        assert_eq!(next_text(&manager), "begun");
        asks.cancel();
        asks.cancel();
        assert_eq!(asks.wait().expect_err("it is cancelled").cause, FailureCause::Cancelled);
        behind.into_iter().for_each(|task| assert!(!task.wait().expect("it is done")));
    }
    let report = manager.close(ClosePolicy::Join).expect("it closes");
    assert_eq!((report.tasks.done, report.tasks.cancelled), (250, 50));
}

#[test]
fn a_cancelled_task_may_obey_finish_or_panic() {
    let _alone = alone();
    let manager = start(1);
    let obeys = manager.submit(Gate::Obey).expect("it is taken");
    assert_eq!(next_text(&manager), "begun");
    obeys.cancel();
    let failure = obeys.wait().expect_err("it is cancelled");
    assert_eq!((&failure.cause, failure.attempt), (&FailureCause::Cancelled, 1));
    assert_eq!(failure.worker.as_deref(), Some("worker-0"));

    let finishes = manager.submit(Gate::Finish).expect("it is taken");
    assert_eq!(next_text(&manager), "begun");
    finishes.cancel();
    finishes.wait().expect("it chose to finish");

    let panics = manager.submit(PanicWhenCancelled).expect("it is taken");
    assert_eq!(next_text(&manager), "begun");
    panics.cancel();
    let failure = panics.wait().expect_err("it panics");
    assert!(matches!(failure.cause, FailureCause::Panicked { .. }), "{failure}");

    let report = manager.close(ClosePolicy::Join).expect("it closes");
    let tasks = report.tasks;
    assert_eq!((tasks.done, tasks.failed, tasks.cancelled), (1, 1, 1));
}

#[test]
fn cancelling_a_task_that_has_ended_changes_nothing() {
    let _alone = alone();
    let manager = start(1);
    let mut ended = manager.submit(IsCancelled).expect("it is taken");
    until(|| ended.is_finished());
    ended.cancel();
    assert!(!manager.submit(IsCancelled).expect("it is taken").wait().expect("it is done"));
    let output = ended.wait_timeout(Duration::ZERO).expect("it has ended");
    assert!(!output.expect("it is done"));
    ended.cancel();
    let report = manager.close(ClosePolicy::Join).expect("it closes");
    assert_eq!((report.tasks.done, report.tasks.cancelled), (2, 0));
    // The manager is closed, then gone.
    ended.cancel();
    drop(manager);
    ended.cancel();
}

#[test]
fn cancelling_everything_at_once_from_many_threads_ends_everything_once() {
    let _alone = alone();
    let manager = start(2);
    for _ in 0..10 {
        let handles: Vec<_> = (0..300).map(|_| manager.submit(IsCancelled).expect("it is taken")).collect();
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| handles.iter().rev().for_each(|handle| handle.cancel()));
            }
        });
        for handle in handles {
            match handle.wait() {
                Ok(_) => {}
                Err(failure) => assert_eq!(failure.cause, FailureCause::Cancelled),
            }
        }
    }
    let report = manager.close(ClosePolicy::Join).expect("it closes");
    assert_balanced(&report);
    assert_eq!(report.tasks.done + report.tasks.cancelled, 3000);
}

#[test]
fn a_cancellation_token_wakes_what_waits_asynchronously_in_the_task() {
    let _alone = alone();
    let manager = start(1);
    for _ in 0..20 {
        let task = manager.submit(Await).expect("it is taken");
        assert_eq!(next_text(&manager), "begun");
        task.cancel();
        assert_eq!(task.wait().expect("it finishes"), (true, true));
    }
    manager.close(ClosePolicy::Join).expect("it closes");
}

#[test]
fn a_handle_is_a_future_that_can_be_dropped_and_polled_again() {
    let _alone = alone();
    let manager = start(1);
    let current = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let multi = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().expect("a runtime");
    for runtime in [current, multi] {
        runtime.block_on(async {
            let mut gate = manager.submit(Gate::Finish).expect("it is taken");
            let first = manager.message_stream::<Text>();
            let begun = futures_util::StreamExt::into_future(first).await.0.expect("it is pending");
            assert_eq!(begun.expect("it is a message").content.0, "begun");
            for _ in 0..10 {
                let quick = manager.submit(IsCancelled).expect("it is taken");
                tokio::select! {
                    biased;
                    output = &mut gate => panic!("the gate is shut, but yields {output:?}"),
                    () = std::future::ready(()) => {}
                }
                assert!((&mut gate).now_or_never().is_none());
                drop(quick);
            }
            gate.cancel();
            (&mut gate).await.expect("it finishes");
            assert!(gate.is_finished());
            // What was taken is taken, and asking again hangs nobody.
            let again = gate.await.expect_err("it was taken");
            assert!(matches!(again.cause, FailureCause::Taken), "{again}");
        });
    }
    let report = manager.close(ClosePolicy::Join).expect("it closes");
    assert_eq!(report.tasks.done, 22);
}

#[test]
fn a_handle_can_move_from_one_waiter_to_another() {
    let _alone = alone();
    let manager = start(1);
    let mut gate = manager.submit(Gate::Finish).expect("it is taken");
    assert_eq!(next_text(&manager), "begun");
    // Polled in one runtime, then by a thread, then in another runtime.
    let runtime = || tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime().block_on(async { assert!((&mut gate).now_or_never().is_none()) });
    assert!(gate.wait_timeout(Duration::from_millis(1)).is_none());
    let told = AtomicBool::new(false);
    thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            runtime().block_on(async {
                tokio::join!(
                    async { (&mut gate).await.expect("it finishes") },
                    // Polled after the handle, which waits by now.
                    async { told.store(true, Ordering::Release) },
                )
            })
        });
        until(|| told.load(Ordering::Acquire));
        manager.close(ClosePolicy::Cancel).expect("it closes");
        waiting.join().expect("it does not panic");
    });
    assert!(gate.is_finished());
}

#[test]
fn a_wait_with_a_timeout_leaves_the_output_where_it_is() {
    let _alone = alone();
    let manager = start(1);
    let mut gate = manager.submit(Gate::Finish).expect("it is taken");
    assert!(gate.wait_timeout(Duration::ZERO).is_none());
    assert!(gate.wait_timeout(Duration::from_millis(5)).is_none());
    assert!(!gate.is_finished());
    assert_eq!(next_text(&manager), "begun");
    gate.cancel();
    gate.wait_timeout(Duration::MAX).expect("it ends").expect("it finishes");
    assert!(gate.is_finished(), "it has ended, though its output was taken");
    assert!(gate.wait_timeout(Duration::MAX).expect("nothing to wait for").is_err());

    let mut fails = manager.submit(Fail(3)).expect("it is taken");
    until(|| fails.is_finished());
    fails.wait_timeout(Duration::ZERO).expect("it has ended").expect_err("it fails");
    manager.close(ClosePolicy::Join).expect("it closes");
}

#[test]
fn dropping_a_handle_cancels_nothing() {
    let _alone = alone();
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("marks");
    let manager = start(2);
    for n in 0..100 {
        let mark = manager.submit(Mark { file: file.clone(), line: n.to_string() }).expect("it is taken");
        if n % 2 == 0 {
            drop(mark);
        } else {
            // Once it has been polled, too.
            assert!(mark.now_or_never().is_none_or(|output| output.is_ok()));
        }
    }
    drop(manager.submit(Fail(1)).expect("it is taken"));
    let report = manager.close(ClosePolicy::Join).expect("it closes");
    assert_eq!((report.tasks.done, report.tasks.failed, report.tasks.cancelled), (100, 1, 0));
    // It had a handle, so nobody else is told.
    assert!(report.failures.is_empty());
    assert_eq!(read_to_string(&file).expect("marks").lines().count(), 100);
}
