//! Locks within one process.

mod clock;
mod guard;
mod key;
mod lock;
#[cfg(all(test, workfleet_loom))]
mod models;
mod owner;
mod shards;
#[cfg(all(test, not(workfleet_loom)))]
mod tests;
mod waiter;
mod wakes;

use std::{fmt, future::Future, sync::Arc};

pub use guard::LocalGuard;

use self::{
    lock::Lock,
    owner::Owner,
    shards::{Asked, DEFAULT_SHARDS, Shards},
};
use crate::{Counters, LockFailed, Mode, SharedState, Snapshot, events, inherent};

/// The limit for the length of a key, if none is given: 4 KiB.
pub const DEFAULT_KEY_LIMIT_BYTES: usize = 4096;

/// Shared and exclusive locks by key, within this process.
///
/// It has the methods of [`SharedState`] as its own, so a program imports no trait to call them; what they promise stands
/// there. It is a handle: clones are the same state, and have the
/// same owner. It works on every executor and on none. Keys that nobody holds take no memory.
///
/// ```
/// use workfleet_shared_lock::{LocalState, Mode};
///
/// let state = LocalState::new();
/// let reader = state.blocking_lock("dataset/42", Mode::Shared)?;
/// assert!(state.blocking_try_lock("dataset/42", Mode::Exclusive)?.is_none());
/// reader.release();
/// assert!(state.blocking_try_lock("dataset/42", Mode::Exclusive)?.is_some());
/// # Ok::<(), workfleet_shared_lock::LockFailed>(())
/// ```
#[derive(Clone)]
#[doc(alias = "LocalLocks")]
pub struct LocalState {
    shards: Arc<Shards>,
    owner: Option<Owner>,
}

/// Settings of a [`LocalState`].
#[derive(Clone, Copy, Debug)]
#[must_use = "settings do nothing until a state is built"]
pub struct LocalStateBuilder {
    key_limit_bytes: usize,
    ages: bool,
    shards: usize,
}

impl LocalStateBuilder {
    /// The length of the longest key that is accepted, [4 KiB](DEFAULT_KEY_LIMIT_BYTES) by default. Keys that come from
    /// outside cannot take more memory than that, each.
    pub fn key_limit_bytes(mut self, limit: usize) -> Self {
        self.key_limit_bytes = limit;
        self
    }

    /// Whether to keep the time since when a key has been held and waited for, for snapshots, and the time that waits
    /// take, for the counters. By default it does not: each lock costs a look at the clock more, and each hand-over
    /// to waiters another.
    pub fn ages(mut self, ages: bool) -> Self {
        self.ages = ages;
        self
    }

    /// A state with these settings.
    #[must_use]
    pub fn build(self) -> LocalState {
        let shards = Shards::new(self.shards, self.key_limit_bytes, self.ages);
        LocalState { shards: Arc::new(shards), owner: None }
    }

    /// For tests: everything behind one lock, or behind few.
    #[cfg(test)]
    fn shards(mut self, shards: usize) -> Self {
        self.shards = shards;
        self
    }
}

impl Default for LocalStateBuilder {
    fn default() -> Self {
        Self { key_limit_bytes: DEFAULT_KEY_LIMIT_BYTES, ages: false, shards: DEFAULT_SHARDS }
    }
}

impl LocalState {
    /// A state in which nothing is held, with the default settings.
    #[must_use]
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// To set more than the defaults.
    pub fn builder() -> LocalStateBuilder {
        LocalStateBuilder::default()
    }

    /// A handle to the same locks that asks in the name of a new owner.
    ///
    /// An owner is something that does one thing at a time and waits for each lock that it asks for, such as a task or a job. With
    /// owners, the state knows which owner waits for which. A request that would close a cycle of owners fails with
    /// [`LockFailed::WouldDeadlock`] and does not wait; the other owners in the cycle go on waiting. An owner that asks again for a
    /// lock that it holds is the shortest such cycle. Requests without an owner take no part in this.
    ///
    /// A lock belongs to its owner until it is released, wherever the guard is moved. Do not give one owner to several tasks: the
    /// state would take them for one, and refuse a lock to one of them because another holds it.
    ///
    /// The label is for [snapshots](SharedState::snapshot) and error texts. Two owners may have the same label.
    ///
    /// ```
    /// use workfleet_shared_lock::{LocalState, LockFailed, Mode};
    ///
    /// let state = LocalState::new();
    /// let job = state.owner("job 7");
    /// let _guard = job.blocking_lock("dataset/42", Mode::Exclusive)?;
    /// let again = job.blocking_lock("dataset/42", Mode::Shared);
    /// assert!(matches!(again, Err(LockFailed::WouldDeadlock(_))));
    /// # Ok::<(), LockFailed>(())
    /// ```
    #[must_use]
    pub fn owner(&self, label: &str) -> Self {
        Self { shards: Arc::clone(&self.shards), owner: Some(Owner::new(label)) }
    }

    /// Counters since the state was made; all are 0 in a [fork](LockFailed::Forked). Counting costs no further lock.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.shards.counters()
    }

    fn label(&self) -> Option<&str> {
        self.owner.as_ref().map(|owner| &**owner.label())
    }
}

impl LocalState {
    inherent::methods!(LocalGuard);
}

impl SharedState for LocalState {
    type Guard = LocalGuard;

    fn lock(&self, key: &str, mode: Mode) -> impl Future<Output = Result<LocalGuard, LockFailed>> + Send {
        Lock::new(&self.shards, self.owner.as_ref(), key, mode)
    }

    async fn try_lock(&self, key: &str, mode: Mode) -> Result<Option<LocalGuard>, LockFailed> {
        events::acquiring(key, mode, self.label());
        match self.shards.ask(self.owner.as_ref(), key, mode, false) {
            Ok(Asked::Granted(place)) => Ok(Some(LocalGuard::new(place, mode, self.label()))),
            Ok(Asked::Waits(..)) => unreachable!("it was not to wait"),
            Ok(Asked::Taken) => {
                events::taken(key, mode, self.label());
                Ok(None)
            }
            Err(failed) => {
                events::failed(key, mode, self.label(), &failed);
                Err(failed)
            }
        }
    }

    async fn is_free(&self, key: &str, mode: Mode) -> Result<bool, LockFailed> {
        self.shards.is_free(key, mode)
    }

    async fn snapshot(&self) -> Result<Snapshot, LockFailed> {
        self.shards.snapshot()
    }

    fn close(&self) {
        self.shards.close();
    }

    fn key_limit_bytes(&self) -> usize {
        self.shards.key_limit_bytes()
    }
}

impl Default for LocalState {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for LocalState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalState").field("owner", &self.label()).finish_non_exhaustive()
    }
}
