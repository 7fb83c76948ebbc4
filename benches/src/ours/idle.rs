//! A manager whose workers have nothing to do.

use workfleet::prelude::*;

use super::noop::Noop;
use crate::error::Error;
use crate::idle;
use crate::ours;

/// Starts the workers, has each of them run something, and stays idle until told to end.
pub(crate) fn stay(workers: usize) -> Result<(), Error> {
    let manager = ours::start(workers)?;
    ours::wait_until_all_are_up(&manager)?;
    let mut handles = Vec::new();
    for number in 0..1000 {
        handles.push(manager.submit(Noop(number)).map_err(Error::contender)?);
    }
    for handle in handles {
        handle.wait().map_err(Error::contender)?;
    }
    idle::say_ready_and_wait()?;
    ours::close(&manager, ClosePolicy::Join)
}
