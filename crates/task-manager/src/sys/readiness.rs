//! Descriptors in the manager's runtime.

use std::{io, os::fd::OwnedFd, sync::Arc};

use tokio::io::{Interest, unix::AsyncFd};

use super::naming::Naming;

/// A descriptor whose readiness the runtime tells.
pub(crate) type PolledFd = AsyncFd<Arc<OwnedFd>>;

/// Registers a descriptor with the runtime that the caller is in.
pub(crate) fn register(descriptor: Arc<OwnedFd>, interest: Interest) -> io::Result<PolledFd> {
    // SAFETY: an owned descriptor is open, and stays the same one, until the last of its owners is dropped; the
    // registration is one of them.
    let registered = unsafe { AsyncFd::register_with_interest(descriptor, interest) };
    registered.naming("registering a descriptor with epoll or kqueue")
}
