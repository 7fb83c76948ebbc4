//! A process that a task has forked has inherited its worker's memory and descriptors, and is not the worker.
//!
//! Invariant: a copy neither reads nor writes its worker's connection.

use std::sync::OnceLock;

use workfleet_fork::Home;

/// The worker, in its copies too.
static WORKER: OnceLock<Home> = OnceLock::new();

/// From now on, every process that this one forks knows that it is a copy. One that is started as a program of its own
/// has nothing of this.
pub(super) fn mark_copies() {
    WORKER.get_or_init(Home::here);
}

/// Whether this process is a copy of a worker.
pub(super) fn is_copy() -> bool {
    WORKER.get().is_some_and(|worker| !worker.is_here())
}

/// Ends this process if it is a copy of a worker: the task that it was forked in is over.
pub(super) fn end_copy() {
    if let Some(worker) = WORKER.get() {
        end_copy_of(*worker);
    }
}

/// Ends this process if it is a copy of the one whose worker runs on a thread of it.
pub(crate) fn end_copy_of(home: Home) {
    if !home.is_here() {
        // SAFETY: it ends the process and runs nothing: what there is to clean up is the original's.
        unsafe { libc::_exit(0) }
    }
}
