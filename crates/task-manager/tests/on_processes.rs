//! What every pool keeps, kept by a pool of worker processes.

mod conformance;
mod support;

pub(crate) use workfleet_task_manager::{ProcessManager as Manager, ProcessManagerBuilder as Builder};

pub(crate) const KIND: support::Kind = support::Kind::Processes;

workfleet_task_manager::test_worker!(conformance::registry());

/// A manager of a few workers whose grace is far beyond the limit on hanging: whoever waits for it, hangs.
pub(crate) fn builder(workers: usize) -> Builder {
    // Far more often than any of them has to beat.
    let throttle = std::time::Duration::from_millis(20);
    support::builder(conformance::registry(), workers).max_heartbeat_throttle(throttle)
}
