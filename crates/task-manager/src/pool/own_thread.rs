//! Which pool a thread belongs to: one that waited for its own pool would wait forever.

use std::{cell::Cell, marker::PhantomData, sync::Arc};

use super::Shared;

thread_local! {
    static POOL: Cell<*const Shared> = const { Cell::new(std::ptr::null()) };
}

/// Marks the current thread as one of a pool's own, while this lives. The pool lives at least as long.
pub(crate) struct OwnThread {
    before: *const Shared,
    /// It is the mark of the thread that made it.
    stays: PhantomData<*const ()>,
}

impl OwnThread {
    pub(crate) fn of(pool: &Arc<Shared>) -> Self {
        Self { before: POOL.replace(Arc::as_ptr(pool)), stays: PhantomData }
    }

    /// Whether the current thread is one of this pool's own.
    pub(crate) fn is_of(pool: &Arc<Shared>) -> bool {
        std::ptr::eq(POOL.get(), Arc::as_ptr(pool))
    }
}

impl Drop for OwnThread {
    fn drop(&mut self) {
        POOL.set(self.before);
    }
}
