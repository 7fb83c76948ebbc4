//! Wrappers of the operating system, for both sides of a connection: sockets that never block or raise a signal,
//! descriptors that may be replaced, process groups, signals, terminals, and the status page that a worker shares with
//! its manager.

pub(crate) mod descriptor;
pub(crate) mod frames;
pub(crate) mod limits;
pub(crate) mod memory_file;
pub(crate) mod name;
pub(crate) mod naming;
pub(crate) mod outgoing;
pub(crate) mod own;
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) mod pidfd;
pub(crate) mod readiness;
pub(crate) mod signals;
pub(crate) mod socket;
pub(crate) mod stat;
pub(crate) mod status_page;
pub(crate) mod terminal;
