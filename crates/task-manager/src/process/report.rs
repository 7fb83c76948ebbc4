//! What a manager leaves behind when it closes.
//!
//! Invariant: a task that was never begun and a failure that nobody read stand here, or were handed to somebody
//! before; nothing is dropped silently.

use std::fmt;

use crate::{failure::TaskFailure, stats::TaskCounts, task::EncodedTask};

/// What was left when a manager closed.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct CloseReport {
    /// The books: every task that was ever scheduled, by how it ended.
    pub tasks: TaskCounts,
    /// Tasks that were never begun, in the order in which they would have been; at most as many as
    /// [`return_limit`](crate::ProcessManagerBuilder::return_limit) says, 100 by default.
    /// [`tasks.returned`](TaskCounts::returned) counts all of them.
    pub unstarted: Vec<EncodedTask>,
    /// Messages that nobody read.
    pub unread_messages: u64,
    /// Failures that nobody read, of tasks without a handle.
    pub failures: Vec<TaskFailure>,
}

impl fmt::Display for CloseReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}; {} messages and {} failures unread",
            self.tasks,
            self.unread_messages,
            self.failures.len()
        )
    }
}

/// Tasks that were handed back while closing.
#[derive(Debug)]
pub(super) struct Returned {
    limit: usize,
    pub(super) tasks: Vec<EncodedTask>,
}

impl Returned {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, tasks: Vec::new() }
    }

    pub(super) fn add(&mut self, task: &EncodedTask) {
        if self.tasks.len() < self.limit {
            self.tasks.push(task.clone());
        }
    }
}
