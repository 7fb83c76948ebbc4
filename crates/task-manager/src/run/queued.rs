//! A task that a worker has in hand: what its manager has said of it, and what its type says.

use std::{sync::Arc, time::Duration};

use workfleet_heartbeat::Details;

use super::{Attempt, host::Host};
use crate::{context::TaskContext, failure::FailureCause, protocol::TaskFrame, registry::entry::Entry};

/// A task that a worker has in hand.
#[derive(Debug)]
pub(crate) struct Queued {
    pub(crate) attempt: Attempt,
    pub(crate) task_type: u32,
    pub(crate) priority: u8,
    pub(crate) wants_output: bool,
    /// It shares the thread with others.
    pub(crate) concurrent: bool,
    /// It was asked back before it began: for a worker that is a thread, which finds it here.
    pub(crate) revoked: bool,
    /// How long it may be silent.
    pub(crate) heartbeat_timeout: Option<Duration>,
    /// What the attempts before it said last.
    pub(crate) last_heartbeat: Option<Details>,
    pub(crate) payload: Box<[u8]>,
}

impl Queued {
    /// `entries` are the types that are registered, and `together` says that asynchronous tasks share the thread.
    pub(crate) fn new(frame: &TaskFrame<'_>, entries: &[Entry], together: bool) -> Self {
        let entry = entries.get(frame.task_type as usize);
        Self {
            attempt: Attempt { lease: frame.lease, sequence: frame.sequence, number: frame.attempt },
            task_type: frame.task_type,
            priority: frame.priority,
            wants_output: frame.wants_output,
            concurrent: together && entry.is_some_and(Entry::is_async),
            revoked: false,
            heartbeat_timeout: entry.and_then(|entry| (entry.spec)().heartbeat_timeout),
            last_heartbeat: frame.last_heartbeat.clone(),
            payload: frame.payload.into(),
        }
    }

    /// The surroundings of its attempt.
    pub(crate) fn context(&self, host: Arc<dyn Host>) -> TaskContext {
        TaskContext::new(host, self.attempt, self.last_heartbeat.clone())
    }

    pub(crate) fn lease(&self) -> u64 {
        self.attempt.lease
    }

    /// The task's `Debug` form: runs its code. Empty if its type is not among these.
    pub(crate) fn debug_form(&self, entries: &[Entry]) -> String {
        let entry = entries.get(self.task_type as usize);
        entry.map(|entry| (entry.spec)().debug_form(&self.payload)).unwrap_or_default()
    }

    /// The failure of a task whose type is not registered here.
    pub(crate) fn unknown(&self) -> FailureCause {
        FailureCause::Rejected { reason: format!("task type {} is not registered", self.task_type) }
    }
}

#[cfg(test)]
impl Queued {
    /// A task without a payload, whose place in the order is its lease.
    pub(super) fn under(lease: u64, priority: u8) -> Self {
        Self {
            attempt: Attempt { lease, sequence: lease, number: 1 },
            task_type: 0,
            priority,
            wants_output: false,
            concurrent: false,
            revoked: false,
            heartbeat_timeout: None,
            last_heartbeat: None,
            payload: Box::default(),
        }
    }
}
