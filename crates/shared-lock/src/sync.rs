//! The primitives of the hand-made synchronisation: the real ones, or, for its models, loom's.

#[cfg(not(all(test, workfleet_loom)))]
mod primitives {
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

    pub(crate) use parking_lot::Mutex;

    /// Seeded at random for each state, so that nobody outside can choose keys that collide.
    pub(crate) type HashState = hashbrown::DefaultHashBuilder;
}

#[cfg(all(test, workfleet_loom))]
mod primitives {
    pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU8, Ordering};

    /// Loom's, with parking_lot's interface.
    #[derive(Debug)]
    pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(loom::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> loom::sync::MutexGuard<'_, T> {
            self.0.lock().expect("no model panics under a lock")
        }
    }

    /// The same in every run, as a model must be.
    pub(crate) type HashState = std::hash::BuildHasherDefault<std::hash::DefaultHasher>;
}

pub(crate) use primitives::{AtomicBool, AtomicU8, HashState, Mutex, Ordering};
