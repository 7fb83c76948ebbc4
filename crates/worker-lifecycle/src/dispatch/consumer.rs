//! A worker that dispatches each message it is sent to handlers.

use std::{borrow::Cow, fmt, num::NonZeroUsize, sync::Arc, time::Duration};

use super::{AsyncDispatcher, EventMessage, HandlerFailure};
use crate::{
    context::WorkerContext,
    error::WorkerError,
    name,
    queue::{Failures, OnStop, QueueConsumer, QueueSender},
    status::StatusSource,
    worker::Worker,
};

/// A worker that fans each message out to the handlers of its type, and takes the next when all of them have ended.
///
/// A handler's failure stops neither the others nor the worker: it is counted in the worker's status, logged, and told
/// to [`on_failure`](Self::on_failure). Messages that are in the queue when the worker is asked to stop are discarded
/// and counted, unless [`with_on_stop`](Self::with_on_stop) says otherwise.
///
/// ```
/// use std::sync::Arc;
/// use workfleet_worker_lifecycle::{AsyncConsumer, AsyncDispatcher, EventMessage, OnStop, start};
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
/// dispatcher.register_handler("trade.store", |_: Arc<Trade>| async move { Err("no disk") })?;
/// let consumer = AsyncConsumer::new(dispatcher).with_on_stop(OnStop::Drain);
/// let trades = consumer.sender();
/// let consumer = start(consumer).await?;
/// trades.send(Trade(1.5))?;
/// consumer.shutdown().await?.into_result()?;
/// assert_eq!(consumer.status().details["failures"], "1");
/// # Ok(()) }
/// ```
pub struct AsyncConsumer<M> {
    dispatcher: AsyncDispatcher<M>,
    queue: QueueConsumer<M>,
    failures: Failures<HandlerFailure>,
    name: Option<Cow<'static, str>>,
    grace: Option<Duration>,
}

impl<M: EventMessage + Send + Sync + 'static> AsyncConsumer<M> {
    /// A consumer with an unbounded queue.
    pub fn new(dispatcher: AsyncDispatcher<M>) -> Self {
        Self::on(QueueConsumer::unbounded(), dispatcher)
    }

    /// A consumer with a queue for at most `bound` messages.
    ///
    /// # Panics
    /// As [`QueueConsumer::bounded`].
    pub fn bounded(bound: NonZeroUsize, dispatcher: AsyncDispatcher<M>) -> Self {
        Self::on(QueueConsumer::bounded(bound), dispatcher)
    }

    fn on(queue: QueueConsumer<M>, dispatcher: AsyncDispatcher<M>) -> Self {
        Self { dispatcher, queue, failures: Failures::new(), name: None, grace: None }
    }

    /// Sets its name.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sets its grace period.
    #[must_use]
    pub fn with_grace(mut self, grace: Duration) -> Self {
        self.grace = Some(grace);
        self
    }

    /// Sets what becomes of what is in the queue when the worker is asked to stop.
    #[must_use]
    pub fn with_on_stop(mut self, on_stop: OnStop) -> Self {
        self.queue = self.queue.with_on_stop(on_stop);
        self
    }

    /// Has each failure of a handler told to this function, between two messages.
    #[must_use]
    pub fn on_failure(mut self, report: impl FnMut(&HandlerFailure) + Send + 'static) -> Self {
        self.failures.set_report(report);
        self
    }

    /// A sender into its queue.
    pub fn sender(&self) -> QueueSender<M> {
        self.queue.sender()
    }

    /// The dispatcher, to register handlers with.
    pub fn dispatcher(&self) -> AsyncDispatcher<M> {
        self.dispatcher.clone()
    }
}

impl<M: EventMessage + Send + Sync + 'static> Worker for AsyncConsumer<M> {
    fn name(&self) -> Cow<'static, str> {
        self.name.clone().unwrap_or_else(|| name::of_type::<Self>().into())
    }

    fn grace(&self) -> Option<Duration> {
        self.grace
    }

    fn status(&self) -> Option<Arc<dyn StatusSource>> {
        Some(self.queue.status())
    }

    async fn run(&mut self, cx: &WorkerContext) -> Result<(), WorkerError> {
        while let Some(message) = self.queue.next_while_running(cx).await {
            for failure in self.dispatcher.dispatch(message).await.failures {
                self.failures.note(
                    &failure.event.to_string(),
                    &failure.cause,
                    &failure,
                    self.queue.failures(),
                );
            }
        }
        Ok(())
    }
}

impl<M> fmt::Debug for AsyncConsumer<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncConsumer")
            .field("name", &self.name)
            .field("queue", &self.queue)
            .finish_non_exhaustive()
    }
}
