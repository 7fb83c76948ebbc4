//! A dispatcher of messages to functions that are called at once.

use std::{fmt, sync::Arc};

use super::{DispatchEvent, Dispatched, EventMessage, HandlerFailure, registry::Registry};
use workfleet_panics::catch;

use crate::{
    error::{WorkerError, WorkerFailureCause},
    output::HookOutput,
};

/// A handler of a [`Dispatcher`].
pub type Handler<M> = Arc<dyn Fn(&M) -> Result<(), WorkerError> + Send + Sync>;

/// Calls every handler of a message's type, in the order of their tags.
///
/// Clones are the same dispatcher: handlers may be registered and removed anywhere, while messages are dispatched.
///
/// ```
/// use workfleet_worker_lifecycle::{Dispatcher, EventMessage};
///
/// struct Trade(f64);
/// impl EventMessage for Trade {
///     fn event_type(&self) -> &str {
///         "trade"
///     }
/// }
///
/// let dispatcher = Dispatcher::new();
/// dispatcher.register_handler("trade.print", |trade: &Trade| println!("{}", trade.0))?;
/// dispatcher.register_handler("trade.check", |trade: &Trade| {
///     if trade.0 < 0.0 { Err("a negative price") } else { Ok(()) }
/// })?;
/// let dispatched = dispatcher.dispatch(&Trade(-1.0));
/// assert_eq!((dispatched.ran, dispatched.failures.len()), (2, 1));
/// # Ok::<(), workfleet_worker_lifecycle::DispatchEventError>(())
/// ```
pub struct Dispatcher<M> {
    registry: Arc<Registry<Handler<M>>>,
}

impl<M: EventMessage> Dispatcher<M> {
    /// A dispatcher without handlers.
    pub fn new() -> Self {
        Self { registry: Arc::new(Registry::new()) }
    }

    /// Registers a handler, and returns the one that it replaces: of the same type and tag.
    ///
    /// # Errors
    /// The event is malformed.
    pub fn register_handler<E, R: HookOutput>(
        &self,
        event: E,
        handler: impl Fn(&M) -> R + Send + Sync + 'static,
    ) -> Result<Option<Handler<M>>, E::Error>
    where
        E: TryInto<DispatchEvent>,
    {
        let handler: Handler<M> = Arc::new(move |message| handler(message).into_result());
        Ok(self.registry.register(event.try_into()?, handler))
    }

    /// Removes a handler and returns it, if there is one.
    ///
    /// # Errors
    /// The event is malformed.
    pub fn unregister_handler<E: TryInto<DispatchEvent>>(
        &self,
        event: E,
    ) -> Result<Option<Handler<M>>, E::Error> {
        Ok(self.registry.unregister(&event.try_into()?))
    }

    /// Calls the handlers of the message's type. One that fails or panics stops none of the others.
    pub fn dispatch(&self, message: &M) -> Dispatched {
        let event_type = message.event_type();
        let mut dispatched = Dispatched::default();
        let Some(handlers) = self.registry.of(event_type) else { return dispatched };
        for (tag, handler) in handlers.iter() {
            dispatched.ran += 1;
            let cause = match catch(|| handler(message)) {
                Ok(Ok(())) => continue,
                Ok(Err(error)) => WorkerFailureCause::Error(error),
                Err(panic) => WorkerFailureCause::Panic(panic),
            };
            dispatched
                .failures
                .push(HandlerFailure { event: DispatchEvent::from_parts(event_type, tag), cause });
        }
        dispatched
    }
}

impl<M: EventMessage> Default for Dispatcher<M> {
    fn default() -> Self {
        Self::new()
    }
}

impl<M> Clone for Dispatcher<M> {
    fn clone(&self) -> Self {
        Self { registry: Arc::clone(&self.registry) }
    }
}

impl<M> fmt::Debug for Dispatcher<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dispatcher").finish_non_exhaustive()
    }
}
