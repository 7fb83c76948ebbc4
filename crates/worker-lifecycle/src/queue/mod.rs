//! Queue consumers: workers that are sent messages.
//!
//! [`QueueConsumer`] is the receiving end of a queue, for workers that take messages themselves. [`QueueSender`] is the sending end.
//! [`QueueConsumerWorker`] is a ready-made worker that calls a function for each message. [`ConsumerHandle`] is the handle of a
//! running consumer. [`MessageProducer`] is the trait of everything that messages can be sent to.

mod callback;
mod channel;
mod consumer;
mod producer;
pub(crate) mod ready;
mod sender;
mod worker;

pub(crate) use callback::{Failures, survive};
pub use consumer::QueueConsumer;
pub use producer::{ConsumerHandle, MessageConsumer, MessageProducer, start_consumer};
pub use sender::{Leftovers, QueueSendError, QueueSendErrorKind, QueueSender};
pub use worker::QueueConsumerWorker;

/// What becomes of the messages that are still in the queue when its consumer is asked to stop.
///
/// In each case the queue closes at that moment: a message that is sent later comes back to its sender, in the error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnStop {
    /// They are dropped, and counted: [`QueueSender::discarded`].
    #[default]
    Discard,
    /// They are handled until the deadline. Messages that are left then are handed back.
    Drain,
    /// They are handed back: [`QueueSender::leftovers`].
    HandBack,
}
