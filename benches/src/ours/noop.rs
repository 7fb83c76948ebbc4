//! Tasks that do nothing: what a pool itself costs.

use std::time::Instant;

use serde::{Deserialize, Serialize};
use workfleet::prelude::*;

use crate::error::Error;
use crate::figure::median_micros;
use crate::ours;

const WORKERS: usize = 2;
const WARM_UP_TASKS: u64 = 1_000;

/// Adds one.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Noop(pub(super) u64);

impl TaskSpec for Noop {
    const NAME: &'static str = "noop";
    type Output = u64;
}

impl Task for Noop {
    fn run(self, _cx: &TaskContext) -> Result<u64, TaskError> {
        Ok(self.0 + 1)
    }
}

/// Tasks per second: all submitted one by one, then every result awaited and checked.
pub(crate) fn noop_throughput(tasks: u64) -> Result<f64, Error> {
    let manager = start()?;
    let started = Instant::now();
    submit_and_check(&manager, tasks)?;
    let took = started.elapsed();
    manager.close(ClosePolicy::Join).map_err(Error::contender)?;
    Ok(tasks as f64 / took.as_secs_f64())
}

/// Tasks per second: all scheduled, fire and forget, then the inbox read until it ends.
pub(crate) fn schedule_throughput(tasks: u64) -> Result<f64, Error> {
    let manager = start()?;
    let started = Instant::now();
    for number in 0..tasks {
        manager.schedule(Noop(number)).map_err(Error::contender)?;
    }
    // Whatever comes is a failure.
    for message in manager.messages::<NoMessage>() {
        message.map_err(Error::contender)?;
    }
    let took = started.elapsed();
    let done = manager.close(ClosePolicy::Join).map_err(Error::contender)?.tasks.done;
    if done != tasks + WARM_UP_TASKS {
        return Err(Error::Wrong(format!("{done} tasks were done, of {}", tasks + WARM_UP_TASKS)));
    }
    Ok(tasks as f64 / took.as_secs_f64())
}

/// The median time from submitting a task to its result, nothing else running, in microseconds.
pub(crate) fn latency(tasks: u64) -> Result<f64, Error> {
    let manager = start()?;
    let mut samples = Vec::new();
    for number in 0..tasks {
        let started = Instant::now();
        let result = manager.submit(Noop(number)).map_err(Error::contender)?.wait();
        samples.push(started.elapsed());
        check(number, result.map_err(Error::contender)?)?;
    }
    manager.close(ClosePolicy::Join).map_err(Error::contender)?;
    median_micros(&samples).ok_or_else(|| Error::Wrong("no task was measured".to_owned()))
}

fn start() -> Result<ProcessManager, Error> {
    let manager = ours::start(WORKERS)?;
    submit_and_check(&manager, WARM_UP_TASKS)?;
    Ok(manager)
}

fn submit_and_check(manager: &ProcessManager, tasks: u64) -> Result<(), Error> {
    let mut handles = Vec::new();
    for number in 0..tasks {
        handles.push(manager.submit(Noop(number)).map_err(Error::contender)?);
    }
    for (number, handle) in (0..tasks).zip(handles) {
        check(number, handle.wait().map_err(Error::contender)?)?;
    }
    Ok(())
}

fn check(number: u64, result: u64) -> Result<(), Error> {
    if result == number + 1 { Ok(()) } else { Err(Error::Wrong(format!("task {number} returned {result}"))) }
}
