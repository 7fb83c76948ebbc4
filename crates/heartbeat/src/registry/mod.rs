//! Heartbeaters and the ends of their tokens: the driver of [`cores::Table`](crate::cores::Table).

mod callback_runners;
mod driver;
mod elsewhere;
mod shared;
#[cfg(all(test, not(workfleet_loom)))]
mod tests;
mod unregister;
mod within;

use std::{
    fmt, io,
    sync::Arc,
    time::{Duration, Instant},
};

use shared::Callback;
pub(crate) use shared::Shared;
pub use unregister::Unregister;

use crate::{
    Details, Executor, HeartbeatSender, HeartbeatStats, HeartbeaterOptions, RegisterError, Report, Token,
    UnregisterError, cores::Taken, park, runtime_thread::warn_of_blocking,
};

/// How long [`Heartbeaters::unregister`] takes at most, without [time in which this program was
/// stopped](crate#a-program-that-was-stopped-as-a-whole): 5 s.
pub const DEFAULT_UNREGISTER_TIMEOUT: Duration = Duration::from_secs(5);

/// A set of registered tokens, each with a callback that gets its beats.
///
/// It is a handle: clones are the same set. When the last clone is dropped, the set stops at once, and beats that were not reported
/// are lost: [`unregister`](Self::unregister) tokens that matter first. A callback that owns a clone keeps the set alive until it is
/// unregistered.
///
/// - For each token, one callback runs at a time. While it runs, or while the token's throttle holds beats back, a later beat
///   replaces an earlier one. The tokens take turns.
/// - A callback that is slow, hangs or panics affects only its own token. If another token waits for 5 to 10 ms behind a callback, it
///   gets another thread. Each callback that hangs occupies one thread, up to 4096 with the default executor.
/// - However many beats are sent, a token keeps at most two that were not reported (one without a throttle). With a timeout it also
///   keeps the last one.
///
/// ```
/// use std::sync::mpsc;
/// use workfleet_heartbeat::{Heartbeaters, Report};
///
/// let heartbeaters = Heartbeaters::new()?;
/// let (heard, beats) = mpsc::channel();
/// let sender = heartbeaters.register("import/42", move |report: Report| {
///     let _ = heard.send(report);
/// })?;
///
/// std::thread::spawn(move || sender.send(&("rows", 1_000_u64))).join().expect("it does not panic")?;
/// heartbeaters.blocking_unregister("import/42")?; // whatever was sent has been reported now
///
/// let Some(Report::Beat(details)) = beats.iter().last() else { panic!("it beat once") };
/// assert_eq!(details.decode::<(String, u64)>()?, ("rows".to_owned(), 1_000));
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
#[doc(alias = "SharedStateManager")]
pub struct Heartbeaters(Arc<Owner>);

/// Stops them when it is dropped.
struct Owner(Arc<Shared>);

impl Drop for Owner {
    fn drop(&mut self) {
        // A fork has nothing to stop. Here, the thread sees to the rest.
        if !self.0.is_here() {
            return;
        }
        self.0.change(|state| state.stopped = true);
    }
}

/// Builds [`Heartbeaters`] with another executor.
#[derive(Default)]
#[must_use = "a builder does nothing until it builds"]
pub struct HeartbeatersBuilder {
    executor: Option<Box<dyn Executor>>,
}

impl HeartbeatersBuilder {
    /// Where callbacks run: for example the blocking pool of a runtime, by its
    /// [`Handle`](tokio::runtime::Handle).
    pub fn executor(self, executor: impl Executor) -> Self {
        Self { executor: Some(Box::new(executor)) }
    }

    /// Starts them, with a thread of their own.
    ///
    /// # Errors
    /// The system's, if it has no thread left.
    pub fn build(self) -> io::Result<Heartbeaters> {
        let runtime = driver::OwnRuntime::new()?;
        let shared = Shared::new(self.executor, runtime.handle().clone(), Instant::now);
        driver::start(runtime, Arc::clone(&shared))?;
        Ok(Heartbeaters(Arc::new(Owner(shared))))
    }
}

impl fmt::Debug for HeartbeatersBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeartbeatersBuilder").finish_non_exhaustive()
    }
}

impl Heartbeaters {
    /// Starts them, with a thread and a blocking pool of their own.
    ///
    /// # Errors
    /// The system's, if it has no thread left.
    #[doc(alias = "create_from_multiprocessing")]
    pub fn new() -> io::Result<Self> {
        Self::builder().build()
    }

    /// Starts them otherwise.
    pub fn builder() -> HeartbeatersBuilder {
        HeartbeatersBuilder::default()
    }

    /// Listens to a token, without timeout and throttle. Its sender can be cloned, and sent to other threads.
    ///
    /// # Errors
    /// [`RegisterError`]: the token is registered, or still being unregistered. The callback is dropped.
    #[doc(alias = "register_heartbeater")]
    pub fn register(
        &self,
        token: impl Into<Token>,
        callback: impl FnMut(Report) + Send + 'static,
    ) -> Result<HeartbeatSender, RegisterError> {
        self.register_with(token, HeartbeaterOptions::new(), callback)
    }

    /// Listens to a token. Its silence begins now.
    ///
    /// # Errors
    /// As [`register`](Self::register).
    pub fn register_with(
        &self,
        token: impl Into<Token>,
        options: HeartbeaterOptions,
        callback: impl FnMut(Report) + Send + 'static,
    ) -> Result<HeartbeatSender, RegisterError> {
        let token = token.into();
        let shared = &self.0.0;
        if !shared.is_here() {
            return Err(RegisterError::Forked);
        }
        let (now, callback) = (shared.now(), Callback::new(callback));
        // A callback that is refused is dropped outside the lock.
        let registered = shared.change(|state| match state.stopped {
            true => Err((RegisterError::Stopped, callback)),
            false => state
                .table
                .register(now, token.clone(), options, callback)
                .map_err(|Taken(callback)| (RegisterError::Taken { token: token.clone() }, callback)),
        });
        let key = registered.map_err(|(error, _)| error)?;
        Ok(HeartbeatSender::local(Arc::clone(shared), key, token))
    }

    /// Ends a token, within [5 s](DEFAULT_UNREGISTER_TIMEOUT): as [`unregister_timeout`](Self::unregister_timeout).
    ///
    /// # Errors
    /// As [`unregister_timeout`](Self::unregister_timeout).
    ///
    /// # Cancel safety
    /// As for [`unregister_timeout`](Self::unregister_timeout): dropping the returned future stops nothing.
    #[doc(alias = "unregister_heartbeater")]
    pub fn unregister(&self, token: impl Into<Token>) -> Unregister {
        self.unregister_timeout(token, DEFAULT_UNREGISTER_TIMEOUT)
    }

    /// Unregisters a token, and first reports its beats: a flush. The work begins with this call. The returned future can be awaited
    /// on any executor.
    ///
    /// When the future ends, every beat whose `send` had returned before the call was reported, or a later beat was; the throttle
    /// does not delay them. The callback was dropped, and is not called any more. Beats that are sent during the flush may be
    /// reported; later ones are counted and ignored.
    ///
    /// The flush asks each other process that holds the sender for its beats. It does not wait for a dead process. A beat leaves its
    /// process within about a millisecond, and on `exit`. If a process was killed before that, the beat is lost, which is not an
    /// error. If a process does not answer within nine tenths of `after`, the result is [`UnregisterError::FlushTimedOut`].
    ///
    /// # Errors
    /// - [`UnregisterError::Unknown`]: the token is not registered.
    /// - [`UnregisterError::InProgress`]: it is being unregistered already.
    /// - [`UnregisterError::FlushTimedOut`]: not everything was reported in `after`. The token is gone all the same. If its
    ///   callback hangs, that call goes on; the callback is dropped when it returns.
    /// - [`UnregisterError::CallbackPanicked`]: everything was reported, but the callback has panicked, then or before.
    /// - [`UnregisterError::InsideCallback`]: it is awaited in the token's own callback. The token is unregistered once that
    ///   has returned.
    /// - [`UnregisterError::Stopped`]: the heartbeaters were stopped meanwhile.
    /// - [`UnregisterError::Forked`]: this process is a fork of the one that started them.
    ///
    /// # Cancel safety
    /// Dropping the returned future stops nothing: the token is flushed and unregistered all the same. Only the result is lost.
    pub fn unregister_timeout(&self, token: impl Into<Token>, after: Duration) -> Unregister {
        Unregister::begin(&self.0.0, token.into(), after)
    }

    /// As [`unregister`](Self::unregister), blocking the thread: not for async code. On a thread where tokio polls a future, it
    /// logs a warning, once for each place in the program that calls it.
    ///
    /// # Errors
    /// As [`unregister_timeout`](Self::unregister_timeout).
    #[track_caller]
    pub fn blocking_unregister(&self, token: impl Into<Token>) -> Result<(), UnregisterError> {
        warn_of_blocking("Heartbeaters::blocking_unregister", "await Heartbeaters::unregister");
        park::block_on(self.unregister(token))
    }

    /// As [`unregister_timeout`](Self::unregister_timeout), blocking the thread: not for async code. It warns as
    /// [`blocking_unregister`](Self::blocking_unregister) does.
    ///
    /// # Errors
    /// As [`unregister_timeout`](Self::unregister_timeout).
    #[track_caller]
    pub fn blocking_unregister_timeout(
        &self,
        token: impl Into<Token>,
        after: Duration,
    ) -> Result<(), UnregisterError> {
        warn_of_blocking(
            "Heartbeaters::blocking_unregister_timeout",
            "await Heartbeaters::unregister_timeout",
        );
        park::block_on(self.unregister_timeout(token, after))
    }

    /// Ends a token at once, without a flush, and hands back the last details that were not reported. If its callback runs
    /// just now, that call goes on; it is not called again.
    ///
    /// # Errors
    /// [`UnregisterError`]: the token is unknown, or being unregistered.
    pub fn discard(&self, token: impl Into<Token>) -> Result<Option<Details>, UnregisterError> {
        let token = token.into();
        let shared = &self.0.0;
        if !shared.is_here() {
            return Err(UnregisterError::Forked);
        }
        let (key, removed) = shared
            .change(|state| {
                let key = state.table.key(&token);
                state.table.discard(&token).map(|removed| (key, removed))
            })
            .map_err(|why| unregister::refused(why, &token))?;
        key.into_iter().for_each(|key| elsewhere::forget(shared, key));
        removed.callback.into_iter().for_each(|callback| drop(shared.discard(callback)));
        Ok(removed.unreported)
    }

    /// What has happened so far; nothing in a [fork](RegisterError::Forked).
    pub fn stats(&self) -> HeartbeatStats {
        if !self.0.0.is_here() {
            return HeartbeatStats::default();
        }
        self.0.0.change(|state| state.table.stats())
    }
}

impl fmt::Debug for Heartbeaters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Heartbeaters").field("stats", &self.stats()).finish()
    }
}
