//! The manager's inbox: messages of running tasks, and failures of tasks that nobody holds a handle of.
//!
//! Invariants:
//! - It is bounded: beyond its limits the manager dispatches nothing new, while what runs is still read, so no
//!   worker ever waits for the inbox's reader.
//! - A task's messages are in the inbox before the task counts as ended: a reader who finds no task pending and the
//!   inbox empty has seen everything.

use std::{
    collections::VecDeque,
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Instant,
};

use crate::{
    failure::TaskFailure,
    message::{EncodedMessage, Message, MessageError, TaskMessage},
    pool::wake,
    task::TaskId,
};

/// What lies in the inbox.
#[derive(Debug)]
pub(crate) enum Item {
    Message { task: Option<TaskId>, attempt: u32, message: EncodedMessage },
    Failure(TaskFailure),
}

impl Item {
    fn len_bytes(&self) -> usize {
        match self {
            Self::Message { message, .. } => size_of::<Self>() + message.name.len() + message.payload.len(),
            Self::Failure(failure) => size_of::<Self>() + failure.len_bytes(),
        }
    }

    /// The item as a reader of `M` gets it.
    pub(crate) fn decode<M: TaskMessage>(self) -> Result<Message<M>, MessageError> {
        match self {
            Self::Failure(failure) => Err(MessageError::Failed(failure)),
            Self::Message { task, attempt: _, message } if *message.name != *M::NAME => {
                Err(MessageError::Unexpected { found: message.name.into(), expected: M::NAME, task })
            }
            Self::Message { task, attempt, message } => {
                match workfleet_wire::message::decode(&message.payload) {
                    Ok(content) => Ok(Message { content, task, attempt }),
                    Err(source) => Err(MessageError::Malformed { name: message.name.into(), task, source }),
                }
            }
        }
    }
}

#[derive(Debug)]
pub(crate) struct Inbox {
    state: Mutex<State>,
    changed: Condvar,
    limit_bytes: usize,
    /// Dispatching stops until a reader has made room. Changed under the lock.
    full: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    items: VecDeque<Item>,
    len_bytes: usize,
    /// Tasks that were scheduled and have not ended.
    pending: u64,
    threads_waiting: u32,
    /// Of readers that found nothing, by their numbers.
    wakers: Vec<(u64, Waker)>,
    next_reader: u64,
}

/// What a reader got.
#[derive(Debug)]
pub(crate) enum Taken {
    Item(Item),
    /// Every task has ended and everything was read.
    End,
}

impl Inbox {
    pub(crate) fn new(limit_bytes: usize) -> Self {
        Self { state: Mutex::default(), changed: Condvar::new(), limit_bytes, full: AtomicBool::new(false) }
    }

    /// A task was scheduled.
    pub(crate) fn task_added(&self) {
        self.lock().pending += 1;
    }

    /// Puts in what a batch of frames brought, and counts the tasks that it ended.
    pub(crate) fn deliver(&self, items: impl IntoIterator<Item = Item>, ended: u64) {
        let mut state = self.lock();
        let before = state.items.len();
        for item in items {
            state.len_bytes += item.len_bytes();
            state.items.push_back(item);
        }
        state.pending -= ended;
        let became_full = state.len_bytes > self.limit_bytes && !self.full.swap(true, Ordering::AcqRel);
        if state.items.len() > before || state.pending == 0 {
            self.wake_readers(state);
        } else {
            drop(state);
        }
        if became_full {
            self.warn_of_fullness();
        }
    }

    /// Not under the lock: a subscriber may look at the manager.
    fn warn_of_fullness(&self) {
        let limit_bytes = self.limit_bytes;
        tracing::warn!(limit_bytes, "the inbox is full: no task is begun until it is read");
    }

    /// Puts in one item, without telling the readers: [`announce`](Self::announce) does.
    pub(crate) fn put(&self, item: Item) {
        let mut state = self.lock();
        state.len_bytes += item.len_bytes();
        state.items.push_back(item);
        let became_full = state.len_bytes > self.limit_bytes && !self.full.swap(true, Ordering::AcqRel);
        drop(state);
        if became_full {
            self.warn_of_fullness();
        }
    }

    /// Tells the readers that something has come.
    pub(crate) fn announce(&self) {
        self.wake_readers(self.lock());
    }

    /// Nothing should be dispatched until a reader has made room.
    pub(crate) fn is_full(&self) -> bool {
        self.full.load(Ordering::Acquire)
    }

    /// Takes the oldest item, waiting for one. The flag says that there is room again.
    pub(crate) fn take(&self) -> (Taken, bool) {
        let mut state = self.lock();
        loop {
            if let Some(taken) = Self::try_take(&mut state) {
                return (taken, self.has_room_again(&state));
            }
            state.threads_waiting += 1;
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.threads_waiting -= 1;
        }
    }

    /// A number for a reader that leaves wakers.
    pub(crate) fn new_reader(&self) -> u64 {
        let mut state = self.lock();
        state.next_reader += 1;
        state.next_reader
    }

    /// Takes the oldest item, or leaves the reader's waker instead of an earlier one.
    pub(crate) fn poll_take(&self, reader: u64, cx: &mut Context<'_>) -> Poll<(Taken, bool)> {
        let mut state = self.lock();
        if let Some(taken) = Self::try_take(&mut state) {
            return Poll::Ready((taken, self.has_room_again(&state)));
        }
        let replaced = match state.wakers.iter_mut().find(|(of, _)| *of == reader) {
            Some((_, waker)) if waker.will_wake(cx.waker()) => None,
            Some((_, waker)) => Some(std::mem::replace(waker, cx.waker().clone())),
            None => {
                state.wakers.push((reader, cx.waker().clone()));
                None
            }
        };
        drop(state);
        // A waker's destructor may run anything: not under the lock.
        drop(replaced);
        Poll::Pending
    }

    /// The reader is gone. Every reader is woken for everything, so nobody misses what it does not take.
    pub(crate) fn forget_reader(&self, reader: u64) {
        let mut state = self.lock();
        let place = state.wakers.iter().position(|(of, _)| *of == reader);
        let forgotten = place.map(|place| state.wakers.swap_remove(place));
        drop(state);
        drop(forgotten);
    }

    /// Waits until no task is pending, without reading. False: the deadline passed.
    pub(crate) fn wait_for_end(&self, deadline: Instant) -> bool {
        let mut state = self.lock();
        while state.pending > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state.threads_waiting += 1;
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
            state.threads_waiting -= 1;
        }
        true
    }

    /// Everything that lies here.
    pub(crate) fn drain(&self) -> Vec<Item> {
        let mut state = self.lock();
        state.len_bytes = 0;
        self.full.store(false, Ordering::Release);
        state.items.drain(..).collect()
    }

    /// How many bytes lie here, and how many may.
    pub(crate) fn fill(&self) -> (u64, u64) {
        (self.lock().len_bytes as u64, self.limit_bytes as u64)
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().items.len()
    }

    fn try_take(state: &mut State) -> Option<Taken> {
        match state.items.pop_front() {
            Some(item) => {
                state.len_bytes -= item.len_bytes();
                Some(Taken::Item(item))
            }
            None => (state.pending == 0).then_some(Taken::End),
        }
    }

    /// Half empty after having been full: not at once, or dispatching would stop and start with every item.
    fn has_room_again(&self, state: &State) -> bool {
        state.len_bytes <= self.limit_bytes / 2 && self.full.load(Ordering::Relaxed) && {
            self.full.store(false, Ordering::Release);
            true
        }
    }

    fn wake_readers(&self, mut state: MutexGuard<'_, State>) {
        let wakers = std::mem::take(&mut state.wakers);
        let threads_wait = state.threads_waiting > 0;
        drop(state);
        if threads_wait {
            self.changed.notify_all();
        }
        for (_, waker) in wakers {
            wake(waker);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        failure::{FailureCause, FailureReport},
        task::{ManagerId, TaskId},
    };

    fn failure(text: String) -> Item {
        Item::Failure(
            FailureReport {
                task: TaskId::new(ManagerId::new(0, 0), 0),
                name: "a-task".into(),
                debug: "ATask".into(),
                attempt: 1,
                worker: None,
                cause: FailureCause::Error { chain: vec![text], backtrace: None },
                links: Vec::new(),
                deaths: Vec::new(),
                last_heartbeat: None,
            }
            .into(),
        )
    }

    #[test]
    fn the_text_of_a_failure_counts() {
        let inbox = Inbox::new(10_000);
        inbox.task_added();
        inbox.task_added();
        inbox.deliver([failure("short".into())], 1);
        assert!(!inbox.is_full());
        inbox.deliver([failure("x".repeat(10_000))], 1);
        assert!(inbox.is_full());
        // Not at once: or dispatching would stop and start with every item.
        assert!(matches!(inbox.take(), (Taken::Item(_), false)));
        assert!(matches!(inbox.take(), (Taken::Item(_), true)));
        assert!(!inbox.is_full());
        assert!(matches!(inbox.take(), (Taken::End, false)));
    }
}
