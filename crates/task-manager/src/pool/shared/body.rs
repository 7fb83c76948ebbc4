//! A task as the manager keeps it, and what callers want of the core.

use std::sync::Arc;

use workfleet_heartbeat::Details;
use workfleet_scheduler::{Class, Demand, Pending, Scheduler};

use crate::{failure::DeathCertificate, outcome::OutcomeCell, pool::submission_queue, task::EncodedTask};

/// A task as the manager keeps it.
#[derive(Debug)]
pub(super) struct Body {
    pub(super) task: EncodedTask,
    pub(super) task_type: u32,
    /// The cell in which its handle waits for the outcome. `None` if it has no handle.
    pub(super) cell: Option<Arc<OutcomeCell>>,
    /// Boxed: nearly every task has none, and millions may wait.
    pub(super) history: Option<Box<History>>,
}

// What a task takes while it waits, beside its payload, is a promise.
const _: () = assert!(size_of::<Pending<Body>>() <= 80);

/// What is known of a task's attempts.
#[derive(Debug, Default)]
pub(super) struct History {
    /// Of workers that died while running it.
    pub(super) deaths: Vec<DeathCertificate>,
    /// What it said last.
    pub(super) last_heartbeat: Option<Details>,
    /// Its `Debug` form, as the worker made it in which it has failed; empty if none did.
    pub(super) debug: String,
}

impl Body {
    pub(super) fn new(task: EncodedTask, task_type: u32, cell: Option<Arc<OutcomeCell>>) -> Self {
        Self { task, task_type, cell, history: None }
    }

    pub(super) fn last_heartbeat(&self) -> Option<&Details> {
        self.history.as_ref()?.last_heartbeat.as_ref()
    }
}

/// What callers want of the core.
#[derive(Debug)]
pub(super) enum Command {
    Schedule { sequence: u64, priority: u8, class: Class, body: Body },
    Cancel { sequence: u64 },
}

impl submission_queue::Submission for Command {
    type Demand = Demand;

    fn is_urgent(&self, demand: Demand) -> bool {
        match self {
            Self::Schedule { priority, class, .. } => demand.is_for(*class, *priority),
            Self::Cancel { .. } => true,
        }
    }
}

/// Carries out what was taken from the submission queue.
pub(super) fn carry_out(scheduler: &mut Scheduler<Body>, commands: &mut Vec<Command>) {
    for command in commands.drain(..) {
        match command {
            Command::Schedule { sequence, priority, class, body } => {
                scheduler.schedule(sequence, priority, class, body);
            }
            Command::Cancel { sequence } => scheduler.cancel(sequence),
        }
    }
}
