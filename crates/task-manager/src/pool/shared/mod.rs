//! The state that a manager's threads share: the submission queue, into which any thread pushes tasks, and the core
//! behind one lock, with the worker connections that carry out its decisions.
//!
//! A caller pushes into the [submission queue](super::submission_queue), and takes the core's lock only if a worker has demand
//! for the task. So a single task reaches its worker without waking the manager's thread, and many tasks go out in batches
//! when results come in.
//!
//! | file | what it is about |
//! |---|---|
//! | `commands` | what callers and running tasks want: schedule, cancel, send |
//! | `attempts`, `frames` | what workers report of attempts; what comes of worker processes, as frames |
//! | `incarnations` | what the slots report: a worker came up, did not start, is gone |
//! | `queries` | questions |
//! | `core`, `ready_worker` | what the core's lock protects; a worker in its slot that takes tasks |
//! | `run_scheduler` | runs the scheduler and carries out its effects |
//! | `deliveries` | what others are told afterwards |
//! | `body` | a task as the manager keeps it |
//!
//! Invariants:
//! - Locks are taken in the order core, submission queue, connection. Wakers, services and handles are called with none of them
//!   held.
//! - The core takes tasks in the order of the sequence numbers that the submission queue gave them.

mod attempts;
mod body;
mod commands;
mod core;
mod deliveries;
mod frames;
mod incarnations;
mod queries;
mod ready_worker;
mod run_scheduler;
#[cfg(all(test, not(workfleet_loom)))]
mod tests;

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tokio::sync::{Notify, watch};
use workfleet_fork::Home;
use workfleet_heartbeat::remote::{self, Scope};
use workfleet_scheduler::{Limits, Restarts, Scheduler};

pub(crate) use self::ready_worker::{ReadyWorker, worker_name};
use self::{body::Command, core::Core};
use super::{
    closing::Closing, given_up::GivenUp, report::Left, services::Services, submission_queue::SubmissionQueue,
};
use crate::{
    heartbeaters::HeartbeatersOfManager,
    ids::ManagerId,
    inbox::{Inbox, InboxOverflow},
    registry::index::Index,
    service::Service,
};

/// What the manager's workers are to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Mode {
    Running,
    /// Nothing is started any more. A worker goes when it has nothing in hand.
    Leaving,
    /// Nothing is in hand any more: exit.
    Finishing,
    /// Die.
    Killing,
}

#[derive(Debug)]
pub(crate) struct Shared {
    /// The process that started the manager. A fork of it has none of the manager's threads, and one of these may have
    /// held a lock at the fork. So each call checks this before it takes a lock.
    pub(crate) home: Home,
    pub(crate) id: ManagerId,
    pub(crate) levels: u8,
    pub(crate) frame_limit_bytes: u64,
    /// How many tasks one task may schedule.
    pub(crate) children_limit: u32,
    index: Index,
    submissions: SubmissionQueue<Command>,
    core: Mutex<Core>,
    pub(crate) inbox: Inbox,
    pub(crate) mode: watch::Sender<Mode>,
    pub(super) closing: Closing,
    pub(crate) services: Services,
    pub(crate) heartbeaters: HeartbeatersOfManager,
    /// Events are found by name among those of this pool.
    _names: Scope,
    pub(super) left: Mutex<Left>,
    /// How many slots there are to keep workers on. They are numbered from 0.
    pub(super) slots: watch::Sender<usize>,
    /// The core's next deadline came nearer.
    pub(super) timer: Notify,
}

/// Settings that [`Shared`] needs of a manager.
pub(crate) struct Setup {
    pub(crate) id: ManagerId,
    pub(crate) index: Index,
    pub(crate) workers: usize,
    pub(crate) limits: Limits,
    pub(crate) frame_limit_bytes: u64,
    pub(crate) inbox_limit_bytes: usize,
    pub(crate) inbox_overflow: InboxOverflow,
    pub(crate) children_limit: u32,
    pub(crate) outage_patience: Duration,
    pub(crate) return_limit: usize,
    pub(crate) services: Vec<Arc<dyn Service>>,
}

impl Shared {
    pub(crate) fn new(setup: Setup) -> Arc<Self> {
        let Setup { id, index, limits, workers, frame_limit_bytes, .. } = setup;
        let shared = Self {
            home: Home::here(),
            id,
            levels: limits.levels,
            frame_limit_bytes,
            children_limit: setup.children_limit,
            index,
            submissions: SubmissionQueue::new(),
            core: Mutex::new(Core {
                scheduler: Scheduler::new(limits),
                restarts: Restarts::new(Instant::now(), setup.outage_patience),
                why_none_starts: GivenUp::default(),
                slots: Vec::new(),
                touched: Vec::new(),
                commands: Vec::new(),
                cancels: Vec::new(),
                armed: None,
            }),
            inbox: Inbox::new(setup.inbox_limit_bytes, setup.inbox_overflow),
            mode: watch::Sender::new(Mode::Running),
            closing: Closing::new(),
            services: Services(setup.services),
            heartbeaters: HeartbeatersOfManager::default(),
            _names: remote::open_scope(id.to_bits()),
            left: Mutex::new(Left::new(setup.return_limit)),
            slots: watch::Sender::new(0),
            timer: Notify::new(),
        };
        shared.hire(workers);
        Arc::new(shared)
    }
}

/// A few bits that differ from call to call and from process to process: enough to spread restarts.
pub(super) fn jitter() -> u8 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(std::process::id()) as u8
}
