//! Binds this process, and what it will start, to one processor.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::error::Error;

/// Binds the calling thread to the first processor that it may use. Threads and processes started from it
/// afterwards inherit that; so call it before any other thread exists.
pub(crate) fn pin_to_one_cpu() -> Result<(), Error> {
    let allowed = sched_getaffinity(None).map_err(Error::io("read the processor affinity"))?;
    let mut one = CpuSet::new();
    if let Some(cpu) = (0..CpuSet::MAX_CPU).find(|cpu| allowed.is_set(*cpu)) {
        one.set(cpu);
    }
    sched_setaffinity(None, &one).map_err(Error::io("bind to one processor"))
}
