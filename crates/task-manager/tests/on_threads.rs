//! What every pool keeps, kept by a pool of threads.

mod conformance;
mod support;

use std::time::Duration;

pub(crate) use workfleet_task_manager::{ThreadManager as Manager, ThreadManagerBuilder as Builder};

pub(crate) const KIND: support::Kind = support::Kind::Threads;

/// A manager of a few workers whose grace is far beyond the limit on hanging: whoever waits for it, hangs.
pub(crate) fn builder(workers: usize) -> Builder {
    Manager::builder(conformance::registry()).workers(workers).grace(Duration::from_secs(3600))
}
