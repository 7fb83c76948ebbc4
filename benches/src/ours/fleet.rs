//! Starting many workers.

use std::hint::black_box;
use std::time::Instant;

use workfleet::prelude::*;

use crate::error::Error;
use crate::ours;

/// Workers per second: from before the manager is built until the last of its workers has shaken hands, while
/// this process keeps `resident` in memory.
pub(crate) fn starts(workers: usize, resident: &[u8]) -> Result<f64, Error> {
    let started = Instant::now();
    let manager = ours::start(workers)?;
    ours::wait_until_all_are_up(&manager)?;
    let took = started.elapsed();
    black_box(resident);
    ours::close(&manager, ClosePolicy::Join)?;
    Ok(workers as f64 / took.as_secs_f64())
}
