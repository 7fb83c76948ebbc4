//! The receiving end of a queue: a part of a worker that takes messages.
//!
//! Invariant: however it goes, `Drop` included, every message that was sent is handed out, handed back or counted.

use std::{
    fmt,
    future::poll_fn,
    num::NonZeroUsize,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{sync::Semaphore, task::coop, time::timeout};

use crate::{
    context::WorkerContext,
    queue::{
        OnStop, QueueSendError, QueueSender,
        channel::Receiver,
        sender::{Left, Link},
    },
    status::StatusSource,
};

/// The receiving end of a queue, as a field of a worker that takes messages itself.
///
/// Senders come from [`sender`](Self::sender). Dropping the consumer closes the queue, and discards or hands back the messages
/// that are left, as [`OnStop`] says. A worker is dropped before its outcome is published, so by then this has been done.
///
/// ```
/// use std::{sync::Arc, time::Duration};
/// use workfleet_worker_lifecycle::{QueueConsumer, StatusSource, Worker, WorkerContext, WorkerError, start};
///
/// /// Adds up what it is sent, and says so when nothing came for a while.
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
///         while !cx.is_stopping() {
///             match cx.until_stopping(self.numbers.get_message(Duration::from_millis(500))).await.flatten() {
///                 Some(number) => self.sum += number,
///                 None => println!("{} so far", self.sum),
///             }
///         }
///         Ok(())
///     }
/// }
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let numbers = QueueConsumer::unbounded();
/// let sender = numbers.sender();
/// let adder = start(Adder { numbers, sum: 0 }).await?;
/// sender.send(1)?;
/// adder.shutdown().await?;
/// assert_eq!(sender.send(2).unwrap_err().into_message(), 2);
/// # Ok(()) }
/// ```
pub struct QueueConsumer<T> {
    receiver: Receiver<T>,
    link: Arc<Link<T>>,
    on_stop: OnStop,
}

impl<T: Send + 'static> QueueConsumer<T> {
    /// A queue without a bound: it holds as much as is sent.
    pub fn unbounded() -> Self {
        Self::new(None)
    }

    /// A queue for at most `bound` messages, beside the one that is being handled.
    ///
    /// # Panics
    /// `bound` is more than [`Semaphore::MAX_PERMITS`].
    pub fn bounded(bound: NonZeroUsize) -> Self {
        Self::new(Some(Semaphore::new(bound.get())))
    }

    fn new(room: Option<Semaphore>) -> Self {
        let receiver = Receiver::new();
        let left = Left { messages: Default::default(), discarded: 0 };
        let link = Link {
            channel: crate::sync::Arc::clone(receiver.channel()),
            room,
            left: Mutex::new(left),
            failures: Default::default(),
            home: workfleet_fork::Home::here(),
        };
        Self { receiver, link: Arc::new(link), on_stop: OnStop::default() }
    }

    /// Sets what happens to the messages that are in the queue when the worker stops. With [`OnStop::Drain`], the worker has to
    /// handle them, by [`next_while_running`](Self::next_while_running). Messages that are left at the end are handed back.
    #[must_use]
    pub fn with_on_stop(mut self, on_stop: OnStop) -> Self {
        self.on_stop = on_stop;
        self
    }

    /// A sender into this queue.
    pub fn sender(&self) -> QueueSender<T> {
        QueueSender::new(Arc::clone(&self.link))
    }

    /// Sends a message into this queue, without waiting.
    ///
    /// # Errors
    /// As [`QueueSender::send`].
    pub fn send(&self, message: T) -> Result<(), QueueSendError<T>> {
        self.sender().send(message)
    }

    /// How many messages wait in the queue.
    pub fn queue_size(&self) -> usize {
        self.link.channel.len()
    }

    /// The queue's share of a worker's status: its size, and what failed, was discarded or handed back. It is for
    /// [`Worker::queue`](crate::Worker::queue).
    pub fn status(&self) -> Arc<dyn StatusSource> {
        Arc::clone(&self.link) as Arc<dyn StatusSource>
    }

    /// The next message, or `None` if none comes within the timeout.
    ///
    /// # Panics
    /// It is not called within a tokio runtime with a time driver.
    ///
    /// # Cancel safety
    /// Dropping it loses nothing: a message is taken out when it is returned.
    pub async fn get_message(&mut self, within: Duration) -> Option<T> {
        // Most often one is there, and that needs no timer.
        if let Some(message) = self.try_next() {
            return Some(message);
        }
        timeout(within, self.next()).await.ok().flatten()
    }

    /// The next message, if one is there.
    pub fn try_next(&mut self) -> Option<T> {
        let message = self.receiver.pop();
        self.taken(message)
    }

    /// The next message. It waits until one comes; `None` only after [`close`](Self::close), when nothing is left.
    ///
    /// # Cancel safety
    /// Dropping it loses nothing: a message is taken out when it is returned.
    pub async fn next(&mut self) -> Option<T> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// The next message while the worker is running. When the worker is to stop, this closes the queue; then it returns the
    /// messages that are left if they are to be [drained](OnStop::Drain). After that it returns `None`.
    ///
    /// # Cancel safety
    /// Dropping it loses nothing: a message is taken out when it is returned.
    pub async fn next_while_running(&mut self, cx: &WorkerContext) -> Option<T> {
        // So that a queue which is never empty does not keep its thread for itself.
        coop::consume_budget().await;
        if !cx.is_stopping() {
            // Most often one is there, and that needs no registration for the stop.
            if let Some(message) = self.try_next() {
                return Some(message);
            }
            // If both are there, the stop wins.
            if let Some(message) = cx.until_stopping(self.next()).await {
                return message;
            }
        }
        if self.on_stop != OnStop::Drain {
            self.close();
            return None;
        }
        self.refuse();
        // `Drop` discards or hands back what is left at the deadline.
        self.try_next()
    }

    /// Messages that are sent later come back to their senders. Messages in the queue stay.
    fn refuse(&self) {
        if let Some(room) = &self.link.room {
            room.close();
        }
        self.link.channel.close();
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let budget = ready!(coop::poll_proceed(cx));
        let message = ready!(self.receiver.poll_pop(cx));
        budget.made_progress();
        Poll::Ready(self.taken(message))
    }

    fn taken(&self, message: Option<T>) -> Option<T> {
        if let (Some(room), Some(_)) = (&self.link.room, &message) {
            room.add_permits(1);
        }
        message
    }

    pub(crate) fn failures(&self) -> &std::sync::atomic::AtomicU64 {
        &self.link.failures
    }
}

impl<T> QueueConsumer<T> {
    /// Closes the queue. A message that is sent later comes back to its sender. Messages in the queue are discarded or handed back,
    /// as [`with_on_stop`](Self::with_on_stop) says. A second call does nothing.
    pub fn close(&mut self) {
        if let Some(room) = &self.link.room {
            room.close();
        }
        let left_over = self.receiver.close();
        if left_over.is_empty() {
            return;
        }
        let count = left_over.len();
        let mut left = self.link.left.lock().unwrap_or_else(PoisonError::into_inner);
        match self.on_stop {
            OnStop::Discard => left.discarded += count,
            OnStop::Drain | OnStop::HandBack => {
                left.messages.extend(left_over);
                return;
            }
        }
        drop(left);
        workfleet_notice::warn!(
            messages = count,
            "a queue consumer stopped and discarded what was in its queue"
        );
        // Their destructors may run anything: not under the lock, and one by one, because a second panic in the destructor
        // of all of them would end the program.
        left_over.into_iter().for_each(workfleet_panics::discard);
    }
}

impl<T> Drop for QueueConsumer<T> {
    fn drop(&mut self) {
        self.close();
    }
}

impl<T> fmt::Debug for QueueConsumer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueueConsumer")
            .field("queue_size", &self.link.channel.len())
            .field("on_stop", &self.on_stop)
            .finish_non_exhaustive()
    }
}
