//! A task as the manager keeps it, and what callers want of the core.

use std::sync::Arc;

use workfleet_heartbeat::Details;
use workfleet_scheduler::{Class, Hunger, Pending, Scheduler};

use crate::{failure::DeathCertificate, pool::intake, slot::Slot, task::EncodedTask};

/// A task as the manager keeps it.
#[derive(Debug)]
pub(super) struct Body {
    pub(super) task: EncodedTask,
    pub(super) task_type: u32,
    /// Who waits for the outcome; nobody if it was scheduled.
    pub(super) slot: Option<Arc<Slot>>,
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
    pub(super) fn new(task: EncodedTask, task_type: u32, slot: Option<Arc<Slot>>) -> Self {
        Self { task, task_type, slot, history: None }
    }

    pub(super) fn last_heartbeat(&self) -> Option<&Details> {
        self.history.as_ref()?.last_heartbeat.as_ref()
    }
}

/// What callers want of the core.
#[derive(Debug)]
pub(super) enum Order {
    Schedule { sequence: u64, priority: u8, class: Class, body: Body },
    Cancel { sequence: u64 },
}

impl intake::Command for Order {
    type Hunger = Hunger;

    fn is_urgent(&self, hunger: Hunger) -> bool {
        match self {
            Self::Schedule { priority, class, .. } => hunger.is_for(*class, *priority),
            Self::Cancel { .. } => true,
        }
    }
}

/// Carries out what was taken from the intake.
pub(super) fn obey(scheduler: &mut Scheduler<Body>, orders: &mut Vec<Order>) {
    for order in orders.drain(..) {
        match order {
            Order::Schedule { sequence, priority, class, body } => {
                scheduler.schedule(sequence, priority, class, body);
            }
            Order::Cancel { sequence } => scheduler.cancel(sequence),
        }
    }
}
