//! What this process leads.
//!
//! By the system's own numbers: for a group or a session whose leader is in another PID namespace, that is 0, which
//! `rustix` has no value for.

use rustix::process::Pid;

/// Whether this process leads its process group.
pub(crate) fn leads_its_group() -> bool {
    // SAFETY: both take nothing and change nothing.
    unsafe { libc::getpgrp() == libc::getpid() }
}

/// Whether this process is in the session of another.
pub(crate) fn is_in_session_of(other: Pid) -> bool {
    // SAFETY: both change nothing.
    unsafe { libc::getsid(0) == libc::getsid(other.as_raw_nonzero().get()) }
}

/// Whether this process leads its session.
pub(crate) fn leads_its_session() -> bool {
    // SAFETY: both change nothing.
    unsafe { libc::getsid(0) == libc::getpid() }
}
