//! Tasks that keep a processor busy for a given time: how much of it goes to them.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use workfleet::prelude::*;

use crate::error::Error;
use crate::ours;
use crate::spin::{share_used, spin};

const WORKERS: usize = 2;
const WARM_UP_TASKS: u64 = 200;

/// Spins, then returns its number.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Busy {
    number: u64,
    time: Duration,
}

impl TaskSpec for Busy {
    const NAME: &'static str = "busy";
    type Output = u64;
}

impl Task for Busy {
    fn run(self, _cx: &TaskContext) -> Result<u64, TaskError> {
        spin(self.time);
        Ok(self.number)
    }
}

/// The share of the ideal time: all submitted one by one, then every result awaited and checked.
pub(crate) fn share(time: Duration, tasks: u64) -> Result<f64, Error> {
    let manager = ours::start(WORKERS)?;
    ours::wait_until_all_are_up(&manager)?;
    submit_and_check(&manager, time, WARM_UP_TASKS)?;
    let started = Instant::now();
    submit_and_check(&manager, time, tasks)?;
    let took = started.elapsed();
    ours::close(&manager, ClosePolicy::Join)?;
    Ok(share_used(time, tasks, WORKERS, took))
}

fn submit_and_check(manager: &ProcessManager, time: Duration, tasks: u64) -> Result<(), Error> {
    let mut handles = Vec::new();
    for number in 0..tasks {
        handles.push(manager.submit(Busy { number, time }).map_err(Error::contender)?);
    }
    for (number, handle) in (0..tasks).zip(handles) {
        let result = handle.wait().map_err(Error::contender)?;
        if result != number {
            return Err(Error::Wrong(format!("task {number} returned {result}")));
        }
    }
    Ok(())
}
