//! Guards: a granted lock of any state, and several of them at once.

use std::{fmt::Debug, future::Future, ops::Deref, pin::Pin};

use crate::{Fence, Mode};

/// A lock that is held. Dropping the guard releases the lock, on any thread, inside or outside a runtime, also while unwinding.
///
/// The guards of all states have this trait. It is object-safe, and `Box<dyn LockGuard>` is a guard too.
#[must_use = "a guard that is dropped at once releases the lock at once"]
pub trait LockGuard: Debug + Send + Sync + 'static {
    /// The key.
    fn key(&self) -> &str;

    /// How it is held.
    fn mode(&self) -> Mode;

    /// The grant's fencing token. It stays the same when the lock is downgraded.
    fn fence(&self) -> Fence;

    /// Turns an exclusive lock into a shared one without a gap: the key has no other exclusive holder in between.
    ///
    /// The shared waiters before the first exclusive waiter are granted at once. A shared lock stays as it is. There is no upgrade:
    /// two readers that both wanted to become the writer would wait for each other.
    fn downgrade(&mut self);

    /// Is ready once the lock can no longer be relied on, because the lease behind it could not be kept. The locks of a
    /// [`LocalState`](crate::LocalState) are never lost, and this is never ready.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has no effect.
    fn lost(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;

    /// Lets the lock go, as dropping it does.
    #[doc(alias("unlock"))]
    fn release(self)
    where
        Self: Sized,
    {
        drop(self);
    }
}

impl LockGuard for Box<dyn LockGuard> {
    fn key(&self) -> &str {
        (**self).key()
    }

    fn mode(&self) -> Mode {
        (**self).mode()
    }

    fn fence(&self) -> Fence {
        (**self).fence()
    }

    fn downgrade(&mut self) {
        (**self).downgrade();
    }

    fn lost(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        (**self).lost()
    }
}

/// Several locks that were granted together, by [`lock_many`](crate::SharedState::lock_many), in the order of their keys.
///
/// It is a slice of guards, with at most one for each key. They can be kept together or taken
/// [apart](Self::into_vec).
#[derive(Debug)]
#[must_use = "guards that are dropped at once let their locks go at once"]
pub struct Guards<G>(Vec<G>);

impl<G: LockGuard> Guards<G> {
    /// `guards` are in the order of their keys.
    pub(crate) fn new(guards: Vec<G>) -> Self {
        debug_assert!(guards.is_sorted_by(|a, b| a.key() < b.key()), "guards in the order of their keys");
        Self(guards)
    }

    /// The guard of a key; `None` if that key was not asked for.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&G> {
        let index = self.0.binary_search_by(|guard| guard.key().cmp(key)).ok()?;
        self.0.get(index)
    }

    /// The guards one by one, in the order of their keys.
    pub fn into_vec(self) -> Vec<G> {
        self.0
    }

    /// Lets all of them go, as dropping does.
    pub fn release(self) {
        drop(self);
    }
}

impl<G> Deref for Guards<G> {
    type Target = [G];

    fn deref(&self) -> &[G] {
        &self.0
    }
}

impl<G> IntoIterator for Guards<G> {
    type Item = G;
    type IntoIter = std::vec::IntoIter<G>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}
