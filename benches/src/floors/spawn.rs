//! The floor for starting workers: the same executable started up to its `main`, where it ends, and reaped.

use std::hint::black_box;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use crate::error::Error;
use crate::roles;

/// As many at a time as a manager starts.
const AT_A_TIME: usize = 4;

/// How a process is made.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Way {
    /// By `posix_spawn`, which shares the parent's memory until the new program runs.
    PosixSpawn,
    /// By `fork`, which copies the parent's page tables: what the standard library does as soon as something is
    /// asked for that `posix_spawn` has not, a user id here, and likewise `pre_exec`.
    Fork,
}

/// Processes per second, while this one keeps `resident` in memory.
pub(crate) fn starts(way: Way, processes: usize, resident: &[u8]) -> Result<f64, Error> {
    let executable = std::env::current_exe().map_err(Error::io("find this executable"))?;
    // Hands out each number once and orders nothing else.
    let started = AtomicUsize::new(0);
    let start_some = || {
        while started.fetch_add(1, Ordering::Relaxed) < processes {
            let mut command = Command::new(&executable);
            command.arg(roles::EXIT).stdin(Stdio::null()).stdout(Stdio::null());
            if let Way::Fork = way {
                command.uid(rustix::process::getuid().as_raw());
            }
            let ended = command.status();
            let ended = ended.map_err(|source| Error::Start { program: (&executable).into(), source })?;
            if !ended.success() {
                return Err(Error::Wrong(format!("a process that does nothing ended with {ended}")));
            }
        }
        Ok(())
    };
    let begin = Instant::now();
    thread::scope(|scope| {
        let running: Vec<_> = (0..AT_A_TIME).map(|_| scope.spawn(start_some)).collect();
        running.into_iter().try_for_each(|thread| {
            thread.join().unwrap_or_else(|_| Err(Error::Wrong("a starting thread panicked".to_owned())))
        })
    })?;
    black_box(resident);
    Ok(processes as f64 / begin.elapsed().as_secs_f64())
}
