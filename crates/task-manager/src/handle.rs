//! The handle of a submitted task: the one place where its output or its failure comes out.
//!
//! Invariants:
//! - It resolves exactly once, whatever happens to the task, the worker or the manager.

use std::{
    fmt,
    future::Future,
    marker::PhantomData,
    pin::Pin,
    sync::{Arc, PoisonError, Weak},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use serde::de::DeserializeOwned;
use workfleet_fork::Home;
use workfleet_heartbeat::{Details, runtime_thread};
use workfleet_wire::message;

use workfleet_causes::with_sources;

use crate::{
    failure::{FailureCause, FailureReport, TaskFailure},
    ids::TaskId,
    outcome::{Outcome, OutcomeCell},
    pool::Shared,
    task::{SpecInfo, described},
};

/// A submitted task. Await it, or [`wait`](Self::wait) for it; its output or its failure comes here and nowhere else.
///
/// Dropping the handle lets the task go on and drops its outcome; [`cancel`](Self::cancel) stops it.
///
/// # Cancel safety
/// Dropping an `.await` of `&mut handle` loses nothing: the outcome stays in the handle.
#[must_use = "a task's failure comes through its handle only"]
pub struct TaskHandle<O> {
    cell: Arc<OutcomeCell>,
    manager: Weak<Shared>,
    spec: &'static SpecInfo,
    /// How many bytes its task has, encoded.
    payload_bytes: usize,
    id: TaskId,
    /// The process that waits for it: asked before the cell's lock is taken.
    home: Home,
    output: PhantomData<fn() -> O>,
}

impl<O: DeserializeOwned> TaskHandle<O> {
    /// `payload_bytes` is how many bytes the task has, encoded.
    pub(crate) fn new(
        cell: Arc<OutcomeCell>,
        manager: Weak<Shared>,
        spec: &'static SpecInfo,
        payload_bytes: usize,
        id: TaskId,
    ) -> Self {
        Self { cell, manager, spec, payload_bytes, id, home: Home::here(), output: PhantomData }
    }

    /// The task's id.
    pub fn id(&self) -> TaskId {
        self.id
    }

    /// Whether the task has ended, so that waiting for it returns at once. In a fork, it does.
    pub fn is_finished(&self) -> bool {
        if !self.home.is_here() {
            return true;
        }
        let state = self.cell.lock();
        state.outcome.is_some() || state.taken
    }

    /// Asks the task to stop: one that waits is cancelled at once, a running one is told by
    /// [`TaskContext::is_cancelled`](crate::TaskContext::is_cancelled). The handle still resolves: with
    /// [`FailureCause::Cancelled`], or with the output if the task ended first or chose to finish.
    pub fn cancel(&self) {
        if let Some(manager) = self.manager.upgrade().filter(|_| self.home.is_here()) {
            manager.cancel(self.id.sequence());
        }
    }

    /// The details of the task's last [heartbeat](crate::TaskContext::heartbeat) that reached the manager. `None` if
    /// there was none, if the task ended with an output, or if its failure was taken from this handle.
    pub fn last_heartbeat(&self) -> Option<Details> {
        if !self.home.is_here() {
            return None;
        }
        if let Some(ended) = self.cell.last_heartbeat() {
            return ended;
        }
        let running = self.manager.upgrade()?.last_heartbeat(self.id.sequence());
        // It may have ended between the two looks.
        self.cell.last_heartbeat().unwrap_or(running)
    }

    /// Waits for the task's output, blocking the thread: in async code, `.await` the handle.
    ///
    /// On a thread where tokio polls a future, this wait stops the other futures of that thread, and the task may need
    /// one of them. An error would lose the handle; so a warning is logged, once for each place in the program.
    ///
    /// # Errors
    /// The task's failure; [`FailureCause::Forked`] in a fork of the process that submitted it.
    #[track_caller]
    pub fn wait(self) -> Result<O, TaskFailure> {
        let outcome = self.wait_until(None);
        // Without a deadline there always is one.
        outcome.map_or_else(|| unreachable!("the wait has no deadline"), |outcome| self.decode(outcome))
    }

    /// Waits for the task's output, for at most this long. `None` if the task has not ended by then. It blocks the
    /// thread: see [`wait`](Self::wait).
    #[track_caller]
    pub fn wait_timeout(&mut self, timeout: Duration) -> Option<Result<O, TaskFailure>> {
        let outcome = self.wait_until(Instant::now().checked_add(timeout))?;
        Some(self.decode(outcome))
    }

    #[track_caller]
    fn wait_until(&self, deadline: Option<Instant>) -> Option<Outcome> {
        if !self.home.is_here() {
            return Some(Err(self.failure(FailureCause::Forked)));
        }
        let may_wait = deadline.is_none_or(|deadline| Instant::now() < deadline);
        if may_wait && !self.is_finished() {
            runtime_thread::warn_of_blocking("TaskHandle::wait", "await the handle");
        }
        let mut state = self.cell.lock();
        loop {
            if let Some(outcome) = OutcomeCell::take(&mut state) {
                return Some(outcome);
            }
            if state.taken {
                return Some(Err(self.already_taken()));
            }
            state.thread_waits = true;
            state = match deadline {
                None => self.cell.ready.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return None;
                    }
                    let waited = self.cell.ready.wait_timeout(state, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    fn decode(&self, outcome: Outcome) -> Result<O, TaskFailure> {
        match outcome {
            Err(failure) => Err(failure),
            Ok(output) => message::decode(&output)
                .map_err(|error| self.failure(FailureCause::Output { reason: with_sources(&error) })),
        }
    }

    fn already_taken(&self) -> TaskFailure {
        self.failure(FailureCause::Taken)
    }

    /// A failure that happened here, after the task's end.
    fn failure(&self, cause: FailureCause) -> TaskFailure {
        FailureReport {
            task: self.id,
            name: self.spec.name.into(),
            debug: described(self.spec.name, self.payload_bytes),
            attempt: 0,
            worker: None,
            cause,
            links: Vec::new(),
            deaths: Vec::new(),
            last_heartbeat: None,
        }
        .into()
    }
}

impl<O: DeserializeOwned> Future for TaskHandle<O> {
    type Output = Result<O, TaskFailure>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if !self.home.is_here() {
            return Poll::Ready(Err(self.failure(FailureCause::Forked)));
        }
        let mut state = self.cell.lock();
        if let Some(outcome) = OutcomeCell::take(&mut state) {
            drop(state);
            return Poll::Ready(self.decode(outcome));
        }
        if state.taken {
            drop(state);
            return Poll::Ready(Err(self.already_taken()));
        }
        let old = match &state.waker {
            Some(waker) if waker.will_wake(cx.waker()) => None,
            _ => state.waker.replace(cx.waker().clone()),
        };
        drop(state);
        // A waker's destructor may run anything: not under the lock.
        drop(old);
        Poll::Pending
    }
}

impl<O> fmt::Debug for TaskHandle<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskHandle").field("task", &self.id).field("name", &self.spec.name).finish()
    }
}
