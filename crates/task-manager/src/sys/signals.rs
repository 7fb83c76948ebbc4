//! What a worker inherits of its program's signals and should not, and the signals by which a write may end a program.
//!
//! Invariant: nothing here changes how the program that has the manager takes its signals.

use std::{io, mem, ptr};

use super::naming::Naming;

/// Ignored signals that a worker, and what its tasks start, take by default all the same. An ignored signal stays ignored in
/// what is started.
///
/// - SIGCHLD: where it is ignored, the kernel reaps every child before anybody asks how it ended.
/// - SIGTERM: it is how a process is asked to end. A worker has no use for the program's own way to end, which a program
///   that handles the signal does not hand on either.
///
/// Every other one stays as it is: SIGHUP is ignored by `nohup`, SIGINT and SIGQUIT by a shell that starts something in the
/// background, SIGPIPE by every Rust program, and that is meant for what they start.
const HEEDED: [i32; 2] = [libc::SIGCHLD, libc::SIGTERM];

/// Lets this thread, and what it starts from now on, take signals as a program that is started afresh does. Blocked signals
/// would be blocked there too.
///
/// Of the worker's side alone: a program that blocks a signal may have been sent it already, and waits for it elsewhere.
pub(crate) fn take_afresh() -> io::Result<()> {
    HEEDED.into_iter().try_for_each(heed)?;
    block_none()
}

/// Lets this thread, and what it starts from now on, block no signal.
pub(crate) fn block_none() -> io::Result<()> {
    change_mask(libc::SIG_SETMASK, &[])
}

/// Has no write on this thread end the program from now on, where the program takes these signals by default: one to a pipe
/// or terminal that nobody reads, or beyond a limit on the size of files. The write fails then. The kernel raises both on the
/// thread that writes, where they stay pending.
///
/// For a thread that starts no process: what it starts would block them too.
pub(crate) fn survive_writes() -> io::Result<()> {
    change_mask(libc::SIG_BLOCK, &[libc::SIGPIPE, libc::SIGXFSZ])
}

/// Takes a signal by default, if it is ignored.
fn heed(signal: i32) -> io::Result<()> {
    // SAFETY: all-zero is a valid value of this plain C struct, which `sigaction` fills; nothing is changed by this
    // call. Where the signal was ignored, no handler was there that would be lost.
    let changed = unsafe {
        let mut found: libc::sigaction = mem::zeroed();
        libc::sigaction(signal, ptr::null(), &raw mut found) == 0
            && (found.sa_sigaction != libc::SIG_IGN || libc::signal(signal, libc::SIG_DFL) != libc::SIG_ERR)
    };
    if changed { Ok(()) } else { Err(io::Error::last_os_error()).naming("sigaction") }
}

/// Changes the calling thread's mask by these signals.
fn change_mask(how: i32, signals: &[i32]) -> io::Result<()> {
    // SAFETY: `sigemptyset` fills the set, and all-zero is a valid value of it; the calls get pointers to a set that outlives
    // them, and change the mask of the calling thread alone.
    unsafe {
        let mut set: libc::sigset_t = mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for &signal in signals {
            libc::sigaddset(&raw mut set, signal);
        }
        match libc::pthread_sigmask(how, &raw const set, ptr::null_mut()) {
            0 => Ok(()),
            error => Err(io::Error::from_raw_os_error(error)).naming("pthread_sigmask"),
        }
    }
}
