//! The methods of [`SharedState`](crate::SharedState) as methods of a type itself: a program calls them without importing the
//! trait.
//!
//! The contract of each method stands once, at the trait. Here each has one sentence, and a link to it.

/// All methods of [`SharedState`](crate::SharedState), for an `impl` block of a type that implements the trait with this guard.
macro_rules! methods {
    ($guard:ty) => {
        /// Waits for the lock: [`SharedState::lock`](crate::SharedState::lock).
        ///
        /// # Errors
        ///
        /// Those of [`SharedState::lock`](crate::SharedState::lock).
        ///
        /// # Cancel safety
        ///
        /// Dropping the future loses the place in the queue, and nothing else.
        #[doc(alias("get_lock", "acquire"))]
        pub fn lock(
            &self,
            key: &str,
            mode: $crate::Mode,
        ) -> impl Future<Output = Result<$guard, $crate::LockFailed>> + Send {
            $crate::SharedState::lock(self, key, mode)
        }

        /// Takes the lock if it is free, and returns `None` if not: [`SharedState::try_lock`](crate::SharedState::try_lock).
        ///
        /// # Errors
        ///
        /// Those of [`SharedState::try_lock`](crate::SharedState::try_lock).
        ///
        /// # Cancel safety
        ///
        /// Dropping the future releases the lock, if it was taken.
        pub fn try_lock(
            &self,
            key: &str,
            mode: $crate::Mode,
        ) -> impl Future<Output = Result<Option<$guard>, $crate::LockFailed>> + Send {
            $crate::SharedState::try_lock(self, key, mode)
        }

        /// Waits for the lock, but not for longer than `timeout`:
        /// [`SharedState::lock_timeout`](crate::SharedState::lock_timeout).
        ///
        /// # Errors
        ///
        /// Those of [`SharedState::lock_timeout`](crate::SharedState::lock_timeout).
        ///
        /// # Cancel safety
        ///
        /// As [`lock`](crate::SharedState::lock).
        #[cfg(feature = "tokio")]
        pub fn lock_timeout(
            &self,
            key: &str,
            mode: $crate::Mode,
            timeout: std::time::Duration,
        ) -> impl Future<Output = Result<$guard, $crate::LockFailed>> + Send {
            $crate::SharedState::lock_timeout(self, key, mode, timeout)
        }

        /// Waits until it holds all of these locks: [`SharedState::lock_many`](crate::SharedState::lock_many).
        ///
        /// # Errors
        ///
        /// Those of [`SharedState::lock_many`](crate::SharedState::lock_many).
        ///
        /// # Cancel safety
        ///
        /// Dropping the future releases what it has taken, and loses its place in the queue that it is in.
        pub fn lock_many<K: AsRef<str>>(
            &self,
            keys: impl IntoIterator<Item = (K, $crate::Mode)>,
        ) -> impl Future<Output = Result<$crate::Guards<$guard>, $crate::LockFailed>> + Send {
            $crate::SharedState::lock_many(self, keys)
        }

        /// Takes all of these locks if they are free, and returns `None` and holds none if not:
        /// [`SharedState::try_lock_many`](crate::SharedState::try_lock_many).
        ///
        /// # Errors
        ///
        /// Those of [`SharedState::try_lock_many`](crate::SharedState::try_lock_many).
        ///
        /// # Cancel safety
        ///
        /// Dropping the future releases what it has taken.
        pub fn try_lock_many<K: AsRef<str>>(
            &self,
            keys: impl IntoIterator<Item = (K, $crate::Mode)>,
        ) -> impl Future<Output = Result<Option<$crate::Guards<$guard>>, $crate::LockFailed>> + Send {
            $crate::SharedState::try_lock_many(self, keys)
        }

        /// Waits until it holds all of these locks, but not for longer than `timeout` in all:
        /// [`SharedState::lock_many_timeout`](crate::SharedState::lock_many_timeout).
        ///
        /// # Errors
        ///
        /// Those of [`SharedState::lock_many_timeout`](crate::SharedState::lock_many_timeout).
        ///
        /// # Cancel safety
        ///
        /// As [`lock_many`](crate::SharedState::lock_many).
        #[cfg(feature = "tokio")]
        pub fn lock_many_timeout<K: AsRef<str>>(
            &self,
            keys: impl IntoIterator<Item = (K, $crate::Mode)>,
            timeout: std::time::Duration,
        ) -> impl Future<Output = Result<$crate::Guards<$guard>, $crate::LockFailed>> + Send {
            $crate::SharedState::lock_many_timeout(self, keys, timeout)
        }

        /// Whether [`try_lock`](crate::SharedState::try_lock) would take the lock: [`SharedState::is_free`](crate::SharedState::is_free).
        ///
        /// # Errors
        ///
        /// Those of [`SharedState::is_free`](crate::SharedState::is_free).
        ///
        /// # Cancel safety
        ///
        /// Dropping the future has no effect.
        #[doc(alias("test_lock"))]
        pub fn is_free(
            &self,
            key: &str,
            mode: $crate::Mode,
        ) -> impl Future<Output = Result<bool, $crate::LockFailed>> + Send {
            $crate::SharedState::is_free(self, key, mode)
        }

        /// The keys that are held, with their holders and waiters: [`SharedState::snapshot`](crate::SharedState::snapshot).
        ///
        /// # Errors
        ///
        /// Those of [`SharedState::snapshot`](crate::SharedState::snapshot).
        ///
        /// # Cancel safety
        ///
        /// Dropping the future has no effect.
        pub fn snapshot(&self) -> impl Future<Output = Result<$crate::Snapshot, $crate::LockFailed>> + Send {
            $crate::SharedState::snapshot(self)
        }

        /// Fails all waits, and all requests from now on; what is held stays held:
        /// [`SharedState::close`](crate::SharedState::close).
        pub fn close(&self) {
            $crate::SharedState::close(self);
        }

        /// The length of the longest key that is accepted.
        #[must_use]
        pub fn key_limit_bytes(&self) -> usize {
            $crate::SharedState::key_limit_bytes(self)
        }

        /// As [`lock`](crate::SharedState::lock), but blocks the thread.
        ///
        /// # Errors
        ///
        /// Those of [`SharedState::lock`](crate::SharedState::lock).
        pub fn blocking_lock(&self, key: &str, mode: $crate::Mode) -> Result<$guard, $crate::LockFailed> {
            $crate::SharedState::blocking_lock(self, key, mode)
        }

        /// As [`lock`](crate::SharedState::lock), but blocks the thread, and not for longer than `timeout`:
        /// [`SharedState::blocking_lock_timeout`](crate::SharedState::blocking_lock_timeout).
        ///
        /// # Errors
        ///
        /// Those of [`SharedState::blocking_lock_timeout`](crate::SharedState::blocking_lock_timeout).
        pub fn blocking_lock_timeout(
            &self,
            key: &str,
            mode: $crate::Mode,
            timeout: std::time::Duration,
        ) -> Result<$guard, $crate::LockFailed> {
            $crate::SharedState::blocking_lock_timeout(self, key, mode, timeout)
        }

        /// As [`try_lock`](crate::SharedState::try_lock), but blocks the thread until the answer is there.
        ///
        /// # Errors
        ///
        /// Those of [`SharedState::try_lock`](crate::SharedState::try_lock).
        pub fn blocking_try_lock(
            &self,
            key: &str,
            mode: $crate::Mode,
        ) -> Result<Option<$guard>, $crate::LockFailed> {
            $crate::SharedState::blocking_try_lock(self, key, mode)
        }

        /// As [`lock_many`](crate::SharedState::lock_many), but blocks the thread.
        ///
        /// # Errors
        ///
        /// Those of [`SharedState::lock_many`](crate::SharedState::lock_many).
        pub fn blocking_lock_many<K: AsRef<str>>(
            &self,
            keys: impl IntoIterator<Item = (K, $crate::Mode)>,
        ) -> Result<$crate::Guards<$guard>, $crate::LockFailed> {
            $crate::SharedState::blocking_lock_many(self, keys)
        }

        /// As [`try_lock_many`](crate::SharedState::try_lock_many), but blocks the thread until the answer is there.
        ///
        /// # Errors
        ///
        /// Those of [`SharedState::try_lock_many`](crate::SharedState::try_lock_many).
        pub fn blocking_try_lock_many<K: AsRef<str>>(
            &self,
            keys: impl IntoIterator<Item = (K, $crate::Mode)>,
        ) -> Result<Option<$crate::Guards<$guard>>, $crate::LockFailed> {
            $crate::SharedState::blocking_try_lock_many(self, keys)
        }

        /// As [`lock_many`](crate::SharedState::lock_many), but blocks the thread, and not for longer than `timeout` in all:
        /// [`SharedState::blocking_lock_many_timeout`](crate::SharedState::blocking_lock_many_timeout).
        ///
        /// # Errors
        ///
        /// Those of [`SharedState::blocking_lock_many_timeout`](crate::SharedState::blocking_lock_many_timeout).
        pub fn blocking_lock_many_timeout<K: AsRef<str>>(
            &self,
            keys: impl IntoIterator<Item = (K, $crate::Mode)>,
            timeout: std::time::Duration,
        ) -> Result<$crate::Guards<$guard>, $crate::LockFailed> {
            $crate::SharedState::blocking_lock_many_timeout(self, keys, timeout)
        }

        /// As [`is_free`](crate::SharedState::is_free), but blocks the thread until the answer is there.
        ///
        /// # Errors
        ///
        /// Those of [`SharedState::is_free`](crate::SharedState::is_free).
        pub fn blocking_is_free(&self, key: &str, mode: $crate::Mode) -> Result<bool, $crate::LockFailed> {
            $crate::SharedState::blocking_is_free(self, key, mode)
        }

        /// As [`snapshot`](crate::SharedState::snapshot), but blocks the thread until the answer is there.
        ///
        /// # Errors
        ///
        /// Those of [`SharedState::snapshot`](crate::SharedState::snapshot).
        pub fn blocking_snapshot(&self) -> Result<$crate::Snapshot, $crate::LockFailed> {
            $crate::SharedState::blocking_snapshot(self)
        }
    };
}
pub(crate) use methods;
