//! What others are told once the core's lock is free: outcomes, messages, the failures of tasks.
//!
//! Invariant: nothing is delivered under a lock, because that runs the code of wakers.

use std::{
    borrow::Cow,
    sync::{Arc, PoisonError},
};

use workfleet_scheduler::{Ended, Ending, Pending};
use workfleet_wire::Kind;

use super::{
    Shared,
    body::{Body, History},
    worker_name,
};
use crate::{
    failure::{Failed, FailureCause, FailureReport},
    ids::TaskId,
    inbox::{Inbox, Item},
    outcome::OutcomeCell,
    pool::given_up::GivenUp,
};

/// What must be told to others once the core's lock is free.
#[derive(Default)]
pub(super) struct Deliveries {
    /// The first output of several: a thread that has ended one task allocates nothing to tell of it.
    first: Option<(Arc<OutcomeCell>, Vec<u8>)>,
    more: Vec<(Arc<OutcomeCell>, Vec<u8>)>,
    pub(super) items: Vec<Item>,
    pub(super) failures: Vec<(Option<Arc<OutcomeCell>>, FailureReport)>,
    pub(super) ended: u64,
    pub(super) frames: Vec<(Kind, Box<[u8]>)>,
    /// The worker's latest request to flush; its answer is one to those before.
    pub(super) flush: Option<u64>,
}

impl Deliveries {
    pub(super) fn done(&mut self, ended: Ended<Body>, output: Cow<'_, [u8]>) {
        self.ended += 1;
        if let Some(cell) = ended.task.body.cell {
            let output = (cell, output.into_owned());
            match &self.first {
                None => self.first = Some(output),
                Some(_) => self.more.push(output),
            }
        }
    }

    /// A task ended otherwise than by its worker's report.
    pub(super) fn ended(
        &mut self,
        shared: &Shared,
        task: Pending<Body>,
        ending: Ending,
        attempt: u32,
        why_none_starts: &GivenUp,
    ) {
        let mut worker = None;
        let cause = match ending {
            Ending::HeartbeatMissed { slot, timeout } => {
                worker = Some(worker_name(slot));
                FailureCause::HeartbeatTimeout { timeout }
            }
            Ending::Cancelled => FailureCause::Cancelled,
            Ending::Crashed => FailureCause::WorkerDied,
            Ending::Returned => FailureCause::Returned,
            Ending::NeverStarted => why_none_starts.cause(attempt),
        };
        if ending == Ending::Returned {
            shared.left.lock().unwrap_or_else(PoisonError::into_inner).unstarted(&task.body.task);
            if task.body.cell.is_none() {
                // It stands in the closing report; as a failure it would stand there twice.
                self.ended += 1;
                return;
            }
        }
        self.failed(shared, task, attempt, worker, *Box::<Failed>::from(cause));
    }

    pub(super) fn failed(
        &mut self,
        shared: &Shared,
        task: Pending<Body>,
        attempt: u32,
        worker: Option<String>,
        failed: Failed,
    ) {
        let Body { task: encoded, cell, history, .. } = task.body;
        let History { deaths, last_heartbeat, debug } = history.map(|history| *history).unwrap_or_default();
        let report = FailureReport {
            task: TaskId::new(shared.id, task.sequence),
            name: encoded.name().into(),
            debug: if debug.is_empty() { encoded.described() } else { debug },
            attempt,
            worker: worker.or_else(|| deaths.last().map(|death| death.worker.clone())),
            cause: failed.cause,
            links: failed.links,
            deaths,
            last_heartbeat,
        };
        self.ended += 1;
        self.failures.push((cell, report));
    }

    /// The caller holds no lock: this runs the code of wakers. True if the inbox has room again.
    #[must_use = "dispatching has to go on"]
    pub(super) fn tell(self, inbox: &Inbox) -> bool {
        let mut items = self.items;
        let mut failed = Vec::new();
        for (cell, report) in self.failures {
            match cell {
                Some(cell) => failed.push((cell, report)),
                None => items.push(Item::Failure(report.into())),
            }
        }
        // In this order: once a reader sees that a task has ended, it finds what the task said; once it sees that all have, it
        // finds their handles resolved.
        let room = !items.is_empty() && inbox.deliver(items, 0);
        for (cell, output) in self.first.into_iter().chain(self.more) {
            cell.fill(Ok(output));
        }
        for (cell, report) in failed {
            cell.fill(Err(report.into()));
        }
        // Nothing comes in by this, so nothing is dropped.
        let _ = self.ended > 0 && inbox.deliver([], self.ended);
        room
    }
}
