//! The two ends of a wait: the queue's, which learns nothing of tasks, and the future's, which learns its outcome here.
//!
//! Invariants:
//! - The outcome is written once, under the lock of the shard that the key is in, so that it and the queue never
//!   contradict each other; and under the lock of the waker, so that no waker comes after it.
//! - No waker is cloned, called or dropped under a lock: wakers are a user's code.

use std::task::{Context, Poll, Waker};

use crate::{
    LockFailed,
    sync::{AtomicU8, Mutex, Ordering},
};

const WAITS: u8 = 0;
const GRANTED: u8 = 1;
const CLOSED: u8 = 2;

#[derive(Debug)]
pub(super) struct WaitCell {
    /// One of the above. Its release in `end` pairs with the acquire in `outcome`.
    outcome: AtomicU8,
    /// That of the last poll; none before the first, and none after the end.
    waker: Mutex<Option<Waker>>,
}

impl WaitCell {
    pub(super) fn new() -> Self {
        Self { outcome: AtomicU8::new(WAITS), waker: Mutex::new(None) }
    }

    /// The lock is granted. Returns the waker, to be woken when no lock is held.
    pub(super) fn grant(&self) -> Option<Waker> {
        self.end(GRANTED)
    }

    /// The state is closed. Returns the waker, to be woken when no lock is held.
    pub(super) fn close(&self) -> Option<Waker> {
        self.end(CLOSED)
    }

    fn end(&self, outcome: u8) -> Option<Waker> {
        let mut waker = self.waker.lock();
        debug_assert_eq!(self.outcome.load(Ordering::Relaxed), WAITS, "a request leaves the queue once");
        self.outcome.store(outcome, Ordering::Release);
        waker.take()
    }

    fn outcome(&self) -> Poll<Result<(), LockFailed>> {
        match self.outcome.load(Ordering::Acquire) {
            GRANTED => Poll::Ready(Ok(())),
            CLOSED => Poll::Ready(Err(LockFailed::Closed)),
            _ => Poll::Pending,
        }
    }

    /// Is ready when the wait is over; otherwise the context's waker is woken when it is.
    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<Result<(), LockFailed>> {
        let outcome = self.outcome();
        if outcome.is_ready() || self.wakes(cx.waker()) { outcome } else { self.poll_new(cx) }
    }

    /// As [`poll`](Self::poll), when the waker is known to be new.
    pub(super) fn poll_new(&self, cx: &mut Context<'_>) -> Poll<Result<(), LockFailed>> {
        let mut waker = Some(cx.waker().clone());
        let mut slot = self.waker.lock();
        let outcome = self.outcome();
        if outcome.is_pending() {
            std::mem::swap(&mut *slot, &mut waker);
        }
        drop(slot);
        drop(waker); // the one that was replaced, or the new one if it is not needed
        outcome
    }

    /// Whether the end will wake this one anyway.
    fn wakes(&self, waker: &Waker) -> bool {
        self.waker.lock().as_ref().is_some_and(|known| known.will_wake(waker))
    }
}
