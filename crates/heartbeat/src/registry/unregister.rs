//! The end of a heartbeater: everything that was sent is reported, then it is gone.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{sync::oneshot, time::Instant};

use super::{elsewhere, shared::Shared, within::within};
use crate::{
    Token, UnregisterError,
    cores::{Closed, Key, Patience, Refused},
};

/// The end of a heartbeater, as [`Heartbeaters::unregister`](crate::Heartbeaters::unregister) returned it: await it on any
/// executor.
///
/// # Cancel safety
/// Dropping it stops nothing: the token is flushed and unregistered all the same. Only the result is lost.
#[must_use = "whether everything was reported is known when it has been awaited"]
pub struct Unregister(State);

enum State {
    Refused(Option<UnregisterError>),
    Begun {
        shared: Arc<Shared>,
        key: Key,
        token: Token,
        outcome: oneshot::Receiver<Result<(), UnregisterError>>,
    },
}

impl Unregister {
    /// Begins it.
    pub(super) fn begin(shared: &Arc<Shared>, token: Token, after: Duration) -> Self {
        if !shared.is_here() {
            return Self(State::Refused(Some(UnregisterError::Forked)));
        }
        let begun = shared.change(|state| match state.stopped {
            true => Err(UnregisterError::Stopped),
            false => state.table.begin_unregister(&token).map_err(|why| refused(why, &token)),
        });
        let key = match begun {
            Ok(key) => key,
            Err(error) => return Self(State::Refused(Some(error))),
        };
        let (tell, outcome) = oneshot::channel();
        let end = end(Arc::clone(shared), key, token.clone(), after);
        shared.runtime.spawn(async move {
            // Who does not wait for it does not want to know.
            let _ = tell.send(end.await);
        });
        Self(State::Begun { shared: Arc::clone(shared), key, token, outcome })
    }
}

impl Future for Unregister {
    type Output = Result<(), UnregisterError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            State::Refused(error) => Poll::Ready(Err(error.take().unwrap_or(UnregisterError::Stopped))),
            State::Begun { shared, .. } if !shared.is_here() => Poll::Ready(Err(UnregisterError::Forked)),
            State::Begun { shared, key, token, outcome } => {
                if shared.is_inside(*key) {
                    return Poll::Ready(Err(UnregisterError::InsideCallback { token: token.clone() }));
                }
                let outcome = std::task::ready!(Pin::new(outcome).poll(cx));
                // Nobody tells any more if the runtime is shut down.
                Poll::Ready(outcome.unwrap_or(Err(UnregisterError::Stopped)))
            }
        }
    }
}

impl fmt::Debug for Unregister {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            State::Refused(error) => f.debug_tuple("Unregister").field(error).finish(),
            State::Begun { token, .. } => f.debug_tuple("Unregister").field(token).finish(),
        }
    }
}

pub(super) fn refused(why: Refused, token: &Token) -> UnregisterError {
    let token = token.clone();
    match why {
        Refused::Unknown => UnregisterError::Unknown { token },
        Refused::InProgress => UnregisterError::InProgress { token },
    }
}

async fn end(shared: Arc<Shared>, key: Key, token: Token, after: Duration) -> Result<(), UnregisterError> {
    let outcome = flush_and_remove(&shared, key, token, after).await;
    elsewhere::forget(&shared, key);
    outcome
}

async fn flush_and_remove(
    shared: &Arc<Shared>,
    key: Key,
    token: Token,
    after: Duration,
) -> Result<(), UnregisterError> {
    let now = Instant::now().into_std();
    // Whoever does not answer must not take the time in which what is here can be reported.
    let (mut others, mut all) = (Patience::new(now, after / 10 * 9), Patience::new(now, after));
    let flushed = elsewhere::flush(shared, key, &mut others).await;

    let (waiter, mut closed) = oneshot::channel();
    shared.change(|state| {
        state.closers.insert(key, waiter);
        state.table.close(key);
    });
    let timed_out = |callback_runs, token, flushed: Result<(), Vec<String>>| {
        let workers = flushed.err().unwrap_or_default();
        Err(UnregisterError::FlushTimedOut { token, workers, callback_runs, after })
    };
    let closed = match within(&mut all, &mut closed).await {
        Some(closed) => closed,
        None => {
            let removed = shared.change(|state| {
                let removed = state.table.remove(key)?;
                state.closers.remove(&key);
                Some(removed)
            });
            match removed {
                Some(removed) => {
                    let runs = removed.callback.is_none();
                    removed.callback.into_iter().for_each(|callback| drop(shared.discard(callback)));
                    return timed_out(runs, token, flushed);
                }
                // It has ended at the last moment, and is about to be told.
                None => closed.await,
            }
        }
    };
    let Ok(Closed { callback, panicked, .. }) = closed else {
        return Err(UnregisterError::Stopped);
    };
    let dropped = match shared.discard(callback) {
        // A destructor that panicked has run.
        Some(dropped) => within(&mut all, dropped).await.is_some(),
        None => false,
    };
    match panicked {
        _ if !dropped || flushed.is_err() => timed_out(!dropped, token, flushed),
        Some(message) => Err(UnregisterError::CallbackPanicked { token, message }),
        None => Ok(()),
    }
}
