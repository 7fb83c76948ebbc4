//! Standard output as the program got it.
//!
//! Rust puts `/dev/null` in the place of a standard stream that is closed, and its `Stdout` reports what a closed or read-only
//! descriptor refuses as written. A manifest that nobody gets is an error, as it is for `sha256sum`: so this looks at the
//! descriptor before `main` is called, and writes to it as to a file.

use std::{
    fs::File,
    io,
    os::fd::AsFd,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

/// Written before `main` alone.
static WAS_CLOSED: AtomicBool = AtomicBool::new(false);

extern "C" fn look() {
    // SAFETY: the call takes a number, which may be that of no descriptor.
    let flags = unsafe { libc::fcntl(libc::STDOUT_FILENO, libc::F_GETFD) };
    WAS_CLOSED.store(flags == -1, Ordering::Relaxed);
}

/// The system calls what stands here before `main`.
// SAFETY: it is a function that the system calls with arguments which it ignores, and it needs nothing of Rust's runtime.
#[used]
#[cfg_attr(target_os = "linux", unsafe(link_section = ".init_array"))]
#[cfg_attr(target_vendor = "apple", unsafe(link_section = "__DATA,__mod_init_func"))]
static BEFORE_MAIN: extern "C" fn() = look;

/// Standard output as a file, every error of which is one.
pub(crate) fn open() -> io::Result<File> {
    if WAS_CLOSED.load(Ordering::Relaxed) {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    Ok(io::stdout().as_fd().try_clone_to_owned()?.into())
}

/// Whether a path is one of standard output's names, which mean it whatever it is.
pub(crate) fn is_named_by(path: &Path) -> bool {
    ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"].iter().any(|name| path == Path::new(name))
}
