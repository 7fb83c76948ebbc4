//! The end of a heartbeater that beats.

use std::{fmt, sync::Arc};

use serde::Serialize;

use crate::{Details, HeartbeatError, Token, cores::Key, hub::Shared};

/// Sends the beats of one token. Clones, and threads, may send at the same time.
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
enum Route {
    /// They are in this process. Their state is empty once they have stopped.
    Local { shared: Arc<Shared>, key: Key },
}

impl HeartbeatSender {
    pub(crate) fn local(shared: Arc<Shared>, key: Key, token: Token) -> Self {
        Self { token, route: Route::Local { shared, key } }
    }

    /// The token whose beats these are.
    pub fn token(&self) -> &Token {
        &self.token
    }

    /// Beats: the details are encoded here, and reported as soon as the token's throttle and callback allow, unless later
    /// ones come before. It never waits for either. A beat of a token that is gone is counted and ignored.
    ///
    /// # Errors
    /// - [`HeartbeatError::Details`]: the details cannot be encoded, or are too large. Nothing was sent.
    /// - [`HeartbeatError::NotConnected`]: the heartbeaters have stopped.
    #[doc(alias = "send_heartbeat")]
    pub fn send<T: Serialize + ?Sized>(&self, details: &T) -> Result<(), HeartbeatError> {
        self.send_encoded(Details::encode(details)?)
    }

    /// As [`send`](Self::send), with details that are encoded already.
    ///
    /// # Errors
    /// [`HeartbeatError::NotConnected`].
    pub fn send_encoded(&self, details: Details) -> Result<(), HeartbeatError> {
        match &self.route {
            Route::Local { shared, key } => shared.beat(*key, details),
        }
    }
}

impl fmt::Debug for HeartbeatSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeartbeatSender").field("token", &self.token).finish_non_exhaustive()
    }
}
