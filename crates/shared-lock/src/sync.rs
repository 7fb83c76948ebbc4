//! The primitives of the hand-made synchronisation: the standard library's, or, for its models, loom's.

#[cfg(not(all(test, workfleet_loom)))]
mod primitives {
    pub(crate) use std::sync::{
        Mutex as Lock, MutexGuard,
        atomic::{AtomicBool, Ordering},
    };

    /// Seeded at random for each state, so that nobody outside can choose keys that collide.
    pub(crate) type HashState = hashbrown::DefaultHashBuilder;
}

#[cfg(all(test, workfleet_loom))]
mod primitives {
    pub(crate) use loom::sync::{
        Mutex as Lock, MutexGuard,
        atomic::{AtomicBool, Ordering},
    };

    /// The same in every run, as a model must be.
    pub(crate) type HashState = std::hash::BuildHasherDefault<std::hash::DefaultHasher>;
}

use primitives::Lock;
pub(crate) use primitives::{AtomicBool, HashState, MutexGuard, Ordering};

/// A mutex that is not poisoned: no code that could panic runs under it, and none of a user's.
#[derive(Debug)]
pub(crate) struct Mutex<T>(Lock<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Lock::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
