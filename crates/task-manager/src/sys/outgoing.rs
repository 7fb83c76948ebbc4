//! Bytes on their way into a socket that takes them when it can.
//!
//! Invariant: the memory in use follows what waits, not what has passed: what was sent is dropped as soon as it is
//! the larger part, however long something is left.

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

    /// Sends what the socket takes now. True if that was all.
    pub(crate) fn send(&mut self, socket: impl AsFd) -> io::Result<bool> {
        while !self.is_empty() {
            match send_now(&socket, &self.buffer[self.sent_bytes..]) {
                Ok(sent_bytes) => self.sent_bytes += sent_bytes,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.compact();
                    return Ok(false);
                }
                Err(error) => return Err(error),
            }
        }
        self.clear();
        Ok(true)
    }

    /// Drops everything: there is nobody to send it to.
    pub(crate) fn clear(&mut self) {
        self.buffer.clear();
        self.buffer.shrink_to(KEPT_BYTES);
        self.sent_bytes = 0;
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
}
