//! Queue consumers: workers that are sent messages.
//!
//! [`QueueConsumer`] is the receiving end of a queue, for workers that take messages themselves; [`QueueSender`] the end
//! that is sent into; [`QueueConsumerWorker`] a ready worker that calls a function for each message. [`ConsumerHandle`] is the
//! handle of a worker that is sent messages, and [`MessageProducer`] whatever takes them.

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
pub use sender::{Leftovers, QueueSender, SendError, SendErrorKind};
pub use worker::QueueConsumerWorker;

/// What becomes of the messages that are still in the queue when its consumer is asked to stop.
///
/// Either way the queue closes at that moment: whoever sends to it from then on gets the message back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnStop {
    /// They are dropped, and counted: [`QueueSender::discarded`].
    #[default]
    Discard,
    /// They are handled, until the deadline; what is left then is handed back.
    Drain,
    /// They are handed back: [`QueueSender::leftovers`].
    HandBack,
}
