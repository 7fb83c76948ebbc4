//! The task of a worker: it calls the hooks one after the other, aborts a hook at the deadline, and publishes the
//! outcome.
//!
//! Invariants:
//! - Whatever happens to the task, also when its runtime is shut down and drops it: if `on_startup` has succeeded,
//!   `on_shutdown` is polled at least once; `after_shutdown` is called; the worker is dropped; and then the outcome is
//!   published.
//! - Tasks that the worker has spawned have ended before `on_shutdown` is called, and before the outcome is published.
//!   If its runtime is shut down, they are only told to end.
//! - No panic of the worker's leaves the task.
//! - A worker that stops at once when asked costs no timer.

use std::{
    future::{Future, pending, poll_fn},
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use tokio::sync::watch;
use workfleet_panics::catch;

use crate::{
    clock,
    context::WorkerContext,
    error::{Hook, WorkerError, WorkerFailure, WorkerFailureCause},
    lifecycle::{Lifecycle, LifecycleEvent, Step, WorkerState},
    outcome::{self, Ending, Outcome},
    panic::Caught,
    shared::{Board, Shared},
    worker::Worker,
};

/// A worker on its task. It was marked as started.
pub(crate) struct Runner<W: Worker> {
    /// Until it has ended.
    worker: Option<W>,
    cx: WorkerContext,
    board: watch::Receiver<Board>,
    failures: Vec<WorkerFailure>,
    /// `on_shutdown` was called.
    has_cleaned_up: bool,
    /// What it has spawned had not ended at its deadline, and was dropped.
    tasks_held_up: bool,
}

impl<W: Worker> Runner<W> {
    pub(crate) fn new(worker: W, shared: Arc<Shared>) -> Self {
        let board = shared.board.subscribe();
        Self {
            worker: Some(worker),
            cx: WorkerContext::new(shared),
            board,
            failures: Vec::new(),
            has_cleaned_up: false,
            tasks_held_up: false,
        }
    }

    /// The whole life.
    pub(crate) async fn live(mut self) {
        let mut step = Step::OnStartup;
        loop {
            if matches!(step, Step::OnShutdown | Step::AfterShutdown) {
                self.end_tasks().await;
            }
            self.has_cleaned_up |= step == Step::OnShutdown;
            let Self { worker: Some(worker), cx, board, .. } = &mut self else { return };
            let watched = Watched { board, is_group: cx.shared().is_group() };
            let (hook, end) = match step {
                Step::OnStartup => {
                    (Hook::OnStartup, attend(async { worker.on_startup(cx).await }, watched).await)
                }
                Step::Run => {
                    let tasks = &cx.shared().tasks;
                    let run = async { tasks.unless_one_fails(worker.run(cx)).await.unwrap_or(Ok(())) };
                    (Hook::Run, attend(run, watched).await)
                }
                Step::OnShutdown => {
                    (Hook::OnShutdown, attend(async { worker.on_shutdown(cx).await }, watched).await)
                }
                Step::Init | Step::AfterShutdown | Step::Ended => break,
            };
            let event = self.note(hook, end);
            step = self.cx.shared().handle(event);
            if step == Step::Run || event == LifecycleEvent::Aborted {
                // Who waits for the start-up was woken on this thread, and would not run if `run` blocked it now. After
                // an abort, `on_shutdown` shall not find the budget of its first poll spent.
                let_others_run().await;
            }
        }
        self.finish(Ending::Forced);
    }

    /// Waits for what the worker has spawned, as long as it may still run, and drops the rest. Again, it does nothing.
    async fn end_tasks(&mut self) {
        let Self { cx, board, failures, tasks_held_up, .. } = self;
        let tasks = &cx.shared().tasks;
        tasks.close();
        let lifecycle = board.borrow().lifecycle;
        let is_graceful = lifecycle.is_stop_requested() && !lifecycle.is_aborted() && !lifecycle.has_failed();
        failures.extend(tasks.take_failures().into_iter().map(of_task));
        if is_graceful && failures.is_empty() {
            let watched = Watched { board, is_group: cx.shared().is_group() };
            tokio::select! {
                biased;
                () = tasks.ended() => {}
                () = tasks.has_failed() => {}
                () = watched.due() => *tasks_held_up = true,
            }
        }
        tasks.abort();
        tasks.ended().await;
        failures.extend(tasks.take_failures().into_iter().map(of_task));
    }

    /// Whether it is a group that had to abort a child.
    fn has_held_up_children(&self) -> bool {
        self.cx.shared().roster().is_some_and(|roster| roster.has_held_up())
    }

    /// What the end of a hook is to the lifecycle.
    fn note(&mut self, hook: Hook, end: End) -> LifecycleEvent {
        match end {
            End::Completed if self.tasks_held_up || self.has_held_up_children() => LifecycleEvent::Aborted,
            End::Completed => LifecycleEvent::Completed,
            End::Aborted => LifecycleEvent::Aborted,
            End::Failed(cause) => {
                self.failures.push(WorkerFailure::new(hook, cause));
                LifecycleEvent::Failed
            }
        }
    }

    /// Polls `on_shutdown` once, when it cannot be polled again.
    fn clean_up_at_once(&mut self) -> LifecycleEvent {
        self.has_cleaned_up = true;
        let Self { worker: Some(worker), cx, .. } = self else { return LifecycleEvent::Aborted };
        let end = {
            let mut hook = pin!(Caught::new(async { worker.on_shutdown(cx).await }));
            match hook.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(result) => End::of(result),
                Poll::Pending => End::of_abort(hook.abort()),
            }
        };
        self.note(Hook::OnShutdown, end)
    }

    /// Calls `after_shutdown`, drops the worker and publishes the outcome. `aborted` is how it ended if it was aborted.
    fn finish(&mut self, aborted: Ending) {
        let Some(mut worker) = self.worker.take() else { return };
        let shared = Arc::clone(self.cx.shared());
        let mut failures = std::mem::take(&mut self.failures);
        let lifecycle = shared.board.borrow().lifecycle;
        let so_far = conclude(lifecycle, aborted, failures.clone(), &shared);
        let code = outcome::code(so_far.state());
        // Only who overrides it wants the text: it is a few bytes.
        let told = catch(|| worker.after_shutdown(&so_far.to_string(), code));
        failures.extend(told.err().map(|panic| failure(Hook::AfterShutdown, panic)));
        let dropped = catch(|| drop(worker));
        failures.extend(dropped.err().map(|panic| failure(Hook::Drop, panic)));

        // Before they are woken.
        let is_awaited = self.is_awaited();
        // A task's failure is no hook's: the lifecycle learns of it here.
        let event = if failures.is_empty() { LifecycleEvent::Completed } else { LifecycleEvent::Failed };
        shared.end(event, |lifecycle| {
            if event == LifecycleEvent::Completed {
                so_far
            } else {
                conclude(lifecycle, aborted, failures, &shared)
            }
        });
        log(&shared, is_awaited);
    }

    /// Whether a caller waits for this worker's outcome, or is told of it. Then the caller reports a failure, and this
    /// does not.
    fn is_awaited(&self) -> bool {
        // This task's own receiver. That of a group's driver went with the worker.
        const OWN: usize = 1;
        let shared = self.cx.shared();
        shared.is_child() || shared.board.receiver_count() > OWN
    }
}

fn of_task(cause: WorkerFailureCause) -> WorkerFailure {
    WorkerFailure::new(Hook::Task, cause)
}

fn failure(hook: Hook, panic: String) -> WorkerFailure {
    WorkerFailure::new(hook, WorkerFailureCause::Panic(panic))
}

/// The outcome of a life up to `after_shutdown`, or to its end.
fn conclude(lifecycle: Lifecycle, aborted: Ending, failures: Vec<WorkerFailure>, shared: &Shared) -> Outcome {
    let (state, ending) = if !failures.is_empty() {
        (WorkerState::Failed, Ending::Failed)
    } else if lifecycle.is_aborted() {
        (WorkerState::ForceStopped, aborted)
    } else if lifecycle.is_stop_requested() {
        (WorkerState::Stopped, Ending::Requested)
    } else {
        (WorkerState::Stopped, Ending::ByItself)
    };
    let report = shared.roster().and_then(|roster| roster.report());
    Outcome::new(state, ending, lifecycle.is_aborted(), failures, report)
}

fn log(shared: &Shared, is_awaited: bool) {
    // Errors write their own text, which may ask the worker: not under the board's lock.
    let outcome = shared.board.borrow().outcome.clone();
    let (name, Some(outcome)) = (shared.name(), outcome) else { return };
    let how = outcome.in_full();
    // Those who wait in a runtime that is shut down will not hear of it.
    let is_unsaid = !is_awaited || (outcome.ending() == Ending::RuntimeGone && !shared.is_child());
    match outcome.state() {
        WorkerState::Failed if is_unsaid => workfleet_notice::error!(worker = name, "a worker failed: {how}"),
        WorkerState::Failed => tracing::error!(worker = name, "a worker failed: {how}"),
        WorkerState::ForceStopped if is_unsaid => {
            workfleet_notice::warn!(worker = name, "a worker was ended before it had stopped: {how}");
        }
        WorkerState::ForceStopped => {
            tracing::warn!(worker = name, "a worker was ended before it had stopped: {how}");
        }
        _ => tracing::debug!(worker = name, "worker stopped: {how}"),
    }
}

/// Reached with a worker only if its runtime drops the task.
impl<W: Worker> Drop for Runner<W> {
    fn drop(&mut self) {
        if self.worker.is_none() {
            return;
        }
        // The runtime drops them too, or has.
        let tasks = &self.cx.shared().tasks;
        tasks.close();
        tasks.abort();
        self.failures.extend(tasks.take_failures().into_iter().map(of_task));
        let mut step = self.cx.shared().board.borrow().lifecycle.step();
        while matches!(step, Step::OnStartup | Step::Run | Step::OnShutdown) {
            let is_due = step == Step::OnShutdown && !self.has_cleaned_up;
            let event = if is_due { self.clean_up_at_once() } else { LifecycleEvent::Aborted };
            step = self.cx.shared().handle(event);
        }
        self.finish(Ending::RuntimeGone);
    }
}

/// How a hook ended.
enum End {
    Completed,
    Failed(WorkerFailureCause),
    Aborted,
}

impl End {
    fn of(result: Result<Result<(), WorkerError>, String>) -> Self {
        match result {
            Ok(Ok(())) => Self::Completed,
            Ok(Err(error)) => Self::Failed(WorkerFailureCause::Error(error)),
            Err(panic) => Self::Failed(WorkerFailureCause::Panic(panic)),
        }
    }

    /// A hook was dropped before its end.
    fn of_abort(dropped: Result<(), String>) -> Self {
        dropped.map_or_else(|panic| Self::Failed(WorkerFailureCause::Panic(panic)), |()| Self::Aborted)
    }
}

/// What tells when to abort.
struct Watched<'a> {
    board: &'a mut watch::Receiver<Board>,
    is_group: bool,
}

impl Watched<'_> {
    /// Returns at the deadline, once there is one.
    async fn due(self) {
        if self.is_group {
            return pending().await;
        }
        loop {
            let deadline = self.board.borrow_and_update().deadline;
            match deadline {
                Some(deadline) if clock::now() >= deadline => return,
                Some(deadline) => tokio::select! {
                    // The sender lives as long as this task, which holds it.
                    _ = self.board.changed() => {}
                    () = clock::sleep_until(deadline, tokio::time::sleep_until) => {}
                },
                // The sender lives as long as this task, which holds it.
                None => drop(self.board.changed().await),
            }
        }
    }
}

/// Polls a hook to its end, or until it is due. If it is both, it has ended.
async fn attend(hook: impl Future<Output = Result<(), WorkerError>>, watched: Watched<'_>) -> End {
    let mut hook = pin!(Caught::new(hook));
    let mut due = pin!(watched.due());
    let ended = poll_fn(|cx| {
        if let Poll::Ready(result) = hook.as_mut().poll(cx) {
            return Poll::Ready(Some(result));
        }
        due.as_mut().poll(cx).map(|()| None)
    });
    match ended.await {
        Some(result) => End::of(result),
        None => End::of_abort(hook.abort()),
    }
}

/// Gives way once to the tasks that wait for this thread.
pub(crate) async fn let_others_run() {
    let mut has_yielded = false;
    poll_fn(|cx| {
        if has_yielded {
            return Poll::Ready(());
        }
        has_yielded = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
