//! Events that tasks carry to worker processes.

use std::hint::black_box;

use serde::{Deserialize, Serialize};
use workfleet::heartbeat::Event;
use workfleet::prelude::*;

use crate::clock::{mean_ns, now_ns, rest};
use crate::error::Error;
use crate::figure::median;
use crate::ours;

/// Looks so often whether an event is set; returns how long one look takes on average, in nanoseconds.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Look {
    event: Event,
    looks: u64,
}

impl TaskSpec for Look {
    const NAME: &'static str = "look";
    type Output = f64;
}

impl Task for Look {
    fn run(self, _cx: &TaskContext) -> Result<f64, TaskError> {
        Ok(mean_ns(self.looks, |_| {
            black_box(black_box(&self.event).is_set());
        }))
    }
}

/// Waits for one event after the other, and says when each wait returned.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct WaitForEach {
    events: Vec<Event>,
}

impl TaskSpec for WaitForEach {
    const NAME: &'static str = "wait-for-each";
    type Output = ();
}

impl Task for WaitForEach {
    fn run(self, cx: &TaskContext) -> Result<(), TaskError> {
        for event in &self.events {
            event.blocking_wait()?;
            let at_ns = now_ns();
            cx.send_message(&At { at_ns })?;
            cx.flush()?;
        }
        Ok(())
    }
}

/// Sets one event after the other when it is asked to, and says when.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SetEach {
    /// What asks, and what is set.
    lanes: Vec<(Event, Event)>,
}

impl TaskSpec for SetEach {
    const NAME: &'static str = "set-each";
    type Output = ();
}

impl Task for SetEach {
    fn run(self, cx: &TaskContext) -> Result<(), TaskError> {
        for (asked, event) in &self.lanes {
            asked.blocking_wait()?;
            rest();
            let at_ns = now_ns();
            event.set()?;
            cx.send_message(&At { at_ns })?;
            cx.flush()?;
        }
        Ok(())
    }
}

/// A time in the worker process, by the clock that all processes share.
#[derive(Debug, Serialize, Deserialize)]
struct At {
    at_ns: u64,
}

impl TaskMessage for At {
    const NAME: &'static str = "at";
}

/// One look at an event of this process in a worker process, in nanoseconds: the mean.
pub(crate) fn is_set(looks: u64) -> Result<f64, Error> {
    let event = Event::new();
    event.set().map_err(Error::contender)?;
    let manager = ours::start(1)?;
    let task = manager.submit(Look { event: event.clone(), looks }).map_err(Error::contender)?;
    let mean = task.wait().map_err(Error::contender)?;
    ours::close(&manager, ClosePolicy::Join)?;
    Ok(mean)
}

/// From setting an event here until the wait for it in a worker process returns, in microseconds: the median.
pub(crate) fn wake(wakes: usize) -> Result<f64, Error> {
    let events: Vec<Event> = (0..wakes).map(|_| Event::new()).collect();
    let manager = ours::start(1)?;
    ours::wait_until_all_are_up(&manager)?;
    let task = manager.submit(WaitForEach { events: events.clone() }).map_err(Error::contender)?;
    let mut samples = Vec::with_capacity(wakes);
    for event in &events {
        rest();
        let set_ns = now_ns();
        event.set().map_err(Error::contender)?;
        samples.push(micros(set_ns, next_time(&manager)?));
    }
    task.wait().map_err(Error::contender)?;
    ours::close(&manager, ClosePolicy::Join)?;
    median(&samples).ok_or_else(|| Error::Wrong("nothing was measured".to_owned()))
}

/// From setting an event in a worker process until the wait for it here returns, in microseconds: the median.
pub(crate) fn wake_back(wakes: usize) -> Result<f64, Error> {
    let lanes: Vec<(Event, Event)> = (0..wakes).map(|_| (Event::new(), Event::new())).collect();
    let manager = ours::start(1)?;
    ours::wait_until_all_are_up(&manager)?;
    let task = manager.submit(SetEach { lanes: lanes.clone() }).map_err(Error::contender)?;
    let mut samples = Vec::with_capacity(wakes);
    for (asked, event) in &lanes {
        asked.set().map_err(Error::contender)?;
        event.blocking_wait().map_err(Error::contender)?;
        let woken_ns = now_ns();
        samples.push(micros(next_time(&manager)?, woken_ns));
    }
    task.wait().map_err(Error::contender)?;
    ours::close(&manager, ClosePolicy::Join)?;
    median(&samples).ok_or_else(|| Error::Wrong("nothing was measured".to_owned()))
}

fn next_time(manager: &ProcessManager) -> Result<u64, Error> {
    match manager.messages::<At>().next() {
        Some(message) => Ok(message.map_err(Error::contender)?.content.at_ns),
        None => Err(Error::Wrong("the task ended without a word".to_owned())),
    }
}

fn micros(from_ns: u64, to_ns: u64) -> f64 {
    to_ns.saturating_sub(from_ns) as f64 / 1e3
}
