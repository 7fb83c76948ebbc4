//! The worker's half of a service: what rides on the same connection as the tasks.
//!
//! The manager's half is [`Service`](crate::Service). Neither half knows tasks, and the task manager knows neither half: so
//! locks, events and heartbeats reach a task although the task manager does not know them.
//!
//! Invariant: a range of frame kinds belongs to at most one extension.

use std::{
    any::Any,
    fmt,
    ops::RangeInclusive,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
};

use workfleet_wire::Kind;

use crate::{kinds::SERVICE_KINDS, refusal::MessageSendError};

/// A service's half in a worker process; made when a task first asks for it by
/// [`TaskContext::extension`](crate::TaskContext::extension).
pub trait Extension: Any + Send + Sync {
    /// The frame kinds of the service, the same as its [`Service::kinds`](crate::Service::kinds).
    const KINDS: RangeInclusive<u8>;

    /// Makes the extension, which sends to its other half by `sender`. It must not wait for an answer: no frame is handed out
    /// until this returns.
    fn attach(sender: ServiceSender) -> Self;

    /// A frame came from the other half. It runs on the worker thread that reads the socket, also while a task runs. It
    /// must neither block nor flush: that thread could not read the answer. A panic ends the worker.
    fn on_frame(&self, kind: Kind, payload: &[u8]);
}

/// A worker that sends the frames of its extensions to its manager.
pub(crate) trait SendToManager: Send + Sync {
    /// Sends a service's frame.
    fn send_frame(&self, kind: Kind, payload: &[u8]) -> Result<(), MessageSendError>;
}

/// Sends frames from an [`Extension`] to its [`Service`](crate::Service) in the manager.
#[doc(alias = "ServiceLine")]
#[derive(Clone)]
pub struct ServiceSender {
    worker: Weak<dyn SendToManager>,
    kinds: RangeInclusive<u8>,
}

impl fmt::Debug for ServiceSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceSender").field("kinds", &self.kinds).finish_non_exhaustive()
    }
}

impl ServiceSender {
    /// Sends a frame. `Ok` means buffered: it leaves at once unless the socket is full.
    ///
    /// # Errors
    /// [`MessageSendError::ForeignKind`] if the service's range does not hold `kind`, or no service's may, [`MessageSendError::TooLarge`] if the payload
    /// exceeds the frame limit, [`MessageSendError::AttemptEnded`] if the worker is ending.
    pub fn send(&self, kind: Kind, payload: &[u8]) -> Result<(), MessageSendError> {
        if !self.kinds.contains(&kind.0) || !SERVICE_KINDS.contains(&kind.0) {
            return Err(MessageSendError::ForeignKind { kind });
        }
        self.worker.upgrade().ok_or(MessageSendError::AttemptEnded)?.send_frame(kind, payload)
    }
}

/// The extensions that the tasks of a worker have asked for.
#[derive(Default)]
pub(crate) struct Extensions {
    attached: Mutex<Vec<Attached>>,
    /// One is being made, with `attached` locked: frames for this worker wait for that.
    attaching: AtomicBool,
}

struct Attached {
    kinds: RangeInclusive<u8>,
    extension: Arc<dyn Any + Send + Sync>,
    on_frame: fn(&(dyn Any + Send + Sync), Kind, &[u8]),
}

/// An extension is being made while this lives, also if that panics.
struct Attaching<'a>(&'a AtomicBool);

impl<'a> Attaching<'a> {
    fn new(attaching: &'a AtomicBool) -> Self {
        attaching.store(true, Ordering::Relaxed);
        Self(attaching)
    }
}

impl Drop for Attaching<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

impl Extensions {
    /// The extension of this type. If there is none, it is made, with a sender of `worker`.
    pub(crate) fn get<E: Extension>(&self, worker: Weak<dyn SendToManager>) -> Arc<E> {
        let mut attached = self.attached.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = attached.iter().find_map(|a| Arc::downcast(Arc::clone(&a.extension)).ok()) {
            return found;
        }
        let taken = attached
            .iter()
            .find(|a| a.kinds.contains(E::KINDS.start()) || E::KINDS.contains(a.kinds.start()));
        if let Some(taken) = taken {
            let kinds = taken.kinds.clone();
            drop(attached);
            panic!("an extension claims the frame kinds {:?}, of which another has {kinds:?}", E::KINDS);
        }
        let sender = ServiceSender { worker, kinds: E::KINDS };
        let attaching = Attaching::new(&self.attaching);
        let extension = Arc::new(E::attach(sender));
        drop(attaching);
        attached.push(Attached {
            kinds: E::KINDS,
            extension: extension.clone(),
            on_frame: |extension, kind, payload| {
                if let Some(extension) = extension.downcast_ref::<E>() {
                    extension.on_frame(kind, payload);
                }
            },
        });
        extension
    }

    /// Whether one is being made. What it sends must not wait for whoever hands frames over, who waits for it.
    pub(crate) fn is_attaching(&self) -> bool {
        self.attaching.load(Ordering::Relaxed)
    }

    /// Hands a frame to the extension whose it is; false if there is none.
    pub(crate) fn on_frame(&self, kind: Kind, payload: &[u8]) -> bool {
        let attached = self.attached.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(found) = attached.iter().find(|attached| attached.kinds.contains(&kind.0)) else {
            return false;
        };
        let (extension, on_frame) = (Arc::clone(&found.extension), found.on_frame);
        drop(attached);
        on_frame(&*extension, kind, payload);
        true
    }
}

impl fmt::Debug for Extensions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Extensions").finish_non_exhaustive()
    }
}
