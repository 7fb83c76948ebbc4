//! A worker that dispatches each message it is sent to handlers.

use std::{fmt, sync::Arc};

use super::{AsyncDispatcher, EventMessage, HandlerFailure};
use crate::{
    context::WorkerContext,
    error::WorkerError,
    given::{Given, answers_of_every_worker, settings_of_every_worker},
    queue::{
        Failures, MessageConsumer, MessageProducer, QueueConsumer, QueueSendError,
        ready::{answers_of_every_consumer, methods_of_every_consumer},
    },
    status::StatusSource,
    worker::Worker,
};

/// A worker that fans each message out to the handlers of its type, and takes the next when all of them have ended.
///
/// A handler's failure stops neither the others nor the worker: it is counted in the worker's status, logged, and told
/// to [`with_on_failure`](Self::with_on_failure). Messages that are in the queue when the worker is asked to stop are discarded
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
    given: Given,
}

impl<M: EventMessage + Send + Sync + 'static> AsyncConsumer<M> {
    settings_of_every_worker!();
    methods_of_every_consumer!(M, dispatcher: AsyncDispatcher<M>, HandlerFailure);

    /// The dispatcher, to register handlers with.
    pub fn dispatcher(&self) -> AsyncDispatcher<M> {
        self.dispatcher.clone()
    }
}

impl<M: EventMessage + Send + Sync + 'static> Worker for AsyncConsumer<M> {
    answers_of_every_worker!(Self);

    fn queue(&self) -> Option<Arc<dyn StatusSource>> {
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

impl<M: EventMessage + Send + Sync + 'static> MessageConsumer for AsyncConsumer<M> {
    answers_of_every_consumer!(M);
}

impl<M: EventMessage + Send + Sync + 'static> MessageProducer<M> for AsyncConsumer<M> {
    fn send(&self, message: M) -> Result<(), QueueSendError<M>> {
        self.queue.send(message)
    }
}

impl<M> fmt::Debug for AsyncConsumer<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncConsumer")
            .field("name", &self.given.name)
            .field("queue", &self.queue)
            .finish_non_exhaustive()
    }
}
