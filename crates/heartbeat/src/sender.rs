//! The end of a heartbeater that beats.

use std::{fmt, sync::Arc};

use serde::Serialize;

#[cfg(feature = "remote")]
use crate::ports::TokenPlace;
use crate::{Details, HeartbeatError, Token, cores::Key, own_sink::OwnSink, registry::Shared};

/// Sends the beats of one token. Clones, and threads, may send at the same time.
///
/// With the feature `remote` it can be serialised. In the process that it is sent to, [`send`](Self::send) leaves the beat to the
/// thread that serves the connection: it takes a lock for a few instructions, and wakes that thread if it sleeps. A later beat
/// replaces one that has not left yet. So each token sends at most about once a millisecond.
///
/// ```
/// # use workfleet_heartbeat::*;
/// # let heartbeaters = Heartbeaters::new()?;
/// let sender = heartbeaters.register("import/42", |report: Report| println!("{report:?}"))?;
/// for row in 0..1_000_000_u64 {
///     // … import the row …
///     sender.send(&row)?; // costs next to nothing, and never waits for the callback
/// }
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
#[doc(alias = "SharedHeartbeatSender")]
pub struct HeartbeatSender {
    token: Token,
    route: Route,
}

/// The way from here to the heartbeaters.
#[derive(Clone)]
pub(crate) enum Route {
    /// They are in this process. Their state is empty once they have stopped.
    Local { shared: Arc<Shared>, key: Key },
    /// This process got the sender from another, or from itself.
    #[cfg(feature = "remote")]
    Sent(Arc<dyn TokenPlace>),
    /// A receiver in this process.
    Own(Arc<OwnSink>),
}

impl HeartbeatSender {
    pub(crate) fn own(sink: Arc<OwnSink>, token: Token) -> Self {
        Self { token, route: Route::Own(sink) }
    }

    pub(crate) fn local(shared: Arc<Shared>, key: Key, token: Token) -> Self {
        Self { token, route: Route::Local { shared, key } }
    }

    /// The token whose beats these are.
    pub fn token(&self) -> &Token {
        &self.token
    }

    /// Sends a beat with details, and never waits.
    ///
    /// The details are encoded here. They are reported as soon as the token's throttle and callback allow, unless a later beat comes
    /// before. If the token was unregistered, the beat is counted and ignored.
    ///
    /// # Errors
    /// - [`HeartbeatError::Details`]: the details cannot be encoded, or are too large. Nothing was sent.
    /// - [`HeartbeatError::NotConnected`]: the heartbeaters have stopped, or the sender was sent to a process that is not connected to
    ///   them. In another process it is not known that the heartbeaters have stopped: there, the beat is sent, and counted by
    ///   `remote::beats_ignored` where it arrives.
    /// - [`HeartbeatError::Forked`]: this process is a fork of the one that has the sender.
    /// - [`HeartbeatError::Refused`]: a [receiver](crate::HeartbeatReceiver) in this process has refused it.
    #[doc(alias = "send_heartbeat")]
    pub fn send<T: Serialize + ?Sized>(&self, details: &T) -> Result<(), HeartbeatError> {
        self.send_encoded(Details::encode(details)?)
    }

    /// As [`send`](Self::send), with details that are encoded already.
    ///
    /// # Errors
    /// [`HeartbeatError::NotConnected`], [`HeartbeatError::Forked`] or [`HeartbeatError::Refused`].
    pub fn send_encoded(&self, details: Details) -> Result<(), HeartbeatError> {
        match &self.route {
            Route::Local { shared, key } => shared.beat(*key, details),
            #[cfg(feature = "remote")]
            Route::Sent(place) => place.beat(details),
            Route::Own(sink) => sink.beat(details),
        }
    }
}

#[cfg(feature = "remote")]
impl HeartbeatSender {
    /// A sender that came from another process, or back to this one.
    pub(crate) fn sent(token: Token, place: Arc<dyn TokenPlace>) -> Self {
        Self { token, route: Route::Sent(place) }
    }

    pub(crate) fn route(&self) -> &Route {
        &self.route
    }
}

impl fmt::Debug for HeartbeatSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeartbeatSender").field("token", &self.token).finish_non_exhaustive()
    }
}
