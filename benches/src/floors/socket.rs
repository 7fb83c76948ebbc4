//! The floors of talking to another process over a Unix socket: one frame at a time, and as many as fit.
//!
//! The other process is this executable in its echo role. Nothing is decoded and nothing remembered but how
//! many bytes are under way, so a dispatcher can come near these figures and not pass them.

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, poll};

use crate::error::Error;
use crate::figure::median_micros;
use crate::roles;

/// About what a small task and its bookkeeping take.
const FRAME_LEN_BYTES: usize = 64;
/// More than the largest window, so that one read can empty a socket.
const BUFFER_LEN_BYTES: usize = 64 * 1024;

/// The role of the other process: sends back what arrives on standard input, until that ends.
pub(crate) fn echo() -> Result<(), Error> {
    let stdin = io::stdin().as_fd().try_clone_to_owned().map_err(Error::io("duplicate standard input"))?;
    let mut stream = UnixStream::from(stdin);
    let mut buffer = vec![0; BUFFER_LEN_BYTES];
    loop {
        let len = match stream.read(&mut buffer).map_err(Error::io("read from the socket"))? {
            0 => return Ok(()),
            len => len,
        };
        stream.write_all(&buffer[..len]).map_err(Error::io("write to the socket"))?;
    }
}

/// The median round trip of one frame with nothing else under way, in microseconds.
pub(crate) fn ping_pong(round_trips: usize) -> Result<f64, Error> {
    let mut peer = Peer::start()?;
    for _ in 0..round_trips / 10 {
        peer.round_trip()?;
    }
    let mut samples = Vec::with_capacity(round_trips);
    for _ in 0..round_trips {
        let started = Instant::now();
        peer.round_trip()?;
        samples.push(started.elapsed());
    }
    median_micros(&samples).ok_or_else(|| Error::Wrong("no round trip was measured".to_owned()))
}

/// Frames per second there and back, with up to `window` frames under way to each of `peers` processes.
pub(crate) fn pipelined(frames: usize, window: usize, peers: usize) -> Result<f64, Error> {
    let mut lanes = Vec::with_capacity(peers);
    for _ in 0..peers {
        let mut peer = Peer::start()?;
        peer.round_trip()?;
        peer.stream.set_nonblocking(true).map_err(Error::io("make a socket non-blocking"))?;
        lanes.push(Lane { peer, in_flight_bytes: 0 });
    }
    let window_bytes = window * FRAME_LEN_BYTES;
    let outgoing = vec![7; window_bytes];
    let mut incoming = vec![0; BUFFER_LEN_BYTES];
    let mut unsent_bytes = frames * FRAME_LEN_BYTES;
    let mut missing_bytes = unsent_bytes;
    let started = Instant::now();
    while missing_bytes > 0 {
        for lane in &mut lanes {
            // Half a window at a time: a refill for every frame would be a system call for every frame.
            if lane.in_flight_bytes <= window_bytes / 2 {
                let len = unsent_bytes.min(window_bytes - lane.in_flight_bytes);
                unsent_bytes -= lane.send(&outgoing[..len])?;
            }
        }
        wait_for_any(&lanes)?;
        for lane in &mut lanes {
            missing_bytes -= lane.receive(&mut incoming)?;
        }
    }
    Ok(frames as f64 / started.elapsed().as_secs_f64())
}

/// A process in a role, and the socket to it. Dropping it ends and reaps the process.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(super) stream: UnixStream,
    pub(super) process: Child,
}

impl Peer {
    /// One in the echo role.
    pub(crate) fn start() -> Result<Peer, Error> {
        Peer::start_as(&[roles::ECHO])
    }

    /// One in the role that these arguments give it. The socket is its standard input.
    pub(super) fn start_as(args: &[&str]) -> Result<Peer, Error> {
        let (stream, theirs) = UnixStream::pair().map_err(Error::io("make a pair of sockets"))?;
        let executable = std::env::current_exe().map_err(Error::io("find this executable"))?;
        let process = Command::new(&executable)
            .args(args)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .spawn()
            .map_err(|source| Error::Start { program: executable.into(), source })?;
        Ok(Peer { stream, process })
    }

    pub(super) fn round_trip(&mut self) -> Result<(), Error> {
        let mut frame = [7; FRAME_LEN_BYTES];
        self.stream.write_all(&frame).map_err(Error::io("send a frame"))?;
        self.stream.read_exact(&mut frame).map_err(Error::io("receive a frame"))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // The end of the socket ends the process; if even that fails, there is nothing better to do.
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
        let _ = self.process.wait();
    }
}

/// A peer and how much of what was sent to it has not come back.
struct Lane {
    peer: Peer,
    in_flight_bytes: usize,
}

impl Lane {
    /// Sends what the socket takes now; returns how much.
    fn send(&mut self, bytes: &[u8]) -> Result<usize, Error> {
        if bytes.is_empty() {
            return Ok(0);
        }
        let len =
            or_zero_if_it_would_block(self.peer.stream.write(bytes)).map_err(Error::io("send frames"))?;
        self.in_flight_bytes += len;
        Ok(len)
    }

    /// Receives what is there; returns how much.
    fn receive(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        if self.in_flight_bytes == 0 {
            return Ok(0);
        }
        let received = match self.peer.stream.read(buffer) {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            other => or_zero_if_it_would_block(other),
        };
        let len = received.map_err(Error::io("receive frames"))?;
        self.in_flight_bytes -= len;
        Ok(len)
    }
}

fn wait_for_any(lanes: &[Lane]) -> Result<(), Error> {
    let mut sockets: Vec<PollFd<'_>> =
        lanes.iter().map(|lane| PollFd::new(&lane.peer.stream, PollFlags::IN)).collect();
    poll(&mut sockets, None).map_err(Error::io("wait for frames"))?;
    Ok(())
}

fn or_zero_if_it_would_block(result: io::Result<usize>) -> io::Result<usize> {
    match result {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
        other => other,
    }
}
