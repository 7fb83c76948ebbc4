//! The frames between services and the extensions of worker threads. There is no socket between them, but the same rule
//! holds: a sender is never called back before its call has returned.
//!
//! Invariants:
//! - Frames are handed over in the order in which they were sent, on the manager's thread, with no lock held.
//! - Services hear of the end of a worker after all that it sent, and of nothing that it sends later.
//! - What waits for a service is bounded: beyond [`HIGH_WATER_BYTES`] a task that sends waits for the manager's thread,
//!   which itself waits for nothing.
//!   What waits for an extension is bounded by refusing more.

use std::{
    collections::VecDeque,
    convert::Infallible,
    fmt,
    sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, Weak},
    thread::{self, ThreadId},
};

use tokio::{sync::Notify, task::yield_now};
use workfleet_wire::Kind;

use crate::{
    guards::guarded,
    pool::Services,
    refusal::MessageSendError,
    service::{Peer, WorkerIncarnation},
};

/// Whoever finds more than this on its way to services waits until they have taken it.
const HIGH_WATER_BYTES: usize = 1024 * 1024;
/// While more than this, or than one frame may have, is on its way to extensions, more is refused.
const WAITING_LIMIT_BYTES: u64 = 16 << 20;
/// Frames that are handed over before the manager's thread looks after everything else.
const FRAMES_IN_A_ROW: usize = 64;

pub(super) struct Exchange {
    services: Services,
    state: Mutex<State>,
    /// A frame has come.
    arrived: Notify,
    /// Services have taken what waited, or nothing is handed over any more.
    room: Condvar,
    /// The manager's thread, which hands frames over: it must not wait for itself.
    server: OnceLock<ThreadId>,
}

#[derive(Default)]
struct State {
    frames: VecDeque<Frame>,
    to_services_bytes: usize,
    to_extensions_bytes: usize,
    /// Of whom frames are taken: of workers that are not gone.
    live: Vec<WorkerIncarnation>,
    closed: bool,
}

struct Frame {
    to: To,
    kind: Kind,
    payload: Box<[u8]>,
}

impl Frame {
    /// What it takes while it waits: also an empty one is something.
    fn len_bytes(&self) -> usize {
        size_of::<Self>() + self.payload.len()
    }
}

enum To {
    Service(Peer),
    Extension(Weak<dyn Receiver>),
}

/// A worker, to whose extensions frames go.
pub(super) trait Receiver: Send + Sync {
    /// Hands a frame over. On the manager's thread, where this reference may be the last.
    fn receive(self: Arc<Self>, kind: Kind, payload: &[u8]);
}

impl Exchange {
    pub(super) fn new(services: Services) -> Self {
        let (arrived, room, server) = (Notify::new(), Condvar::new(), OnceLock::new());
        Self { services, state: Mutex::default(), arrived, room, server }
    }

    /// Sends a frame to the service whose it is; waits while too much waits for them. An extension that answers what it
    /// is being handed does not wait: nobody else would make room.
    pub(super) fn to_service(
        &self,
        peer: Peer,
        kind: Kind,
        payload: &[u8],
        may_wait: bool,
    ) -> Result<(), MessageSendError> {
        if self.services.of(kind).is_none() {
            return Err(MessageSendError::NoService { kind });
        }
        let mut state = self.lock();
        let is_heard = |state: &State| !state.closed && state.live.contains(&peer.incarnation);
        let may_wait = may_wait && !self.is_server();
        while may_wait && state.to_services_bytes > HIGH_WATER_BYTES && is_heard(&state) {
            state = self.room.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if !is_heard(&state) {
            return Err(MessageSendError::AttemptEnded);
        }
        let frame = Frame { to: To::Service(peer), kind, payload: payload.into() };
        state.to_services_bytes += frame.len_bytes();
        self.push(state, frame);
        Ok(())
    }

    /// Sends a frame to the extension whose it is; never waits.
    pub(super) fn to_extension(
        &self,
        worker: Weak<dyn Receiver>,
        kind: Kind,
        payload: &[u8],
        limit_bytes: u64,
    ) -> Result<(), MessageSendError> {
        let mut state = self.lock();
        let limit_bytes = limit_bytes.max(WAITING_LIMIT_BYTES);
        let waiting_bytes = state.to_extensions_bytes as u64;
        if state.closed || worker.strong_count() == 0 {
            return Err(MessageSendError::WorkerGone);
        }
        if waiting_bytes > limit_bytes {
            return Err(MessageSendError::Full { waiting_bytes, limit_bytes });
        }
        let frame = Frame { to: To::Extension(worker), kind, payload: payload.into() };
        state.to_extensions_bytes += frame.len_bytes();
        self.push(state, frame);
        Ok(())
    }

    fn push(&self, mut state: MutexGuard<'_, State>, frame: Frame) {
        state.frames.push_back(frame);
        drop(state);
        self.arrived.notify_one();
    }

    /// Hands frames over while it is polled.
    pub(super) async fn serve(self: Arc<Self>) -> Infallible {
        self.server.get_or_init(|| thread::current().id());
        loop {
            for _ in 0..FRAMES_IN_A_ROW {
                match self.take() {
                    Some(frame) => self.hand_over(&frame),
                    None => self.arrived.notified().await,
                }
            }
            // Frames may come as fast as they go, without end: the thread has slots to serve, too.
            yield_now().await;
        }
    }

    fn take(&self) -> Option<Frame> {
        let mut state = self.lock();
        let frame = state.frames.pop_front()?;
        match frame.to {
            To::Service(_) => {
                let before_bytes = state.to_services_bytes;
                state.to_services_bytes -= frame.len_bytes();
                if before_bytes > HIGH_WATER_BYTES && state.to_services_bytes <= HIGH_WATER_BYTES {
                    self.room.notify_all();
                }
            }
            To::Extension(_) => state.to_extensions_bytes -= frame.len_bytes(),
        }
        Some(frame)
    }

    fn hand_over(&self, Frame { to, kind, payload }: &Frame) {
        match to {
            To::Service(peer) => {
                if let Some(service) = self.services.of(*kind) {
                    guarded(|| service.on_frame(peer, *kind, payload));
                }
            }
            To::Extension(worker) => {
                if let Some(worker) = worker.upgrade() {
                    worker.receive(*kind, payload);
                }
            }
        }
    }

    /// A worker is about to run tasks.
    pub(super) fn worker_ready(&self, incarnation: WorkerIncarnation) {
        self.lock().live.push(incarnation);
    }

    /// A worker is gone. On the manager's thread: what the worker sent before is handed over first, and nothing after.
    pub(super) fn worker_gone(&self, incarnation: WorkerIncarnation) {
        let mut state = self.lock();
        state.live.retain(|&live| live != incarnation);
        let waiting = state.frames.len();
        drop(state);
        self.room.notify_all();
        for frame in (0..waiting).map_while(|_| self.take()) {
            self.hand_over(&frame);
        }
        self.services.worker_gone(incarnation);
    }

    /// Nothing is handed over any more.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        let left = std::mem::take(&mut state.frames);
        drop(state);
        self.room.notify_all();
        // A frame holds its peer, whose destructors are not run under the lock.
        drop(left);
    }

    fn is_server(&self) -> bool {
        self.server.get().is_some_and(|server| *server == thread::current().id())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange").finish_non_exhaustive()
    }
}
