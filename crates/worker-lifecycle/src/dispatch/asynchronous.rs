//! A dispatcher of messages to asynchronous handlers, which run concurrently and are awaited.

use std::{
    fmt,
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::Poll,
};

use workfleet_panics::discard;

use super::{DispatchEvent, Dispatched, EventMessage, HandlerFailure, registry::Registry};
use crate::{error::WorkerError, output::HookOutput, queue::survive};

/// What a call of an [`AsyncHandler`] returns.
type Handling = Pin<Box<dyn Future<Output = Result<(), WorkerError>> + Send>>;

/// A handler of an [`AsyncDispatcher`].
pub type AsyncHandler<M> = Arc<dyn Fn(Arc<M>) -> Handling + Send + Sync>;

/// Calls every handler of a message's type, concurrently, and waits for all of them.
///
/// Clones are the same dispatcher: handlers may be registered and removed anywhere, while messages are dispatched. A
/// dispatch calls those that were there when it began.
///
/// ```
/// use std::sync::Arc;
/// use workfleet_worker_lifecycle::{AsyncDispatcher, EventMessage};
///
/// struct Trade(f64);
/// impl EventMessage for Trade {
///     fn event_type(&self) -> &str {
///         "trade"
///     }
/// }
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let dispatcher = AsyncDispatcher::new();
/// dispatcher.register_handler("trade.print", |trade: Arc<Trade>| async move { println!("{}", trade.0) })?;
/// assert_eq!(dispatcher.dispatch(Trade(1.5)).await.ran, 1);
/// # Ok(()) }
/// ```
pub struct AsyncDispatcher<M> {
    registry: Arc<Registry<AsyncHandler<M>>>,
}

impl<M: EventMessage + Send + Sync + 'static> AsyncDispatcher<M> {
    /// A dispatcher without handlers.
    pub fn new() -> Self {
        Self { registry: Arc::new(Registry::new()) }
    }

    /// Registers a handler, and returns the one that it replaces: of the same type and tag.
    ///
    /// # Errors
    /// The event is malformed.
    pub fn register_handler<E, Fut>(
        &self,
        event: E,
        handler: impl Fn(Arc<M>) -> Fut + Send + Sync + 'static,
    ) -> Result<Option<AsyncHandler<M>>, E::Error>
    where
        E: TryInto<DispatchEvent>,
        Fut: Future<Output: HookOutput> + Send + 'static,
    {
        let handler: AsyncHandler<M> = Arc::new(move |message| {
            let handling = handler(message);
            Box::pin(async move { handling.await.into_result() })
        });
        Ok(self.registry.register(event.try_into()?, handler))
    }

    /// Removes a handler and returns it, if there is one. A dispatch that is under way still awaits it.
    ///
    /// # Errors
    /// The event is malformed.
    pub fn unregister_handler<E: TryInto<DispatchEvent>>(
        &self,
        event: E,
    ) -> Result<Option<AsyncHandler<M>>, E::Error> {
        Ok(self.registry.unregister(&event.try_into()?))
    }

    /// Calls the handlers of the message's type and waits for all of them. One that fails or panics stops none of the
    /// others.
    ///
    /// # Cancel safety
    /// Dropping the future drops the handlers' futures at their present `.await`.
    pub async fn dispatch(&self, message: impl Into<Arc<M>>) -> Dispatched {
        let message = message.into();
        let dispatched = self.call(&message).await;
        // If it was the last of it, this is its end, which is somebody else's code as the handlers are.
        discard(message);
        dispatched
    }

    async fn call(&self, message: &Arc<M>) -> Dispatched {
        let event_type = message.event_type();
        let Some(handlers) = self.registry.of(event_type) else { return Dispatched::default() };
        let begun = handlers.iter().map(|(tag, handler)| {
            let message = Arc::clone(message);
            let handling = async move {
                let cause = survive(|| handler(message)).await.err()?;
                Some(HandlerFailure { event: DispatchEvent::from_parts(event_type, tag), cause })
            };
            Some(Box::pin(handling))
        });
        let mut running: Vec<_> = begun.collect();
        let mut dispatched = Dispatched { ran: running.len(), failures: Vec::new() };
        // All on this task: there are few handlers for one type.
        poll_fn(|cx| {
            for slot in &mut running {
                if let Some(Poll::Ready(failure)) = slot.as_mut().map(|handling| handling.as_mut().poll(cx)) {
                    *slot = None;
                    dispatched.failures.extend(failure);
                }
            }
            if running.iter().all(Option::is_none) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        dispatched
    }
}

impl<M: EventMessage + Send + Sync + 'static> Default for AsyncDispatcher<M> {
    fn default() -> Self {
        Self::new()
    }
}

impl<M> Clone for AsyncDispatcher<M> {
    fn clone(&self) -> Self {
        Self { registry: Arc::clone(&self.registry) }
    }
}

impl<M> fmt::Debug for AsyncDispatcher<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncDispatcher").finish_non_exhaustive()
    }
}
