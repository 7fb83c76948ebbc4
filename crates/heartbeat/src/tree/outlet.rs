//! One way out of this process, towards the homes of what it uses.
//!
//! Invariants:
//! - Beats leave before later messages about their token, because both are sent under one lock.
//! - Nothing that may be the last to hold a channel is dropped under that lock.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use super::{
    connection::ParentConnection,
    frames::{self, ATTACH, About, Attach, BEATS, DETACH, OPERATION, What},
    waiting::{Count, Waiting},
};
use crate::{address::Address, cores::event::News};

/// A frame of beats is sent when it has grown to this. With the largest details as the last, it fits 128 KiB.
const FRAME_BYTES: usize = 32 * 1024;

/// Something of which a beat waits.
pub(super) trait Waits: Send + Sync {
    /// Appends the beat that waits, if one does.
    fn take(&self, frame: &mut Vec<u8>);
}

type Waiter = Arc<dyn Waits>;

pub(crate) struct Outlet {
    /// Unique in this process.
    id: u64,
    up: Arc<dyn ParentConnection>,
    /// Whose beats wait to leave.
    waiting: Waiting<Waiter>,
    /// Held while beats are sent; a buffer for their frame.
    sending: Mutex<Vec<u8>>,
}

impl Outlet {
    pub(super) fn new(id: u64, up: Arc<dyn ParentConnection>) -> Self {
        Self { id, up, waiting: Waiting::new(), sending: Mutex::default() }
    }

    pub(super) fn id(&self) -> u64 {
        self.id
    }

    pub(super) fn up(&self) -> &Arc<dyn ParentConnection> {
        &self.up
    }

    /// From now on, this process uses what is at this address, under this number.
    pub(super) fn attach(&self, number: u64, what: What, address: Address) {
        self.up.send(ATTACH, &frames::encode(&Attach { number, what, address }));
        self.up.expect_answer();
    }

    pub(super) fn detach(&self, number: u64) {
        self.up.send(DETACH, &frames::encode(&number));
    }

    /// An event was set or cleared here.
    pub(super) fn operate(&self, number: u64, news: News) {
        self.up.send(OPERATION, &frames::encode(&About { number, news }));
        self.up.expect_answer();
    }

    /// A beat is to leave. [`beats_wait`](Self::beats_wait) follows.
    pub(super) fn add_waiting(&self, channel: Waiter) -> Count {
        self.waiting.add(channel)
    }

    /// So many tokens' beats wait to leave.
    pub(super) fn beats_wait(&self, count: Count) {
        if self.waiting.needs_wake(count) {
            self.up.wake();
        }
    }

    /// The turn of the thread that was woken, or looks again. True if it is to look again.
    pub(super) fn send_beats(&self) -> bool {
        let sent = self.send_those(Waiting::turn);
        if sent {
            self.waiting.look_again();
        }
        sent
    }

    /// Sends the beats that wait, out of turn. Returns whether there were any.
    pub(super) fn flush_beats(&self) -> bool {
        self.send_those(Waiting::take)
    }

    fn send_those(&self, who_waits: fn(&Waiting<Waiter>) -> Vec<Waiter>) -> bool {
        // Under this lock: who finds nothing left to send can be sure that it has been sent.
        let mut frame = self.sending.lock().unwrap_or_else(PoisonError::into_inner);
        let mut waiting = who_waits(&self.waiting);
        if waiting.is_empty() {
            return false;
        }
        for channel in &waiting {
            channel.take(&mut frame);
            if frame.len() >= FRAME_BYTES {
                self.up.send(BEATS, &frame);
                frame.clear();
            }
        }
        if !frame.is_empty() {
            self.up.send(BEATS, &frame);
            frame.clear();
        }
        frame.shrink_to(2 * FRAME_BYTES);
        drop(frame);
        // With what was gathered, the last holder of a channel may go, which detaches it.
        waiting.clear();
        true
    }
}

impl fmt::Debug for Outlet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outlet").field("id", &self.id).finish_non_exhaustive()
    }
}
