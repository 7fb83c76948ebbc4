//! The manager's end of a worker connection, as four traits: giving tasks, supervising, sending frames of services, and
//! what only a worker in another process needs. Each kind of worker implements those that it has.
//!
//! Invariant: nothing here waits for the worker.

use std::fmt;

use workfleet_wire::Kind;

use crate::{
    protocol::{Cancel, Recall, TaskFrame},
    refusal::MessageSendError,
};

/// A callback that is called once everything that a worker had sent was handled.
pub(crate) type CaughtUp = Box<dyn FnOnce() + Send>;

/// Gives a worker its tasks.
pub(crate) trait GiveTasks: fmt::Debug + Send + Sync {
    /// Hands a task over. [`flush`](Self::flush) sends it.
    fn dispatch(&self, task: &TaskFrame<'_>);
    /// Cancels, at once. Called with no lock held: it may run a task's wakers.
    fn cancel(&self, cancel: &Cancel);
    /// Sends what was written before. If the worker is gone, that is noticed elsewhere. A thread has nothing to send.
    fn flush(&self) {}
}

/// Tells the future that serves a worker what the core has decided.
pub(crate) trait Supervise: fmt::Debug + Send + Sync {
    /// Handle what the worker has sent so far, and tell the core: see [`Shared::caught_up`](super::Shared::caught_up).
    fn catch_up(&self);
    /// The worker has nothing in hand and is to go. It has the grace for that: it ends its sessions.
    fn retire(&self);
}

/// The commands that only a worker in another process gets.
pub(crate) trait Remote: fmt::Debug + Send + Sync {
    /// Asks for tasks that have not begun. [`GiveTasks::flush`] sends it.
    fn recall(&self, recall: &Recall);
    /// Asks for a sign of life. [`GiveTasks::flush`] sends it.
    fn ping(&self);
    /// Tells the worker that everything was handled that it had sent before this request to flush.
    fn flushed(&self, request: u64);
    /// The worker has broken the rules of a service: it is to be killed.
    fn break_off(&self);
}

/// Sends the frames of services to a worker.
pub(crate) trait SendFrames: fmt::Debug + Send + Sync {
    /// Sends a service's frame; a frame has at most `limit_bytes`.
    fn send_frame(&self, kind: Kind, payload: &[u8], limit_bytes: u64) -> Result<(), MessageSendError>;
    /// Handles what the worker has sent so far, then calls `done`, with no lock held: on the manager's thread, or at once
    /// if there is nothing to wait for. It is called whatever becomes of the worker and of the pool.
    fn when_caught_up(&self, done: CaughtUp);
}
