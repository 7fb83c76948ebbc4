//! The two ends of a wait: the queue's, which learns nothing of tasks, and the future's, which learns its outcome here.
//!
//! Invariants:
//! - An outcome is written once, under the lock of the shard that the key is in, so that it and the queue never
//!   contradict each other.
//! - No waker is cloned, called or dropped under a lock: wakers are a user's code.

use std::task::{Context, Poll, Waker};

use crate::{LockFailed, sync::Mutex};

#[derive(Debug)]
pub(super) struct WaitCell {
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    /// With the waker of the last poll; without before the first.
    Waiting(Option<Waker>),
    Ended(Result<(), LockFailed>),
}

impl WaitCell {
    pub(super) fn new() -> Self {
        Self { state: Mutex::new(State::Waiting(None)) }
    }

    /// The wait is over. Returns the waker, to be woken when no lock is held.
    pub(super) fn end(&self, outcome: Result<(), LockFailed>) -> Option<Waker> {
        let mut state = self.state.lock();
        match std::mem::replace(&mut *state, State::Ended(outcome)) {
            State::Waiting(waker) => waker,
            State::Ended(_) => unreachable!("a request leaves the queue once"),
        }
    }

    /// Is ready when the wait is over; otherwise the context's waker is woken when it is.
    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<Result<(), LockFailed>> {
        match &*self.state.lock() {
            State::Ended(outcome) => return Poll::Ready(outcome.clone()),
            State::Waiting(Some(waker)) if waker.will_wake(cx.waker()) => return Poll::Pending,
            State::Waiting(_) => {}
        }
        self.poll_new(cx)
    }

    /// As [`poll`](Self::poll), for the first time: the wait is probably not over, and the waker is new.
    pub(super) fn poll_new(&self, cx: &mut Context<'_>) -> Poll<Result<(), LockFailed>> {
        let mut waker = Some(cx.waker().clone());
        let mut state = self.state.lock();
        let poll = match &mut *state {
            State::Ended(outcome) => Poll::Ready(outcome.clone()),
            State::Waiting(slot) => {
                std::mem::swap(slot, &mut waker);
                Poll::Pending
            }
        };
        drop(state);
        drop(waker); // the one that was replaced, or the new one if it is not needed
        poll
    }
}
