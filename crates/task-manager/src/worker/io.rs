//! Reading a worker's connection, and its I/O thread: one loop around `poll`.
//!
//! Invariants:
//! - One thread at a time reads: the one that owns the socket, see [`queue`](super::queue).
//! - The I/O thread looks around after a tick while the outbox is being filled and while a task has just begun, and when
//!   a heartbeat that is held back may go; that of an idle worker sleeps until something comes.
//! - When the connection ends, the process group ends: a worker never outlives its manager.

use std::{
    io::{self, ErrorKind},
    os::fd::OwnedFd,
    sync::PoisonError,
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use workfleet_wire::{
    Decoder, FrameRef,
    kinds::{Direction, EVENT_KINDS},
};

use super::{
    error::GreetError,
    outbox::{TICK, Tick},
    parent::Reading,
    shared::Worker,
};
use crate::{
    kinds::{self, received::FromManager},
    protocol::{self, Cancel, Next, Recall, ReturnedFrame, Violation, Welcome},
    run::{queued::Queued, socket_ownership::IoStep},
    sys::{naming::Naming, own, socket},
};

/// Frames that are handled before the outbox is looked after again.
const READS_IN_A_ROW: usize = 8;

/// Waits for the manager's first frame and the status page that comes with it.
pub(super) fn receive_welcome(
    socket: &OwnedFd,
    decoder: &mut Decoder,
) -> Result<(Result<Welcome, u16>, Vec<OwnedFd>), GreetError> {
    let mut descriptors = Vec::new();
    loop {
        let (received_bytes, received) =
            socket::receive_with_descriptors(socket, decoder.spare()).naming("recvmsg")?;
        descriptors.extend(received);
        if received_bytes == 0 {
            return Err(GreetError::Ended);
        }
        decoder.advance(received_bytes);
        if let Some(FrameRef { kind, payload }) = decoder.next_frame().map_err(Violation::from)? {
            if kind != kinds::WELCOME {
                return Err(Violation::OutOfTurn { kind }.into());
            }
            let welcome = protocol::decode_greeting(kind, payload)?;
            return Ok((welcome, descriptors));
        }
    }
}

/// The I/O thread: runs until the process ends.
pub(super) fn run(worker: &Worker) {
    while step(worker) {}
    own::end_group();
}

/// The task thread owns the socket: waits until something came, at most this long, and carries it out. Does not return if that
/// is the end of the connection.
pub(super) fn poll_socket(worker: &Worker, patience: Option<Duration>) {
    // What no timer can tell is as good as forever.
    let alive = match patience.and_then(|patience| Timespec::try_from(patience).ok()) {
        // One system call less than by `poll`, between the arrival of a task and its start.
        None => receive_or_tell(worker, Read::Waiting),
        Some(patience) => {
            let connection = worker.outbox.socket();
            match poll(&mut [PollFd::new(&connection, PollFlags::IN)], Some(&patience)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => true,
                Ok(_) => receive_or_tell(worker, Read::Now),
                Err(error) => lost(worker, "poll", &error.into()),
            }
        }
    };
    if !alive {
        own::end_group();
    }
}

/// Waits for something to do and does it. False: the connection has ended.
fn step(worker: &Worker) -> bool {
    let Tick { again, blocked, beats_due } = worker.outbox.tick();
    // While the socket takes nothing, they wait, and the latest wins.
    let sent_beats = !blocked && worker.parent_end.send_beats();
    if worker.outbox.is_broken() {
        return false;
    }
    let IoStep { poll_socket, tick } = worker.queue.io_step();
    let mut interest = PollFlags::empty();
    interest.set(PollFlags::IN, poll_socket);
    interest.set(PollFlags::OUT, blocked);
    let tick = (tick || sent_beats || (again && !blocked)).then_some(TICK);
    let beats = beats_due.map(|at| at.saturating_duration_since(Instant::now()));
    // What no timer can tell is as good as forever.
    let timeout = tick.into_iter().chain(beats).min().and_then(|time| Timespec::try_from(time).ok());
    let (connection, wakened) = (worker.outbox.socket(), worker.outbox.wakened());
    let mut watched = [PollFd::new(&wakened, PollFlags::IN), PollFd::new(&connection, interest)];
    // A connection that nobody asked about would still report its end, again and again, while another watches it.
    let asked = if interest.is_empty() { 1 } else { 2 };
    match poll(&mut watched[..asked], timeout.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return lost(worker, "poll", &error.into()),
    }
    if !watched[0].revents().is_empty() {
        let mut bytes = [0; 64];
        // However many wake-ups there were, one step serves them all. The other end is open as long as the process,
        // unless a task has closed or replaced one of both: then nothing would wake this thread up any more.
        match socket::receive_now(wakened, &mut bytes) {
            Ok(1..) => {}
            Ok(0) => return false,
            Err(error) => return lost(worker, "recv", &error),
        }
    }
    let events = watched[1].revents();
    if poll_socket {
        events.is_empty() || receive_or_tell(worker, Read::Now)
    } else {
        !events.contains(PollFlags::NVAL)
    }
}

/// Says why the connection cannot be read any more: a task has taken from this process what that takes, or the system forbids it.
/// The process ends by a signal, which tells nobody.
fn lost(worker: &Worker, call: &str, error: &io::Error) -> bool {
    if error.kind() != ErrorKind::ConnectionReset {
        workfleet_notice::error!(worker = worker.name, %error, "the worker ends: {call} of its connection failed");
    }
    false
}

/// How to begin to read. What comes behind that is read only if it is there.
#[derive(Clone, Copy)]
enum Read {
    /// With what is there.
    Now,
    /// With what comes, if nothing is there.
    Waiting,
}

/// False: the connection has ended, in order or not.
fn receive_or_tell(worker: &Worker, first: Read) -> bool {
    receive(worker, first).unwrap_or_else(|violation| {
        workfleet_notice::error!(worker = worker.name, error = %violation, "the manager violated the protocol");
        false
    })
}

/// Reads, and carries out what was read. False: the connection has ended.
fn receive(worker: &Worker, first: Read) -> Result<bool, Violation> {
    // Free, but for the moment in which one thread hands the socket to the other.
    let mut decoder = worker.decoder.lock().unwrap_or_else(PoisonError::into_inner);
    let _reading = Reading::new();
    let mut read = first;
    for _ in 0..READS_IN_A_ROW {
        let space = decoder.spare();
        let space_bytes = space.len();
        let received = match read {
            Read::Now => socket::receive_now(worker.outbox.socket(), space),
            Read::Waiting => socket::receive(worker.outbox.socket(), space),
        };
        read = Read::Now;
        let received_bytes = match received {
            Ok(0) => return Ok(false),
            Ok(received_bytes) => received_bytes,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
            Err(error) => return Ok(lost(worker, "recv", &error)),
        };
        decoder.advance(received_bytes);
        let mut tasks = Vec::new();
        while let Some(frame) = decoder.next_frame()? {
            handle(worker, frame, &mut tasks)?;
        }
        if !tasks.is_empty() {
            worker.queue.add(tasks.into_iter());
        }
        if received_bytes < space_bytes {
            break;
        }
    }
    Ok(true)
}

/// Carries out one frame; tasks are only gathered, to be queued together.
fn handle(worker: &Worker, frame: FrameRef<'_>, tasks: &mut Vec<Queued>) -> Result<(), Violation> {
    let FrameRef { kind, payload } = frame;
    protocol::check(kind, Direction::ToWorker, payload)?;
    let received = FromManager::of(kind);
    if received != FromManager::Task {
        // It is about tasks that came before it.
        worker.queue.add(tasks.drain(..));
    }
    match received {
        FromManager::Task => match protocol::decode(kind, payload)? {
            Next::Task(task) => tasks.push(Queued::new(&task, &worker.entries, worker.together)),
            Next::Close => {
                worker.queue.add(tasks.drain(..));
                worker.queue.close();
            }
        },
        FromManager::Recall => {
            let Recall { at_most, from } = protocol::decode(kind, payload)?;
            give_back(worker, true, worker.queue.take_back(at_most, from));
        }
        FromManager::Cancel => match protocol::decode(kind, payload)? {
            Cancel::Lease(lease) => {
                // The task may end without another beat.
                worker.outbox.flush_beats(Some(lease));
                if worker.queue.cancel(lease) {
                    give_back(worker, false, vec![lease]);
                }
            }
            Cancel::All => {
                give_back(worker, false, worker.queue.take_back(u32::MAX, 0));
                worker.outbox.flush_beats(None);
                worker.queue.cancel_current();
            }
        },
        FromManager::Ping => push(worker, kinds::PONG, |_| Ok(())),
        FromManager::Flushed => worker.flushed(protocol::decode(kind, payload)?),
        FromManager::Service if EVENT_KINDS.contains(&kind.0) => worker.parent_end.on_frame(kind, payload)?,
        FromManager::Service if worker.extensions.on_frame(kind, payload) => {}
        FromManager::Service => return Err(Violation::NoService { kind }),
        FromManager::Welcome | FromManager::Foreign => return Err(Violation::OutOfTurn { kind }),
    }
    Ok(())
}

/// Gives tasks back; a recall is answered also with nothing.
fn give_back(worker: &Worker, recalled: bool, leases: Vec<u64>) {
    let returned = ReturnedFrame { recalled, leases };
    push(worker, kinds::RETURNED, |out| workfleet_wire::message::encode_into(&returned, out));
}

fn push(
    worker: &Worker,
    kind: workfleet_wire::Kind,
    fill: impl FnOnce(&mut Vec<u8>) -> Result<(), workfleet_wire::EncodeError>,
) {
    if let Err(error) = worker.outbox.push(kind, fill) {
        // Numbers always encode.
        workfleet_notice::error!(%error, kind = %kinds::TABLE.named(kind), "a frame was lost");
    }
}
