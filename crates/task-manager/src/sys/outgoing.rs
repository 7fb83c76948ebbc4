//! Bytes on their way into a socket that takes them when it can.
//!
//! Invariant: the memory in use follows the bytes that wait, not those that were sent. Sent bytes are dropped as soon as
//! they are the larger part.

use std::{
    io::{self, ErrorKind},
    os::fd::AsFd,
};

use super::socket::send_now;

/// An empty buffer that has grown beyond this is given back.
const KEPT_BYTES: usize = 1024 * 1024;

#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    buffer: Vec<u8>,
    /// How much of `buffer` has left.
    sent_bytes: usize,
    /// The system had no memory for what would have been sent last.
    starved: bool,
}

impl Outgoing {
    /// Where frames are appended.
    pub(crate) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// How much has not left yet.
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.buffer.len() - self.sent_bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting_bytes() == 0
    }

    /// Whether it was the system that took nothing more, for want of memory, and not the socket: then the socket does not
    /// tell when to try again.
    pub(crate) fn is_starved(&self) -> bool {
        self.starved
    }

    /// Sends what the socket takes now. True if that was all. An error means that nothing can be sent any more.
    pub(crate) fn send(&mut self, socket: impl AsFd) -> io::Result<bool> {
        self.send_by(|bytes| send_now(&socket, bytes))
    }

    fn send_by(&mut self, mut send: impl FnMut(&[u8]) -> io::Result<usize>) -> io::Result<bool> {
        self.starved = false;
        while !self.is_empty() {
            match send(&self.buffer[self.sent_bytes..]) {
                Ok(sent_bytes) => self.sent_bytes += sent_bytes,
                Err(error) if error.kind() == ErrorKind::WouldBlock || is_want_of_memory(&error) => {
                    self.starved = error.kind() != ErrorKind::WouldBlock;
                    self.compact();
                    return Ok(false);
                }
                Err(error) => return Err(error),
            }
        }
        self.clear();
        Ok(true)
    }

    /// Drops everything: the worker is gone.
    pub(crate) fn clear(&mut self) {
        self.buffer.clear();
        self.buffer.shrink_to(KEPT_BYTES);
        self.sent_bytes = 0;
        self.starved = false;
    }

    /// Moves what waits to the front, once that is not more than what it overwrites.
    fn compact(&mut self) {
        if self.sent_bytes >= self.waiting_bytes() {
            self.buffer.drain(..self.sent_bytes);
            self.sent_bytes = 0;
            self.buffer.shrink_to((2 * self.buffer.len()).max(KEPT_BYTES));
        }
    }
}

/// Whether the system had no memory for what was to be sent: that passes, and the connection is as good as before.
pub(crate) fn is_want_of_memory(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOBUFS | libc::ENOMEM))
}

#[cfg(test)]
mod tests {
    use std::{io::Read, os::unix::net::UnixStream};

    use super::*;

    #[test]
    fn what_has_passed_takes_no_memory_although_something_always_waits() {
        let (ours, mut theirs) = UnixStream::pair().expect("a pair");
        let mut outgoing = Outgoing::default();
        let mut received = vec![0; 64 * 1024];
        for _ in 0..1000 {
            outgoing.buffer().extend_from_slice(&[7; 64 * 1024]);
            while outgoing.waiting_bytes() > 512 * 1024 {
                theirs.read_exact(&mut received[..4096]).expect("bytes");
                outgoing.send(&ours).expect("the socket is open");
            }
            outgoing.send(&ours).expect("the socket is open");
        }
        assert!(!outgoing.is_empty(), "it never was, or this proves nothing");
        let capacity_bytes = outgoing.buffer.capacity();
        assert!(
            capacity_bytes <= 4 * 1024 * 1024,
            "{capacity_bytes} bytes for what 64 MiB have passed through"
        );
    }

    #[test]
    fn want_of_memory_loses_no_byte_and_no_connection() {
        for number in [libc::ENOBUFS, libc::ENOMEM] {
            let mut outgoing = Outgoing::default();
            outgoing.buffer().extend_from_slice(b"hello");
            let mut answers = vec![Ok(2), Err(io::Error::from_raw_os_error(number))].into_iter();
            let all = outgoing.send_by(|_| answers.next().expect("it is not asked again"));
            assert!(!all.expect("it passes"));
            assert!(outgoing.is_starved());
            let mut sent = Vec::new();
            let all = outgoing.send_by(|bytes| {
                sent.extend_from_slice(bytes);
                Ok(bytes.len())
            });
            assert!(all.expect("it has passed") && !outgoing.is_starved());
            assert_eq!(sent, b"llo");
        }
    }

    #[test]
    fn any_other_error_is_the_end() {
        for number in [libc::EPIPE, libc::ECONNRESET, libc::EBADF] {
            let mut outgoing = Outgoing::default();
            outgoing.buffer().extend_from_slice(b"hello");
            outgoing.send_by(|_| Err(io::Error::from_raw_os_error(number))).expect_err("it does not pass");
        }
    }
}
