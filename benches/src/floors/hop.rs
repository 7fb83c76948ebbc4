//! The floors of telling another thread or process something while nothing else goes on: one way, and there and back.
//!
//! Before each time everybody has fallen asleep, as they have where events and heartbeats come now and then. So these
//! are mostly wake-ups of a sleeping processor, and slower than a ping-pong without pauses.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rustix::event::{PollFd, PollFlags, poll};

use super::socket::Peer;
use crate::clock::{now_ns, rest};
use crate::error::Error;
use crate::figure::quantile;
use crate::roles;

const STAMP_LEN_BYTES: usize = size_of::<u64>();

/// The role of the other process: answers each byte with the time at which it was there, until there are no more.
pub(crate) fn stamp() -> Result<(), Error> {
    let stdin = io::stdin().as_fd().try_clone_to_owned().map_err(Error::io("duplicate standard input"))?;
    let mut stream = UnixStream::from(stdin);
    while stream.read(&mut [0]).map_err(Error::io("wait for a byte"))? > 0 {
        stream.write_all(&now_ns().to_ne_bytes()).map_err(Error::io("send the time"))?;
    }
    Ok(())
}

/// From before a byte is written to a Unix socket until the process that waits for it has it, in microseconds: the
/// median.
pub(crate) fn one_way(hops: usize) -> Result<f64, Error> {
    let mut peer = Peer::start_as(&[roles::STAMP])?;
    sampled(hops, 0.5, || {
        rest();
        let sent_ns = now_ns();
        peer.stream.write_all(&[0]).map_err(Error::io("send a byte"))?;
        let mut stamp = [0; STAMP_LEN_BYTES];
        peer.stream.read_exact(&mut stamp).map_err(Error::io("receive the time"))?;
        Ok(micros(sent_ns, u64::from_ne_bytes(stamp)))
    })
}

/// The round trip of a frame to a process that waits for it, in microseconds: the median.
pub(crate) fn round_trip(round_trips: usize) -> Result<f64, Error> {
    let mut peer = Peer::start()?;
    sampled(round_trips, 0.5, || {
        rest();
        timed_round_trip(&mut peer)
    })
}

/// The same while so many threads never sleep.
pub(crate) fn round_trip_among_busy(round_trips: usize, busy: usize) -> Result<f64, Error> {
    let mut peer = Peer::start()?;
    let stopped = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..busy {
            scope.spawn(|| {
                // A lone flag that orders nothing else.
                while !stopped.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        let figure = sampled(round_trips, 0.5, || timed_round_trip(&mut peer));
        stopped.store(true, Ordering::Relaxed);
        figure
    })
}

/// What it costs to write a byte that wakes another thread of this process, which polls as event loops do, in
/// nanoseconds: the quantile.
pub(crate) fn wake_up(wake_ups: usize, share: f64) -> Result<f64, Error> {
    let (mut stream, mut theirs) = UnixStream::pair().map_err(Error::io("make a pair of sockets"))?;
    thread::scope(|scope| {
        scope.spawn(move || {
            // Whatever ends it: the writer sees that nobody reads.
            while poll(&mut [PollFd::new(&theirs, PollFlags::IN)], None).is_ok()
                && matches!(theirs.read(&mut [0]), Ok(1))
            {}
        });
        let figure = sampled(wake_ups, share, || {
            rest();
            let started_ns = now_ns();
            match stream.write(&[0]).map_err(Error::io("wake a thread"))? {
                1 => Ok(now_ns().saturating_sub(started_ns) as f64),
                _ => Err(Error::io("wake a thread")(ErrorKind::WriteZero)),
            }
        });
        drop(stream);
        figure
    })
}

fn timed_round_trip(peer: &mut Peer) -> Result<f64, Error> {
    let started_ns = now_ns();
    peer.round_trip()?;
    Ok(micros(started_ns, now_ns()))
}

fn micros(from_ns: u64, to_ns: u64) -> f64 {
    to_ns.saturating_sub(from_ns) as f64 / 1e3
}

/// The quantile of so many samples, after some that do not count.
fn sampled(samples: usize, share: f64, mut sample: impl FnMut() -> Result<f64, Error>) -> Result<f64, Error> {
    for _ in 0..samples / 10 {
        sample()?;
    }
    let samples = (0..samples).map(|_| sample()).collect::<Result<Vec<f64>, Error>>()?;
    quantile(&samples, share).ok_or_else(|| Error::Wrong("nothing was measured".to_owned()))
}
