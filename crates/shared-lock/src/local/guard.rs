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

impl LockGuard for LocalGuard {
    fn key(&self) -> &str {
        self.place.key()
    }

    fn mode(&self) -> Mode {
        self.mode
    }

    fn fence(&self) -> Fence {
        self.place.fence()
    }

    fn downgrade(&mut self) {
        if self.mode == Mode::Exclusive {
            self.mode = Mode::Shared;
            self.place.downgrade();
        }
    }

    fn lost(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        // A fork holds nothing.
        Box::pin(poll_fn(|_| if self.place.is_here() { Poll::Pending } else { Poll::Ready(()) }))
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
