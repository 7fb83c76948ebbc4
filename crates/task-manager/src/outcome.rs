//! The cell in which a task's outcome is put, and in which its handle waits for it.
//!
//! Invariants:
//! - It is filled once.
//! - Wakers are woken outside the cell's lock.

use std::{
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    task::Waker,
};

use workfleet_heartbeat::Details;

use crate::{failure::TaskFailure, guards::wake};

/// A task's encoded output, or its failure. What a thread has put out is kept as it is: a copy, or a smaller allocation, would
/// cost more than most outputs are long.
pub(crate) type Outcome = Result<Vec<u8>, TaskFailure>;

/// A cell for one outcome.
#[derive(Debug, Default)]
pub(crate) struct OutcomeCell {
    state: Mutex<State>,
    pub(crate) ready: Condvar,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) outcome: Option<Outcome>,
    pub(crate) taken: bool,
    pub(crate) waker: Option<Waker>,
    /// A thread waits for `ready`.
    pub(crate) thread_waits: bool,
}

impl OutcomeCell {
    pub(crate) fn fill(&self, outcome: Outcome) {
        let mut state = self.lock();
        debug_assert!(state.outcome.is_none() && !state.taken, "a task ends once");
        state.outcome = Some(outcome);
        let waker = state.waker.take();
        let thread_waits = state.thread_waits;
        drop(state);
        if thread_waits {
            self.ready.notify_all();
        }
        if let Some(waker) = waker {
            wake(waker);
        }
    }

    /// Of a task that has ended, what it said last if it has failed.
    pub(crate) fn last_heartbeat(&self) -> Option<Option<Details>> {
        let state = self.lock();
        match &state.outcome {
            Some(Ok(_)) => Some(None),
            Some(Err(failure)) => Some(failure.last_heartbeat.clone()),
            None => state.taken.then_some(None),
        }
    }

    pub(crate) fn take(state: &mut State) -> Option<Outcome> {
        let outcome = state.outcome.take()?;
        state.taken = true;
        Some(outcome)
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
