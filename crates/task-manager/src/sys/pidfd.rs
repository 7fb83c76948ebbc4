//! Descriptors of processes, and calls that `rustix` lacks: signals by pidfd to a whole group, and signal 0 by pidfd.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
};

use rustix::{
    io::Errno,
    process::{Pid, PidfdFlags, getpid, pidfd_open},
};

use super::naming::Naming;

/// `PIDFD_SIGNAL_PROCESS_GROUP`, since Linux 6.9.
const TO_GROUP: libc::c_uint = 1 << 2;

/// A descriptor of the process. There is no way around it: a manager and its guardian see by it that a process is dead.
pub(crate) fn open(process: Pid) -> io::Result<OwnedFd> {
    pidfd_open(process, PidfdFlags::empty())
        .naming("pidfd_open (it takes Linux 5.3, and nothing that forbids it)")
}

/// This process by its own descriptor, which shows that processes may be signalled so.
///
/// # Errors
/// They may not. A manager that finds out when it has to kill could do nothing any more.
pub(crate) fn of_this_process() -> io::Result<OwnedFd> {
    let own = open(getpid())?;
    send(&own, 0, 0).naming("pidfd_send_signal (it takes Linux 5.1, and nothing that forbids it)")?;
    Ok(own)
}

/// Kills the group that the process leads, or has led: also where it is reaped, and even if its number was reused.
///
/// # Errors
/// `ESRCH`: no process is left in the group. `EINVAL`: the kernel is too old.
pub(crate) fn kill_group(leader: impl AsFd) -> Result<(), Errno> {
    send(leader, libc::SIGKILL, TO_GROUP)
}

/// Whether the process is not reaped yet.
pub(crate) fn exists(process: impl AsFd) -> bool {
    send(process, 0, 0).is_ok()
}

fn send(process: impl AsFd, signal: libc::c_int, flags: libc::c_uint) -> Result<(), Errno> {
    let descriptor = process.as_fd().as_raw_fd();
    // SAFETY: the descriptor is open, and without further information about the signal no memory is touched.
    let sent = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            descriptor,
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            flags,
        )
    };
    if sent == 0 {
        return Ok(());
    }
    let error = std::io::Error::last_os_error();
    Err(Errno::from_io_error(&error).unwrap_or(Errno::INVAL))
}
