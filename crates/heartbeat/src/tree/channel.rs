//! The way that the beats of one token take through one process: to the heartbeater that is here, or upwards.
//!
//! Invariants:
//! - Of the beats that wait to go up, only the latest of each token is kept. Its channel is among those that the node is going
//!   to send from, or that are being sent from.
//! - Beats leave before whatever is said about their token after them: they are sent under one lock.

use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{
    frames::{self, Address, Beat},
    node::Node,
};
use crate::{Details, cores::event::Copy, hub::Batch};

/// Where beats arrive: the heartbeater of a token.
pub(crate) trait Inlet: Send + Sync {
    /// A beat that superseded so many on its way, maybe one of several that came together: it has arrived when the batch is
    /// delivered, at the latest.
    fn beat(&self, batch: &mut Batch, details: Details, superseded: u64);
}

pub(crate) struct Channel {
    node: Arc<Node>,
    address: Address,
    way: Way,
    /// Who below sends beats of this token.
    copies: Mutex<BTreeSet<Copy>>,
}

enum Way {
    Here(Arc<dyn Inlet>),
    Up {
        /// Its number on the connection.
        number: u64,
        held: Mutex<Held>,
    },
}

#[derive(Default)]
struct Held {
    details: Option<Details>,
    superseded: u64,
}

impl Channel {
    pub(super) fn here(node: Arc<Node>, address: Address, inlet: Arc<dyn Inlet>) -> Self {
        Self { node, address, way: Way::Here(inlet), copies: Mutex::default() }
    }

    pub(super) fn up(node: Arc<Node>, address: Address, number: u64) -> Self {
        let way = Way::Up { number, held: Mutex::default() };
        Self { node, address, way, copies: Mutex::default() }
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// Its number on the connection, if it leads upwards.
    pub(super) fn number(&self) -> Option<u64> {
        match self.way {
            Way::Here(_) => None,
            Way::Up { number, .. } => Some(number),
        }
    }

    /// Passes a beat on.
    pub(crate) fn beat(self: &Arc<Self>, details: Details, superseded: u64) {
        match &self.way {
            Way::Here(inlet) => {
                let mut alone = Batch::default();
                inlet.beat(&mut alone, details, superseded);
                alone.deliver();
            }
            Way::Up { held, .. } => {
                let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
                let replaced = held.details.replace(details);
                let more = superseded.saturating_add(u64::from(replaced.is_some()));
                held.superseded = held.superseded.saturating_add(more);
                // Under the lock: whoever supersedes a beat can be sure that it is there to be sent.
                let waiting = replaced.is_none().then(|| self.node.add_waiting(Arc::clone(self)));
                drop(held);
                if let Some(count) = waiting {
                    self.node.beats_wait(count);
                }
            }
        }
    }

    /// Passes on a beat that came with others.
    pub(crate) fn beat_within(self: &Arc<Self>, batch: &mut Batch, details: Details, superseded: u64) {
        match &self.way {
            Way::Here(inlet) => inlet.beat(batch, details, superseded),
            Way::Up { .. } => self.beat(details, superseded),
        }
    }

    /// Appends the beat that waits, if one does.
    pub(super) fn take(&self, frame: &mut Vec<u8>) {
        let Way::Up { number, held, .. } = &self.way else { return };
        let Held { details, superseded } =
            std::mem::take(&mut *held.lock().unwrap_or_else(PoisonError::into_inner));
        if let Some(details) = details {
            frames::encode_into(&Beat { number: *number, superseded, details }, frame);
        }
    }

    pub(super) fn copies(&self) -> MutexGuard<'_, BTreeSet<Copy>> {
        self.copies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn node(&self) -> &Arc<Node> {
        &self.node
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.node.forget_channel(self);
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel").field("address", &self.address).finish_non_exhaustive()
    }
}
