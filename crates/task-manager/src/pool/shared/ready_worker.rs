//! A worker in its slot that takes tasks.

use std::sync::Arc;

use crate::pool::worker_connection::{GiveTasks, Remote, Supervise};

/// A worker in its slot that takes tasks.
#[derive(Clone, Debug)]
pub(crate) struct ReadyWorker {
    pub(crate) tasks: Arc<dyn GiveTasks>,
    pub(crate) supervisor: Arc<dyn Supervise>,
    /// None for a thread.
    pub(crate) remote: Option<Arc<dyn Remote>>,
    pub(crate) name: Arc<str>,
    /// None for a thread.
    pub(crate) pid: Option<u32>,
}

/// The name of the worker in this slot, in failures, statistics and logs.
pub(crate) fn worker_name(slot: usize) -> String {
    format!("worker-{slot}")
}
