//! Sending to a worker: by a sender, by its handle, or by the worker itself before it is started.

use std::{fmt, ops::Deref};

use super::{QueueConsumer, QueueSendError, QueueSender};
use crate::{
    error::StartError,
    handle::{WorkerHandle, start},
    reference::WorkerRef,
    worker::Worker,
};

/// Something that messages can be sent to: a sender, the handle of a running consumer, or a consumer that is not started yet.
///
/// Code that only sends can take `&dyn MessageProducer<T>`. A test passes a producer of its own, which keeps the messages.
///
/// ```
/// use std::cell::RefCell;
/// use workfleet_worker_lifecycle::{MessageProducer, QueueConsumer, QueueSendError};
///
/// fn announce(names: &dyn MessageProducer<String>) -> Result<(), QueueSendError<String>> {
///     names.send("hello".into())
/// }
///
/// let queue = QueueConsumer::unbounded();
/// announce(&queue)?;
/// announce(&queue.sender())?;
/// assert_eq!(queue.queue_size(), 2);
///
/// struct Kept(RefCell<Vec<String>>);
/// impl MessageProducer<String> for Kept {
///     fn send(&self, message: String) -> Result<(), QueueSendError<String>> {
///         self.0.borrow_mut().push(message);
///         Ok(())
///     }
/// }
/// let kept = Kept(RefCell::default());
/// announce(&kept)?;
/// assert_eq!(kept.0.into_inner(), ["hello"]);
/// # Ok::<(), QueueSendError<String>>(())
/// ```
pub trait MessageProducer<T> {
    /// Sends a message, without waiting.
    ///
    /// # Errors
    /// [`QueueSendError`] with the message in it, as [`QueueSender::send`].
    fn send(&self, message: T) -> Result<(), QueueSendError<T>>;
}

/// A worker that takes messages out of a queue: what [`start_consumer`] starts.
///
/// The ready consumers implement it. A worker of your own with a [`QueueConsumer`] gives that one's sender.
///
/// ```
/// use std::sync::Arc;
/// use workfleet_worker_lifecycle::{
///     MessageConsumer, QueueConsumer, QueueSender, StatusSource, Worker, WorkerContext, WorkerError, start_consumer,
/// };
///
/// struct Adder {
///     numbers: QueueConsumer<u64>,
///     sum: u64,
/// }
///
/// impl Worker for Adder {
///     fn queue(&self) -> Option<Arc<dyn StatusSource>> {
///         Some(self.numbers.status())
///     }
///
///     async fn run(&mut self, cx: &WorkerContext) -> Result<(), WorkerError> {
///         while let Some(number) = self.numbers.next_while_running(cx).await {
///             self.sum += number;
///         }
///         Ok(())
///     }
/// }
///
/// impl MessageConsumer for Adder {
///     type Message = u64;
///
///     fn sender(&self) -> QueueSender<u64> {
///         self.numbers.sender()
///     }
/// }
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let adder = start_consumer(Adder { numbers: QueueConsumer::unbounded(), sum: 0 }).await?;
/// adder.send(1)?;
/// adder.shutdown().await?;
/// # Ok(()) }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a worker that takes messages",
    note = "use a `QueueConsumerWorker` or an `AsyncConsumer`, or implement `MessageConsumer` for a worker with a `QueueConsumer`"
)]
pub trait MessageConsumer: Worker {
    /// What it is sent.
    type Message: Send + 'static;

    /// A sender into its queue. Asked once, before the start.
    fn sender(&self) -> QueueSender<Self::Message>;
}

/// Starts a consumer and waits until it is up, as [`start`] does. The handle sends messages to it.
///
/// ```
/// use workfleet_worker_lifecycle::{OnStop, QueueConsumerWorker, start_consumer};
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let greeter = QueueConsumerWorker::new(|name: String| async move { println!("hello, {name}") });
/// let greeter = start_consumer(greeter.with_on_stop(OnStop::Drain)).await?;
/// greeter.send("you".into())?;
/// greeter.shutdown().await?; // drained first
/// # Ok(()) }
/// ```
///
/// # Errors
/// As [`start`].
///
/// # Cancel safety
/// Dropping the future asks the worker to stop.
pub async fn start_consumer<C: MessageConsumer>(
    consumer: C,
) -> Result<ConsumerHandle<C::Message>, StartError> {
    let sender = consumer.sender();
    Ok(ConsumerHandle { handle: start(consumer).await?, sender })
}

/// The owner of a consumer: a [`WorkerHandle`] that sends messages too. **Dropping it asks the worker to stop**.
pub struct ConsumerHandle<T> {
    handle: WorkerHandle,
    sender: QueueSender<T>,
}

impl<T: Send + 'static> ConsumerHandle<T> {
    /// A handle of a consumer that is not started yet. What is sent meanwhile is kept for it.
    pub fn new(consumer: impl MessageConsumer<Message = T>) -> Self {
        let sender = consumer.sender();
        Self { handle: WorkerHandle::new(consumer), sender }
    }
}

impl<T> ConsumerHandle<T> {
    /// Sends a message, without waiting.
    ///
    /// # Errors
    /// As [`QueueSender::send`].
    pub fn send(&self, message: T) -> Result<(), QueueSendError<T>> {
        self.sender.send(message)
    }

    /// Sends a message, and waits for room if the queue is bounded and full.
    ///
    /// # Errors
    /// As [`QueueSender::send_wait`].
    ///
    /// # Cancel safety
    /// Dropping the future drops the message unsent.
    pub async fn send_wait(&self, message: T) -> Result<(), QueueSendError<T>> {
        self.sender.send_wait(message).await
    }

    /// The sender, to clone it for others, and to ask what was discarded or is left over.
    pub fn sender(&self) -> &QueueSender<T> {
        &self.sender
    }

    /// The handle without the sender.
    pub fn into_handle(self) -> WorkerHandle {
        self.handle
    }

    /// Gives up the ownership, as [`WorkerHandle::detach`].
    pub fn detach(self) -> WorkerRef {
        self.handle.detach()
    }
}

impl<T> Deref for ConsumerHandle<T> {
    type Target = WorkerHandle;

    fn deref(&self) -> &WorkerHandle {
        &self.handle
    }
}

impl<T> fmt::Debug for ConsumerHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConsumerHandle").field("handle", &self.handle).field("sender", &self.sender).finish()
    }
}

impl<T> MessageProducer<T> for ConsumerHandle<T> {
    fn send(&self, message: T) -> Result<(), QueueSendError<T>> {
        self.sender.send(message)
    }
}

impl<T> MessageProducer<T> for QueueSender<T> {
    fn send(&self, message: T) -> Result<(), QueueSendError<T>> {
        self.send(message)
    }
}

impl<T: Send + 'static> MessageProducer<T> for QueueConsumer<T> {
    fn send(&self, message: T) -> Result<(), QueueSendError<T>> {
        self.send(message)
    }
}
