//! Reading a manager's inbox: by blocking, or as a stream.
//!
//! Invariant: whoever makes room in a full inbox lets dispatching go on.

use std::{
    fmt,
    marker::PhantomData,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_core::Stream;

use super::Shared;
use crate::{
    inbox::Taken,
    message::{Message, MessageError, TaskMessage},
};

/// See [`Pool::messages`](crate::Pool::messages).
pub struct Messages<'a, M> {
    pub(super) shared: &'a Arc<Shared>,
    pub(super) refused: bool,
    pub(super) of: PhantomData<fn() -> M>,
}

impl<M: TaskMessage> Iterator for Messages<'_, M> {
    type Item = Result<Message<M>, MessageError>;

    fn next(&mut self) -> Option<Self::Item> {
        if tokio::runtime::Handle::try_current().is_ok() {
            let first = !std::mem::replace(&mut self.refused, true);
            return first.then_some(Err(MessageError::InsideRuntime));
        }
        next_item(self.shared, self.shared.inbox.take())
    }
}

impl<M> fmt::Debug for Messages<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Messages").finish_non_exhaustive()
    }
}

/// See [`Pool::message_stream`](crate::Pool::message_stream).
#[must_use = "a stream does nothing until it is polled"]
pub struct MessageStream<M> {
    shared: Arc<Shared>,
    /// Under which its waker stands in the inbox.
    reader: u64,
    of: PhantomData<fn() -> M>,
}

impl<M> MessageStream<M> {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let reader = shared.inbox.new_reader();
        Self { shared, reader, of: PhantomData }
    }
}

impl<M> Drop for MessageStream<M> {
    fn drop(&mut self) {
        self.shared.inbox.forget_reader(self.reader);
    }
}

impl<M: TaskMessage> Stream for MessageStream<M> {
    type Item = Result<Message<M>, MessageError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.shared.inbox.poll_take(self.reader, cx).map(|taken| next_item(&self.shared, taken))
    }
}

impl<M> fmt::Debug for MessageStream<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MessageStream").finish_non_exhaustive()
    }
}

fn next_item<M: TaskMessage>(
    shared: &Shared,
    (taken, room): (Taken, bool),
) -> Option<Result<Message<M>, MessageError>> {
    if room {
        shared.resume();
    }
    match taken {
        Taken::Item(item) => Some(item.decode()),
        Taken::End => None,
    }
}
