//! A worker that calls one function for each message it is sent.

use std::{fmt, future::Future, sync::Arc};

use crate::{
    context::WorkerContext,
    error::{WorkerError, WorkerFailureCause},
    given::{Given, answers_of_every_worker, settings_of_every_worker},
    output::HookOutput,
    queue::{
        Failures, MessageConsumer, MessageProducer, QueueConsumer, QueueSendError,
        ready::{answers_of_every_consumer, methods_of_every_consumer},
        survive,
    },
    status::StatusSource,
    worker::Worker,
};

/// A worker that calls a function for each message that it is sent: one message after the other, in the order of
/// sending.
///
/// If the function returns an error or panics, the worker goes on. The failure is counted in the worker's status,
/// logged, and passed to [`with_on_failure`](Self::with_on_failure). Messages that are sent before the start wait for it.
///
/// ```
/// use workfleet_worker_lifecycle::{OnStop, QueueConsumerWorker, start};
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let greeter = QueueConsumerWorker::new(|name: String| async move {
///     if name.is_empty() {
///         return Err("nobody to greet");
///     }
///     println!("hello, {name}");
///     Ok(())
/// });
/// let greeter = greeter.with_name("greeter").with_on_stop(OnStop::Drain);
/// let names = greeter.sender();
/// let greeter = start(greeter).await?;
/// names.send("you".into())?; // from any thread
/// greeter.shutdown().await?; // drained first
/// # Ok(()) }
/// ```
pub struct QueueConsumerWorker<T, F> {
    on_message: F,
    queue: QueueConsumer<T>,
    failures: Failures<WorkerFailureCause>,
    given: Given,
}

impl<T, F, Fut> QueueConsumerWorker<T, F>
where
    T: Send + 'static,
    F: FnMut(T) -> Fut + Send + 'static,
    Fut: Future<Output: HookOutput> + Send + 'static,
{
    settings_of_every_worker!();
    methods_of_every_consumer!(T, on_message: F, WorkerFailureCause);

    /// How many messages wait in its queue.
    pub fn queue_size(&self) -> usize {
        self.queue.queue_size()
    }
}

impl<T, F, Fut> Worker for QueueConsumerWorker<T, F>
where
    T: Send + 'static,
    F: FnMut(T) -> Fut + Send + 'static,
    Fut: Future<Output: HookOutput> + Send + 'static,
{
    answers_of_every_worker!(Self);

    fn queue(&self) -> Option<Arc<dyn StatusSource>> {
        Some(self.queue.status())
    }

    async fn run(&mut self, cx: &WorkerContext) -> Result<(), WorkerError> {
        while let Some(message) = self.queue.next_while_running(cx).await {
            if let Err(cause) = survive(|| (self.on_message)(message)).await {
                self.failures.note(cx.name(), &cause, &cause, self.queue.failures());
            }
        }
        Ok(())
    }
}

impl<T, F, Fut> MessageConsumer for QueueConsumerWorker<T, F>
where
    T: Send + 'static,
    F: FnMut(T) -> Fut + Send + 'static,
    Fut: Future<Output: HookOutput> + Send + 'static,
{
    answers_of_every_consumer!(T);
}

impl<T, F, Fut> MessageProducer<T> for QueueConsumerWorker<T, F>
where
    T: Send + 'static,
    F: FnMut(T) -> Fut + Send + 'static,
    Fut: Future<Output: HookOutput> + Send + 'static,
{
    fn send(&self, message: T) -> Result<(), QueueSendError<T>> {
        self.queue.send(message)
    }
}

impl<T, F> fmt::Debug for QueueConsumerWorker<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueueConsumerWorker")
            .field("name", &self.given.name)
            .field("queue", &self.queue)
            .finish_non_exhaustive()
    }
}
