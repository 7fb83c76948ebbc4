//! The end of a heartbeater's beats that a program makes by itself, in place of [`Heartbeaters`](crate::Heartbeaters).
//!
//! Invariants:
//! - Beats reach the function as long as the receiver is there; no call of it begins after the receiver was dropped.
//! - What the tree of processes keeps of it, it lets go of when the receiver is dropped.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use crate::{Details, HeartbeatError, HeartbeatSender, Token, own_sink::OwnSink};

/// Takes the beats of one token by a function, without [`Heartbeaters`](crate::Heartbeaters): the part that an own
/// [`HeartbeaterRegistry`](crate::HeartbeaterRegistry) needs.
///
/// Its [senders](Self::sender) are like all others: with the feature `remote` they travel in tasks' payloads, and what they send in
/// other processes comes here. Beats come as long as this is there; after that, a sender in this process is
/// [not connected](HeartbeatError::NotConnected), and beats from other processes are counted by `remote::beats_ignored`.
///
/// What [`Heartbeaters`](crate::Heartbeaters) do beside that is not done here: there is no throttle, no timeout and no callback
/// on a thread of its own. The function is called where the beat is sent, or, for one from another process, on the thread that reads the
/// connection (a manager's own), which serves others as well. So it has to be quick, and must not block: it keeps the
/// details, or hands them on. It is called by several threads at once.
///
/// ```
/// use std::sync::{Arc, Mutex};
/// use workfleet_heartbeat::{Details, HeartbeatReceiver};
///
/// let latest = Arc::new(Mutex::new(None::<Details>));
/// let receiver = HeartbeatReceiver::new("import/42", {
///     let latest = Arc::clone(&latest);
///     move |details| {
///         *latest.lock().unwrap() = Some(details);
///         Ok(())
///     }
/// });
/// receiver.sender().send(&7_u64)?;
/// let details = latest.lock().unwrap().take().expect("it beat");
/// assert_eq!(details.decode::<u64>()?, 7);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[must_use = "beats are received as long as the receiver is there"]
pub struct HeartbeatReceiver {
    token: Token,
    sink: Arc<OwnSink>,
}

impl HeartbeatReceiver {
    /// Receives beats by this function. What it returns is what [`HeartbeatSender::send`] returns in this process. An error for a
    /// beat from another process has nobody to be told to: the first is logged.
    ///
    /// A panic of the function goes no further: its beat was [refused](HeartbeatError::Refused).
    pub fn new(
        token: impl Into<Token>,
        receive: impl Fn(Details) -> Result<(), HeartbeatError> + Send + Sync + 'static,
    ) -> Self {
        Self { token: token.into(), sink: Arc::new(OwnSink::new(receive)) }
    }

    /// The token whose beats these are.
    pub fn token(&self) -> &Token {
        &self.token
    }

    /// A sender, to be handed over and cloned.
    pub fn sender(&self) -> HeartbeatSender {
        HeartbeatSender::own(Arc::clone(&self.sink), self.token.clone())
    }

    /// Has every other process that holds a sender deliver what it has. It begins with this call; await what it returns on any
    /// executor.
    ///
    /// When it has ended, each beat of another process whose `send` had returned before the call, or a later one, has reached the
    /// function. A process that is dead is not waited for; one that is stopped is, so bound the wait:
    /// [`HeartbeatFlush::unanswered`] names it. Beats of this process need no flush.
    ///
    /// # Cancel safety
    /// Dropping it forgets who was asked. Beats come all the same.
    pub fn flush(&self) -> HeartbeatFlush {
        HeartbeatFlush(self.sink.flush())
    }
}

impl Drop for HeartbeatReceiver {
    fn drop(&mut self) {
        self.sink.end();
    }
}

impl fmt::Debug for HeartbeatReceiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeartbeatReceiver").field("token", &self.token).finish_non_exhaustive()
    }
}

/// A flush under way, of [`HeartbeatReceiver::flush`].
///
/// # Cancel safety
/// Dropping it forgets who was asked. Beats come all the same.
#[must_use = "everything has come when it has been awaited"]
pub struct HeartbeatFlush(crate::own_sink::Flush);

impl HeartbeatFlush {
    /// The names of the processes that have not answered yet.
    pub fn unanswered(&self) -> Vec<String> {
        self.0.unanswered()
    }
}

impl Future for HeartbeatFlush {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.0.poll_done(cx)
    }
}

impl fmt::Debug for HeartbeatFlush {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeartbeatFlush").field("unanswered", &self.unanswered()).finish()
    }
}
