//! A state behind `dyn`, for programs that choose it at run time.

use std::{future::Future, pin::Pin, sync::Arc};

use crate::{LockFailed, LockGuard, Mode, SharedState, Snapshot, inherent};

type Boxed<'a, T> = Pin<Box<dyn Future<Output = Result<T, LockFailed>> + Send + 'a>>;

/// The object-safe companion of [`SharedState`]. Every other state implements it automatically.
///
/// A `dyn DynSharedState` has the methods of [`SharedState`] as its own, and is a [`SharedState`]; so is an [`Arc`] of one. Each
/// request costs a boxed future and a boxed guard more.
///
/// ```
/// use std::sync::Arc;
/// use workfleet_shared_lock::{DynSharedState, LocalState, LockGuard, Mode};
///
/// let state: Arc<dyn DynSharedState> = Arc::new(LocalState::new());
/// let guard: Box<dyn LockGuard> = state.blocking_lock("dataset/42", Mode::Shared)?;
/// assert_eq!(guard.key(), "dataset/42");
/// # Ok::<(), workfleet_shared_lock::LockFailed>(())
/// ```
pub trait DynSharedState: Send + Sync {
    /// As [`SharedState::lock`].
    #[doc(hidden)]
    fn dyn_lock<'a>(&'a self, key: &'a str, mode: Mode) -> Boxed<'a, Box<dyn LockGuard>>;
    /// As [`SharedState::try_lock`].
    #[doc(hidden)]
    fn dyn_try_lock<'a>(&'a self, key: &'a str, mode: Mode) -> Boxed<'a, Option<Box<dyn LockGuard>>>;
    /// As [`SharedState::is_free`].
    #[doc(hidden)]
    fn dyn_is_free<'a>(&'a self, key: &'a str, mode: Mode) -> Boxed<'a, bool>;
    /// As [`SharedState::snapshot`].
    #[doc(hidden)]
    fn dyn_snapshot(&self) -> Boxed<'_, Snapshot>;
    /// As [`SharedState::close`].
    #[doc(hidden)]
    fn dyn_close(&self);
    /// As [`SharedState::key_limit_bytes`].
    #[doc(hidden)]
    fn dyn_key_limit_bytes(&self) -> usize;
}

impl<S: SharedState> DynSharedState for S {
    fn dyn_lock<'a>(&'a self, key: &'a str, mode: Mode) -> Boxed<'a, Box<dyn LockGuard>> {
        Box::pin(async move { Ok(boxed(self.lock(key, mode).await?)) })
    }

    fn dyn_try_lock<'a>(&'a self, key: &'a str, mode: Mode) -> Boxed<'a, Option<Box<dyn LockGuard>>> {
        Box::pin(async move { Ok(self.try_lock(key, mode).await?.map(boxed)) })
    }

    fn dyn_is_free<'a>(&'a self, key: &'a str, mode: Mode) -> Boxed<'a, bool> {
        Box::pin(self.is_free(key, mode))
    }

    fn dyn_snapshot(&self) -> Boxed<'_, Snapshot> {
        Box::pin(self.snapshot())
    }

    fn dyn_close(&self) {
        self.close();
    }

    fn dyn_key_limit_bytes(&self) -> usize {
        self.key_limit_bytes()
    }
}

fn boxed(guard: impl LockGuard) -> Box<dyn LockGuard> {
    Box::new(guard)
}

impl dyn DynSharedState {
    inherent::methods!(Box<dyn LockGuard>);
}

impl SharedState for dyn DynSharedState {
    type Guard = Box<dyn LockGuard>;

    async fn lock(&self, key: &str, mode: Mode) -> Result<Self::Guard, LockFailed> {
        self.dyn_lock(key, mode).await
    }

    async fn try_lock(&self, key: &str, mode: Mode) -> Result<Option<Self::Guard>, LockFailed> {
        self.dyn_try_lock(key, mode).await
    }

    async fn is_free(&self, key: &str, mode: Mode) -> Result<bool, LockFailed> {
        self.dyn_is_free(key, mode).await
    }

    async fn snapshot(&self) -> Result<Snapshot, LockFailed> {
        self.dyn_snapshot().await
    }

    fn close(&self) {
        self.dyn_close();
    }

    fn key_limit_bytes(&self) -> usize {
        self.dyn_key_limit_bytes()
    }
}

/// A shared state is a state.
impl<S: SharedState + ?Sized> SharedState for Arc<S> {
    type Guard = S::Guard;

    fn lock(&self, key: &str, mode: Mode) -> impl Future<Output = Result<Self::Guard, LockFailed>> + Send {
        (**self).lock(key, mode)
    }

    fn try_lock(
        &self,
        key: &str,
        mode: Mode,
    ) -> impl Future<Output = Result<Option<Self::Guard>, LockFailed>> + Send {
        (**self).try_lock(key, mode)
    }

    fn is_free(&self, key: &str, mode: Mode) -> impl Future<Output = Result<bool, LockFailed>> + Send {
        (**self).is_free(key, mode)
    }

    fn snapshot(&self) -> impl Future<Output = Result<Snapshot, LockFailed>> + Send {
        (**self).snapshot()
    }

    fn close(&self) {
        (**self).close();
    }

    fn key_limit_bytes(&self) -> usize {
        (**self).key_limit_bytes()
    }
}
