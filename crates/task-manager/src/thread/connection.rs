//! The manager's end of a worker thread: its queue, which it hands tasks to directly.

use std::{
    iter::once,
    sync::{Arc, Weak},
};

use workfleet_wire::Kind;

use super::{exchange::Exchange, worker::ThreadWorker};
use crate::{
    pool::{CaughtUp, GiveTasks, SendFrames, Supervise, mailbox::Mailbox},
    protocol::{Cancel, TaskFrame},
    refusal::MessageSendError,
    registry::entry::Entry,
    run::{queue::TaskQueue, queued::Queued},
};

#[derive(Debug)]
pub(super) struct ThreadConnection {
    pub(super) queue: Arc<TaskQueue>,
    pub(super) entries: Arc<[Entry]>,
    pub(super) together: bool,
    pub(super) exchange: Arc<Exchange>,
    pub(super) worker: Weak<ThreadWorker>,
    pub(super) mailbox: Arc<Mailbox<Mail>>,
}

/// What the future that serves the thread is told.
#[derive(Debug, PartialEq)]
pub(super) enum Mail {
    /// Something has not come in time: tell the core that what has come was handled.
    CatchUp,
    /// The worker is to go.
    Retire,
}

impl GiveTasks for ThreadConnection {
    fn dispatch(&self, task: &TaskFrame<'_>) {
        self.queue.add(once(Queued::new(task, &self.entries, self.together)));
    }

    fn cancel(&self, cancel: &Cancel) {
        let lease = match *cancel {
            Cancel::Lease(lease) => Some(lease),
            Cancel::All => None,
        };
        self.queue.revoke(lease);
    }
}

impl Supervise for ThreadConnection {
    fn catch_up(&self) {
        self.mailbox.put(Mail::CatchUp);
    }

    fn retire(&self) {
        self.queue.close();
        self.mailbox.put(Mail::Retire);
    }
}

impl SendFrames for ThreadConnection {
    fn send_frame(&self, kind: Kind, payload: &[u8], limit_bytes: u64) -> Result<(), MessageSendError> {
        self.exchange.to_extension(self.worker.clone(), kind, payload, limit_bytes)
    }

    fn when_caught_up(&self, done: CaughtUp) {
        // What a thread says of its attempts is handled before it goes on.
        done();
    }
}
