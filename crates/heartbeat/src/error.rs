//! What can go wrong, one small type for each operation.

use std::time::Duration;

use workfleet_causes::{readable, with_sources};

use crate::{DetailsError, Token};

/// A token that could not be registered.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// It is registered already, or still being unregistered.
    #[error("the token {token} is taken")]
    #[non_exhaustive]
    Taken {
        /// The token.
        token: Token,
    },
    /// The heartbeaters have stopped.
    #[error("the heartbeaters have stopped")]
    Stopped,
    /// This process is a fork of the one that started the heartbeaters, and has none of their threads.
    #[error("this process is a fork of the one that started the heartbeaters: start others after the fork")]
    Forked,
    /// A [registry](crate::HeartbeaterRegistry) of the program's own has refused the token.
    #[error("the token {token} was refused: {reason}")]
    #[non_exhaustive]
    Refused {
        /// The token.
        token: Token,
        /// What the registry said.
        reason: String,
    },
}

/// For own [registries](crate::HeartbeaterRegistry).
impl RegisterError {
    /// [`Taken`](Self::Taken).
    pub fn taken(token: impl Into<Token>) -> Self {
        Self::Taken { token: token.into() }
    }

    /// [`Refused`](Self::Refused), with the text of an error and of its sources.
    pub fn refused(token: impl Into<Token>, reason: impl Into<BoxError>) -> Self {
        Self::Refused { token: token.into(), reason: text(reason) }
    }
}

readable!(RegisterError { Taken { token }, Stopped, Forked, Refused { token, reason } });

/// A beat that was not sent.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeartbeatError {
    /// Its details cannot be.
    #[error(transparent)]
    Details(#[from] DetailsError),
    /// There is no way to the heartbeaters, or they have stopped.
    #[error("there is no connection to the heartbeaters")]
    NotConnected,
    /// This process is a fork of the one that the sender was made in, or sent to.
    #[error("this process is a fork of the one that started the heartbeaters: start others after the fork")]
    Forked,
    /// A [receiver](crate::HeartbeatReceiver) of the program's own has refused it.
    #[error("the heartbeat was refused: {reason}")]
    #[non_exhaustive]
    Refused {
        /// What the receiver said.
        reason: String,
    },
}

impl HeartbeatError {
    /// [`Refused`](Self::Refused), for an own [receiver](crate::HeartbeatReceiver): with the text of an error and of its sources.
    pub fn refused(reason: impl Into<BoxError>) -> Self {
        Self::Refused { reason: text(reason) }
    }
}

readable!(HeartbeatError { Details(error), NotConnected, Forked, Refused { reason } });

/// A token that was not unregistered, or not as it should be.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnregisterError {
    /// It is not registered.
    #[error("the token {token} is not registered")]
    #[non_exhaustive]
    Unknown {
        /// The token.
        token: Token,
    },
    /// Another call unregisters it already.
    #[error("the token {token} is already being unregistered")]
    #[non_exhaustive]
    InProgress {
        /// The token.
        token: Token,
    },
    /// It was asked for, and waited for, inside the token's own callback. The token is unregistered once that has returned.
    #[error("the callback of the token {token} cannot wait for its own end")]
    #[non_exhaustive]
    InsideCallback {
        /// The token.
        token: Token,
    },
    /// Not everything was reported in time. The token is gone all the same; what was left is dropped.
    #[error(
        "the token {token} was not flushed within {after:?}{}{}",
        if *.callback_runs { "; its callback still runs" } else { "" },
        no_answer(.workers)
    )]
    #[non_exhaustive]
    FlushTimedOut {
        /// The token.
        token: Token,
        /// The workers that did not answer.
        workers: Vec<String>,
        /// Whether its callback still runs: the one call after the token's end.
        callback_runs: bool,
        /// The time that was given.
        after: Duration,
    },
    /// The token was flushed, but its callback has panicked, then or before.
    #[error("the callback of the token {token} panicked: {message}")]
    #[non_exhaustive]
    CallbackPanicked {
        /// The token.
        token: Token,
        /// What the first of its panics said.
        message: String,
    },
    /// The heartbeaters have stopped.
    #[error("the heartbeaters have stopped")]
    Stopped,
    /// This process is a fork of the one that started the heartbeaters, and has none of their threads.
    #[error("this process is a fork of the one that started the heartbeaters: start others after the fork")]
    Forked,
    /// A [registry](crate::HeartbeaterRegistry) of the program's own could not unregister the token.
    #[error("the token {token} could not be unregistered: {reason}")]
    #[non_exhaustive]
    Refused {
        /// The token.
        token: Token,
        /// What the registry said.
        reason: String,
    },
}

/// For own [registries](crate::HeartbeaterRegistry).
impl UnregisterError {
    /// [`Unknown`](Self::Unknown).
    pub fn unknown(token: impl Into<Token>) -> Self {
        Self::Unknown { token: token.into() }
    }

    /// [`InProgress`](Self::InProgress).
    pub fn in_progress(token: impl Into<Token>) -> Self {
        Self::InProgress { token: token.into() }
    }

    /// [`FlushTimedOut`](Self::FlushTimedOut), while no callback runs: `workers` did not answer `after` this time.
    pub fn flush_timed_out(token: impl Into<Token>, workers: Vec<String>, after: Duration) -> Self {
        Self::FlushTimedOut { token: token.into(), workers, callback_runs: false, after }
    }

    /// [`CallbackPanicked`](Self::CallbackPanicked), with what the panic said.
    pub fn callback_panicked(token: impl Into<Token>, message: impl Into<String>) -> Self {
        Self::CallbackPanicked { token: token.into(), message: message.into() }
    }

    /// [`Refused`](Self::Refused), with the text of an error and of its sources.
    pub fn refused(token: impl Into<Token>, reason: impl Into<BoxError>) -> Self {
        Self::Refused { token: token.into(), reason: text(reason) }
    }
}

readable!(UnregisterError {
    Unknown { token },
    InProgress { token },
    InsideCallback { token },
    FlushTimedOut { token, workers, callback_runs, after },
    CallbackPanicked { token, message },
    Stopped,
    Forked,
    Refused { token, reason },
});

/// An error of other people's code.
type BoxError = Box<dyn std::error::Error + Send + Sync>;

fn text(reason: impl Into<BoxError>) -> String {
    with_sources(&*reason.into())
}

fn no_answer(workers: &[String]) -> String {
    if workers.is_empty() { String::new() } else { format!("; no answer from {}", workers.join(", ")) }
}

#[cfg(all(test, not(workfleet_loom)))]
mod tests {
    use super::*;

    #[test]
    fn errors_name_what_they_are_about() {
        let (token, after) = (Token::from("import/42"), Duration::from_secs(5));
        let error = UnregisterError::FlushTimedOut {
            token: token.clone(),
            workers: vec!["w1".into(), "w2".into()],
            callback_runs: true,
            after,
        };
        assert_eq!(
            error.to_string(),
            "the token import/42 was not flushed within 5s; its callback still runs; no answer from w1, w2"
        );
        let error =
            UnregisterError::FlushTimedOut { token, workers: Vec::new(), callback_runs: false, after };
        assert_eq!(error.to_string(), "the token import/42 was not flushed within 5s");
    }
}
