//! The floor for messages: frames that processes write as fast as they can, read and decoded by one thread.

use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, poll};
use serde::{Deserialize, Serialize};
use workfleet::wire::{Decoder, encode_frame_with, message, undr};

use super::socket::Peer;
use crate::error::Error;
use crate::roles;

/// As much as a worker gathers before it writes.
const BATCH_LEN_BYTES: usize = 32 * 1024;

/// A number under a name, as a message of a task has it, and whose it is.
#[derive(Debug, Serialize, Deserialize)]
struct Named<'a> {
    lease: u64,
    name: &'a str,
    number: u64,
}

/// The role of the other process: sends numbers until it has sent so many.
pub(crate) fn flood(frames: usize) -> Result<(), Error> {
    let stdin = io::stdin().as_fd().try_clone_to_owned().map_err(Error::io("duplicate standard input"))?;
    let mut stream = UnixStream::from(stdin);
    // Not before everybody is there.
    stream.read_exact(&mut [0]).map_err(Error::io("wait for the start"))?;
    let mut batch = Vec::with_capacity(2 * BATCH_LEN_BYTES);
    for number in 0..frames as u64 {
        let named = Named { lease: 1 << 32, name: "tick", number };
        encode_frame_with(undr::MESSAGE, &mut batch, |out| message::encode_into(&named, out))
            .map_err(Error::contender)?;
        if batch.len() >= BATCH_LEN_BYTES {
            stream.write_all(&batch).map_err(Error::io("send frames"))?;
            batch.clear();
        }
    }
    stream.write_all(&batch).map_err(Error::io("send frames"))
}

/// Frames per second from `peers` processes, each decoded to its number.
pub(crate) fn throughput(frames_each: usize, peers: usize) -> Result<f64, Error> {
    let count = frames_each.to_string();
    let mut lanes = Vec::with_capacity(peers);
    for _ in 0..peers {
        lanes.push((Peer::start_as(&[roles::FLOOD, &count])?, Decoder::default()));
    }
    let started = Instant::now();
    for (peer, _) in &mut lanes {
        peer.stream.write_all(&[0]).map_err(Error::io("start the flood"))?;
    }
    let (mut received, mut sum) = (0, 0);
    while received < frames_each * peers {
        if lanes.is_empty() {
            return Err(Error::Wrong(format!("only {received} frames came")));
        }
        for place in ready(&lanes)? {
            let (peer, decoder) = &mut lanes[place];
            let len = peer.stream.read(decoder.spare()).map_err(Error::io("receive frames"))?;
            if len == 0 {
                lanes.swap_remove(place);
                break;
            }
            decoder.advance(len);
            while let Some(frame) = decoder.next_frame().map_err(Error::contender)? {
                let named: Named<'_> = message::decode_borrowed(frame.payload).map_err(Error::contender)?;
                sum += named.number;
                received += 1;
            }
        }
    }
    let took = started.elapsed();
    let expected = peers as u64 * (frames_each as u64 * (frames_each as u64 - 1) / 2);
    if sum != expected {
        return Err(Error::Wrong(format!("the numbers sum up to {sum} instead of {expected}")));
    }
    Ok(received as f64 / took.as_secs_f64())
}

/// Which of them can be read.
fn ready(lanes: &[(Peer, Decoder)]) -> Result<Vec<usize>, Error> {
    let mut sockets: Vec<PollFd<'_>> =
        lanes.iter().map(|(peer, _)| PollFd::new(&peer.stream, PollFlags::IN)).collect();
    poll(&mut sockets, None).map_err(Error::io("wait for frames"))?;
    Ok(sockets
        .iter()
        .enumerate()
        .filter(|(_, socket)| !socket.revents().is_empty())
        .map(|(place, _)| place)
        .collect())
}
