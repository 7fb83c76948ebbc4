//! What each ready-made consumer has: a queue, and a function that is told of failures.

/// The methods that each ready-made consumer has. Its fields are `$handler`, `queue`, `failures` and `given`.
macro_rules! methods_of_every_consumer {
    ($message:ty, $handler:ident: $handles:ty, $failure:ty) => {
        /// A consumer with an unbounded queue.
        pub fn new($handler: $handles) -> Self {
            Self::on(crate::QueueConsumer::unbounded(), $handler)
        }

        /// A consumer with a queue for at most `bound` messages.
        ///
        /// # Panics
        /// As [`QueueConsumer::bounded`](crate::QueueConsumer::bounded).
        pub fn bounded(bound: std::num::NonZeroUsize, $handler: $handles) -> Self {
            Self::on(crate::QueueConsumer::bounded(bound), $handler)
        }

        fn on(queue: crate::QueueConsumer<$message>, $handler: $handles) -> Self {
            Self { $handler, queue, failures: crate::queue::Failures::new(), given: Default::default() }
        }

        /// Sets what becomes of what is in the queue when the worker is asked to stop.
        #[must_use]
        pub fn with_on_stop(mut self, on_stop: crate::OnStop) -> Self {
            self.queue = self.queue.with_on_stop(on_stop);
            self
        }

        /// Has each failure to handle a message told to this function, between two messages.
        #[doc(alias = "on_failure")]
        #[must_use]
        pub fn with_on_failure(mut self, report: impl FnMut(&$failure) + Send + 'static) -> Self {
            self.failures.set_report(report);
            self
        }

        /// Sends a message into its queue, without waiting.
        ///
        /// # Errors
        /// As [`QueueSender::send`](crate::QueueSender::send).
        pub fn send(&self, message: $message) -> Result<(), crate::QueueSendError<$message>> {
            self.queue.send(message)
        }

        /// A sender into its queue.
        pub fn sender(&self) -> crate::QueueSender<$message> {
            self.queue.sender()
        }
    };
}
pub(crate) use methods_of_every_consumer;

/// What [`MessageConsumer`](crate::MessageConsumer) asks for of that.
macro_rules! answers_of_every_consumer {
    ($message:ty) => {
        type Message = $message;

        fn sender(&self) -> crate::QueueSender<$message> {
            self.queue.sender()
        }
    };
}
pub(crate) use answers_of_every_consumer;
