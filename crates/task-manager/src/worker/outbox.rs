//! What a worker process has to say and has not sent yet.
//!
//! Small frames share one write. The task thread flushes before it waits for work, and now and then between tasks;
//! what it leaves behind while a task runs, the I/O thread sends: it is *armed* by the first frame that is left, and
//! looks again every [`TICK`] until it finds nothing.
//!
//! Invariants:
//! - Frames leave in the order in which they were pushed.
//! - While a frame waits, either a thread is about to flush, or the I/O thread is armed or waits for the socket.
//! - What waits is bounded: whoever pushes beyond [`HIGH_WATER_BYTES`] waits for the socket, and for nothing else.
//! - A frame of an attempt is accepted only between its begin and its end.

use std::{
    io::{self, ErrorKind},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use workfleet_wire::{EncodeError, Kind};

use crate::{
    run::open::OpenAttempts,
    sys::{
        descriptor::{Identity, may_poll},
        outgoing::Outgoing,
        socket,
    },
};

/// How long a frame may wait for company while a task runs.
pub(crate) const TICK: Duration = Duration::from_millis(1);
/// More than this is not gathered.
const FLUSH_AT_BYTES: usize = 32 * 1024;
/// The socket, and what the I/O thread wakes up by.
const POLLED_AT_ONCE: u64 = 2;
/// Whoever finds more than this waits until the socket has taken it.
const HIGH_WATER_BYTES: usize = 1024 * 1024;

#[derive(Debug)]
pub(super) struct Outbox {
    socket: OwnedFd,
    waker: UnixStream,
    /// The other end, which the I/O thread wakes up by.
    wakened: UnixStream,
    /// Of these three, in this order.
    identities: [Identity; 3],
    state: Mutex<State>,
    /// The connection is gone: what is pushed now has nowhere to go.
    broken: AtomicBool,
}

#[derive(Debug)]
pub(super) struct State {
    outgoing: Outgoing,
    /// The I/O thread will look again without being woken.
    armed: bool,
    /// The attempts whose frames are accepted.
    open: OpenAttempts,
}

/// Why a frame was not taken.
#[derive(Debug)]
pub(super) enum PushError {
    LeaseEnded,
    Encode(EncodeError),
    /// The payload has more bytes than a frame may carry.
    TooLarge(u64),
}

impl Outbox {
    pub(super) fn new(socket: OwnedFd) -> io::Result<Self> {
        let (waker, wakened) = UnixStream::pair()?;
        let identities = [Identity::of(&socket)?, Identity::of(&waker)?, Identity::of(&wakened)?];
        let state = State { outgoing: Outgoing::default(), armed: false, open: OpenAttempts::default() };
        let (state, broken) = (Mutex::new(state), AtomicBool::new(false));
        Ok(Self { socket, waker, wakened, identities, state, broken })
    }

    pub(super) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// What becomes readable by [`wake`](Self::wake).
    pub(super) fn wakened(&self) -> BorrowedFd<'_> {
        self.wakened.as_fd()
    }

    /// From now on, frames of the attempt under `lease` are accepted.
    pub(super) fn open(&self, lease: u64) {
        self.lock().open.open(lease);
    }

    /// Appends a frame that belongs to no attempt, and sends it.
    pub(super) fn push(
        &self,
        kind: Kind,
        fill: impl FnOnce(&mut Vec<u8>) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        let mut state = self.lock();
        workfleet_wire::encode_frame_with(kind, state.outgoing.buffer(), fill)?;
        self.flush_locked(&mut state);
        self.wake_if_left(state);
        Ok(())
    }

    /// Appends a service's frame and sends it. Waits, like a task's frame, when too much waits for the socket.
    pub(super) fn push_for_service(&self, kind: Kind, payload: &[u8]) {
        let mut state = self.lock();
        workfleet_wire::encode_frame(kind, payload, state.outgoing.buffer());
        self.settle(state, true);
    }

    /// Appends a frame of the attempt under `lease`; `fill` is told the index of the attempt's next child, and
    /// `kind` says whether the frame schedules one. It leaves with the next batch.
    pub(super) fn push_from(
        &self,
        lease: u64,
        kind: Kind,
        limit_bytes: u64,
        fill: impl FnOnce(&mut Vec<u8>, u32) -> Result<(), EncodeError>,
    ) -> Result<(), PushError> {
        let mut state = self.lock();
        let State { outgoing, open, .. } = &mut *state;
        let next_child = open.next_child(lease).ok_or(PushError::LeaseEnded)?;
        let before_bytes = outgoing.buffer().len();
        let index = *next_child;
        workfleet_wire::encode_frame_with(kind, outgoing.buffer(), |out| fill(out, index))
            .map_err(PushError::Encode)?;
        let len_bytes = (outgoing.buffer().len() - before_bytes - workfleet_wire::HEADER_LEN_BYTES) as u64;
        if len_bytes > limit_bytes {
            outgoing.buffer().truncate(before_bytes);
            return Err(PushError::TooLarge(len_bytes));
        }
        if kind.schedule_priority().is_some() {
            *next_child += 1;
        }
        self.settle(state, false);
        Ok(())
    }

    /// Appends the last frame of the attempt under `lease` and accepts no more of it. `send` says that it should not
    /// wait for company.
    pub(super) fn close(
        &self,
        lease: u64,
        send: bool,
        kind: Kind,
        fill: impl FnOnce(&mut Vec<u8>) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        let mut state = self.lock();
        workfleet_wire::encode_frame_with(kind, state.outgoing.buffer(), fill)?;
        debug_assert!(state.open.is_open(lease));
        state.open.close(lease);
        self.settle(state, send);
        Ok(())
    }

    /// Sends all that waits, however long the manager takes to read it.
    pub(super) fn flush_fully(&self) {
        self.drain_below(self.lock(), 0);
    }

    /// The I/O thread's turn: sends what waits. Returns whether it wants to look again after a [`TICK`], and whether
    /// the socket is full.
    pub(super) fn tick(&self) -> (bool, bool) {
        let mut state = self.lock();
        if state.outgoing.is_empty() {
            state.armed = false;
            return (false, false);
        }
        self.flush_locked(&mut state);
        state.armed = true;
        (true, !state.outgoing.is_empty())
    }

    /// Wakes the I/O thread up.
    pub(super) fn wake(&self) {
        if let Err(error) = socket::send_now(&self.waker, &[0])
            && error.kind() != ErrorKind::WouldBlock
        {
            // Full, it would have woken the I/O thread already. But the task has closed it: nothing wakes that thread.
            super::io::end_group();
        }
    }

    /// Whether the connection can still be served: a task may have closed or replaced what belongs to it, or taken
    /// from the process the right to poll it.
    pub(super) fn is_intact(&self) -> bool {
        let descriptors = [self.socket(), self.waker.as_fd(), self.wakened()];
        let own = self.identities.iter().zip(descriptors).all(|(own, descriptor)| own.is_of(descriptor));
        own && may_poll(POLLED_AT_ONCE)
    }

    /// The connection failed while sending.
    pub(super) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Acquire)
    }

    /// After a push: send now, or leave it to the I/O thread, or wait where too much has gathered.
    fn settle(&self, mut state: MutexGuard<'_, State>, send: bool) {
        if send || state.outgoing.waiting_bytes() >= FLUSH_AT_BYTES {
            self.flush_locked(&mut state);
        }
        if state.outgoing.waiting_bytes() > HIGH_WATER_BYTES {
            return self.drain_below(state, HIGH_WATER_BYTES);
        }
        self.wake_if_left(state);
    }

    /// Waits until at most `limit_bytes` wait.
    fn drain_below<'a>(&'a self, mut state: MutexGuard<'a, State>, limit_bytes: usize) {
        loop {
            self.flush_locked(&mut state);
            if state.outgoing.waiting_bytes() <= limit_bytes {
                return self.wake_if_left(state);
            }
            drop(state);
            if let Err(error) = socket::wait_writable(&self.socket) {
                self.give_up(&error);
            }
            state = self.lock();
        }
    }

    fn wake_if_left(&self, mut state: MutexGuard<'_, State>) {
        let wake = !state.outgoing.is_empty() && !state.armed;
        state.armed |= wake;
        drop(state);
        if wake {
            self.wake();
        }
    }

    fn flush_locked(&self, state: &mut State) {
        if !self.is_broken()
            && let Err(error) = state.outgoing.send(&self.socket)
        {
            self.give_up(&error);
        }
        if self.is_broken() {
            state.outgoing.clear();
        }
    }

    /// The manager is gone, or the task closed the socket: either way the I/O thread sees it and ends the process.
    fn give_up(&self, error: &io::Error) {
        tracing::debug!(%error, "the connection to the manager failed");
        self.broken.store(true, Ordering::Release);
        self.wake();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing of a task's runs under this lock: payloads arrive encoded. So no panic leaves half a frame.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
