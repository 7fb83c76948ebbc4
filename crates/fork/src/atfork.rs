//! `pthread_atfork`: what counts forks, in each of them.

use std::sync::{
    Once,
    atomic::{AtomicU32, Ordering},
};

/// How many forks lie between this process and the one that began to [`watch`]. Written in a fork by its only thread, before
/// anything else runs there; relaxed, because there is nobody else to order it for.
static FORKS: AtomicU32 = AtomicU32::new(0);

/// Not 0: the handler could not be registered.
static UNWATCHED: AtomicU32 = AtomicU32::new(0);

static WATCH: Once = Once::new();

extern "C" fn count() {
    FORKS.store(FORKS.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
}

/// From now on, every fork of this process is counted.
pub(crate) fn watch() {
    WATCH.call_once(|| {
        // SAFETY: the handler only loads and stores an atomic, which is allowed between fork and exec, and it stays mapped as
        // long as the process.
        let code = unsafe { libc::pthread_atfork(None, None, Some(count)) };
        if code != 0 {
            // There is no memory for it. Then the process's id, which costs a system call, tells.
            UNWATCHED.store(1, Ordering::Relaxed);
        }
    });
}

/// The count.
#[inline]
pub(crate) fn forks() -> u32 {
    if UNWATCHED.load(Ordering::Relaxed) != 0 {
        return std::process::id();
    }
    FORKS.load(Ordering::Relaxed)
}
