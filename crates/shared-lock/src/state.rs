//! The trait of everything that gives out locks.

use std::{collections::BTreeMap, future::Future, time::Duration};

#[cfg(feature = "tokio")]
use crate::limit;
use crate::{Guards, LockFailed, LockGuard, LockRequestError, Mode, Snapshot, blocking};

/// Shared and exclusive locks by key: in this process ([`LocalState`](crate::LocalState)), or in a lock service.
///
/// Every state promises:
///
/// - *Exclusion.* While a key is held exclusively, it has no other holder.
/// - *Arrival order.* The first request is granted first. A shared request joins the holders only if no request waits. So neither
///   readers nor writers starve. A request arrives when its future is first polled.
/// - *Fences.* Each exclusive grant of a key has a larger [`Fence`](crate::Fence) than any grant of it before.
/// - *No re-entrancy.* A holder that asks for its key again waits for itself, unless both requests are shared and no request waits.
///   A known [owner](crate::LocalState::owner) gets [`LockFailed::WouldDeadlock`] instead.
/// - *A key is any text* from 1 byte up to [`key_limit_bytes`](Self::key_limit_bytes).
///
/// Every asynchronous method has a blocking form. Do not call a blocking form in async code: it may stop the very task that holds
/// the lock.
///
/// The companion [`DynSharedState`](crate::DynSharedState) is object-safe; an `Arc<dyn DynSharedState>` is again a state.
///
/// ```
/// use workfleet_shared_lock::{LockFailed, LockGuard, Mode, SharedState};
///
/// /// Copies one dataset into another, wherever the locks are kept.
/// async fn copy(state: &impl SharedState, from: &str, to: &str) -> Result<(), LockFailed> {
///     let guards = state.lock_many([(from, Mode::Shared), (to, Mode::Exclusive)]).await?;
///     // …
///     guards.release();
///     Ok(())
/// }
/// ```
#[doc(alias("StateABC"))]
pub trait SharedState: Send + Sync {
    /// What a granted lock is.
    type Guard: LockGuard;

    /// Waits for the lock.
    ///
    /// # Errors
    ///
    /// - [`LockFailed::Closed`] if the state is closed, or becomes so meanwhile;
    /// - [`LockFailed::WouldDeadlock`] if the request comes from a known owner and would close a cycle;
    /// - [`LockFailed::Refused`] for a key that is empty or too long;
    /// - [`LockFailed::LeaseLost`] if the locks are kept by a lock service and the lease from it is lost.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses the place in the queue, and nothing else. If the lock has just been granted, it is passed
    /// on to the next.
    #[doc(alias("get_lock", "acquire"))]
    fn lock(&self, key: &str, mode: Mode) -> impl Future<Output = Result<Self::Guard, LockFailed>> + Send;

    /// Takes the lock if that is possible now, without waiting for others: `None` if not.
    ///
    /// # Errors
    ///
    /// As [`lock`](Self::lock), except that it never waits and so cannot deadlock.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future lets the lock go, if it had been taken.
    fn try_lock(
        &self,
        key: &str,
        mode: Mode,
    ) -> impl Future<Output = Result<Option<Self::Guard>, LockFailed>> + Send;

    /// Whether [`try_lock`](Self::try_lock) would take the lock. An exclusive lock is free if the key has no holder. A shared lock is
    /// free if the key has no exclusive holder and no waiter. A key that is not in use is free.
    ///
    /// The answer may be outdated before it arrives; to act on it, take the lock. After [`close`](Self::close), no lock is
    /// granted; this method still answers by the holders.
    ///
    /// # Errors
    ///
    /// - [`LockFailed::Refused`] for a key that is empty or too long;
    /// - [`LockFailed::LeaseLost`] as for [`lock`](Self::lock).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has no effect.
    #[doc(alias("test_lock"))]
    fn is_free(&self, key: &str, mode: Mode) -> impl Future<Output = Result<bool, LockFailed>> + Send;

    /// The holders and the waiters of each key that is held.
    ///
    /// # Errors
    ///
    /// [`LockFailed::LeaseLost`] as for [`lock`](Self::lock).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has no effect.
    fn snapshot(&self) -> impl Future<Output = Result<Snapshot, LockFailed>> + Send;

    /// Grants no lock any more: requests that wait, and later requests, fail with [`LockFailed::Closed`]. A lock that is held stays held
    /// until its guard is dropped. A second call has no effect.
    fn close(&self);

    /// The length of the longest key that is accepted.
    fn key_limit_bytes(&self) -> usize;

    /// Waits for the lock, for at most `timeout`. A free lock is granted for any timeout, also zero.
    ///
    /// # Errors
    ///
    /// [`LockFailed::TimedOut`] when the time is over, [`LockFailed::NoTimer`] if it has to wait and is not in a tokio runtime
    /// with its time enabled, and those of [`lock`](Self::lock).
    ///
    /// # Cancel safety
    ///
    /// As [`lock`](Self::lock).
    #[cfg(feature = "tokio")]
    fn lock_timeout(
        &self,
        key: &str,
        mode: Mode,
        timeout: Duration,
    ) -> impl Future<Output = Result<Self::Guard, LockFailed>> + Send {
        limit::within(timeout, self.lock(key, mode))
    }

    /// Waits for all of these locks, and returns with all of them or with an error and none.
    ///
    /// They are taken in the order of the keys' bytes, so that callers of this method cannot deadlock one another.
    /// A key that is named twice is taken once, in the stronger of its modes. All keys are checked before any is taken.
    ///
    /// It holds the first keys while it waits for the next. So callers that already hold another lock can deadlock with each other.
    /// If the callers have [owners](crate::LocalState::owner), such a deadlock is an error.
    ///
    /// # Errors
    ///
    /// As [`lock`](Self::lock), for the first key for which it fails. What had been taken is let go.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future lets go what it has taken and loses its place in the queue that it is in.
    fn lock_many<K: AsRef<str>>(
        &self,
        keys: impl IntoIterator<Item = (K, Mode)>,
    ) -> impl Future<Output = Result<Guards<Self::Guard>, LockFailed>> + Send {
        let keys = in_safe_order(keys, self.key_limit_bytes());
        async move {
            let keys = keys?;
            let mut guards = Vec::with_capacity(keys.len());
            for (key, mode) in &keys {
                guards.push(self.lock(key, *mode).await?);
            }
            Ok(Guards::new(guards))
        }
    }

    /// Takes all of these locks if that is possible now, without waiting for others: `None` if one of them is not free. Then it
    /// holds none.
    ///
    /// The keys are ordered, merged and checked as by [`lock_many`](Self::lock_many). They are taken one after the other. So if two
    /// callers try at the same time for keys that overlap, both may get `None`.
    ///
    /// # Errors
    ///
    /// As [`try_lock`](Self::try_lock), for the first key for which it fails. What had been taken is let go.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future lets go what it has taken.
    fn try_lock_many<K: AsRef<str>>(
        &self,
        keys: impl IntoIterator<Item = (K, Mode)>,
    ) -> impl Future<Output = Result<Option<Guards<Self::Guard>>, LockFailed>> + Send {
        let keys = in_safe_order(keys, self.key_limit_bytes());
        async move {
            let keys = keys?;
            let mut guards = Vec::with_capacity(keys.len());
            for (key, mode) in &keys {
                let Some(guard) = self.try_lock(key, *mode).await? else { return Ok(None) };
                guards.push(guard);
            }
            Ok(Some(Guards::new(guards)))
        }
    }

    /// Waits for all of these locks, but not for longer than `timeout` for all of them together. In the end it holds every one of
    /// them, or none. Locks that are all free are granted whatever the timeout, zero included.
    ///
    /// Otherwise it does what [`lock_many`](Self::lock_many) does.
    ///
    /// ```
    /// use std::time::Duration;
    /// use workfleet_shared_lock::{LocalState, LockFailed, Mode};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), LockFailed> {
    /// let state = LocalState::new();
    /// let writer = state.lock("b", Mode::Exclusive).await?;
    /// let keys = [("a", Mode::Exclusive), ("b", Mode::Shared)];
    /// let late = state.lock_many_timeout(keys, Duration::from_millis(1)).await;
    /// assert!(matches!(late, Err(LockFailed::TimedOut { .. })));
    /// assert!(state.is_free("a", Mode::Exclusive).await?); // all or nothing
    /// # drop(writer);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`lock_timeout`](Self::lock_timeout). What had been taken is let go.
    ///
    /// # Cancel safety
    ///
    /// As [`lock_many`](Self::lock_many).
    #[cfg(feature = "tokio")]
    fn lock_many_timeout<K: AsRef<str>>(
        &self,
        keys: impl IntoIterator<Item = (K, Mode)>,
        timeout: Duration,
    ) -> impl Future<Output = Result<Guards<Self::Guard>, LockFailed>> + Send {
        limit::within(timeout, self.lock_many(keys))
    }

    /// As [`lock`](Self::lock), blocking the thread.
    ///
    /// # Errors
    ///
    /// As [`lock`](Self::lock).
    fn blocking_lock(&self, key: &str, mode: Mode) -> Result<Self::Guard, LockFailed> {
        blocking::block_on_forever(self.lock(key, mode))
    }

    /// As [`lock`](Self::lock), blocking the thread, but not for longer than `timeout`. A lock that is free is granted
    /// whatever the timeout, zero included.
    ///
    /// # Errors
    ///
    /// [`LockFailed::TimedOut`] when the time is over, and those of [`lock`](Self::lock).
    fn blocking_lock_timeout(
        &self,
        key: &str,
        mode: Mode,
        timeout: Duration,
    ) -> Result<Self::Guard, LockFailed> {
        blocking::block_on_within(self.lock(key, mode), timeout)
    }

    /// As [`try_lock`](Self::try_lock), blocking the thread until the answer is there; locally it is there at once.
    ///
    /// # Errors
    ///
    /// As [`try_lock`](Self::try_lock).
    fn blocking_try_lock(&self, key: &str, mode: Mode) -> Result<Option<Self::Guard>, LockFailed> {
        blocking::block_on_forever(self.try_lock(key, mode))
    }

    /// As [`lock_many`](Self::lock_many), blocking the thread.
    ///
    /// # Errors
    ///
    /// As [`lock_many`](Self::lock_many).
    fn blocking_lock_many<K: AsRef<str>>(
        &self,
        keys: impl IntoIterator<Item = (K, Mode)>,
    ) -> Result<Guards<Self::Guard>, LockFailed> {
        blocking::block_on_forever(self.lock_many(keys))
    }

    /// As [`try_lock_many`](Self::try_lock_many), blocking the thread until the answer is there; locally it is there at once.
    ///
    /// # Errors
    ///
    /// As [`try_lock_many`](Self::try_lock_many).
    fn blocking_try_lock_many<K: AsRef<str>>(
        &self,
        keys: impl IntoIterator<Item = (K, Mode)>,
    ) -> Result<Option<Guards<Self::Guard>>, LockFailed> {
        blocking::block_on_forever(self.try_lock_many(keys))
    }

    /// As [`lock_many`](Self::lock_many), blocking the thread, but not for longer than `timeout` for all locks together. Locks
    /// that are all free are granted whatever the timeout, zero included.
    ///
    /// # Errors
    ///
    /// [`LockFailed::TimedOut`] when the time is over, and those of [`lock_many`](Self::lock_many).
    fn blocking_lock_many_timeout<K: AsRef<str>>(
        &self,
        keys: impl IntoIterator<Item = (K, Mode)>,
        timeout: Duration,
    ) -> Result<Guards<Self::Guard>, LockFailed> {
        blocking::block_on_within(self.lock_many(keys), timeout)
    }

    /// As [`is_free`](Self::is_free), blocking the thread until the answer is there; locally it is there at once.
    ///
    /// # Errors
    ///
    /// As [`is_free`](Self::is_free).
    fn blocking_is_free(&self, key: &str, mode: Mode) -> Result<bool, LockFailed> {
        blocking::block_on_forever(self.is_free(key, mode))
    }

    /// As [`snapshot`](Self::snapshot), blocking the thread until the answer is there; locally it is there at once.
    ///
    /// # Errors
    ///
    /// As [`snapshot`](Self::snapshot).
    fn blocking_snapshot(&self) -> Result<Snapshot, LockFailed> {
        blocking::block_on_forever(self.snapshot())
    }
}

/// The keys in the order in which everybody takes them, each once, in the stronger mode.
pub(crate) fn in_safe_order<K: AsRef<str>>(
    keys: impl IntoIterator<Item = (K, Mode)>,
    limit_bytes: usize,
) -> Result<Vec<(Box<str>, Mode)>, LockFailed> {
    let mut ordered = BTreeMap::<Box<str>, Mode>::new();
    for (key, mode) in keys {
        let key = key.as_ref();
        LockRequestError::check(key, limit_bytes)?;
        ordered.entry(key.into()).and_modify(|other| *other = other.stronger(mode)).or_insert(mode);
    }
    Ok(ordered.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_ordered_and_merged_to_the_stronger_mode() {
        use Mode::{Exclusive, Shared};
        let keys =
            [("b", Shared), ("a", Shared), ("b", Exclusive), ("ä", Shared), ("b", Shared), ("a", Shared)];
        let ordered = in_safe_order(keys, 2).unwrap();
        let expected: [(Box<str>, Mode); 3] =
            [("a".into(), Shared), ("b".into(), Exclusive), ("ä".into(), Shared)];
        assert_eq!(ordered, expected);
        assert!(in_safe_order([("a", Shared), ("", Shared)], 2).is_err());
        assert!(in_safe_order([("a", Shared), ("abc", Shared)], 2).is_err());
    }
}
