//! Why a lock was not granted.
//!
//! Each text is lowercase and names the value and the limit.

use std::{fmt, sync::Arc, time::Duration};

use workfleet_causes::readable;

/// Why a lock was not granted. The request is over: it holds nothing, and no longer waits.
///
/// A lock that is held by others is not an error: [`try_lock`](crate::SharedState::try_lock) returns `None` then.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LockFailed {
    /// The state was closed, before the request or while it waited.
    #[error("the lock state is closed")]
    Closed,
    /// The lock was not granted in time.
    #[error("the lock was not granted within {after:?}")]
    TimedOut {
        /// The time that was given.
        after: Duration,
    },
    /// The request would have to wait with a timeout, and there is no tokio runtime here, or its timer is off. (tokio reports the
    /// second only by a panic. It is caught here, but the panic hook still prints it.)
    #[error(
        "to wait with a limit needs a tokio runtime with a timer: call `enable_time` or `enable_all` on the runtime's builder"
    )]
    NoTimer,
    /// The lease from the lock service could not be kept. Every lock that was held under it is lost, or will be. Local states have
    /// no lease.
    #[error("the lease from the lock service is lost")]
    LeaseLost,
    /// Waiting would have closed a cycle of owners that wait for one another.
    #[error("waiting would deadlock: {0}")]
    WouldDeadlock(Cycle),
    /// This process is a fork of the one that made the state. It has a copy of the state, but none of the threads that hold or wait.
    /// Make another state after the fork.
    #[error("this process is a fork of the one that made the lock state: make another state after the fork")]
    Forked,
    /// The request is not valid, and never will be.
    #[error("the request is refused: {0}")]
    Refused(LockRequestError),
}

readable!(LockFailed {
    Closed,
    TimedOut { after },
    NoTimer,
    LeaseLost,
    WouldDeadlock(cycle),
    Forked,
    Refused(refusal),
});

/// What is wrong with a request.
#[doc(alias = "Refusal")]
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LockRequestError {
    /// The key is the empty text.
    #[error("a key has 0 bytes, and at least 1 is needed")]
    KeyEmpty,
    /// The key is too long.
    #[error("a key has {len_bytes} bytes, and the limit is {limit_bytes} bytes")]
    KeyTooLong {
        /// The key's length.
        len_bytes: usize,
        /// The longest key that is accepted.
        limit_bytes: usize,
    },
}

readable!(LockRequestError { KeyEmpty, KeyTooLong { len_bytes, limit_bytes } });

impl LockRequestError {
    /// Holds a key against the limit.
    pub(crate) fn check(key: &str, limit_bytes: usize) -> Result<(), LockFailed> {
        if key.is_empty() {
            return Err(LockFailed::Refused(Self::KeyEmpty));
        }
        if key.len() > limit_bytes {
            return Err(LockFailed::Refused(Self::KeyTooLong { len_bytes: key.len(), limit_bytes }));
        }
        Ok(())
    }
}

/// Owners that would wait for one another in a circle.
///
/// Each [link](CycleLink) waits for a key that the owner of the next link holds, or waits for before it. The last link waits for the
/// first. The first link is the request that was refused.
///
/// ```
/// # use workfleet_shared_lock::*;
/// let state = LocalState::new();
/// let ann = state.owner("ann");
/// let _guard = ann.blocking_lock("x", Mode::Exclusive)?;
/// let failed = ann.blocking_lock("x", Mode::Exclusive).unwrap_err(); // would wait for herself
/// assert_eq!(failed.to_string(), "waiting would deadlock: ann waits for \"x\", then for ann");
/// # Ok::<(), LockFailed>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cycle(Arc<[CycleLink]>);

/// One link of a [`Cycle`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CycleLink {
    /// The label of the owner that waits.
    pub owner: Arc<str>,
    /// The key that it waits for.
    pub key: Arc<str>,
}

impl Cycle {
    pub(crate) fn new(links: impl IntoIterator<Item = CycleLink>) -> Self {
        Self(links.into_iter().collect())
    }

    /// The links, the refused request's first.
    #[must_use]
    pub fn links(&self) -> &[CycleLink] {
        &self.0
    }
}

impl fmt::Display for Cycle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for CycleLink { owner, key } in self.links() {
            write!(f, "{owner} waits for {key:?}, then for ")?;
        }
        f.write_str(self.links().first().map_or("nobody", |link| &link.owner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_small_and_can_be_carried_across_threads() {
        fn is<E: std::error::Error + Send + Sync + 'static>() {}
        is::<LockFailed>();
        is::<LockRequestError>();
        assert!(size_of::<LockFailed>() <= 32, "{}", size_of::<LockFailed>());
    }

    #[test]
    fn refusals_name_the_length_and_the_limit() {
        assert_eq!(
            LockRequestError::check("", 4).unwrap_err().to_string(),
            "the request is refused: a key has 0 bytes, and at least 1 is needed"
        );
        assert_eq!(
            LockRequestError::check("12345", 4).unwrap_err().to_string(),
            "the request is refused: a key has 5 bytes, and the limit is 4 bytes"
        );
        assert_eq!(LockRequestError::check("1234", 4), Ok(()));
    }
}
