//! References: how a worker is stopped, waited for and looked at from outside.
//!
//! Invariants:
//! - Every method of a [`WorkerRef`] works on any thread, in any runtime or none.
//! - Nothing waits forever for a worker that has been given a deadline.

use std::{fmt, sync::Arc, time::Duration};

use tokio::{
    runtime::Handle,
    sync::watch,
    time::{Instant, Sleep, sleep_until},
};

use workfleet_fork::Home;
use workfleet_panics::catch;

use crate::{
    clock::{self, STUCK_AFTER, after},
    error::{Hook, StartError, StuckError},
    lifecycle::{Step, WorkerState},
    outcome::Outcome,
    reason::StoppedBy,
    shared::{Board, Shared},
    status::Status,
};

/// A reference to a worker, to stop it, wait for it and look at it. Dropping it does nothing.
#[derive(Clone)]
pub struct WorkerRef {
    shared: Arc<Shared>,
}

impl WorkerRef {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The worker's name.
    pub fn name(&self) -> &str {
        self.shared.name()
    }

    /// The worker's state now.
    #[doc(alias = "worker_state")]
    pub fn state(&self) -> WorkerState {
        self.shared.state()
    }

    /// Whether the worker was started: its state is any other than [`Init`](WorkerState::Init).
    pub fn has_started(&self) -> bool {
        self.state().has_started()
    }

    /// Whether the worker is [`Running`](WorkerState::Running): it was started, and was not asked to stop.
    pub fn is_running(&self) -> bool {
        self.state().is_running()
    }

    /// Whether the worker is [`Stopping`](WorkerState::Stopping): it was asked to stop and has not ended.
    pub fn is_stopping(&self) -> bool {
        self.state().is_stopping()
    }

    /// Whether the worker has ended: it is [`Stopped`](WorkerState::Stopped), [`ForceStopped`](WorkerState::ForceStopped)
    /// or [`Failed`](WorkerState::Failed).
    pub fn is_stopped(&self) -> bool {
        self.state().is_stopped()
    }

    /// The worker's state to watch.
    pub fn watch_state(&self) -> StateWatch {
        StateWatch { seen: self.state(), board: self.shared.board.subscribe(), home: self.shared.home() }
    }

    /// What the worker looks like now; a group, with its children.
    pub fn status(&self) -> Status {
        self.shared.status()
    }

    /// The worker itself; of a group, its children. A child that was not started yet is in the state [`Init`](WorkerState::Init). A
    /// child that was restarted is there once, as the worker that was started last.
    pub fn workers(&self) -> Vec<WorkerRef> {
        let roster = self.shared.roster().filter(|_| self.shared.is_here());
        roster.map_or_else(|| vec![self.clone()], |roster| roster.workers())
    }

    #[cfg(feature = "signal")]
    pub(crate) fn grace(&self) -> Duration {
        // Without a valid grace period it was never started.
        self.shared.grace().unwrap_or_default()
    }

    #[cfg(feature = "signal")]
    pub(crate) fn is_group(&self) -> bool {
        self.shared.is_group()
    }

    /// The outcome, if the worker has ended.
    pub fn outcome(&self) -> Option<Outcome> {
        if !self.shared.is_here() {
            return Some(Outcome::forked());
        }
        self.shared.board.borrow().outcome.clone()
    }

    /// Waits until the worker is up.
    ///
    /// # Errors
    /// [`StartError::Failed`] or [`StartError::Stopped`] if the worker has ended and did not come up. If it was not started yet, this
    /// waits; once it cannot be started any more, that is [`StartError::Stopped`].
    ///
    /// # Cancel safety
    /// Dropping it loses nothing.
    pub async fn wait_for_startup(&self) -> Result<(), StartError> {
        if !self.shared.is_here() {
            return Err(StartError::Forked { name: self.shared.name().to_owned() });
        }
        let mut board = self.shared.board.subscribe();
        // The board lives as long as `self`.
        let is_settled = |board: &Board| board.came_up || board.outcome.is_some() || board.is_abandoned;
        let Ok(board) = board.wait_for(is_settled).await else { return Ok(()) };
        if board.came_up {
            return Ok(());
        }
        let name = self.shared.name().to_owned();
        let failures = board.outcome.as_ref().map_or(&[][..], Outcome::failures);
        match failures.iter().find(|failure| failure.hook() == Hook::OnStartup) {
            Some(failure) => Err(StartError::Failed { name, failure: failure.clone() }),
            None => Err(StartError::Stopped { name }),
        }
    }

    /// Asks the worker to stop if it is running, and returns whether it was. There is no deadline: to set one, use
    /// [`shutdown`](Self::shutdown).
    pub fn gracefully_stop(&self) -> bool {
        self.shared.request_stop(None, StoppedBy::Caller)
    }

    /// Asks the worker to stop and sets its deadline, without waiting.
    pub(crate) fn stop_within_grace(&self, by: StoppedBy) {
        // With the clock of the worker's runtime; before the start there is none, and nothing to stop.
        let _runtime = self.shared.runtime().map(Handle::enter);
        self.shared.request_stop(Some(self.shared.deadline_by_grace()), by);
    }

    /// Aborts the worker at once: its present hook is dropped where it waits. Returns at once too.
    pub fn abort(&self) {
        self.abort_for(StoppedBy::Caller);
    }

    pub(crate) fn abort_for(&self, by: StoppedBy) {
        let _runtime = self.shared.runtime().map(Handle::enter);
        self.shared.request_stop(Some(clock::now()), by);
    }

    /// Asks the worker to stop, aborts it when its grace period is over, and waits for its end.
    ///
    /// If the worker was not started, this returns at once. If an earlier deadline was set already, that one holds.
    ///
    /// # Errors
    /// [`StuckError`]: the worker blocks its thread, so it cannot be aborted. Noticing that needs a free thread of the runtime: a worker
    /// that blocks a current-thread runtime blocks this call too. A group is never stuck; its [report](Outcome::report) names the
    /// children that are.
    ///
    /// # Cancel safety
    /// The request and the deadline hold from the first poll on. Dropping the future takes back neither.
    pub async fn shutdown(&self) -> Result<Outcome, StuckError> {
        // Without a valid grace period it was never started.
        self.shutdown_within(self.shared.grace().unwrap_or_default()).await
    }

    /// [`shutdown`](Self::shutdown) with another grace period than the worker's own.
    ///
    /// # Errors
    /// As [`shutdown`](Self::shutdown).
    ///
    /// # Cancel safety
    /// As [`shutdown`](Self::shutdown).
    pub async fn shutdown_within(&self, grace: Duration) -> Result<Outcome, StuckError> {
        if !self.shared.is_here() {
            return Ok(Outcome::forked());
        }
        let Some(runtime) = self.shared.runtime() else { return Ok(Outcome::never_started()) };
        let deadline = {
            let _runtime = runtime.enter();
            after(grace)
        };
        self.shared.request_stop(Some(deadline), StoppedBy::Caller);
        if self.shared.is_group() {
            return Ok(self.wait_for_shutdown().await);
        }
        let mut board = self.shared.board.subscribe();
        loop {
            let deadline = {
                let board = board.borrow_and_update();
                if let Some(outcome) = &board.outcome {
                    return Ok(outcome.clone());
                }
                if board.lifecycle.step() == Step::Init {
                    return Ok(Outcome::never_started());
                }
                board.deadline.unwrap_or(deadline)
            };
            let given_up = sleep_where_time_passes(runtime, deadline + STUCK_AFTER);
            tokio::select! {
                biased;
                // The board lives as long as `self`.
                _ = board.changed() => {}
                () = given_up => {
                    return self.outcome().ok_or_else(|| StuckError {
                        name: self.shared.name().to_owned(),
                        overdue: STUCK_AFTER,
                    });
                }
            }
        }
    }

    /// Waits for the worker's end, without asking for it. In [`Init`](WorkerState::Init) it returns at once.
    ///
    /// The outcome is kept: this may be called any number of times, before and after the end.
    ///
    /// # Cancel safety
    /// Dropping it loses nothing.
    pub async fn wait_for_shutdown(&self) -> Outcome {
        if !self.shared.is_here() {
            return Outcome::forked();
        }
        let mut board = self.shared.board.subscribe();
        let ended =
            board.wait_for(|board| board.outcome.is_some() || board.lifecycle.step() == Step::Init).await;
        // The board lives as long as `self`.
        ended.ok().and_then(|board| board.outcome.clone()).unwrap_or_else(Outcome::never_started)
    }

    /// Waits at most this long for the worker's end, without asking for it; `None` if it has not ended by then. It can be
    /// awaited anywhere: where there is no timer, it takes that of the worker's runtime.
    ///
    /// # Cancel safety
    /// Dropping it loses nothing.
    pub async fn wait_timeout(&self, limit: Duration) -> Option<Outcome> {
        let Some(runtime) = self.shared.runtime().filter(|_| self.shared.is_here()) else {
            return Some(self.wait_for_shutdown().await);
        };
        let until = {
            let _runtime = runtime.enter();
            after(limit)
        };
        let over = sleep_where_time_passes(runtime, until);
        tokio::select! {
            biased;
            outcome = self.wait_for_shutdown() => Some(outcome),
            () = over => None,
        }
    }
}

/// A timer of the caller's runtime, if it has any; else, of the worker's. That one stands still when the runtime was shut
/// down under a worker that blocks its thread.
fn sleep_where_time_passes(home: &Handle, until: Instant) -> impl Future<Output = ()> {
    clock::sleep_until(until, |until| timer_where_time_passes(home, until))
}

fn timer_where_time_passes(home: &Handle, until: Instant) -> Sleep {
    let sleep = |runtime: &Handle| {
        let _runtime = runtime.enter();
        sleep_until(until)
    };
    let own = Handle::try_current().ok().filter(|own| own.id() != home.id());
    // It panics in a runtime without a time driver.
    own.and_then(|own| catch(|| sleep(&own)).ok()).unwrap_or_else(|| sleep(home))
}

impl fmt::Debug for WorkerRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WorkerRef").field(&self.shared).finish()
    }
}

/// Follows a worker's state. Changes that follow each other quickly may be seen as one; the last is always seen.
pub struct StateWatch {
    board: watch::Receiver<Board>,
    seen: WorkerState,
    home: Home,
}

impl StateWatch {
    /// The state now.
    pub fn state(&self) -> WorkerState {
        if !self.home.is_here() {
            return Outcome::forked().state();
        }
        self.board.borrow().lifecycle.state()
    }

    /// Waits for another state than the last one that this returned (at first: than the one when the watch was made),
    /// and returns it. After the end there is no other: `None`.
    ///
    /// # Cancel safety
    /// Dropping it loses nothing.
    pub async fn changed(&mut self) -> Option<WorkerState> {
        let seen = self.seen;
        if seen.is_stopped() {
            return None;
        }
        let state = self.wait_for(|state| state != seen).await?;
        self.seen = state;
        Some(state)
    }

    /// Waits for a state; `None` if the worker has ended in another, or was dropped before it was started.
    ///
    /// # Cancel safety
    /// Dropping it loses nothing.
    pub async fn wait_for(&mut self, wanted: impl Fn(WorkerState) -> bool) -> Option<WorkerState> {
        loop {
            if !self.home.is_here() {
                return None;
            }
            // What is wanted is somebody else's code: not under the board's lock.
            let (state, is_abandoned) = {
                let board = self.board.borrow_and_update();
                (board.lifecycle.state(), board.is_abandoned)
            };
            if wanted(state) {
                return Some(state);
            }
            if state.is_stopped() || is_abandoned {
                return None;
            }
            // An error means that the worker's handle and its task are gone: nothing changes any more.
            self.board.changed().await.ok()?;
        }
    }
}

impl fmt::Debug for StateWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StateWatch").field("state", &self.state()).finish()
    }
}
