//! What a program can substitute for [`Heartbeaters`].

use std::{future::Future, pin::Pin};

use crate::{
    Event, HeartbeatSender, HeartbeaterOptions, Heartbeaters, RegisterError, Report, Token, UnregisterError,
    park, runtime_thread::warn_of_blocking,
};

/// What is told of a token's beats and silences.
pub type HeartbeatCallback = Box<dyn FnMut(Report) + Send>;

/// How an [unregistration](HeartbeaterRegistry::unregister) ends.
pub type Unregistering = Pin<Box<dyn Future<Output = Result<(), UnregisterError>> + Send>>;

/// Makes events, and registers and unregisters heartbeaters: what a program substitutes for [`Heartbeaters`], to count, to log, to
/// prefix tokens, or to receive the beats in its own way.
///
/// It is object-safe; managers take an `Arc<dyn HeartbeaterRegistry>` and give it to whoever asks them for one. Most implementations
/// hold [`Heartbeaters`] and pass each call on. One that does not makes its senders by a
/// [`HeartbeatReceiver`](crate::HeartbeatReceiver). Either way, senders and events are the same types that all others are: they
/// travel in tasks' payloads and work there. What an implementation cannot do is to
/// make another kind of [`Event`], because whoever is sent an event has no code of the implementation.
///
/// It stays in its program. A worker process gets events and senders by tasks' payloads, and not this.
///
/// ```
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use workfleet_heartbeat::*;
///
/// struct Counting {
///     inner: Heartbeaters,
///     registered: AtomicU64,
/// }
///
/// impl HeartbeaterRegistry for Counting {
///     fn new_event(&self) -> Event {
///         Event::new()
///     }
///
///     fn register(
///         &self,
///         token: Token,
///         options: HeartbeaterOptions,
///         callback: HeartbeatCallback,
///     ) -> Result<HeartbeatSender, RegisterError> {
///         let sender = self.inner.register_with(token, options, callback)?;
///         self.registered.fetch_add(1, Ordering::Relaxed);
///         Ok(sender)
///     }
///
///     fn unregister(&self, token: Token) -> Unregistering {
///         Box::pin(self.inner.unregister(token))
///     }
/// }
///
/// let counting = Counting { inner: Heartbeaters::new()?, registered: AtomicU64::new(0) };
/// let sender = counting.register("import".into(), HeartbeaterOptions::new(), Box::new(|_report| ()))?;
/// sender.send(&1_u64)?;
/// counting.blocking_unregister("import".into())?;
/// assert_eq!(counting.registered.into_inner(), 1);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[doc(alias = "SharedStateManager")]
pub trait HeartbeaterRegistry: Send + Sync {
    /// A new event, clear.
    fn new_event(&self) -> Event;

    /// Listens to a token: see [`Heartbeaters::register_with`]. An implementation says which of the options it heeds.
    ///
    /// # Errors
    /// [`RegisterError`]: the token is taken, or what else the implementation says.
    #[doc(alias = "register_heartbeater")]
    fn register(
        &self,
        token: Token,
        options: HeartbeaterOptions,
        callback: HeartbeatCallback,
    ) -> Result<HeartbeatSender, RegisterError>;

    /// Ends a token, with a flush: see [`Heartbeaters::unregister`]. For every beat whose `send` had returned before the call, that
    /// beat or a later one has been reported when this ends, and none is reported after.
    ///
    /// # Errors
    /// [`UnregisterError`]: the token is unknown, the flush was late, or what else the implementation says.
    ///
    /// # Cancel safety
    /// The work begins with the call. Dropping what this returns stops nothing.
    #[doc(alias = "unregister_heartbeater")]
    fn unregister(&self, token: Token) -> Unregistering;

    /// As [`unregister`](Self::unregister), blocking the thread: not for async code. On a thread where tokio polls a future, it
    /// logs a warning, once for each place in the program that calls it.
    ///
    /// # Errors
    /// As [`unregister`](Self::unregister).
    #[track_caller]
    fn blocking_unregister(&self, token: Token) -> Result<(), UnregisterError> {
        warn_of_blocking("HeartbeaterRegistry::blocking_unregister", "await HeartbeaterRegistry::unregister");
        park::block_on(self.unregister(token))
    }
}

impl HeartbeaterRegistry for Heartbeaters {
    fn new_event(&self) -> Event {
        Event::new()
    }

    fn register(
        &self,
        token: Token,
        options: HeartbeaterOptions,
        callback: HeartbeatCallback,
    ) -> Result<HeartbeatSender, RegisterError> {
        self.register_with(token, options, callback)
    }

    fn unregister(&self, token: Token) -> Unregistering {
        Box::pin(Heartbeaters::unregister(self, token))
    }
}
