//! Messages to handlers: by the type of the event that a message is, each to every handler of that type.

mod asynchronous;
mod consumer;
mod event;
mod registry;
mod synchronous;

use std::fmt;

pub use asynchronous::{AsyncDispatcher, AsyncHandler};
pub use consumer::AsyncConsumer;
pub use event::{DispatchEvent, DispatchEventError, EventMessage};
pub use synchronous::{Dispatcher, Handler};

use crate::error::WorkerFailureCause;

/// What a dispatch came to.
#[derive(Clone, Debug, Default)]
#[must_use = "failures of handlers are told here and nowhere else"]
#[non_exhaustive]
pub struct Dispatched {
    /// How many handlers ran, those that failed included.
    pub ran: usize,
    /// Those that failed.
    pub failures: Vec<HandlerFailure>,
}

/// A handler that failed. The others of the same message ran all the same.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HandlerFailure {
    /// What it was registered for.
    pub event: DispatchEvent,
    /// How it failed.
    pub cause: WorkerFailureCause,
}

impl fmt::Display for HandlerFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.cause {
            WorkerFailureCause::Error(error) => write!(f, "the handler of `{}` failed: {error}", self.event),
            WorkerFailureCause::Panic(panic) => {
                write!(f, "the handler of `{}` panicked: {panic}", self.event)
            }
        }
    }
}
