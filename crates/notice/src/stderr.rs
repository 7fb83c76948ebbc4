//! Lines on standard error. The thread that has one to say writes it whole, without waiting and without a signal.
//!
//! Invariants:
//! - No write here waits for a reader. (One to a file may wait for its disk, as every write there does.)
//! - A descriptor 2 that is no standard error any more is left alone.
//! - A line that was not written is counted: there is nobody else left to tell.

use std::{
    io, mem, ptr,
    sync::atomic::{AtomicU64, Ordering},
};

use crate::line::Line;

const STANDARD_ERROR: i32 = 2;

/// Lines that could not be written since one could. Relaxed: nothing else belongs to it.
static LOST: AtomicU64 = AtomicU64::new(0);

/// Writes it, or counts it as lost.
pub(crate) fn write(line: Line) {
    let lost = LOST.swap(0, Ordering::Relaxed);
    let ended = line.end(lost);
    if write_now(ended.bytes()).is_err() {
        LOST.fetch_add(lost.saturating_add(1), Ordering::Relaxed);
    }
}

/// Writes all of it, if that can be done at once.
fn write_now(mut text: &[u8]) -> io::Result<()> {
    let way = Way::to_standard_error()?;
    let _held_back = HeldBack::begin()?;
    while !text.is_empty() {
        match way.write(text) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written_bytes) => text = &text[written_bytes..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// How to write there without waiting for a reader.
#[derive(Clone, Copy)]
enum Way {
    /// To a file: there is no reader.
    File,
    /// To anything else.
    Stream,
}

impl Way {
    fn to_standard_error() -> io::Result<Self> {
        // SAFETY: the call takes numbers, and returns flags.
        let flags = checked(unsafe { libc::fcntl(STANDARD_ERROR, libc::F_GETFD) })?;
        if flags & libc::FD_CLOEXEC != 0 {
            // A standard error is there to be inherited. This is something else that the program has opened after it had
            // closed its standard error, as the standard library opens everything.
            return Err(io::ErrorKind::NotFound.into());
        }
        // SAFETY: all-zero is a valid value of this plain C struct, which the call fills and which outlives it.
        let mode = unsafe {
            let mut stat: libc::stat = mem::zeroed();
            checked(libc::fstat(STANDARD_ERROR, &raw mut stat))?;
            stat.st_mode
        };
        Ok(if mode & libc::S_IFMT == libc::S_IFREG { Self::File } else { Self::Stream })
    }

    fn write(self, text: &[u8]) -> io::Result<usize> {
        match self {
            Self::File => write_plainly(text),
            Self::Stream => write_without_waiting(text).unwrap_or_else(|| {
                // Between the question and the write another thread may fill the pipe. Where the system cannot be asked for
                // both at once, there is nothing better.
                await_nothing()?;
                write_plainly(text)
            }),
        }
    }
}

fn write_plainly(text: &[u8]) -> io::Result<usize> {
    // SAFETY: the pointer and the length are those of a slice that outlives the call.
    checked_size(unsafe { libc::write(STANDARD_ERROR, text.as_ptr().cast(), text.len()) })
}

/// Fails where a write would wait. Nothing: the system, or what stands behind the descriptor, cannot do that.
#[cfg(target_os = "linux")]
fn write_without_waiting(text: &[u8]) -> Option<io::Result<usize>> {
    /// Where the descriptor is.
    const HERE: libc::off_t = -1;
    let piece = libc::iovec { iov_base: text.as_ptr().cast_mut().cast(), iov_len: text.len() };
    // SAFETY: `piece` names a slice that outlives the call, which only reads from it.
    let written = unsafe { libc::pwritev2(STANDARD_ERROR, &raw const piece, 1, HERE, libc::RWF_NOWAIT) };
    match checked_size(written) {
        Err(error) if error.raw_os_error().is_some_and(|error| CANNOT.contains(&error)) => None,
        written => Some(written),
    }
}

/// What the call says where there is no such call, or where it is forbidden.
#[cfg(target_os = "linux")]
const CANNOT: [i32; 5] = [libc::EOPNOTSUPP, libc::ENOSYS, libc::EPERM, libc::EINVAL, libc::ESPIPE];

#[cfg(not(target_os = "linux"))]
fn write_without_waiting(_text: &[u8]) -> Option<io::Result<usize>> {
    None
}

/// Fails where a write would wait.
fn await_nothing() -> io::Result<()> {
    let mut ready = libc::pollfd { fd: STANDARD_ERROR, events: libc::POLLOUT, revents: 0 };
    // SAFETY: the pointer is to one entry, which outlives the call.
    checked(unsafe { libc::poll(&raw mut ready, 1, 0) })?;
    if ready.revents & libc::POLLOUT == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
}

/// While this lives, no write on this thread ends or stops the program: neither by SIGPIPE, for a reader that is gone, nor by
/// SIGXFSZ, for a limit on the size of files, nor by SIGTTOU, for a terminal that is another's.
struct HeldBack {
    /// The thread's mask before.
    before: libc::sigset_t,
    /// Those of them that were pending before: they are somebody else's.
    pending: libc::sigset_t,
}

/// What a write raises on its own thread.
const RAISED: [i32; 2] = [libc::SIGPIPE, libc::SIGXFSZ];

impl HeldBack {
    fn begin() -> io::Result<Self> {
        let held_back = set(&[libc::SIGPIPE, libc::SIGXFSZ, libc::SIGTTOU]);
        let (mut before, mut pending) = (set(&[]), set(&[]));
        // SAFETY: the pointers are to sets that outlive the calls. The mask is this thread's own.
        unsafe {
            match libc::pthread_sigmask(libc::SIG_BLOCK, &raw const held_back, &raw mut before) {
                0 => {}
                error => return Err(io::Error::from_raw_os_error(error)),
            }
            libc::sigpending(&raw mut pending);
        }
        Ok(Self { before, pending })
    }
}

impl Drop for HeldBack {
    fn drop(&mut self) {
        for signal in RAISED {
            // SAFETY: the set outlives the call.
            let was_pending = unsafe { libc::sigismember(&raw const self.pending, signal) } == 1;
            if !was_pending {
                take_pending(signal);
            }
        }
        // SAFETY: the set is what the same call has filled. It fails only for a `how` that is unknown.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.before, ptr::null_mut()) };
    }
}

/// Takes a blocked signal away if it is pending.
fn take_pending(signal: i32) {
    let only = set(&[signal]);
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        let at_once = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the pointers are to a set and a time that outlive the call; it fails if nothing is pending.
        unsafe { libc::sigtimedwait(&raw const only, ptr::null_mut(), &raw const at_once) };
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    // SAFETY: the pointers are to sets and a number that outlive the calls. What is pending is blocked, so `sigwait` does not
    // wait.
    unsafe {
        let (mut pending, mut taken) = (set(&[]), 0);
        libc::sigpending(&raw mut pending);
        if libc::sigismember(&raw const pending, signal) == 1 {
            libc::sigwait(&raw const only, &raw mut taken);
        }
    }
}

fn set(signals: &[i32]) -> libc::sigset_t {
    // SAFETY: all-zero is a valid value of this plain C type, which `sigemptyset` makes an empty set; the calls get a pointer to
    // it, and fail only for a number that is no signal.
    unsafe {
        let mut set: libc::sigset_t = mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for &signal in signals {
            libc::sigaddset(&raw mut set, signal);
        }
        set
    }
}

fn checked(result: i32) -> io::Result<i32> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn checked_size(result: isize) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}
