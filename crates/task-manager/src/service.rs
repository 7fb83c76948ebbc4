//! The manager's half of a service: what rides on the connections of its workers without being a task.
//!
//! The worker's half is [`Extension`](crate::Extension).
//!
//! Invariants:
//! - A range of frame kinds belongs to at most one service of a manager.
//! - No lock of the manager is held while a service runs.

use std::{fmt, ops::RangeInclusive, sync::Arc};

use serde::{Deserialize, Serialize};
use workfleet_wire::Kind;

use crate::{
    kinds::SERVICE_KINDS,
    pool::{Remote, SendFrames},
    refusal::MessageSendError,
};

/// The number of one worker process or worker thread, from its start to its end. The next worker in the same slot has another.
///
/// A service keeps by it what a worker holds, and releases that when [`Service::on_worker_gone`] names it.
#[doc(alias = "Incarnation")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct WorkerIncarnation(pub(crate) u64);

impl fmt::Display for WorkerIncarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// The manager's half of a service. Mount it with
/// [`ProcessManagerBuilder::service`](crate::ProcessManagerBuilder::service).
///
/// Everything runs on the manager's thread, and it may be dropped there: it must not block.
pub trait Service: Send + Sync {
    /// The frame kinds that are this service's own: within `0x20..=0x67`, see [`kinds`](crate::kinds).
    fn kinds(&self) -> RangeInclusive<u8>;

    /// A worker has come up. A worker process makes its sessions now; if that fails, it never gets a task. No frame
    /// arrives before this call. The worker's half is created on first use: do not send before it has sent.
    fn on_worker_ready(&self, peer: &Peer) {
        let _ = peer;
    }

    /// A worker's half sent a frame.
    ///
    /// From a worker process, frames arrive in order with messages and outcomes: a frame that a task sent before a
    /// message, or before its end, is here before that message or outcome can be read.
    fn on_frame(&self, peer: &Peer, kind: Kind, payload: &[u8]);

    /// A worker is dead: release what it held under this incarnation. No frame of it arrives after this call.
    fn on_worker_gone(&self, incarnation: WorkerIncarnation);
}

/// The worker at the other end.
#[derive(Clone)]
pub struct Peer {
    pub(crate) sender: Arc<dyn SendFrames>,
    /// None for a thread.
    pub(crate) remote: Option<Arc<dyn Remote>>,
    pub(crate) worker: Arc<str>,
    pub(crate) incarnation: WorkerIncarnation,
    pub(crate) frame_limit_bytes: u64,
}

impl Peer {
    /// The incarnation of this worker.
    pub fn incarnation(&self) -> WorkerIncarnation {
        self.incarnation
    }

    /// The worker's name.
    pub fn worker(&self) -> &str {
        &self.worker
    }

    /// Sends a frame to the worker's half. `Ok` means buffered: it leaves at once unless the socket is full.
    ///
    /// # Errors
    /// [`MessageSendError::WorkerGone`]; [`MessageSendError::TooLarge`] if the payload exceeds the frame limit;
    /// [`MessageSendError::ForeignKind`] if `kind` is in no service's range; [`MessageSendError::Full`] if more than 16 MiB that were
    /// sent before wait for the worker (or more than the frame limit, if that is larger).
    pub fn send(&self, kind: Kind, payload: &[u8]) -> Result<(), MessageSendError> {
        let (len_bytes, limit_bytes) = (payload.len() as u64, self.frame_limit_bytes);
        if !SERVICE_KINDS.contains(&kind.0) {
            return Err(MessageSendError::ForeignKind { kind });
        }
        if len_bytes > limit_bytes {
            return Err(MessageSendError::TooLarge { len_bytes, limit_bytes });
        }
        self.sender.send_frame(kind, payload, limit_bytes)
    }

    /// The same for a service of ours that bounds by itself what it has under way: its frames are never too many.
    pub(crate) fn send_bounded_elsewhere(&self, kind: Kind, payload: &[u8]) -> Result<(), MessageSendError> {
        self.sender.send_frame(kind, payload, u64::MAX)
    }

    /// Has the worker killed, which has broken the rules of a service.
    pub(crate) fn break_off(&self) {
        match &self.remote {
            Some(remote) => remote.break_off(),
            None => debug_assert!(false, "what is in this process needs no frames of events"),
        }
    }

    /// Handles everything that this worker has sent so far, then calls `done`. Use it before you decide that something
    /// did not come: this process itself may have been late.
    ///
    /// This call does not wait. `done` is called on the manager's thread, or at once on this thread if there is nothing
    /// to handle. It is also called if the worker is gone or the manager closes. It does not wait for what a stopped
    /// worker has not sent yet.
    pub fn catch_up(&self, done: impl FnOnce() + Send + 'static) {
        self.sender.when_caught_up(Box::new(done));
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer").field("worker", &self.worker).field("incarnation", &self.incarnation).finish()
    }
}
