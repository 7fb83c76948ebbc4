//! Other people's code on a manager's thread, or on that of a caller: its panic is its own.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    task::Waker,
};

/// Calls a service: its panic is its own, and the manager's thread goes on.
pub(crate) fn guarded(call: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(call)) {
        // Its destructor may panic too.
        std::mem::forget(payload);
        tracing::error!("a service panicked");
    }
}

/// Wakes somebody, whose panic is their own: others still have to be told.
pub(crate) fn wake(waker: Waker) {
    woken(|| waker.wake());
}

/// Does what runs wakers.
pub(crate) fn woken(wake: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(wake)) {
        // Its destructor may panic too.
        std::mem::forget(payload);
        tracing::error!("a waker panicked");
    }
}
