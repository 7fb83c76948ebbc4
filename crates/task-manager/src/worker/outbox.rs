//! The frames that a worker process has not sent yet.
//!
//! Small frames share one write. The task thread flushes before it waits for work, and now and then between tasks. While
//! a task runs, the I/O thread sends the frames that are left. The first such frame *arms* it: then it looks every
//! [`TICK`] until it finds no frame.
//!
//! Invariants:
//! - Frames leave in the order in which they were pushed.
//! - While a frame waits, either a thread is about to flush, or the I/O thread is armed or waits for the socket.
//! - The waiting frames are bounded: a thread that pushes beyond [`HIGH_WATER_BYTES`] waits for the socket, and for
//!   nothing else.
//! - A frame of an attempt is accepted only between the attempt's start and its end.
//! - A heartbeat waits for nothing: `beats` keeps what may not go yet. While something is held back, the I/O thread will look
//!   when it may go.

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
    thread,
    time::{Duration, Instant},
};

use workfleet_heartbeat::Details;
use workfleet_wire::{EncodeError, Kind};

use super::beats::{self, HeldBeats};
use crate::{
    run::open::OpenAttempts,
    sys::{
        descriptor::{Identity, may_poll},
        naming::Naming,
        outgoing::{Outgoing, is_want_of_memory},
        own, socket,
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
    /// How many tasks an attempt may schedule.
    children_limit: u32,
    state: Mutex<State>,
    /// The connection is gone: what is pushed now has nowhere to go.
    broken: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    outgoing: Outgoing,
    /// The I/O thread will look again without being woken.
    armed: bool,
    /// The attempts whose frames are accepted.
    open: OpenAttempts<Open>,
    /// What they said by heartbeats that have not gone out.
    beats: HeldBeats,
    /// When the I/O thread will see to the heartbeats that are held back, or has been woken up to.
    beats_due: Option<Instant>,
}

/// An attempt whose frames are accepted.
#[derive(Debug)]
struct Open {
    /// The index of the next child that it schedules.
    next_child: u32,
    /// What is to pass between two of its heartbeats.
    beat_interval: Duration,
}

/// What the I/O thread waits for, beside what comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tick {
    /// Something was left a moment ago: look again after a [`TICK`].
    pub(super) again: bool,
    /// The socket is full.
    pub(super) blocked: bool,
    /// A heartbeat that is held back may go then.
    pub(super) beats_due: Option<Instant>,
}

/// Why a frame was not taken.
#[derive(Debug)]
pub(super) enum PushError {
    LeaseEnded,
    TooManyChildren,
    Encode(EncodeError),
}

impl Outbox {
    pub(super) fn new(socket: OwnedFd, children_limit: u32) -> io::Result<Self> {
        let (waker, wakened) = UnixStream::pair().naming("socketpair")?;
        let identities = [Identity::of(&socket)?, Identity::of(&waker)?, Identity::of(&wakened)?];
        let (state, broken) = (Mutex::default(), AtomicBool::new(false));
        Ok(Self { socket, waker, wakened, identities, children_limit, state, broken })
    }

    pub(super) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// How many tasks an attempt may schedule.
    pub(super) fn children_limit(&self) -> u32 {
        self.children_limit
    }

    /// What becomes readable by [`wake`](Self::wake).
    pub(super) fn wakened(&self) -> BorrowedFd<'_> {
        self.wakened.as_fd()
    }

    /// From now on, frames of the attempt under `lease` are accepted; between two heartbeats, `interval` is to pass. One
    /// that `has_to_beat` has its begin told, at once.
    pub(super) fn open(&self, lease: u64, interval: Duration, has_to_beat: bool) {
        let mut state = self.lock();
        state.open.open(lease, Open { next_child: 0, beat_interval: interval });
        if has_to_beat {
            beats::push(&mut state.outgoing, lease, None);
            self.settle(state, true);
        }
    }

    /// An attempt beats. What it says goes out now, or later if something went out a moment ago or the socket takes
    /// nothing: then the latest of what was said until then. Waits for nothing. False if the attempt has ended.
    pub(super) fn beat(&self, now: Instant, lease: u64, details: Details) -> bool {
        let mut state = self.lock();
        let Some(open) = state.open.get(lease) else { return false };
        let interval = open.beat_interval;
        match state.beats.offer(now, lease, interval, details) {
            None => {
                self.send_beats(&mut state);
                self.wake_if_left(state);
            }
            Some(due) if state.beats_due.is_none_or(|at| due < at) => {
                state.beats_due = Some(due);
                // One that is armed will look before long.
                let wake = !state.armed;
                drop(state);
                if wake {
                    self.wake();
                }
            }
            Some(_) => {}
        }
        true
    }

    /// Sends what was held back of heartbeats: of the attempt under `lease`, or of all.
    pub(super) fn flush_beats(&self, lease: Option<u64>) {
        let mut state = self.lock();
        state.beats.flush(lease);
        self.send_beats(&mut state);
        self.wake_if_left(state);
    }

    /// Sends the heartbeats that may go, as far as there is room for them.
    fn send_beats(&self, state: &mut State) {
        state.push_beats(HIGH_WATER_BYTES);
        self.flush_locked(state);
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

    /// Appends a frame of the attempt under `lease`, behind what was held back of its heartbeats, and sends both.
    pub(super) fn push_behind_beats(
        &self,
        lease: u64,
        kind: Kind,
        fill: impl FnOnce(&mut Vec<u8>) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        let mut state = self.lock();
        state.push_all_beats(Some(lease));
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
        fill: impl FnOnce(&mut Vec<u8>, u32) -> Result<(), EncodeError>,
    ) -> Result<(), PushError> {
        let mut state = self.lock();
        let State { outgoing, open, .. } = &mut *state;
        let attempt = open.get(lease).ok_or(PushError::LeaseEnded)?;
        let (index, schedules) = (attempt.next_child, kind.schedule_priority().is_some());
        if schedules && index >= self.children_limit {
            return Err(PushError::TooManyChildren);
        }
        workfleet_wire::encode_frame_with(kind, outgoing.buffer(), |out| fill(out, index))
            .map_err(PushError::Encode)?;
        attempt.next_child += u32::from(schedules);
        self.settle(state, false);
        Ok(())
    }

    /// Appends the last frame of the attempt under `lease` and accepts no more of it; `fill` is told what was held back of
    /// its heartbeats. `send` says that it should not wait for company.
    pub(super) fn close(
        &self,
        lease: u64,
        send: bool,
        kind: Kind,
        fill: impl FnOnce(&mut Vec<u8>, Option<Details>) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        let mut state = self.lock();
        let was_open = state.open.close(lease).is_some();
        debug_assert!(was_open);
        let held = state.beats.end(lease);
        workfleet_wire::encode_frame_with(kind, state.outgoing.buffer(), |out| fill(out, held))?;
        self.settle(state, send);
        Ok(())
    }

    /// Sends all that waits or is held back, however long the manager takes to read it.
    pub(super) fn flush_fully(&self) {
        let mut state = self.lock();
        state.push_all_beats(None);
        self.drain_below(state, 0);
    }

    /// The I/O thread's turn: sends what waits.
    pub(super) fn tick(&self) -> Tick {
        let mut state = self.lock();
        let beats_due = state.beats.let_pass(Instant::now);
        state.beats_due = beats_due;
        state.push_beats(HIGH_WATER_BYTES);
        if state.outgoing.is_empty() {
            state.armed = false;
            return Tick { again: false, blocked: false, beats_due };
        }
        self.flush_locked(&mut state);
        state.armed = true;
        // Where the system has no memory, the socket does not tell when to go on: after a tick, then.
        let blocked = !state.outgoing.is_empty() && !state.outgoing.is_starved();
        Tick { again: true, blocked, beats_due }
    }

    /// Wakes the I/O thread up.
    pub(super) fn wake(&self) {
        loop {
            match socket::send_now(&self.waker, &[0]) {
                Err(error) if is_want_of_memory(&error) => pause(),
                // Full, it would have woken the I/O thread already.
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                // The task has closed it: nothing wakes that thread.
                Err(_) => own::end_group(),
                Ok(_) => return,
            }
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
            let starved = state.outgoing.is_starved();
            drop(state);
            if starved {
                pause();
            } else if let Err(error) = socket::wait_writable(&self.socket) {
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

/// Waits for the system to have memory again.
fn pause() {
    #[expect(clippy::disallowed_methods, reason = "nobody tells when the system has memory again")]
    thread::sleep(TICK);
}

impl State {
    /// Appends what may go of heartbeats while no more than this waits.
    fn push_beats(&mut self, limit_bytes: usize) {
        self.beats.push_passed(&mut self.outgoing, limit_bytes);
    }

    /// Appends also what is held back, of the attempt under `lease` or of all.
    fn push_all_beats(&mut self, lease: Option<u64>) {
        self.beats.flush(lease);
        self.push_beats(usize::MAX);
    }
}

#[cfg(all(test, not(workfleet_loom)))]
mod tests {
    use workfleet_wire::Decoder;

    use super::*;
    use crate::{
        kinds,
        protocol::{self, HeartbeatFrame},
    };

    const LEASE: u64 = 1;
    const HOUR: Duration = Duration::from_secs(3600);

    /// The other end of the socket.
    struct Manager {
        socket: UnixStream,
        decoder: Decoder,
    }

    /// An outbox with an attempt that is open, and the other end of its socket.
    fn outbox(interval: Duration) -> (Outbox, Manager) {
        let (ours, theirs) = UnixStream::pair().expect("sockets");
        let outbox = Outbox::new(ours.into(), 2).expect("an outbox");
        outbox.open(LEASE, interval, false);
        (outbox, Manager { socket: theirs, decoder: Decoder::default() })
    }

    fn details(number: u32) -> Details {
        Details::encode(&number).expect("a number")
    }

    /// What a heartbeat says; nothing if it tells a begin.
    fn number(payload: &[u8]) -> Option<u32> {
        let HeartbeatFrame { lease, details } =
            protocol::decode(kinds::HEARTBEAT, payload).expect("a heartbeat");
        assert_eq!(lease, LEASE);
        let details = Details::from_encoded(details?).expect("they fit");
        let padded = details.decode::<(u32, Vec<u8>)>().map(|padded| padded.0);
        Some(padded.or_else(|_| details.decode()).expect("a number"))
    }

    /// What has come: the numbers that were said, and other frames by their kind.
    fn received(manager: &mut Manager) -> Vec<Result<u32, Kind>> {
        let Manager { socket, decoder } = manager;
        let mut frames = Vec::new();
        while let Ok(received_bytes @ 1..) = socket::receive_now(&*socket, decoder.spare()) {
            decoder.advance(received_bytes);
            while let Some(frame) = decoder.next_frame().expect("frames") {
                let said = (frame.kind == kinds::HEARTBEAT).then(|| number(frame.payload)).flatten();
                frames.push(said.ok_or(frame.kind));
            }
        }
        frames
    }

    #[test]
    fn a_million_beats_are_the_first_and_then_the_last() {
        let (outbox, mut theirs) = outbox(HOUR);
        let start = Instant::now();
        for number in 1..=1_000_000 {
            assert!(outbox.beat(start, LEASE, details(number)));
        }
        assert_eq!(received(&mut theirs), [Ok(1)]);
        assert_eq!(outbox.tick().beats_due, Some(start + HOUR));
        assert_eq!(received(&mut theirs), []);
        outbox.flush_beats(Some(LEASE));
        assert_eq!(received(&mut theirs), [Ok(1_000_000)]);
        assert_eq!(outbox.tick(), Tick { again: false, blocked: false, beats_due: None });
    }

    #[test]
    fn the_io_thread_is_woken_up_once_for_what_is_held_back() {
        let (outbox, _theirs) = outbox(HOUR);
        let start = Instant::now();
        let wake_ups = || socket::receive_now(outbox.wakened(), &mut [0; 64]).unwrap_or(0);
        outbox.beat(start, LEASE, details(1));
        assert_eq!(wake_ups(), 0, "it has gone");
        (2..100).for_each(|number| assert!(outbox.beat(start, LEASE, details(number))));
        assert_eq!(wake_ups(), 1);
        // One that is due sooner.
        outbox.open(2, HOUR / 2, false);
        (0..2).for_each(|number| assert!(outbox.beat(start, 2, details(number))));
        assert_eq!(wake_ups(), 1);
        assert_eq!(outbox.tick().beats_due, Some(start + HOUR / 2));
    }

    #[test]
    fn what_is_held_back_goes_when_its_time_has_come() {
        let interval = Duration::from_secs(1);
        let (outbox, mut theirs) = outbox(interval);
        // It has come, but nobody has looked yet.
        let start = Instant::now().checked_sub(2 * interval).expect("the machine runs for longer than that");
        (1..=3).for_each(|number| assert!(outbox.beat(start, LEASE, details(number))));
        assert_eq!(received(&mut theirs), [Ok(1)]);
        assert!(outbox.tick().beats_due.is_none());
        assert_eq!(received(&mut theirs), [Ok(3)]);
    }

    #[test]
    fn beats_take_bounded_memory_while_the_manager_reads_nothing_and_the_last_arrives() {
        // Nothing is held back for its time.
        let (outbox, mut theirs) = outbox(Duration::ZERO);
        for number in 1..=10_000_u32 {
            let details = Details::encode(&(number, vec![7_u8; 4096])).expect("it encodes");
            assert!(outbox.beat(Instant::now(), LEASE, details));
        }
        let waiting_bytes = outbox.lock().outgoing.waiting_bytes();
        assert!((HIGH_WATER_BYTES..HIGH_WATER_BYTES + 8192).contains(&waiting_bytes), "{waiting_bytes}");
        let mut numbers = Vec::new();
        while numbers.last() != Some(&Ok(10_000)) {
            numbers.extend(received(&mut theirs));
            outbox.tick();
        }
        assert!(numbers.is_sorted(), "in the order in which they were said");
    }

    #[test]
    fn an_attempt_takes_what_was_held_back_along_and_says_nothing_after() {
        let (outbox, mut theirs) = outbox(HOUR);
        let start = Instant::now();
        (1..=2).for_each(|number| assert!(outbox.beat(start, LEASE, details(number))));
        let mut held = None;
        let fill = |_: &mut Vec<u8>, details| {
            held = details;
            Ok(())
        };
        outbox.close(LEASE, true, kinds::PONG, fill).expect("it encodes");
        assert_eq!(held, Some(details(2)));
        assert!(!outbox.beat(start, LEASE, details(3)));
        outbox.flush_fully();
        assert_eq!(received(&mut theirs), [Ok(1), Err(kinds::PONG)]);
    }

    #[test]
    fn an_attempt_that_has_to_beat_has_its_begin_told() {
        let (outbox, mut theirs) = outbox(HOUR);
        assert_eq!(received(&mut theirs), []);
        outbox.lock().open.close(LEASE);
        outbox.open(LEASE, HOUR, true);
        assert_eq!(received(&mut theirs), [Err(kinds::HEARTBEAT)]);
    }
}
