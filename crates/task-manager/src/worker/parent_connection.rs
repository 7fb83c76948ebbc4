//! The connection by which a worker's events and senders reach the manager, as [`workfleet_heartbeat::remote`] wants it.

use std::sync::{Arc, Weak};

use workfleet_heartbeat::remote::{self, ParentConnection};
use workfleet_wire::Kind;

use super::{fork, parent::Reading, shared::Worker};

/// From now on, what is deserialised in this process finds its way home.
pub(super) fn open(worker: &Arc<Worker>) {
    if let Some(parent) = remote::connect(Arc::new(Connection(Arc::downgrade(worker)))) {
        let first = worker.parent_end.parent.set(parent).is_ok();
        debug_assert!(first, "a worker is started once");
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

impl ParentConnection for Connection {
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
            worker.poll_for_answer();
        }
    }

    fn wake(&self) {
        if let Some(worker) = self.worker() {
            worker.outbox.wake();
        }
    }

    fn reads_here(&self) -> bool {
        Reading::is_here()
    }
}
