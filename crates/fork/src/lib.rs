//! Whether this process is the one that made something, or a fork of it.
//!
//! A fork has all the memory of its parent, but only one thread: the one that forked. In a fork, a call that needs
//! another thread waits forever, and a mutex that another thread held at the fork stays locked. So an object that has
//! locks or threads keeps its [`Home`], and asks it before it takes a lock.
//!
//! Forks by the function `fork` are noticed, from any language. A new program (`exec`, `posix_spawn`,
//! [`std::process::Command`]) has nothing of its parent's memory, so this does not concern it. A child of `vfork` or
//! `clone` that does not call the handlers of `pthread_atfork` is taken for its parent.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod atfork;
mod per_process;

pub use per_process::PerProcess;

/// The process in which something was made.
///
/// ```
/// use workfleet_fork::Home;
///
/// let home = Home::here();
/// assert!(home.is_here()); // and in a fork of this process, from here on, it is not
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Home {
    /// How many forks lie between this process and the first of its ancestors that asked.
    forks: u32,
}

impl Home {
    /// This process.
    pub fn here() -> Self {
        atfork::watch();
        Self { forks: atfork::forks() }
    }

    /// Whether this process is that process. It costs two loads of an atomic.
    #[inline]
    pub fn is_here(self) -> bool {
        self.forks == atfork::forks()
    }
}

/// The programs in the README compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
