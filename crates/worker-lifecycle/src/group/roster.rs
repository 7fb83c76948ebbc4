//! The children of a group as others see them. The group's task writes it, and every call for a status reads it.
//!
//! Invariant: no user's code runs under its lock.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use workfleet_panics::discard;

use super::{core::Traits, ids::ChildId, report::StopReport};
use crate::{lifecycle::WorkerState, reason::StatusReason, reference::WorkerRef, status::Status};

/// Whether a worker is a group.
#[derive(Clone, Debug)]
#[doc(hidden)]
pub struct Role(pub(crate) Option<Arc<Roster>>);

#[derive(Debug, Default)]
pub(crate) struct Roster {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// In the order in which they start.
    entries: Vec<Entry>,
    report: Option<StopReport>,
}

/// A child as others see it.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    id: ChildId,
    phase: u32,
    /// Its present or last incarnation; before it is started, its first.
    pub(crate) worker: WorkerRef,
    pub(crate) restarts: u32,
    /// Its end does not stop the group.
    may_end: bool,
    /// It ended and will be restarted.
    pub(crate) is_waiting: bool,
}

impl Entry {
    /// Of a child that was not started.
    pub(super) fn new(id: ChildId, traits: Traits, worker: WorkerRef) -> Self {
        Self { id, phase: traits.phase, worker, restarts: 0, may_end: traits.may_end, is_waiting: false }
    }
}

impl Roster {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn insert(&self, entry: Entry) {
        let mut state = self.lock();
        let place = state.entries.partition_point(|other| (other.phase, other.id) < (entry.phase, entry.id));
        state.entries.insert(place, entry);
    }

    pub(crate) fn remove(&self, id: ChildId) {
        let mut state = self.lock();
        let removed: Vec<Entry> = state.entries.extract_if(.., |entry| entry.id == id).collect();
        drop(state);
        // A worker's destructor may run anything: not under the lock.
        discard(removed);
    }

    /// Changes a child's entry. Entries stand in the order of phases, then ids. What is to be dropped is returned.
    pub(crate) fn update<R>(
        &self,
        phase: u32,
        id: ChildId,
        change: impl FnOnce(&mut Entry) -> R,
    ) -> Option<R> {
        let mut state = self.lock();
        let place = state.entries.binary_search_by_key(&(phase, id), |entry| (entry.phase, entry.id)).ok()?;
        state.entries.get_mut(place).map(change)
    }

    pub(crate) fn set_report(&self, report: StopReport) {
        self.lock().report = Some(report);
    }

    pub(crate) fn report(&self) -> Option<StopReport> {
        self.lock().report.clone()
    }

    pub(crate) fn has_held_up(&self) -> bool {
        self.lock().report.as_ref().is_some_and(|report| report.worst() != WorkerState::Stopped)
    }

    fn entries(&self) -> Vec<Entry> {
        self.lock().entries.clone()
    }

    pub(crate) fn workers(&self) -> Vec<WorkerRef> {
        self.entries().into_iter().map(|entry| entry.worker).collect()
    }

    pub(crate) fn statuses(&self) -> Vec<Status> {
        let status = |entry: Entry| {
            let mut status = Status { restarts: entry.restarts, ..entry.worker.status() };
            if status.reason == StatusReason::Started && entry.restarts > 0 {
                status.reason = StatusReason::Restarted(entry.restarts);
            }
            status
        };
        self.entries().into_iter().map(status).collect()
    }

    /// Whether every child does its work, except those that may end and have.
    pub(crate) fn is_ready(&self) -> bool {
        self.entries().into_iter().all(|entry| {
            let has_done = entry.may_end && entry.worker.state().is_stopped();
            !entry.is_waiting && (has_done || entry.worker.status().ready)
        })
    }
}
