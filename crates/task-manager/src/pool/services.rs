//! The services of a manager: which of them a frame is for, and that the panic of one is its own.

use std::sync::Arc;

use workfleet_wire::Kind;

use crate::{
    guards::guarded,
    protocol::Violation,
    service::{Peer, Service, WorkerIncarnation},
};

pub(crate) struct Services(pub(crate) Vec<Arc<dyn Service>>);

impl Services {
    /// A worker is about to make its sessions, or, if it is a thread, to get its first task.
    pub(crate) fn worker_ready(&self, peer: &Peer) {
        for service in &self.0 {
            guarded(|| service.on_worker_ready(peer));
        }
    }

    /// The one that frames of this kind are for.
    pub(crate) fn of(&self, kind: Kind) -> Option<&Arc<dyn Service>> {
        self.0.iter().find(|service| service.kinds().contains(&kind.0))
    }

    /// Nothing comes of the worker any more.
    pub(crate) fn worker_gone(&self, incarnation: WorkerIncarnation) {
        for service in &self.0 {
            guarded(|| service.on_worker_gone(incarnation));
        }
    }

    /// Hands over the frames that a worker has sent, up to one that is for no service.
    pub(crate) fn hand_over(&self, peer: &Peer, frames: Vec<(Kind, Box<[u8]>)>) -> Result<(), Violation> {
        for (kind, payload) in frames {
            match self.of(kind) {
                Some(service) => guarded(|| service.on_frame(peer, kind, &payload)),
                None => return Err(Violation::NoService { kind }),
            }
        }
        Ok(())
    }
}

impl std::fmt::Debug for Services {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|service| service.kinds())).finish()
    }
}
