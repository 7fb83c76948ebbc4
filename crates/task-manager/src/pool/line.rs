//! The manager's end of what connects it with a worker, whatever that is.

use std::fmt;

use workfleet_wire::Kind;

use crate::{
    manager::SendError,
    protocol::{Cancel, Recall, TaskFrame},
};

/// What is to be done once everything that a worker had sent was handled.
pub(crate) type CaughtUp = Box<dyn FnOnce() + Send>;

/// What a worker is told. Nothing here waits for the worker.
pub(crate) trait Line: fmt::Debug + Send + Sync {
    /// Hands a task over. [`flush`](Self::flush) sends it, and so it is for everything that follows.
    fn dispatch(&self, task: &TaskFrame<'_>);
    /// Asks for tasks that have not begun.
    fn recall(&self, recall: &Recall);
    /// Cancels, at once. Called with no lock held: it may run a task's wakers.
    fn cancel(&self, cancel: &Cancel);
    /// Asks for a sign of life.
    fn ping(&self);
    /// Everything that was sent before this request to flush has been handled.
    fn flushed(&self, request: u64);
    /// Sends what was said. A worker that is gone is noticed elsewhere.
    fn flush(&self);
    /// The worker has broken the rules of a service: it is to be killed.
    fn break_off(&self);
    /// The worker has nothing in hand and is to go. It has the grace for that: it ends its sessions.
    fn retire(&self);
    /// Has what the worker has sent so far handled, and the core told so: see [`Shared::caught_up`](super::Shared::caught_up).
    fn catch_up(&self);
    /// The same, and then calls `done`, with no lock held: on the manager's thread, or at once if there is nothing to wait
    /// for. It is called whatever becomes of the worker and of the pool.
    fn when_caught_up(&self, done: CaughtUp);
    /// Sends a service's frame; a frame has at most `limit_bytes`.
    fn send_frame(&self, kind: Kind, payload: &[u8], limit_bytes: u64) -> Result<(), SendError>;
}
