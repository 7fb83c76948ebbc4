//! A worker gives up its controlling terminal: otherwise the kernel would stop it, as a background process, when its
//! tasks use the terminal.

use std::{io, os::fd::AsFd};

use rustix::{
    fs::{Mode, OFlags, open},
    io::Errno,
    process::getpid,
};

use super::{naming::Naming, own, stat};

#[cfg(any(target_os = "linux", target_os = "android"))]
use libc::TIOCNOTTY as NO_TERMINAL;

/// `TIOCNOTTY` of the BSDs and macOS: `_IO('t', 113)`.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const NO_TERMINAL: libc::c_ulong = 0x2000_7471;

/// Gives up this process's controlling terminal, if it has one. What it starts from then on has none either.
///
/// Without a controlling terminal, opening `/dev/tty` fails at once (`ENXIO`), and reading, writing or configuring a terminal
/// by another descriptor never stops the process.
///
/// # Errors
/// The terminal could be neither opened nor given up.
pub(crate) fn give_up() -> io::Result<()> {
    // A session's leader would take the terminal from the whole session.
    if own::leads_its_session() {
        return Ok(());
    }
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let opened = match open("/dev/tty", flags, Mode::empty()) {
        Ok(terminal) => detach_from(terminal),
        Err(Errno::NXIO) => return Ok(()),
        Err(error) => Err(error).naming("opening /dev/tty"),
    };
    // Where `/dev` is not what it should be, the terminal may still be among the standard streams.
    opened.or_else(|error| {
        let detached = detach_from(io::stdout()).or_else(|_| detach_from(io::stderr()));
        detached.or_else(|_| if may_have_one() { Err(error) } else { Ok(()) })
    })
}

/// Fails if `terminal` is not the controlling terminal of this process.
fn detach_from(terminal: impl AsFd) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    // SAFETY: the descriptor is open; this request takes no argument.
    match unsafe { libc::ioctl(terminal.as_fd().as_raw_fd(), NO_TERMINAL) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()).naming("ioctl(TIOCNOTTY)"),
    }
}

/// Whether the system does not say that this process has no controlling terminal.
fn may_have_one() -> bool {
    stat::field(getpid(), stat::TERMINAL).as_deref() != Some("0")
}
