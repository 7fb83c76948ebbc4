//! A process that a task has forked has inherited its worker's memory and descriptors, and is not the worker.
//!
//! Invariant: a copy neither reads nor writes its worker's connection.

use std::sync::atomic::{AtomicBool, Ordering};

/// Set in a copy, by its only thread, before anything else runs there.
static IS_COPY: AtomicBool = AtomicBool::new(false);

/// From now on, every process that this one forks knows that it is a copy. One that is started as a program of its own
/// has nothing of this.
pub(super) fn mark_copies() {
    // SAFETY: the handler only stores to an atomic, which is allowed between fork and exec, and it stays mapped as
    // long as the process.
    let code = unsafe { libc::pthread_atfork(None, None, Some(mark)) };
    if code != 0 {
        tracing::warn!(code, "a process that a task forks will be taken for its worker");
    }
}

/// Whether this process is a copy of a worker.
pub(super) fn is_copy() -> bool {
    IS_COPY.load(Ordering::Relaxed)
}

/// Ends this process if it is a copy: the task that it was forked in is over.
pub(super) fn end_copy() {
    if is_copy() {
        // SAFETY: it ends the process and runs nothing: what there is to clean up is the worker's.
        unsafe { libc::_exit(0) }
    }
}

extern "C" fn mark() {
    IS_COPY.store(true, Ordering::Relaxed);
}
