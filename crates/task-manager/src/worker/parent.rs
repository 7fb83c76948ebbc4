//! Events and senders in a worker process: its end of what [`workfleet_heartbeat::remote`] joins.
//!
//! Invariant: while a beat waits, the I/O thread is about to send it. It was woken, or runs again after a tick, or waits for
//! the socket to take bytes again.

use std::{cell::Cell, sync::OnceLock};

use workfleet_heartbeat::remote::{Parent, ProtocolError};
use workfleet_wire::Kind;

thread_local! {
    /// This thread handles frames at present, and would wait in vain for more.
    static READS: Cell<bool> = const { Cell::new(false) };
}

/// A worker's end of the connection to its manager, for events and beats.
#[derive(Debug, Default)]
pub(super) struct ParentEnd {
    pub(super) parent: OnceLock<Parent>,
}

impl ParentEnd {
    /// A frame came from the manager.
    pub(super) fn on_frame(&self, kind: Kind, payload: &[u8]) -> Result<(), ProtocolError> {
        self.parent.get().map_or(Ok(()), |parent| parent.on_frame(kind, payload))
    }

    /// For the I/O thread: sends the beats that wait. True if it is to call again after a tick, because more may come.
    pub(super) fn send_beats(&self) -> bool {
        self.parent.get().is_some_and(Parent::send_beats)
    }

    /// Sends the beats that wait, also those that another thread is about to send: it has when this returns. True if there
    /// were any.
    pub(super) fn flush(&self) -> bool {
        self.parent.get().is_some_and(Parent::flush_beats)
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
