//! A static that has a value of its own in each process.
//!
//! Invariants:
//! - A process gets a value that it made itself. A fork does not get its parent's value.
//! - A value is never freed: a fork cannot know whether another thread held a lock in it.

use std::{
    fmt, ptr,
    sync::atomic::{AtomicPtr, Ordering},
};

use crate::Home;

/// A static that has a value of its own in each process: a fork begins without a value.
///
/// No call waits. So a fork never waits for a thread that was making the value when the process forked. If several
/// threads make the first value at once, all of them get the same one, and the other values are dropped.
///
/// ```
/// use std::sync::Mutex;
/// use workfleet_fork::PerProcess;
///
/// static NAMES: PerProcess<Mutex<Vec<String>>> = PerProcess::new();
///
/// let names = NAMES.get_or_init(Mutex::default);
/// assert!(std::ptr::eq(names, NAMES.get_or_init(Mutex::default)));
/// ```
pub struct PerProcess<T: 'static> {
    /// Null, or leaked from a box below. Changed from one to another by [`get_or_init`](Self::get_or_init) alone: its release
    /// publishes the entry to the acquire of the thread that loads it.
    entry: AtomicPtr<Entry<T>>,
}

struct Entry<T> {
    home: Home,
    value: T,
}

impl<T: Send + Sync + 'static> PerProcess<T> {
    /// An empty static.
    pub const fn new() -> Self {
        Self { entry: AtomicPtr::new(ptr::null_mut()) }
    }

    /// The value of this process. If there is none yet, `make` makes it.
    #[inline]
    pub fn get_or_init(&'static self, make: impl Fn() -> T) -> &'static T {
        loop {
            let current = self.entry.load(Ordering::Acquire);
            // SAFETY: it is null, or was leaked from a box below and is never freed.
            if let Some(entry) = unsafe { current.as_ref() }
                && entry.home.is_here()
            {
                return &entry.value;
            }
            self.put(current, Entry { home: Home::here(), value: make() });
        }
    }

    /// Puts this in the place of what was there, unless another thread was faster.
    #[cold]
    fn put(&self, current: *mut Entry<T>, entry: Entry<T>) {
        let new = Box::into_raw(Box::new(entry));
        if self.entry.compare_exchange(current, new, Ordering::AcqRel, Ordering::Acquire).is_err() {
            // SAFETY: it was made above, and nobody else has seen it.
            drop(unsafe { Box::from_raw(new) });
        }
    }
}

impl<T: Send + Sync + 'static> Default for PerProcess<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> fmt::Debug for PerProcess<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PerProcess").finish_non_exhaustive()
    }
}
