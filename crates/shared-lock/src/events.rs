//! Events at the level `debug`, if the feature `tracing` is on.
//!
//! Invariant: none is emitted under a lock, since a subscriber is a user's code.

use crate::{LockGuard, Mode};

/// Somebody asks for a lock.
pub(crate) fn acquiring(key: &str, mode: Mode, owner: Option<&str>) {
    #[cfg(feature = "tracing")]
    tracing::debug!(key, %mode, owner, "acquiring");
    #[cfg(not(feature = "tracing"))]
    let _ = (key, mode, owner);
}

/// The lock has been granted, and whoever asked for it has noticed.
pub(crate) fn acquired(guard: &impl LockGuard, owner: Option<&str>) {
    #[cfg(feature = "tracing")]
    tracing::debug!(key = guard.key(), mode = %guard.mode(), fence = %guard.fence(), owner, "acquired");
    #[cfg(not(feature = "tracing"))]
    let _ = (guard, owner);
}

/// The lock is about to be let go: so in a log, this stands before the next grant.
pub(crate) fn released(guard: &impl LockGuard) {
    #[cfg(feature = "tracing")]
    tracing::debug!(key = guard.key(), mode = %guard.mode(), fence = %guard.fence(), "released");
    #[cfg(not(feature = "tracing"))]
    let _ = guard;
}
