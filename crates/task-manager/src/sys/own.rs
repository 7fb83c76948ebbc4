//! What this process leads, and its end with that.
//!
//! By the system's own numbers: for a group or a session whose leader is in another PID namespace, that is 0, which
//! `rustix` has no value for.

use rustix::process::{Pid, Signal, getpid, kill_process, kill_process_group};

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

/// Ends this process and everything that is left in the group that it leads.
pub(crate) fn end_group() -> ! {
    let own = getpid();
    if leads_its_group() {
        // An error changes nothing: what remains is to end this process.
        let _ = kill_process_group(own, Signal::KILL);
    }
    let _ = kill_process(own, Signal::KILL);
    // Not reached: SIGKILL cannot be refused.
    std::process::abort()
}
