//! Events and senders in a worker process: its end of what [`workfleet_heartbeat::remote`] joins.
//!
//! Invariant: while a beat waits, the I/O thread is about to look: it was woken, or will look after a tick, or waits for the
//! socket to take bytes again, which its own turn then follows.

use std::{cell::Cell, sync::OnceLock};

use workfleet_heartbeat::remote::{Upwards, Violation};
use workfleet_wire::Kind;

thread_local! {
    /// This thread handles frames at present, and would wait in vain for more.
    static READS: Cell<bool> = const { Cell::new(false) };
}

/// A worker's way up.
#[derive(Debug, Default)]
pub(super) struct WayUp {
    pub(super) upwards: OnceLock<Upwards>,
}

impl WayUp {
    /// A frame came from the manager.
    pub(super) fn on_frame(&self, kind: Kind, payload: &[u8]) -> Result<(), Violation> {
        self.upwards.get().map_or(Ok(()), |upwards| upwards.on_frame(kind, payload))
    }

    /// The I/O thread's turn: sends the beats that wait. True if it is to look again after a tick, because more may come.
    pub(super) fn send_beats(&self) -> bool {
        self.upwards.get().is_some_and(Upwards::send_beats)
    }

    /// Sends the beats that wait, also those that another thread is about to send: it has when this returns. True if there
    /// were any.
    pub(super) fn flush(&self) -> bool {
        self.upwards.get().is_some_and(Upwards::flush_beats)
    }
}

/// Says that this thread handles frames, while it lives.
pub(super) struct Reading(());

impl Reading {
    pub(super) fn new() -> Self {
        READS.set(true);
        Self(())
    }

    /// Whether this thread handles frames.
    pub(super) fn is_here() -> bool {
        READS.get()
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        READS.set(false);
    }
}
