//! What a worker inherits of its manager's signals, which its tasks should not.

use std::{io, mem, ptr};

/// Lets this process wait for its children, also if the program that started it ignores SIGCHLD: an ignored signal
/// stays ignored in what is started, and the kernel then reaps every child before anybody asks how it ended.
pub(crate) fn heed_children() -> io::Result<()> {
    // SAFETY: all-zero is a valid value of this plain C struct, which `sigaction` fills; nothing is changed by this
    // call. Where the signal was ignored, no handler was there that would be lost.
    let changed = unsafe {
        let mut found: libc::sigaction = mem::zeroed();
        libc::sigaction(libc::SIGCHLD, ptr::null(), &raw mut found) == 0
            && (found.sa_sigaction != libc::SIG_IGN
                || libc::signal(libc::SIGCHLD, libc::SIG_DFL) != libc::SIG_ERR)
    };
    if changed { Ok(()) } else { Err(io::Error::last_os_error()) }
}
