//! Reading a manager's inbox: by blocking, or as a stream.
//!
//! Invariant: a reader that makes room in a full inbox resumes dispatching.

use std::{
    fmt,
    marker::PhantomData,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    thread::{self, ThreadId},
};

use futures_core::Stream;
use tokio::runtime::Handle;
use workfleet_heartbeat::runtime_thread;

use super::Shared;
use crate::{
    inbox::{ReaderId, Reads, Taken},
    message::{Message, MessageError, ReadMessage},
    park::Parker,
};

/// A reader of the inbox that blocks: see [`Pool::messages`](crate::Pool::messages). It is open until it is dropped.
#[must_use = "a reader that is open and is not read keeps its messages from everybody"]
pub struct Messages<'a, M> {
    shared: &'a Arc<Shared>,
    /// None in a fork.
    reader: Option<ReaderId>,
    parker: Parker,
    /// It was read on a thread that must not be blocked, or in a fork.
    refused: bool,
    /// A thread for blocking, of which a runtime knows, that has read before.
    may_block: Option<ThreadId>,
    of: PhantomData<fn() -> M>,
}

impl<'a, M> Messages<'a, M> {
    pub(super) fn new(shared: &'a Arc<Shared>, reads: Reads) -> Self {
        Self {
            reader: shared.home.is_here().then(|| shared.inbox.open(reads)),
            shared,
            parker: Parker::new(),
            refused: false,
            may_block: None,
            of: PhantomData,
        }
    }

    /// Whether this thread may wait here. It is asked whether or not there is something to wait for, so that the answer
    /// does not depend on who is faster.
    fn may_block(&mut self) -> bool {
        if Handle::try_current().is_err() {
            return true;
        }
        let thread = Some(thread::current().id());
        if self.may_block != thread {
            if runtime_thread::is_polling() {
                return false;
            }
            self.may_block = thread;
        }
        true
    }
}

impl<M: ReadMessage> Iterator for Messages<'_, M> {
    type Item = Result<Message<M>, MessageError>;

    fn next(&mut self) -> Option<Self::Item> {
        let Some(reader) = self.reader.filter(|_| self.shared.home.is_here()) else {
            return refuse(&mut self.refused, MessageError::Forked);
        };
        let mut may_block = self.may_block();
        loop {
            if !may_block {
                return refuse(&mut self.refused, MessageError::InsideRuntime);
            }
            let mut cx = Context::from_waker(self.parker.waker());
            if let Poll::Ready(taken) = self.shared.inbox.poll_take(reader, &mut cx) {
                return next_item(self.shared, taken);
            }
            // The same thread may be one of a runtime by now.
            may_block = !runtime_thread::is_polling();
            if may_block {
                self.parker.park();
            }
        }
    }
}

impl<M> Drop for Messages<'_, M> {
    fn drop(&mut self) {
        shut(self.shared, self.reader);
    }
}

impl<M> fmt::Debug for Messages<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Messages").finish_non_exhaustive()
    }
}

/// A reader of the inbox that is a stream: see [`Pool::message_stream`](crate::Pool::message_stream). It is open until it
/// is dropped.
#[must_use = "a stream does nothing until it is polled"]
pub struct MessageStream<M> {
    shared: Arc<Shared>,
    /// None in a fork.
    reader: Option<ReaderId>,
    /// It was read in a fork.
    refused: bool,
    of: PhantomData<fn() -> M>,
}

impl<M> MessageStream<M> {
    pub(super) fn new(shared: Arc<Shared>, reads: Reads) -> Self {
        let reader = shared.home.is_here().then(|| shared.inbox.open(reads));
        Self { shared, reader, refused: false, of: PhantomData }
    }
}

impl<M> Drop for MessageStream<M> {
    fn drop(&mut self) {
        shut(&self.shared, self.reader);
    }
}

impl<M: ReadMessage> Stream for MessageStream<M> {
    type Item = Result<Message<M>, MessageError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(reader) = self.reader.filter(|_| self.shared.home.is_here()) else {
            return Poll::Ready(refuse(&mut self.refused, MessageError::Forked));
        };
        self.shared.inbox.poll_take(reader, cx).map(|taken| next_item(&self.shared, taken))
    }
}

impl<M> fmt::Debug for MessageStream<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MessageStream").finish_non_exhaustive()
    }
}

/// The first time the error, then the end.
fn refuse<M>(refused: &mut bool, error: MessageError) -> Option<Result<Message<M>, MessageError>> {
    (!std::mem::replace(refused, true)).then_some(Err(error))
}

fn shut(shared: &Shared, reader: Option<ReaderId>) {
    if let Some(reader) = reader.filter(|_| shared.home.is_here()) {
        shared.inbox.shut(reader);
    }
}

fn next_item<M: ReadMessage>(
    shared: &Shared,
    (taken, room): (Taken, bool),
) -> Option<Result<Message<M>, MessageError>> {
    if room {
        shared.resume();
    }
    match taken {
        Taken::Item(item) => Some(item.decode()),
        Taken::Dropped { name, count } => Some(Err(MessageError::Dropped { name, count })),
        Taken::End => None,
    }
}
