//! The manager's end of a worker's connection: what has to go out, from whichever thread.
//!
//! Invariants:
//! - Writing never waits. What the socket does not take is kept and sent when it does; reading goes on meanwhile.
//! - When a write fails, the future that serves the worker is told at once ([`Link::broken`]), and reads what the worker has sent before
//!   burying it. What is written meanwhile is dropped; the tasks among that go elsewhere with the burial.

use std::{
    fmt,
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{io::Interest, sync::Notify, time::sleep};
use workfleet_wire::{EncodeError, Kind, kinds};

use crate::{
    manager::SendError,
    pool::{CaughtUp, Line, guarded},
    protocol::{self, Cancel, Next, Recall, TaskFrame},
    sys::{outgoing::Outgoing, watch::watch},
};

/// What a worker's connection needs besides being read.
#[derive(Debug)]
pub(super) struct Link {
    socket: Arc<OwnedFd>,
    out: Mutex<Outgoing>,
    /// Set by [`close`](Self::close): the worker is gone or given up.
    closed: AtomicBool,
    /// The socket was full: flush when it is writable. Changed under the lock of `out`.
    full: AtomicBool,
    /// `full` was set.
    blocked: Notify,
    /// A write has failed: nothing will reach the worker any more.
    pub(super) broken: Notify,
    /// Nothing was heard of the worker for too long.
    pub(super) silent: Notify,
    /// The worker is to go.
    pub(super) retired: Notify,
    /// A task has missed a heartbeat and has not ended within the grace.
    pub(super) overdue: Notify,
    /// The worker has broken the rules of a service.
    pub(super) broken_off: Notify,
    catch_ups: Mutex<CatchUps>,
    /// Somebody asked to catch up.
    pub(super) behind: Notify,
}

/// Who waits until what the worker has sent was handled.
#[derive(Default)]
struct CatchUps {
    waiting: Vec<CaughtUp>,
    /// Nothing of the worker is left to be handled.
    over: bool,
}

impl fmt::Debug for CatchUps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CatchUps").field("waiting", &self.waiting.len()).field("over", &self.over).finish()
    }
}

/// How soon a full socket is tried again if the process has no descriptor left to be told by, or the system no memory.
const WITHOUT_EVENT: Duration = Duration::from_millis(5);

impl Link {
    pub(super) fn new(socket: Arc<OwnedFd>) -> Self {
        Self {
            socket,
            out: Mutex::default(),
            closed: AtomicBool::new(false),
            full: AtomicBool::new(false),
            blocked: Notify::new(),
            broken: Notify::new(),
            silent: Notify::new(),
            retired: Notify::new(),
            overdue: Notify::new(),
            broken_off: Notify::new(),
            catch_ups: Mutex::default(),
            behind: Notify::new(),
        }
    }

    /// Nothing comes any more.
    pub(super) fn finish(&self) {
        self.push(|out| protocol::push(kinds::TASK, &Next::Close, out));
        self.send();
    }

    fn push(&self, append: impl FnOnce(&mut Vec<u8>) -> Result<(), EncodeError>) {
        append(self.lock().buffer()).expect("numbers and bytes always encode");
    }

    /// Sends what the socket takes. False if the worker is gone.
    pub(super) fn send(&self) -> bool {
        self.send_out(&mut self.lock())
    }

    /// False if the worker was gone before: one that goes by what was sent has been sent it.
    fn send_out(&self, out: &mut Outgoing) -> bool {
        self.full.store(false, Ordering::Release);
        if self.closed.load(Ordering::Relaxed) {
            out.clear();
            return false;
        }
        match out.send(&*self.socket) {
            Ok(true) => {}
            Ok(false) => {
                self.full.store(true, Ordering::Release);
                self.blocked.notify_one();
            }
            Err(error) => {
                tracing::debug!(%error, "a worker could not be written to");
                self.close();
                out.clear();
                self.broken.notify_one();
                return false;
            }
        }
        true
    }

    /// Resolves when a socket that was full takes bytes again, or has failed.
    ///
    /// # Cancel safety
    /// Dropping this future loses nothing: that the socket was full is noted until it is flushed.
    pub(super) async fn writable_again(&self) {
        while !self.full.load(Ordering::Acquire) {
            self.blocked.notified().await;
        }
        if self.lock().is_starved() {
            // The socket has room, and the system had no memory to fill it. Nobody tells when it has.
            return sleep(WITHOUT_EVENT).await;
        }
        // Registered only now: otherwise every read at the other end would wake this one up.
        let registered =
            self.socket.try_clone().and_then(|socket| watch(Arc::new(socket), Interest::WRITABLE));
        match registered {
            // An error means that the runtime is going. That the socket has failed, the next write tells.
            Ok(socket) => drop(socket.writable().await),
            // No descriptor is left for it. There is no event to wait for then.
            Err(_) => sleep(WITHOUT_EVENT).await,
        }
    }

    /// Who waits to catch up with the worker now.
    pub(super) fn take_catch_ups(&self) -> Vec<CaughtUp> {
        std::mem::take(&mut self.lock_catch_ups().waiting)
    }

    /// Everything that the worker ever sent was handled, or will never be.
    pub(super) fn all_caught_up(&self) {
        self.lock_catch_ups().over = true;
        self.take_catch_ups().into_iter().for_each(guarded);
    }

    fn lock_catch_ups(&self) -> MutexGuard<'_, CatchUps> {
        self.catch_ups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes nothing any more.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Outgoing> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// While more than this, or than one frame may have, waits for a worker's socket, its services' frames are refused.
const WAITING_LIMIT_BYTES: u64 = 16 << 20;

impl Line for Link {
    fn dispatch(&self, task: &TaskFrame<'_>) {
        self.push(|out| protocol::push(kinds::TASK, &Next::Task(task.clone()), out));
    }

    fn recall(&self, recall: &Recall) {
        self.push(|out| protocol::push(kinds::RECALL, recall, out));
    }

    fn cancel(&self, cancel: &Cancel) {
        self.push(|out| protocol::push(kinds::CANCEL, cancel, out));
        self.send();
    }

    fn ping(&self) {
        self.push(|out| {
            workfleet_wire::encode_frame(kinds::PING, &[], out);
            Ok(())
        });
    }

    fn flushed(&self, request: u64) {
        self.push(|out| protocol::push(kinds::FLUSHED, &request, out));
    }

    fn flush(&self) {
        self.send();
    }

    fn give_up(&self) {
        self.silent.notify_one();
    }

    fn overdue(&self) {
        self.overdue.notify_one();
    }

    fn break_off(&self) {
        self.broken_off.notify_one();
    }

    fn retire(&self) {
        self.retired.notify_one();
    }

    fn catch_up(&self, done: CaughtUp) {
        let mut catch_ups = self.lock_catch_ups();
        if catch_ups.over {
            drop(catch_ups);
            return done();
        }
        catch_ups.waiting.push(done);
        drop(catch_ups);
        self.behind.notify_one();
    }

    fn send_frame(&self, kind: Kind, payload: &[u8], limit_bytes: u64) -> Result<(), SendError> {
        let mut out = self.lock();
        let waiting_bytes = out.waiting_bytes() as u64;
        let limit_bytes = limit_bytes.max(WAITING_LIMIT_BYTES);
        if waiting_bytes > limit_bytes {
            return Err(SendError::Full { waiting_bytes, limit_bytes });
        }
        workfleet_wire::encode_frame(kind, payload, out.buffer());
        if self.send_out(&mut out) { Ok(()) } else { Err(SendError::WorkerGone) }
    }
}
