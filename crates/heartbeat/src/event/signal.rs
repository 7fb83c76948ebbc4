//! What everybody who holds an event in this process shares: whether it is set, and who waits.
//!
//! Invariants:
//! - The count of sets grows with every one, so whoever waits learns of a set that was cleared at once.
//! - It changes under the lock of the event's core. Wakers are called outside it.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use tokio::sync::Notify;

use crate::{cores::event::Change, park::block_on};

/// What [`Signal::flag`] says.
const CLEAR: u8 = 0;
const SET: u8 = 1;
/// Whoever knows has been asked.
const UNKNOWN: u8 = 2;
/// Nobody knows any more.
const LOST: u8 = 3;

#[derive(Debug)]
pub(super) struct Signal {
    /// Written with `Release` after the count, read with `Acquire`: who sees an event set sees what was done before.
    flag: AtomicU8,
    sets: AtomicU64,
    changed: Notify,
}

impl Signal {
    /// Of an event that is clear, or of one that somebody else has to be asked about.
    pub(super) fn new(known: bool) -> Self {
        let flag = AtomicU8::new(if known { CLEAR } else { UNKNOWN });
        Self { flag, sets: AtomicU64::new(0), changed: Notify::new() }
    }

    /// Under the core's lock; [`announce`](Self::announce) follows without it.
    pub(super) fn apply(&self, change: Change) {
        let flag = match change {
            Change::Lost => LOST,
            Change::Is { set, pulsed } => {
                if pulsed {
                    self.sets.fetch_add(1, Ordering::Release);
                }
                if set { SET } else { CLEAR }
            }
        };
        self.flag.store(flag, Ordering::Release);
    }

    pub(super) fn announce(&self) {
        self.changed.notify_waiters();
    }

    /// Whether it is set; `None` while nobody has said so yet.
    #[inline]
    pub(super) fn is_set(&self) -> Option<bool> {
        match self.flag.load(Ordering::Acquire) {
            UNKNOWN => None,
            flag => Some(flag == SET),
        }
    }

    pub(super) fn is_lost(&self) -> bool {
        self.flag.load(Ordering::Acquire) == LOST
    }

    /// Waits, blocking the thread, until somebody has said whether it is set.
    pub(super) fn wait_until_known(&self) -> bool {
        block_on(self.until(|| self.is_set()))
    }

    /// Waits until it is set, or was in between. False if it is lost.
    pub(super) async fn wait(&self) -> bool {
        let before = self.sets.load(Ordering::Acquire);
        self.until(|| {
            let set = self.is_set() == Some(true) || self.sets.load(Ordering::Acquire) != before;
            if set { Some(true) } else { self.is_lost().then_some(false) }
        })
        .await
    }

    async fn until<R>(&self, mut ready: impl FnMut() -> Option<R>) -> R {
        loop {
            let changed = self.changed.notified();
            let mut changed = std::pin::pin!(changed);
            // From here on, no change is missed.
            changed.as_mut().enable();
            if let Some(ready) = ready() {
                return ready;
            }
            changed.await;
        }
    }
}
