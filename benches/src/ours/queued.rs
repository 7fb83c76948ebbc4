//! Tasks that wait in the manager: what each takes in memory and descriptors, and what a long queue costs.
//!
//! Each worker is kept by a task that waits for a gate to open, so that everything behind it stays queued.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use workfleet::prelude::*;

use crate::error::Error;
use crate::gate;
use crate::ours;
use crate::procfs;

const WORKERS: usize = 2;

/// What one task in this module carries.
pub(crate) const PAYLOAD_LEN_BYTES: usize = 16;

/// Ends when its gate opens.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Gate(PathBuf);

impl TaskSpec for Gate {
    const NAME: &'static str = "gate";
    type Output = ();
}

impl Task for Gate {
    fn run(self, _cx: &TaskContext) -> Result<(), TaskError> {
        Ok(gate::pass(&self.0)?)
    }
}

/// Returns the first byte of its payload.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Small([u8; PAYLOAD_LEN_BYTES]);

impl TaskSpec for Small {
    const NAME: &'static str = "small";
    type Output = u8;
}

impl Task for Small {
    fn run(self, _cx: &TaskContext) -> Result<u8, TaskError> {
        Ok(self.0[0])
    }
}

/// A manager that runs nothing until its gate opens.
struct Held {
    manager: ProcessManager,
    gate: gate::Gate,
}

impl Held {
    fn start() -> Result<Held, Error> {
        let manager = ours::start(WORKERS)?;
        ours::wait_until_all_are_up(&manager)?;
        let mut gate = gate::Gate::new()?;
        for _ in 0..WORKERS {
            manager.schedule(Gate(gate.path().to_owned())).map_err(Error::contender)?;
        }
        // Both have begun: what is scheduled from now on waits.
        gate.wait_for(WORKERS)?;
        Ok(Held { manager, gate })
    }

    fn schedule(&self, tasks: usize) -> Result<(), Error> {
        for number in 0..tasks {
            let task = Small([number as u8; PAYLOAD_LEN_BYTES]);
            self.manager.schedule(task).map_err(Error::contender)?;
            self.settle(number);
        }
        Ok(())
    }

    /// Has the manager take in what was scheduled, now and then: the memory that only a burst takes is not
    /// what is measured.
    fn settle(&self, number: usize) {
        const PERIOD: usize = 1024;
        if number % PERIOD == PERIOD - 1 {
            self.manager.stats();
        }
    }

    fn check_queued(&self, tasks: usize) -> Result<(), Error> {
        // The workers may have been handed the next one each.
        let queued = self.manager.stats().queued;
        if (tasks - 2 * WORKERS..=tasks).contains(&queued) {
            return Ok(());
        }
        Err(Error::Wrong(format!("{queued} of {tasks} tasks were queued")))
    }
}

/// Resident bytes of this process for each queued task, from `few` to `many` of them, beside its payload.
pub(crate) fn memory(few: usize, many: usize) -> Result<f64, Error> {
    let held = Held::start()?;
    held.schedule(few)?;
    let before = procfs::resident_bytes()?;
    held.schedule(many - few)?;
    let after = procfs::resident_bytes()?;
    held.check_queued(many)?;
    ours::close(&held.manager, ClosePolicy::Kill)?;
    Ok((after as f64 - before as f64) / (many - few) as f64 - PAYLOAD_LEN_BYTES as f64)
}

/// The same with the handle by which the caller holds each task.
pub(crate) fn memory_with_handle(few: usize, many: usize) -> Result<f64, Error> {
    let held = Held::start()?;
    let mut handles = Vec::with_capacity(many);
    let mut before = 0;
    for number in 0..many {
        if number == few {
            before = procfs::resident_bytes()?;
        }
        let task = Small([number as u8; PAYLOAD_LEN_BYTES]);
        handles.push(held.manager.submit(task).map_err(Error::contender)?);
        held.settle(number);
    }
    let after = procfs::resident_bytes()?;
    held.check_queued(many)?;
    ours::close(&held.manager, ClosePolicy::Kill)?;
    drop(handles);
    Ok((after as f64 - before as f64) / (many - few) as f64 - PAYLOAD_LEN_BYTES as f64)
}

/// Descriptors that the manager's process has open while `tasks` are queued, beyond those it had before.
pub(crate) fn descriptors(tasks: usize) -> Result<f64, Error> {
    let before = procfs::open_descriptors()?;
    let held = Held::start()?;
    held.schedule(tasks)?;
    held.check_queued(tasks)?;
    let open = procfs::open_descriptors()? - held.gate.descriptors();
    ours::close(&held.manager, ClosePolicy::Kill)?;
    Ok(open as f64 - before as f64)
}

/// Nanoseconds for each task while `depth` others are queued, all the time: for each result that comes, one more
/// is submitted.
pub(crate) fn dispatch(depth: usize, tasks: usize) -> Result<f64, Error> {
    /// The most that workers are given ahead.
    const IN_HAND: usize = 2 * 1024;
    let mut held = Held::start()?;
    let submit = |number: usize| {
        held.manager.submit(Small([number as u8; PAYLOAD_LEN_BYTES])).map_err(Error::contender)
    };
    let outstanding = depth + IN_HAND;
    let with_handle = outstanding.min(tasks);
    let mut handles = (0..with_handle).map(&submit).collect::<Result<VecDeque<_>, _>>()?;
    held.schedule(outstanding - with_handle)?;
    held.manager.stats();
    held.gate.open();
    let started = Instant::now();
    for number in 0..tasks {
        let Some(handle) = handles.pop_front() else {
            return Err(Error::Wrong("fewer results than tasks".to_owned()));
        };
        let result = handle.wait().map_err(Error::contender)?;
        if result != number as u8 {
            return Err(Error::Wrong(format!("task {number} returned {result}")));
        }
        handles.push_back(submit(number + with_handle)?);
    }
    let took = started.elapsed();
    // Closing would end and count up to ten million tasks; this process ends anyhow, and its workers with it.
    std::mem::forget(held.manager);
    Ok(took.as_nanos() as f64 / tasks as f64)
}
