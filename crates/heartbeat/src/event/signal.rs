//! The state that all holders of an event in this process share: whether it is set, and its waiters.
//!
//! Invariants:
//! - The count of sets grows with every set, so waiters notice a set that was cleared at once.
//! - It changes under the lock of the event's core. Wakers are called outside it.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use tokio::sync::Notify;

use crate::{cores::event::Change, park::block_on};

/// What [`Signal::flag`] says.
const CLEAR: u8 = 0;
const SET: u8 = 1;
/// The process that knows was asked.
const UNKNOWN: u8 = 2;
/// No process knows it any more.
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

    /// Whether it is set; `None` while it is not known yet.
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

    /// Waits, blocking the thread, until it is known whether it is set.
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
