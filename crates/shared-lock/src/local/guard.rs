//! A lock that is held in this process.

use std::{
    fmt,
    future::{Future, poll_fn},
    pin::Pin,
    task::Poll,
};

use super::shards::Place;
use crate::{Fence, LockGuard, Mode, events};

/// A lock of a [`LocalState`](super::LocalState) that is held.
///
/// Dropping it lets go, on any thread, also while unwinding and after the state was closed. It keeps the state's tables
/// alive, so it may outlive every handle to the state. In a fork of the process that took it, it holds nothing, and dropping it
/// there changes nothing.
#[must_use = "a guard that is dropped at once lets the lock go at once"]
pub struct LocalGuard {
    place: Place,
    mode: Mode,
}

impl LocalGuard {
    pub(super) fn new(place: Place, mode: Mode, owner: Option<&str>) -> Self {
        let guard = Self { place, mode };
        events::acquired(&guard, owner);
        guard
    }
}

impl Drop for LocalGuard {
    fn drop(&mut self) {
        events::released(self);
        // Then the place is left.
    }
}

impl LocalGuard {
    /// The key.
    #[must_use]
    pub fn key(&self) -> &str {
        self.place.key()
    }

    /// How the key is held.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The grant's fencing token: [`LockGuard::fence`].
    #[must_use]
    pub fn fence(&self) -> Fence {
        self.place.fence()
    }

    /// Turns an exclusive lock into a shared one without a gap: [`LockGuard::downgrade`].
    pub fn downgrade(&mut self) {
        if self.mode.is_alone() {
            self.mode = Mode::Shared;
            self.place.downgrade();
        }
    }

    /// Is never ready, except in a fork of the process, which holds nothing: [`LockGuard::lost`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has no effect.
    #[must_use = "a future does nothing unless it is awaited"]
    pub fn lost(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(poll_fn(|_| if self.place.is_here() { Poll::Pending } else { Poll::Ready(()) }))
    }

    /// Releases the lock, as dropping it does.
    #[doc(alias("unlock"))]
    pub fn release(self) {
        drop(self);
    }
}

impl LockGuard for LocalGuard {
    fn key(&self) -> &str {
        self.key()
    }

    fn mode(&self) -> Mode {
        self.mode()
    }

    fn fence(&self) -> Fence {
        self.fence()
    }

    fn downgrade(&mut self) {
        self.downgrade();
    }

    fn lost(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        self.lost()
    }
}

impl fmt::Debug for LocalGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalGuard")
            .field("key", &self.key())
            .field("mode", &self.mode)
            .field("fence", &self.fence())
            .finish()
    }
}
