//! Events at the level `debug` of the target `workfleet::lock`, if the feature `tracing` is on (it is by default).
//!
//! Each request is `acquiring`, and then either `acquired` and later `released`, or `failed`.
//!
//! Invariants:
//! - None is emitted under a lock, since a subscriber is a user's code.
//! - Where no subscriber wants them, an event costs one load and one comparison; the rest is out of the way.

use std::time::Duration;

use crate::LockFailed;

#[cfg(feature = "tracing")]
pub(crate) use on::{Ending, acquired, acquiring, failed, lost, released, taken};

#[cfg(not(feature = "tracing"))]
pub(crate) use off::{Ending, acquired, acquiring, failed, lost, released, taken};

#[cfg(feature = "tracing")]
mod on {
    use std::{cell::Cell, fmt};

    use tracing::{Level, level_filters::LevelFilter};

    use crate::{LockFailed, LockGuard, Mode};

    const TARGET: &str = "workfleet::lock";
    /// As long as keys may be by default.
    const SHOWN_BYTES: usize = 4096;

    #[inline]
    fn wanted() -> bool {
        LevelFilter::current() >= Level::DEBUG
    }

    /// A request begins.
    #[inline]
    pub(crate) fn acquiring(key: &str, mode: Mode, owner: Option<&str>) {
        #[cold]
        #[inline(never)]
        fn say(key: &str, mode: Mode, owner: Option<&str>) {
            tracing::debug!(target: TARGET, key = shown(key), %mode, owner, "acquiring");
        }
        if wanted() {
            say(key, mode, owner);
        }
    }

    /// The lock was granted, and the caller has noticed.
    #[inline]
    pub(crate) fn acquired(guard: &impl LockGuard, owner: Option<&str>) {
        #[cold]
        #[inline(never)]
        fn say(guard: &impl LockGuard, owner: Option<&str>) {
            let (key, mode, fence) = (shown(guard.key()), guard.mode(), guard.fence());
            tracing::debug!(target: TARGET, key, %mode, %fence, owner, "acquired");
        }
        if wanted() {
            say(guard, owner);
        }
    }

    /// The lock is about to be released: so in a log, this stands before the next grant.
    #[inline]
    pub(crate) fn released(guard: &impl LockGuard) {
        #[cold]
        #[inline(never)]
        fn say(guard: &impl LockGuard) {
            let (key, mode, fence) = (shown(guard.key()), guard.mode(), guard.fence());
            tracing::debug!(target: TARGET, key, %mode, %fence, "released");
        }
        if wanted() {
            say(guard);
        }
    }

    /// The request ended with an error.
    #[inline]
    pub(crate) fn failed(key: &str, mode: Mode, owner: Option<&str>, why: &LockFailed) {
        if wanted() {
            say_failed(key, mode, owner, why);
        }
    }

    /// The key was not free, and the request was not to wait.
    #[inline]
    pub(crate) fn taken(key: &str, mode: Mode, owner: Option<&str>) {
        if wanted() {
            say_failed(key, mode, owner, &"the key is taken");
        }
    }

    /// The future of a request that waits is dropped.
    #[inline]
    pub(crate) fn lost(key: &str, mode: Mode, owner: Option<&str>) {
        #[cold]
        #[inline(never)]
        fn say(key: &str, mode: Mode, owner: Option<&str>) {
            match ENDING.take() {
                Some(why) => say_failed(key, mode, owner, &LockFailed::from(why)),
                None => say_failed(key, mode, owner, &"its future was dropped"),
            }
        }
        if wanted() {
            say(key, mode, owner);
        }
    }

    #[cold]
    #[inline(never)]
    fn say_failed(key: &str, mode: Mode, owner: Option<&str>, reason: &dyn fmt::Display) {
        tracing::debug!(target: TARGET, key = shown(key), %mode, owner, %reason, "failed");
    }

    /// A key that is refused for its length may have any; no more than this of it is said.
    fn shown(key: &str) -> &str {
        let mut end = key.len().min(SHOWN_BYTES);
        while !key.is_char_boundary(end) {
            end -= 1;
        }
        key.get(..end).unwrap_or_default()
    }

    thread_local! {
        /// Why the next future of a request that is dropped on this thread is dropped.
        static ENDING: Cell<Option<super::Limit>> = const { Cell::new(None) };
    }

    /// What ends a wait from outside of it, and so has to tell why. It stands before the wait's future, and is dropped after it.
    #[derive(Debug)]
    pub(crate) struct Ending;

    impl Ending {
        /// The future is dropped next, for this reason.
        pub(crate) fn by(&self, why: super::Limit) -> LockFailed {
            ENDING.set(Some(why));
            why.into()
        }
    }

    impl Drop for Ending {
        fn drop(&mut self) {
            ENDING.set(None);
        }
    }
}

#[cfg(not(feature = "tracing"))]
mod off {
    use crate::{LockFailed, LockGuard, Mode};

    pub(crate) fn acquiring(_key: &str, _mode: Mode, _owner: Option<&str>) {}

    pub(crate) fn acquired(_guard: &impl LockGuard, _owner: Option<&str>) {}

    pub(crate) fn released(_guard: &impl LockGuard) {}

    pub(crate) fn failed(_key: &str, _mode: Mode, _owner: Option<&str>, _why: &LockFailed) {}

    pub(crate) fn taken(_key: &str, _mode: Mode, _owner: Option<&str>) {}

    pub(crate) fn lost(_key: &str, _mode: Mode, _owner: Option<&str>) {}

    #[derive(Debug)]
    pub(crate) struct Ending;

    impl Ending {
        pub(crate) fn by(&self, why: super::Limit) -> LockFailed {
            why.into()
        }
    }
}

/// Why a wait with a limit ends without a grant.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Limit {
    /// It took longer than this.
    TimedOut(Duration),
    #[cfg(feature = "tokio")]
    NoTimer,
}

impl From<Limit> for LockFailed {
    fn from(limit: Limit) -> Self {
        match limit {
            Limit::TimedOut(after) => Self::TimedOut { after },
            #[cfg(feature = "tokio")]
            Limit::NoTimer => Self::NoTimer,
        }
    }
}
