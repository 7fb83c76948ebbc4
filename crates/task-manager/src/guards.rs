//! Other people's code on a manager's thread, or on that of a caller: its panic is its own.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    task::Waker,
};

/// Calls a service: its panic is its own, and the manager's thread goes on.
pub(crate) fn guarded(call: impl FnOnce()) {
    if panics(call) {
        workfleet_notice::error!("a service panicked");
    }
}

/// Wakes somebody, whose panic is their own: others still have to be told.
pub(crate) fn wake(waker: Waker) {
    woken(|| waker.wake());
}

/// Does what runs wakers.
pub(crate) fn woken(wake: impl FnOnce()) {
    if panics(wake) {
        workfleet_notice::error!("a waker panicked");
    }
}

fn panics(call: impl FnOnce()) -> bool {
    let panicked = catch_unwind(AssertUnwindSafe(call));
    // The destructor of what it panicked with may panic or block, and would do so on this thread.
    panicked.map_err(std::mem::forget).is_err()
}
