//! A worker that calls one function for each message it is sent.

use std::{borrow::Cow, fmt, future::Future, num::NonZeroUsize, sync::Arc, time::Duration};

use crate::{
    context::WorkerContext,
    error::{FailureCause, WorkerError},
    name,
    queue::{Failures, OnStop, QueueConsumer, QueueSender, survive},
    status::StatusSource,
    worker::{HookOutput, Worker},
};

/// A worker that calls a function for each message it is sent, one after the other, in the order of sending.
///
/// What the function returns or panics with stops nothing: it is counted in the worker's status, logged, and told to
/// [`on_failure`](Self::on_failure). Messages sent before the start are kept for it.
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
    failures: Failures<FailureCause>,
    name: Option<Cow<'static, str>>,
    grace: Option<Duration>,
}

impl<T, F, Fut> QueueConsumerWorker<T, F>
where
    T: Send + 'static,
    F: FnMut(T) -> Fut + Send + 'static,
    Fut: Future<Output: HookOutput> + Send + 'static,
{
    /// A consumer with an unbounded queue.
    pub fn new(on_message: F) -> Self {
        Self::on(QueueConsumer::unbounded(), on_message)
    }

    /// A consumer with a queue for at most `bound` messages.
    ///
    /// # Panics
    /// As [`QueueConsumer::bounded`].
    pub fn bounded(bound: NonZeroUsize, on_message: F) -> Self {
        Self::on(QueueConsumer::bounded(bound), on_message)
    }

    fn on(queue: QueueConsumer<T>, on_message: F) -> Self {
        Self { on_message, queue, failures: Failures::new(), name: None, grace: None }
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

    /// Has each failure of the function told to this one, between two messages.
    #[must_use]
    pub fn on_failure(mut self, report: impl FnMut(&FailureCause) + Send + 'static) -> Self {
        self.failures.set_report(report);
        self
    }

    /// A sender into its queue.
    pub fn sender(&self) -> QueueSender<T> {
        self.queue.sender()
    }

    /// How many messages it has not begun to handle.
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
            if let Err(cause) = survive(|| (self.on_message)(message)).await {
                self.failures.note(cx.name(), &cause, &cause, self.queue.failures());
            }
        }
        Ok(())
    }
}

impl<T, F> fmt::Debug for QueueConsumerWorker<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueueConsumerWorker")
            .field("name", &self.name)
            .field("queue", &self.queue)
            .finish_non_exhaustive()
    }
}
