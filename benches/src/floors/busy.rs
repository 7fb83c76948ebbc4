//! The floor for tasks that take a given time: threads that do nothing else.

use std::thread;
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::spin::{share_used, spin};

/// The share of the ideal time that `workers` threads use who spin one task after another.
pub(crate) fn share(time: Duration, tasks: u64, workers: usize) -> Result<f64, Error> {
    let started = Instant::now();
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| (0..tasks / workers as u64).for_each(|_| spin(time)));
        }
    });
    Ok(share_used(time, tasks, workers, started.elapsed()))
}
