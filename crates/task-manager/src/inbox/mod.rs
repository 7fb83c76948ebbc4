//! The manager's inbox: messages of running tasks, and failures of tasks without a handle. [`core`] decides which reader
//! gets which item.
//!
//! Invariants:
//! - It is bounded: beyond its limits the manager dispatches no task. Running tasks are still read, so no worker waits
//!   for a reader of the inbox.
//! - If running tasks send into a full inbox, it grows or drops messages, as its [`overflow`] says. No message is
//!   dropped silently.
//! - A task's messages are in the inbox before the task counts as ended. So a reader that finds no task pending and the
//!   inbox empty has seen everything.

mod core;
mod item;
mod overflow;
#[cfg(all(test, not(workfleet_loom)))]
mod tests;

use std::{
    fmt,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
};

use self::core::{Core, Follows, Unread};
pub(crate) use self::core::{ReaderId, Reads, Taken};
pub(crate) use self::item::Item;
pub use self::overflow::InboxOverflow;
use crate::guards::wake;

#[derive(Debug)]
pub(crate) struct Inbox {
    core: Mutex<Core<Waker>>,
    /// The core's own answer, for who does not hold its lock. Changed under the lock.
    full: AtomicBool,
}

/// Readers to be woken, and what is to be said, once no lock is held.
#[derive(Debug)]
#[must_use]
pub(crate) struct Told(Follows<Waker>);

impl Told {
    /// Whether there is room again, because something was dropped: then dispatching has to go on.
    pub(crate) fn has_room_again(&self) -> bool {
        self.0.room
    }

    /// Called with no lock held: a waker runs anything, and a subscriber may look at the manager.
    pub(crate) fn tell(self) {
        let Follows { wake: wakers, filled, room: _, unread, overflowed } = self.0;
        wakers.into_iter().for_each(wake);
        if filled {
            tracing::debug!("the inbox is full: no task is begun until its readers have made room");
        }
        if let Some(Unread { limit_bytes, waiting }) = unread {
            workfleet_notice::warn!(
                limit_bytes,
                waiting = %Waiting(&waiting),
                "the inbox is full and no reader takes what waits in it, so no task is begun: open a reader for each type \
                 of message (Pool::messages_until_close, Pool::message_stream_until_close) and keep reading, or raise \
                 inbox_limit"
            );
        }
        if let Some(overflowed) = overflowed {
            overflowed.tell();
        }
    }
}

/// Types of messages, and how many of each wait.
struct Waiting<'a>(&'a [(Option<Box<str>>, usize)]);

impl fmt::Display for Waiting<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (name, count)) in self.0.iter().enumerate() {
            let comma = if place > 0 { ", " } else { "" };
            match name {
                Some(name) => write!(f, "{comma}{count} {name:?}")?,
                None => write!(f, "{comma}{count} failures")?,
            }
        }
        Ok(())
    }
}

impl Inbox {
    pub(crate) fn new(limit_bytes: usize, overflow: InboxOverflow) -> Self {
        Self { core: Mutex::new(Core::new(limit_bytes, overflow)), full: AtomicBool::new(false) }
    }

    /// A task was scheduled.
    pub(crate) fn task_added(&self) {
        self.lock().task_added();
    }

    /// Puts in what a batch of frames brought, and counts the tasks that it ended. True if there is room again: then the
    /// caller has dispatching go on.
    #[must_use = "dispatching has to go on"]
    pub(crate) fn deliver(&self, items: impl IntoIterator<Item = Item>, ended: u64) -> bool {
        let told = self.put(items, ended);
        let room = told.has_room_again();
        told.tell();
        room
    }

    /// The same for a caller that holds a lock, and lets the readers know later.
    pub(crate) fn put(&self, items: impl IntoIterator<Item = Item>, ended: u64) -> Told {
        let mut core = self.lock();
        let follows = core.deliver(items, ended);
        self.full.store(core.is_full(), Ordering::Release);
        Told(follows)
    }

    /// Nothing should be dispatched until readers have made room.
    pub(crate) fn is_full(&self) -> bool {
        self.full.load(Ordering::Acquire)
    }

    pub(crate) fn open(&self, reads: Reads) -> ReaderId {
        let (reader, follows) = self.lock().open(reads);
        Told(follows).tell();
        reader
    }

    /// Closes a reader.
    pub(crate) fn shut(&self, reader: ReaderId) {
        let (lost, follows) = self.lock().shut(reader);
        Told(follows).tell();
        if lost > 0 {
            workfleet_notice::warn!(
                lost,
                "messages or failures are lost: their manager has closed and left them to a reader, which was dropped \
                 before it had read them"
            );
        }
    }

    /// Takes the oldest item that is for this reader, or leaves its waker instead of an earlier one. The flag says that
    /// there is room again.
    pub(crate) fn poll_take(&self, reader: ReaderId, cx: &mut Context<'_>) -> Poll<(Taken, bool)> {
        let mut core = self.lock();
        if let Some((taken, room)) = core.take(reader) {
            if room {
                self.full.store(false, Ordering::Release);
            }
            return Poll::Ready((taken, room));
        }
        let waits = core.waits(reader).is_some_and(|waker| waker.will_wake(cx.waker()));
        let replaced = if waits { None } else { core.wait(reader, cx.waker().clone()) };
        drop(core);
        // A waker's destructor may run anything: not under the lock.
        drop(replaced);
        Poll::Pending
    }

    /// The manager has closed. Returns what is left to no reader.
    pub(crate) fn close(&self) -> Vec<Item> {
        let mut core = self.lock();
        let (items, follows) = core.close();
        drop(core);
        Told(follows).tell();
        items
    }

    /// How many bytes lie here, and how many may.
    pub(crate) fn fill(&self) -> (u64, u64) {
        let core = self.lock();
        (core.len_bytes() as u64, core.limit_bytes() as u64)
    }

    /// How many messages were dropped.
    pub(crate) fn dropped(&self) -> u64 {
        self.lock().dropped()
    }

    /// How many items readers have taken, those that close the manager not counted.
    pub(crate) fn taken(&self) -> u64 {
        self.lock().taken()
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, Core<Waker>> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
