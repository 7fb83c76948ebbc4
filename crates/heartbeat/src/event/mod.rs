//! Events: flags that every holder can read, wait for, and change.

mod error;
mod shared;
mod signal;

use std::{
    fmt,
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use tokio::runtime::Handle;

pub use error::{EventLostError, WaitError};
pub(crate) use shared::Shared;

use crate::runtime_thread::warn_of_blocking;

/// A flag that is set or cleared, and can be waited for. Clones are the same event.
///
/// Within a process, changes are seen at once. If an event is set and cleared again at once, all its waiters are woken all the
/// same, in all processes.
///
/// With the feature `remote`, an event can be serialised. In the worker that it is sent to, it is the same event.
///
/// - [`is_set`](Self::is_set) reads the state that this process was told last. A change takes one hop over a socket.
/// - The process that made the event puts the changes in order, and all processes see the result. The process that makes a change
///   sees it at once.
/// - An event works in the process that made it, in that process's workers, in the processes that they start, and so on. In any other
///   process, such as its maker's parent or sibling, it is [lost](EventLostError). Tasks that were not given an event in common ask
///   their manager for one by name.
///
/// ```
/// use workfleet_heartbeat::Event;
///
/// let stop = Event::new();
/// let worker = std::thread::spawn({
///     let stop = stop.clone();
///     move || stop.blocking_wait()
/// });
/// stop.set()?;
/// worker.join().unwrap()?;
/// assert!(stop.is_set());
/// # Ok::<_, workfleet_heartbeat::EventLostError>(())
/// ```
#[doc(alias = "new_event")]
#[derive(Clone)]
pub struct Event {
    pub(crate) shared: Arc<Shared>,
}

impl Event {
    /// A new event, clear.
    ///
    /// The event exists as long as a copy of it is held, here or in a process that it was sent to. A task with the event in its payload
    /// holds it from when it is scheduled until it ends. So do the children that this task schedules with it. A message or an
    /// output does not hold it.
    pub fn new() -> Self {
        Self { shared: Arc::new(Shared::home()) }
    }

    /// Sets it and wakes all its waiters. Setting it twice is harmless.
    ///
    /// # Errors
    /// [`EventLostError`], only where it has been sent to, and in a fork.
    pub fn set(&self) -> Result<(), EventLostError> {
        self.shared.operate(true)
    }

    /// Clears it.
    ///
    /// # Errors
    /// [`EventLostError`], only where it has been sent to, and in a fork.
    pub fn clear(&self) -> Result<(), EventLostError> {
        self.shared.operate(false)
    }

    /// Whether it is set: one load of an atomic. False if it is [lost](EventLostError); in a fork, what it was at the fork.
    ///
    /// Only the first call after it has come from another process may have to wait, for one round trip.
    #[inline]
    pub fn is_set(&self) -> bool {
        self.shared.is_set()
    }

    /// Waits until it is set, on any executor. One that is set and cleared again at once counts.
    ///
    /// # Errors
    /// [`EventLostError`].
    ///
    /// # Cancel safety
    /// Dropping this future changes nothing. An event that was set and cleared meanwhile is missed.
    pub async fn wait(&self) -> Result<(), EventLostError> {
        self.shared.wait().await
    }

    /// Waits until it is set, at most this long, by tokio's timer.
    ///
    /// # Errors
    /// [`WaitError`].
    ///
    /// # Cancel safety
    /// As for [`wait`](Self::wait).
    pub async fn wait_timeout(&self, timeout: Duration) -> Result<(), WaitError> {
        let mut wait = pin!(self.wait());
        // One that is set needs no timer.
        if let Poll::Ready(waited) = poll_fn(|cx| Poll::Ready(wait.as_mut().poll(cx))).await {
            return Ok(waited?);
        }
        if Handle::try_current().is_err() {
            return Err(WaitError::NoTimer);
        }
        let limited = workfleet_panics::catch(|| tokio::time::timeout(timeout, wait));
        let waited = limited.map_err(|_| WaitError::NoTimer)?.await;
        Ok(waited.map_err(|_| WaitError::TimedOut(timeout))??)
    }

    /// Waits until it is set, blocking the thread: not for async code. If it has to wait on a thread where tokio polls a future, it
    /// logs a warning, once for each place in the program.
    ///
    /// # Errors
    /// [`EventLostError`].
    #[track_caller]
    pub fn blocking_wait(&self) -> Result<(), EventLostError> {
        if self.shared.last_known() != Some(true) {
            warn_of_blocking("Event::blocking_wait", "await Event::wait");
        }
        // Without a deadline there always is an outcome.
        self.shared.blocking_wait(None).unwrap_or(Err(EventLostError))
    }

    /// Waits until it is set, blocking the thread at most this long. It warns as [`blocking_wait`](Self::blocking_wait) does.
    ///
    /// # Errors
    /// [`WaitError`].
    #[track_caller]
    pub fn blocking_wait_timeout(&self, timeout: Duration) -> Result<(), WaitError> {
        if !timeout.is_zero() && self.shared.last_known() != Some(true) {
            warn_of_blocking("Event::blocking_wait_timeout", "await Event::wait_timeout");
        }
        let waited = self.shared.blocking_wait(Instant::now().checked_add(timeout));
        Ok(waited.ok_or(WaitError::TimedOut(timeout))??)
    }
}

impl Default for Event {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event").field("is_set", &self.shared.last_known()).finish_non_exhaustive()
    }
}
