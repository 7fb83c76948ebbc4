//! Events and senders on the connections of worker processes: the manager's end for [`workfleet_heartbeat::remote`].
//!
//! Invariant: what a worker has attached is held for it until the worker is gone, or has broken the rules.

use std::{
    collections::BTreeMap,
    fmt,
    ops::RangeInclusive,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use workfleet_heartbeat::remote::{self, Child, ChildConnection};
use workfleet_wire::{Kind, kinds::EVENT_KINDS};

use workfleet_causes::with_sources;

use crate::{
    pool::CaughtUp,
    refusal::MessageSendError,
    service::{Peer, Service, WorkerIncarnation},
};

/// The service by which events and senders work in worker processes. Every pool of processes has it.
#[derive(Default)]
pub(crate) struct Events {
    workers: Mutex<BTreeMap<WorkerIncarnation, Arc<Child>>>,
}

impl Service for Events {
    fn kinds(&self) -> RangeInclusive<u8> {
        EVENT_KINDS
    }

    fn on_worker_ready(&self, peer: &Peer) {
        let child = remote::attach_child(Arc::new(Connection(peer.clone())));
        self.lock().insert(peer.incarnation(), Arc::new(child));
    }

    fn on_frame(&self, peer: &Peer, kind: Kind, payload: &[u8]) {
        // None if it has broken the rules before.
        let Some(child) = self.lock().get(&peer.incarnation()).cloned() else { return };
        if let Err(violation) = child.on_frame(kind, payload) {
            workfleet_notice::error!(
                worker = peer.worker(),
                error = with_sources(&violation),
                "a worker violated the protocol of events and heartbeats"
            );
            self.on_worker_gone(peer.incarnation());
            // Whoever waits there for an event would wait forever.
            peer.break_off();
        }
    }

    fn on_worker_gone(&self, incarnation: WorkerIncarnation) {
        let gone = self.lock().remove(&incarnation);
        // Not under the lock: it tells whoever waited for it.
        drop(gone);
    }
}

impl Events {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<WorkerIncarnation, Arc<Child>>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The connection to a worker process.
struct Connection(Peer);

impl ChildConnection for Connection {
    fn name(&self) -> &str {
        self.0.worker()
    }

    fn send(&self, kind: Kind, payload: &[u8]) {
        match self.0.send_bounded_elsewhere(kind, payload) {
            Ok(()) => {}
            // The worker's slot was told, and tells every service when the worker is reaped.
            Err(MessageSendError::WorkerGone) => {
                tracing::debug!(worker = self.0.worker(), kind = %remote::TABLE.named(kind), "a worker that is gone was sent nothing");
            }
            Err(error) => {
                workfleet_notice::error!(worker = self.0.worker(), %error, kind = %remote::TABLE.named(kind), "a frame could not be sent");
                // A thread that waits there for this frame would wait forever.
                self.0.break_off();
            }
        }
    }

    fn catch_up(&self, done: CaughtUp) {
        self.0.catch_up(done);
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Connection").field(&self.0).finish()
    }
}
