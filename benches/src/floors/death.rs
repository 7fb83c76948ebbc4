//! The floor for recovering from a killed process: its socket ends, and what was lost goes to another process.

use std::io::Read as _;

use rustix::process::{Pid, Signal, kill_process};

use super::socket::Peer;
use crate::clock;
use crate::error::Error;
use crate::figure::quantile;

/// Where the work goes on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Successor {
    /// In a process that is already there.
    Waiting,
    /// In one that has to be started.
    Started,
}

/// From SIGKILL until a frame has been to the successor and back, in microseconds: the quantile over `kills`.
pub(crate) fn recovery(successor: Successor, kills: usize, share: f64) -> Result<f64, Error> {
    let mut samples = Vec::with_capacity(kills);
    let mut waiting = Peer::start()?;
    waiting.round_trip()?;
    for _ in 0..kills {
        let mut victim = Peer::start()?;
        victim.round_trip()?;
        let pid = Pid::from_child(&victim.process);
        let killed_ns = clock::now_ns();
        kill_process(pid, Signal::KILL).map_err(Error::io("kill a process"))?;
        let left = victim.stream.read(&mut [0]).map_err(Error::io("wait for the end of a socket"))?;
        if left != 0 {
            return Err(Error::Wrong("a killed process sent something".to_owned()));
        }
        if let Successor::Started = successor {
            waiting = Peer::start()?;
        }
        waiting.round_trip()?;
        samples.push((clock::now_ns() - killed_ns) as f64 / 1e3);
        // Reaped here, outside of what is measured.
        drop(victim);
    }
    quantile(&samples, share).ok_or_else(|| Error::Wrong("nobody was killed".to_owned()))
}
