//! The end of a queue that messages are sent into, from any thread.

use std::{
    collections::VecDeque,
    error, fmt,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
};

use tokio::sync::Semaphore;
use workfleet_fork::Home;

use crate::{
    queue::channel::Channel,
    status::{Status, StatusSource},
    sync,
};

/// What the two ends of a queue share.
pub(super) struct Link<T> {
    pub(super) channel: sync::Arc<Channel<T>>,
    /// A permit for each message that there is room for, if the queue is bounded.
    pub(super) room: Option<Semaphore>,
    pub(super) left: Mutex<Left<T>>,
    /// How many messages have failed in their handler.
    pub(super) failures: std::sync::atomic::AtomicU64,
    /// The process that made the queue. A fork of it has no consumer, and another thread may have held a lock.
    pub(super) home: Home,
}

/// What was in the queue when its consumer ended.
pub(super) struct Left<T> {
    pub(super) messages: VecDeque<T>,
    pub(super) discarded: usize,
}

impl<T: Send> StatusSource for Link<T> {
    fn add_to(&self, status: &mut Status) {
        status.queue_size = Some(self.channel.len());
        let (left, discarded) = {
            let left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
            (left.messages.len(), left.discarded)
        };
        // It orders nothing: it is a number to look at.
        let failures = self.failures.load(Ordering::Relaxed);
        for (key, count) in
            [("leftovers", left as u64), ("discarded", discarded as u64), ("failures", failures)]
        {
            if count > 0 {
                status.details.insert(key.into(), count.to_string());
            }
        }
    }
}

/// Sends messages to a queue consumer: from any thread, without async, before the consumer was started too. Clone it for
/// every sender.
///
/// A message whose `send` returned `Ok` is handled, or handed back as a [leftover](Self::leftovers), or counted as
/// [discarded](Self::discarded). One whose `send` failed comes back in the error.
pub struct QueueSender<T> {
    link: Arc<Link<T>>,
}

impl<T> QueueSender<T> {
    pub(super) fn new(link: Arc<Link<T>>) -> Self {
        Self { link }
    }

    /// Sends a message.
    ///
    /// # Errors
    /// [`QueueSendError`], which has the message in it. Either the consumer has stopped or is about to; or its queue is bounded and full; or
    /// this process is a fork of the one that has the consumer.
    #[doc(alias = "put_nowait")]
    pub fn send(&self, message: T) -> Result<(), QueueSendError<T>> {
        if !self.link.home.is_here() {
            return Err(QueueSendError { message, kind: QueueSendErrorKind::Forked });
        }
        if let Some(room) = &self.link.room {
            match room.try_acquire() {
                // It is given back when the message is taken out.
                Ok(permit) => permit.forget(),
                Err(tokio::sync::TryAcquireError::NoPermits) => {
                    return Err(QueueSendError { message, kind: QueueSendErrorKind::Full });
                }
                Err(tokio::sync::TryAcquireError::Closed) => return Err(stopped(message)),
            }
        }
        self.link.channel.push(message).map_err(stopped)
    }

    /// Sends a message, and waits for room if the queue is bounded and full. Room is given in the order of waiting.
    ///
    /// # Errors
    /// [`QueueSendError`], which has the message in it. Either the consumer has stopped or is about to; or this process is a fork of the
    /// one that has the consumer.
    ///
    /// # Cancel safety
    /// Dropping the future drops the message unsent.
    pub async fn send_wait(&self, message: T) -> Result<(), QueueSendError<T>> {
        if !self.link.home.is_here() {
            return Err(QueueSendError { message, kind: QueueSendErrorKind::Forked });
        }
        if let Some(room) = &self.link.room {
            match room.acquire().await {
                Ok(permit) => permit.forget(),
                Err(_closed) => return Err(stopped(message)),
            }
        }
        self.link.channel.push(message).map_err(stopped)
    }

    /// Whether the queue refuses messages, because the consumer has stopped or is about to.
    pub fn is_closed(&self) -> bool {
        !self.link.home.is_here() || self.link.channel.is_closed()
    }

    /// How many messages wait in the queue.
    pub fn queue_size(&self) -> usize {
        if self.link.home.is_here() { self.link.channel.len() } else { 0 }
    }

    /// How many messages were dropped unhandled when the consumer stopped: see [`OnStop`](crate::OnStop).
    pub fn discarded(&self) -> usize {
        if !self.link.home.is_here() {
            return 0;
        }
        self.link.left.lock().unwrap_or_else(PoisonError::into_inner).discarded
    }

    /// Takes the messages that were handed back when the consumer stopped, in the order in which they were sent: see
    /// [`OnStop`](crate::OnStop). They are there as soon as the worker has ended, and for one taker.
    pub fn leftovers(&self) -> Leftovers<T> {
        if !self.link.home.is_here() {
            return Leftovers(VecDeque::new());
        }
        let mut left = self.link.left.lock().unwrap_or_else(PoisonError::into_inner);
        Leftovers(std::mem::take(&mut left.messages))
    }
}

fn stopped<T>(message: T) -> QueueSendError<T> {
    QueueSendError { message, kind: QueueSendErrorKind::Stopped }
}

impl<T> Clone for QueueSender<T> {
    fn clone(&self) -> Self {
        Self { link: Arc::clone(&self.link) }
    }
}

impl<T> fmt::Debug for QueueSender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueueSender").field("queue_size", &self.queue_size()).finish_non_exhaustive()
    }
}

/// Messages that were not handled, in the order in which they were sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leftovers<T>(VecDeque<T>);

impl<T> Iterator for Leftovers<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.0.pop_front()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.0.len(), Some(self.0.len()))
    }
}

impl<T> ExactSizeIterator for Leftovers<T> {}

/// A message that was not sent, and why.
#[doc(alias = "SendError")]
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct QueueSendError<T> {
    pub(crate) message: T,
    pub(crate) kind: QueueSendErrorKind,
}

/// Why a message was not sent.
#[doc(alias = "SendErrorKind")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum QueueSendErrorKind {
    /// The consumer has stopped, or is about to.
    Stopped,
    /// The queue is bounded and full.
    Full,
    /// This process is a fork of the one that has the consumer.
    Forked,
}

impl<T> QueueSendError<T> {
    /// Why it was not sent.
    pub fn kind(&self) -> QueueSendErrorKind {
        self.kind
    }

    /// The message.
    pub fn into_message(self) -> T {
        self.message
    }
}

impl<T> fmt::Display for QueueSendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            QueueSendErrorKind::Stopped => "the consumer takes no more messages",
            QueueSendErrorKind::Full => "the consumer's queue is full",
            QueueSendErrorKind::Forked => {
                "the consumer belongs to the process that this one is a fork of: start another after the fork"
            }
        })
    }
}

impl<T> fmt::Debug for QueueSendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !f.alternate() {
            return fmt::Display::fmt(self, f);
        }
        f.debug_struct("QueueSendError").field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl<T> error::Error for QueueSendError<T> {}
