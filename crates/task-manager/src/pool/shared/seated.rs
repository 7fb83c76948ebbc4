//! A worker on its seat, as the core's driver knows it.

use std::sync::Arc;

use crate::pool::line::{GiveTasks, Remote, Supervise};

/// A worker on its seat.
#[derive(Clone, Debug)]
pub(crate) struct Seated {
    pub(crate) tasks: Arc<dyn GiveTasks>,
    pub(crate) supervisor: Arc<dyn Supervise>,
    /// None for a thread.
    pub(crate) remote: Option<Arc<dyn Remote>>,
    pub(crate) name: Arc<str>,
    /// None for a thread.
    pub(crate) pid: Option<u32>,
}

/// What the worker on this seat is called, in failures, statistics and logs.
pub(crate) fn worker_name(seat: usize) -> String {
    format!("worker-{seat}")
}
