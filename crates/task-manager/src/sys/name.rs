//! What a process is called where processes are listed.

/// Calls this process so, if this is its main thread, whose name is that of the process. At most 15 bytes are taken.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn set(name: &str) {
    use std::ffi::CString;

    use rustix::{
        process::getpid,
        thread::{gettid, set_name},
    };

    if gettid() == getpid()
        && let Ok(name) = CString::new(name)
        && let Err(error) = set_name(&name)
    {
        tracing::debug!(%error, "a worker has kept the name of its program");
    }
}

/// Other systems have no such name.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn set(_name: &str) {}
