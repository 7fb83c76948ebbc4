//! The sending half of a worker's connection. Any thread of the manager may use it.
//!
//! Invariants:
//! - Writing never waits. What the socket does not take is kept and sent when it does; reading goes on meanwhile.
//! - When a write fails, the future that serves the worker is told at once ([`Mail::Broken`]), and reads what the worker has sent
//!   before reaping it. What is written meanwhile is dropped; the tasks among that go elsewhere when it is reaped.

use std::{
    fmt,
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{io::Interest, time::sleep};
use workfleet_wire::{EncodeError, Kind};

use crate::{
    guards::guarded,
    kinds,
    pool::{CaughtUp, GiveTasks, Remote, SendFrames, Supervise, mailbox::Mailbox},
    protocol::{self, Cancel, Next, Recall, TaskFrame},
    refusal::MessageSendError,
    sys::{outgoing::Outgoing, readiness::register},
};

/// The sending half of a worker's connection, and its mail.
#[derive(Debug)]
pub(crate) struct ConnectionSender {
    socket: Arc<OwnedFd>,
    out: Mutex<Out>,
    /// Set by [`close`](Self::close): the worker is gone or given up.
    closed: AtomicBool,
    mailbox: Mailbox<Mail>,
    catch_ups: Mutex<CatchUps>,
}

/// Messages to the future that serves the worker.
#[derive(Debug, PartialEq)]
pub(crate) enum Mail {
    /// The socket is full: send on when it is writable.
    Blocked,
    /// A write has failed: nothing will reach the worker any more.
    Broken,
    /// Something has not come in time, or somebody asks: catch up.
    CatchUp,
    /// The worker is to go.
    Retire,
    /// The worker has broken the rules of a service: it is to be killed.
    BreakOff,
}

#[derive(Debug, Default)]
struct Out {
    outgoing: Outgoing,
    /// The socket took no more. Set with [`Mail::Blocked`].
    is_full: bool,
}

/// The callers that wait until everything that the worker has sent was handled.
#[derive(Default)]
struct CatchUps {
    waiting: Vec<CaughtUp>,
    /// Nothing from the worker is left to be handled.
    over: bool,
}

impl fmt::Debug for CatchUps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CatchUps").field("waiting", &self.waiting.len()).field("over", &self.over).finish()
    }
}

/// How soon a full socket is tried again if the process has no descriptor left to be told by, or the system no memory.
const WITHOUT_EVENT: Duration = Duration::from_millis(5);

impl ConnectionSender {
    pub(super) fn new(socket: Arc<OwnedFd>) -> Self {
        Self {
            socket,
            out: Mutex::default(),
            closed: AtomicBool::new(false),
            mailbox: Mailbox::default(),
            catch_ups: Mutex::default(),
        }
    }

    /// What this future is told next.
    ///
    /// # Cancel safety
    /// Dropping this future loses nothing.
    pub(super) async fn mail(&self) -> Mail {
        self.mailbox.next().await
    }

    /// Nothing comes any more.
    pub(crate) fn finish(&self) {
        self.push(|out| protocol::push(kinds::TASK, &Next::Close, out));
        self.send();
    }

    fn push(&self, append: impl FnOnce(&mut Vec<u8>) -> Result<(), EncodeError>) {
        append(self.lock().outgoing.buffer()).expect("numbers and bytes always encode");
    }

    /// Sends what the socket takes.
    fn send(&self) -> Sent {
        self.send_out(&mut self.lock())
    }

    fn send_out(&self, out: &mut Out) -> Sent {
        let was_full = std::mem::take(&mut out.is_full);
        if self.closed.load(Ordering::Relaxed) {
            out.outgoing.clear();
            return Sent::ToNobody;
        }
        match out.outgoing.send(&*self.socket) {
            Ok(true) => Sent::All,
            Ok(false) => {
                out.is_full = true;
                if !was_full {
                    self.mailbox.put(Mail::Blocked);
                }
                Sent::Part
            }
            Err(error) => {
                tracing::debug!(%error, "a worker could not be written to");
                self.close();
                out.outgoing.clear();
                self.mailbox.put(Mail::Broken);
                Sent::ToNobody
            }
        }
    }

    /// Sends on what a full socket did not take. Whether something is left.
    pub(super) fn send_on(&self) -> bool {
        self.send() == Sent::Part
    }

    /// Resolves when a socket that was full takes bytes again, or has failed.
    ///
    /// # Cancel safety
    /// Dropping this future loses nothing.
    pub(super) async fn writable(&self) {
        if self.lock().outgoing.is_starved() {
            // The socket has room, and the system had no memory to fill it. Nobody tells when it has.
            return sleep(WITHOUT_EVENT).await;
        }
        // Registered only now: otherwise every read at the other end would wake this one up.
        let registered =
            self.socket.try_clone().and_then(|socket| register(Arc::new(socket), Interest::WRITABLE));
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
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Out> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What became of what was to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    All,
    /// The socket was full.
    Part,
    /// The worker is gone.
    ToNobody,
}

/// While more than this, or than one frame may have, waits for a worker's socket, its services' frames are refused.
const WAITING_LIMIT_BYTES: u64 = 16 << 20;

impl GiveTasks for ConnectionSender {
    fn dispatch(&self, task: &TaskFrame<'_>) {
        self.push(|out| protocol::push(kinds::TASK, &Next::Task(task.clone()), out));
    }

    fn cancel(&self, cancel: &Cancel) {
        self.push(|out| protocol::push(kinds::CANCEL, cancel, out));
        self.send();
    }

    fn flush(&self) {
        self.send();
    }
}

impl Supervise for ConnectionSender {
    fn catch_up(&self) {
        self.mailbox.put(Mail::CatchUp);
    }

    fn retire(&self) {
        self.mailbox.put(Mail::Retire);
    }
}

impl Remote for ConnectionSender {
    fn recall(&self, recall: &Recall) {
        self.push(|out| protocol::push(kinds::RECALL, recall, out));
    }

    fn ping(&self) {
        self.push(|out| {
            workfleet_wire::encode_frame(kinds::PING, &[], out);
            Ok(())
        });
    }

    fn flushed(&self, request: u64) {
        self.push(|out| protocol::push(kinds::FLUSHED, &request, out));
        self.send();
    }

    fn break_off(&self) {
        self.mailbox.put(Mail::BreakOff);
    }
}

impl SendFrames for ConnectionSender {
    fn send_frame(&self, kind: Kind, payload: &[u8], limit_bytes: u64) -> Result<(), MessageSendError> {
        let mut out = self.lock();
        let waiting_bytes = out.outgoing.waiting_bytes() as u64;
        let limit_bytes = limit_bytes.max(WAITING_LIMIT_BYTES);
        if waiting_bytes > limit_bytes {
            return Err(MessageSendError::Full { waiting_bytes, limit_bytes });
        }
        workfleet_wire::encode_frame(kind, payload, out.outgoing.buffer());
        match self.send_out(&mut out) {
            Sent::All | Sent::Part => Ok(()),
            Sent::ToNobody => Err(MessageSendError::WorkerGone),
        }
    }

    fn when_caught_up(&self, done: CaughtUp) {
        let mut catch_ups = self.lock_catch_ups();
        if catch_ups.over {
            drop(catch_ups);
            return done();
        }
        catch_ups.waiting.push(done);
        drop(catch_ups);
        self.mailbox.put(Mail::CatchUp);
    }
}
