//! Events and senders in a worker process: its end of what [`workfleet_heartbeat::remote`] joins.
//!
//! Invariant: while a beat waits, the I/O thread is about to look: it was woken, or will look after a tick, or waits for the
//! socket to take bytes again, which its own turn then follows.

use std::{
    cell::Cell,
    sync::{Arc, OnceLock, Weak},
};

use workfleet_heartbeat::remote::{self, Up, Upwards, Violation};
use workfleet_wire::Kind;

use super::{Worker, fork};

thread_local! {
    /// This thread handles frames at present, and would wait in vain for more.
    static READS: Cell<bool> = const { Cell::new(false) };
}

/// A worker's way up.
#[derive(Debug, Default)]
pub(super) struct WayUp {
    upwards: OnceLock<Upwards>,
}

impl WayUp {
    /// From now on, what is deserialised in this process finds its way home.
    pub(super) fn open(worker: &Arc<Worker>) {
        if let Some(upwards) = remote::connect(Arc::new(Connection(Arc::downgrade(worker)))) {
            let first = worker.way_up.upwards.set(upwards).is_ok();
            debug_assert!(first, "a worker is started once");
        }
    }

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
}

impl Drop for Reading {
    fn drop(&mut self) {
        READS.set(false);
    }
}

/// The connection to the manager. The process ends with it, so it is never gone.
struct Connection(Weak<Worker>);

impl Connection {
    /// None in a copy of the process that a task has forked: the connection is not the copy's.
    fn worker(&self) -> Option<Arc<Worker>> {
        if fork::is_copy() { None } else { self.0.upgrade() }
    }
}

impl Up for Connection {
    fn send(&self, kind: Kind, payload: &[u8]) {
        let Some(worker) = self.worker() else { return };
        let pushed = worker.outbox.push(kind, |out| {
            out.extend_from_slice(payload);
            Ok(())
        });
        debug_assert!(pushed.is_ok(), "bytes are encoded already");
    }

    fn expect_answer(&self) {
        if let Some(worker) = self.worker() {
            worker.watch_for_answer();
        }
    }

    fn wake(&self) {
        if let Some(worker) = self.worker() {
            worker.outbox.wake();
        }
    }

    fn reads_here(&self) -> bool {
        READS.get()
    }
}
