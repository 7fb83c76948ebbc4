//! The manager's connection to a worker in another process: it reads the socket, and has the [sending half](sender) and
//! the [handshake](handshake).
//!
//! Invariants:
//! - Nothing here waits for a worker to take what is sent to it.
//! - Every request to catch up is answered, at the latest when the connection is dropped.

mod handshake;
mod sender;

use std::{
    io::{self, ErrorKind},
    os::fd::OwnedFd,
    sync::Arc,
    time::Instant,
};

use tokio::io::Interest;
use workfleet_scheduler::Kill;
use workfleet_wire::{Decoder, FrameRef};

pub(crate) use handshake::{HandshakeFailed, Terms};
pub(crate) use sender::{ConnectionSender, Mail};

use crate::{
    guards::guarded,
    kinds,
    pool::Shared,
    protocol::{self, Violation},
    service::{Peer, WorkerIncarnation},
    sys::{
        readiness::{PolledFd, register},
        socket,
    },
};

/// The connection to a worker, for the future that serves the worker.
pub(crate) struct Connection {
    socket: PolledFd,
    decoder: Decoder,
    sender: Arc<ConnectionSender>,
    peer: Peer,
    /// Something is left to be sent when the socket takes it.
    is_blocked: bool,
}

/// What happens on a connection.
#[derive(Debug)]
pub(crate) enum Event {
    /// Bytes have come, to be [handled](Connection::handle).
    Received,
    /// Nothing comes any more.
    Ended,
    /// Another thread has told something.
    Mail(Mail),
}

impl Connection {
    pub(crate) fn new(
        socket: OwnedFd,
        worker: Arc<str>,
        incarnation: WorkerIncarnation,
        frame_limit_bytes: u64,
    ) -> io::Result<Self> {
        let socket = Arc::new(socket);
        let sender = Arc::new(ConnectionSender::new(Arc::clone(&socket)));
        Ok(Self {
            socket: register(socket, Interest::READABLE)?,
            decoder: Decoder::new(protocol::limit_bytes(frame_limit_bytes)),
            peer: Peer {
                sender: sender.clone(),
                remote: Some(sender.clone()),
                worker,
                incarnation,
                frame_limit_bytes,
            },
            sender,
            is_blocked: false,
        })
    }

    pub(crate) fn sender(&self) -> &Arc<ConnectionSender> {
        &self.sender
    }

    pub(crate) fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Waits for what happens next; meanwhile it sends what waits to be sent.
    ///
    /// # Cancel safety
    /// Dropping this future loses nothing.
    pub(crate) async fn next(&mut self) -> Event {
        loop {
            tokio::select! {
                biased;
                has_received = receive(&self.socket, &mut self.decoder) => {
                    return if has_received { Event::Received } else { Event::Ended };
                }
                mail = self.sender.mail() => match mail {
                    Mail::Blocked => self.is_blocked = true,
                    mail => return Event::Mail(mail),
                },
                // If it fails, that comes as mail.
                () = self.sender.writable(), if self.is_blocked => self.is_blocked = self.sender.send_on(),
            }
        }
    }

    /// Handles what was received.
    pub(crate) fn handle(&mut self, shared: &Shared, slot: usize) -> Result<(), Violation> {
        shared.handle_frames(slot, &mut self.decoder, &self.peer)
    }

    /// Handles what the worker has sent up to now, then tells the core and the callers that asked for it. It does not
    /// handle what the worker sends meanwhile, which may never end. Returns why the worker has to be killed, if the core
    /// says so.
    pub(crate) fn catch_up(&mut self, shared: &Shared, slot: usize) -> Result<Option<Kill>, Violation> {
        let sent_by = Instant::now();
        // Those who ask from now on ask for what comes from now on.
        let waiting = self.sender.take_catch_ups();
        let handled = self.handle_waiting(shared, slot);
        waiting.into_iter().for_each(guarded);
        handled.map(|()| shared.caught_up(slot, sent_by))
    }

    fn handle_waiting(&mut self, shared: &Shared, slot: usize) -> Result<(), Violation> {
        let mut left_bytes = socket::waiting_bytes(&**self.socket.get_ref());
        while left_bytes > 0 {
            match socket::receive_now(&**self.socket.get_ref(), self.decoder.spare()) {
                // The next read sees the end.
                Ok(0) | Err(_) => break,
                Ok(received_bytes) => {
                    self.decoder.advance(received_bytes);
                    left_bytes = left_bytes.saturating_sub(received_bytes as u64);
                }
            }
            self.handle(shared, slot)?;
        }
        Ok(())
    }

    /// Handles what a dead worker left in the socket. It does not wait for the end of the stream: a process that the
    /// worker started may hold the other end open.
    pub(crate) fn drain(&mut self, shared: &Shared, slot: usize) -> Result<(), Violation> {
        loop {
            match socket::receive_now(&**self.socket.get_ref(), self.decoder.spare()) {
                // Its end, or, if another process holds the other end, nothing more.
                Ok(0) | Err(_) => return Ok(()),
                Ok(received_bytes) => self.decoder.advance(received_bytes),
            }
            self.handle(shared, slot)?;
        }
    }

    /// Whether the worker's greeting has come, to be read, where nobody waits for it any more.
    pub(crate) fn has_greeted(&mut self) -> bool {
        while let Ok(received_bytes @ 1..) =
            socket::receive_now(&**self.socket.get_ref(), self.decoder.spare())
        {
            self.decoder.advance(received_bytes);
        }
        // What else it may be ends with the process.
        matches!(self.decoder.next_frame(), Ok(Some(FrameRef { kind: kinds::HELLO, .. })))
    }
}

/// A connection is dropped when its worker was reaped. By then the worker's tasks are on their way to other workers, and
/// its silence is not checked any more. If the manager's thread fails, the connection is dropped too, so that callers of
/// `catch_up` do not wait forever.
impl Drop for Connection {
    fn drop(&mut self) {
        self.sender.all_caught_up();
    }
}

/// Waits for bytes and takes what is there. False: the connection has ended.
///
/// # Cancel safety
/// Dropping this future loses nothing: it waits only before it takes.
async fn receive(connection: &PolledFd, decoder: &mut Decoder) -> bool {
    loop {
        // An error means that the runtime is going.
        let Ok(mut ready) = connection.readable().await else { return false };
        let space = decoder.spare();
        let space_bytes = space.len();
        match socket::receive_now(&**connection.get_ref(), space) {
            Ok(0) => return false,
            Ok(received_bytes) => {
                decoder.advance(received_bytes);
                if received_bytes < space_bytes {
                    // The socket is empty. What comes later is a new event, which this does not clear.
                    ready.clear_ready();
                }
                return true;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => ready.clear_ready(),
            // Reset: the worker died with frames of ours unread.
            Err(_) => return false,
        }
    }
}
