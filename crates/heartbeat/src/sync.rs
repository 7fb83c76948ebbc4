//! The primitives of the hand-made synchronisation: the standard library's, or, for its models, loom's.

#[cfg(all(feature = "remote", not(all(test, workfleet_loom))))]
pub(crate) use std::sync::atomic::{AtomicBool, Ordering};
#[cfg(not(all(test, workfleet_loom)))]
pub(crate) use std::sync::{Mutex, MutexGuard};

#[cfg(all(feature = "remote", test, workfleet_loom))]
pub(crate) use loom::sync::atomic::{AtomicBool, Ordering};
#[cfg(all(test, workfleet_loom))]
pub(crate) use loom::sync::{Mutex, MutexGuard};
