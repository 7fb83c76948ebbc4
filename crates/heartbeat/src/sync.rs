//! The primitives of the hand-made synchronisation: the standard library's, or, for its models, loom's.

#[cfg(not(all(test, workfleet_loom)))]
pub(crate) use std::sync::{Mutex, MutexGuard};

#[cfg(all(test, workfleet_loom))]
pub(crate) use loom::sync::{Mutex, MutexGuard};
