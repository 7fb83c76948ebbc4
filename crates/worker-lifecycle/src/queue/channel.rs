//! A queue with many senders and one receiver: what is sent from any thread, one task takes in batches.
//!
//! Invariants:
//! - A message that was pushed is popped, or is handed to the caller that closes the queue. Closing and taking what is
//!   left is one step under the lock, so nothing can slip in between.
//! - The receiver's waker is in `waker` only while the receiver has seen `items` empty under the same lock: so the next
//!   push finds it there. Wakers are woken, and dropped, outside the lock.
//! - `batched` is written by the receiver alone; a size read without it running is exact.

use std::{
    collections::VecDeque,
    mem,
    sync::PoisonError,
    task::{Context, Poll, Waker},
};

use crate::sync::{Arc, AtomicUsize, Mutex, MutexGuard, Ordering};

/// What the two ends share.
pub(super) struct Channel<T> {
    state: Mutex<State<T>>,
    /// How many messages the receiver has taken out in its batch and not handed out yet. It is set under the lock when
    /// a batch is taken and counted down without it, so it pairs with nothing: it is a number to look at.
    batched: AtomicUsize,
}

struct State<T> {
    /// Unbounded here: the senders hold a permit for each if the queue is bounded.
    items: VecDeque<T>,
    is_closed: bool,
    waker: Option<Waker>,
}

impl<T> Channel<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends a message, or hands it back if the queue is closed.
    pub(super) fn push(&self, message: T) -> Result<(), T> {
        let mut state = self.lock();
        if state.is_closed {
            return Err(message);
        }
        state.items.push_back(message);
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(())
    }

    /// Closes the queue for later messages. Messages in the queue stay.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
    }

    pub(super) fn is_closed(&self) -> bool {
        self.lock().is_closed
    }

    /// How many messages were not popped yet.
    pub(super) fn len(&self) -> usize {
        let state = self.lock();
        state.items.len() + self.batched.load(Ordering::Relaxed)
    }
}

/// The one end that takes messages out.
pub(super) struct Receiver<T> {
    channel: Arc<Channel<T>>,
    batch: VecDeque<T>,
}

impl<T> Receiver<T> {
    pub(super) fn new() -> Self {
        let state = State { items: VecDeque::new(), is_closed: false, waker: None };
        let channel = Channel { state: Mutex::new(state), batched: AtomicUsize::new(0) };
        Self { channel: Arc::new(channel), batch: VecDeque::new() }
    }

    pub(super) fn channel(&self) -> &Arc<Channel<T>> {
        &self.channel
    }

    /// The next message, if one is there.
    pub(super) fn pop(&mut self) -> Option<T> {
        if self.batch.is_empty() {
            let mut state = self.channel.lock();
            // The emptied batch's memory goes back to hold what is sent next.
            mem::swap(&mut self.batch, &mut state.items);
            self.channel.batched.store(self.batch.len(), Ordering::Relaxed);
        }
        let message = self.batch.pop_front()?;
        self.channel.batched.store(self.batch.len(), Ordering::Relaxed);
        Some(message)
    }

    /// The next message; `None` if none is there and the queue is closed.
    pub(super) fn poll_pop(&mut self, cx: &mut Context<'_>) -> Poll<Option<T>> {
        loop {
            if let Some(message) = self.pop() {
                return Poll::Ready(Some(message));
            }
            let mut state = self.channel.lock();
            if !state.items.is_empty() {
                continue;
            }
            if state.is_closed {
                return Poll::Ready(None);
            }
            let old = match &state.waker {
                Some(waker) if waker.will_wake(cx.waker()) => None,
                _ => state.waker.replace(cx.waker().clone()),
            };
            drop(state);
            drop(old);
            return Poll::Pending;
        }
    }

    /// Closes the queue and takes what is left, in order. Again, it takes nothing more.
    pub(super) fn close(&mut self) -> VecDeque<T> {
        let mut left = mem::take(&mut self.batch);
        let mut state = self.channel.lock();
        state.is_closed = true;
        left.append(&mut state.items);
        self.channel.batched.store(0, Ordering::Relaxed);
        let waker = state.waker.take();
        drop(state);
        drop(waker);
        left
    }
}

#[cfg(all(test, workfleet_loom))]
mod models {
    use std::future::poll_fn;

    use loom::{future::block_on, model, thread};

    use super::*;

    #[test]
    fn a_message_that_is_pushed_wakes_the_receiver() {
        model(|| {
            let mut receiver = Receiver::new();
            let channel = Arc::clone(receiver.channel());
            let sender = thread::spawn(move || {
                channel.push(1).expect("it is open");
                channel.push(2).expect("it is open");
            });
            for expected in [1, 2] {
                assert_eq!(block_on(poll_fn(|cx| receiver.poll_pop(cx))), Some(expected));
            }
            sender.join().expect("no panic");
            assert_eq!(receiver.channel().len(), 0);
        });
    }

    #[test]
    fn a_push_that_races_the_close_is_handed_back_or_left_over() {
        model(|| {
            let mut receiver = Receiver::new();
            let senders = [1, 2].map(|message| {
                let channel = Arc::clone(receiver.channel());
                thread::spawn(move || channel.push(message).err())
            });
            let mut seen: Vec<i32> = receiver.pop().into_iter().collect();
            seen.extend(receiver.close());
            seen.extend(senders.into_iter().filter_map(|sender| sender.join().expect("no panic")));
            seen.sort_unstable();
            assert_eq!(seen, [1, 2]);
        });
    }
}
