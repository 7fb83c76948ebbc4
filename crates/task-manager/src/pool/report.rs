//! What a manager leaves behind when it closes.
//!
//! Invariant: every task that was never begun, and every failure that was not read, is in the report, unless it was
//! handed to a caller before. Nothing is dropped silently.

use std::fmt;

use crate::{failure::TaskFailure, ids::TaskId, inbox::Item, stats::TaskCounts, task::EncodedTask};

/// What was left when a manager closed.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct CloseReport {
    /// The books: every task that was ever scheduled, by how it ended.
    pub tasks: TaskCounts,
    /// Tasks that were never begun, in the order in which they would have run. At most as many as the builder's
    /// `return_limit`, 100 by default. [`tasks.returned`](TaskCounts::returned) counts all of them.
    pub unstarted: Vec<EncodedTask>,
    /// Messages that were not read.
    pub unread_messages: u64,
    /// How many messages a full inbox has dropped, by [`InboxOverflow::DropOldest`](crate::InboxOverflow::DropOldest).
    pub dropped_messages: u64,
    /// Failures of tasks without a handle that were not read.
    pub failures: Vec<TaskFailure>,
    /// Tasks on worker threads that did not stop when they were told to. They count as cancelled, or as failed by a
    /// missed [heartbeat](crate::TaskContext::heartbeat). They may still run, but their output is lost. Always empty for
    /// worker processes.
    pub abandoned: Vec<Abandoned>,
    /// How many tasks were cancelled since closing began.
    pub(super) cut_short: u64,
}

/// A task that was left running in a thread of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Abandoned {
    /// The worker that runs it.
    pub worker: String,
    /// The task.
    pub task: TaskId,
    /// [`TaskSpec::NAME`](crate::TaskSpec::NAME) of its type.
    pub name: String,
}

impl CloseReport {
    /// Every task was begun and ended, and everything was read.
    pub(super) fn is_clean(&self) -> bool {
        self.tasks.returned == 0
            && self.cut_short == 0
            && self.unread_messages == 0
            && self.dropped_messages == 0
            && self.failures.is_empty()
            && self.abandoned.is_empty()
    }

    /// Logs what was left, if no caller gets the report.
    pub(super) fn tell_what_is_lost(&self) {
        workfleet_notice::warn!(
            report = %self,
            "a manager was dropped and loses what it had: wait for its tasks, read its messages, or close it by ClosePolicy::Join"
        );
    }

    pub(super) fn add(&mut self, item: Item) {
        match item {
            Item::Message { .. } => self.unread_messages += 1,
            Item::Failure(failure) => self.failures.push(failure),
        }
    }
}

impl fmt::Display for CloseReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tasks, unread_messages, dropped_messages, failures, abandoned, .. } = self;
        write!(f, "{tasks}; {unread_messages} messages and {} failures unread", failures.len())?;
        if *dropped_messages > 0 {
            write!(f, "; {dropped_messages} messages dropped by the full inbox")?;
        }
        for Abandoned { worker, task, name } in abandoned {
            write!(f, "; {worker} still runs {name} {task}")?;
        }
        Ok(())
    }
}

/// What is gathered for the report while a manager closes.
#[derive(Debug)]
pub(super) struct Left {
    return_limit: usize,
    pub(super) unstarted: Vec<EncodedTask>,
    pub(super) abandoned: Vec<Abandoned>,
}

impl Left {
    pub(super) fn new(return_limit: usize) -> Self {
        Self { return_limit, unstarted: Vec::new(), abandoned: Vec::new() }
    }

    pub(super) fn unstarted(&mut self, task: &EncodedTask) {
        if self.unstarted.len() < self.return_limit {
            self.unstarted.push(task.clone());
        }
    }
}
