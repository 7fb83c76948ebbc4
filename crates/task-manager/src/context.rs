//! What a running task has of its surroundings.
//!
//! Invariant: everything here belongs to one attempt. Once that attempt has ended, what is left of its context in
//! other threads is refused with a typed error.

use std::{any::Any, fmt, sync::Arc};

use tokio_util::sync::CancellationToken;

use crate::{
    extension::Extension,
    manager::{Manager, ManagerExt, ScheduleError, SendError},
    message::{EncodedMessage, TaskMessage},
    task::{EncodedTask, Priority, TaskId, TaskSpec},
    worker::Worker,
};

/// The surroundings of a running task: its manager, its worker's sessions, and whether it should stop.
pub struct TaskContext {
    proxy: Proxy,
    attempt: u32,
    sequence: u64,
}

impl TaskContext {
    pub(crate) fn new(worker: Arc<Worker>, lease: u64, sequence: u64, attempt: u32) -> Self {
        Self { proxy: Proxy { worker, lease }, attempt, sequence }
    }

    /// The manager as seen from here, to be kept by a thread that the task starts.
    pub fn proxy(&self) -> Proxy {
        self.proxy.clone()
    }

    /// This task's id.
    pub fn task_id(&self) -> TaskId {
        TaskId::new(self.proxy.worker.manager(), self.sequence)
    }

    /// Which attempt at the task this is, from 1. It grows only when a worker died while running the task.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// The name of this worker, as it stands in failures and log files: `worker-3`.
    pub fn worker(&self) -> &str {
        &self.proxy.worker.name
    }

    /// The worker's session of this type: made by [`Registry::session`](crate::Registry::session) before the
    /// worker's first task, and shared by all of them.
    ///
    /// # Errors
    /// [`NoSession`] if the registry makes none of this type.
    pub fn session<S: Any>(&self) -> Result<&S, NoSession> {
        self.proxy
            .worker
            .sessions()
            .and_then(|sessions| sessions.get())
            .ok_or(NoSession { type_name: std::any::type_name::<S>() })
    }

    /// Schedules another task. It takes effect whatever becomes of this one, never waits for a place in a queue, and
    /// when this attempt dies and a later one schedules it again as its n-th, it is recognised and not doubled.
    ///
    /// `Ok` means buffered, as for [`send_message`](Self::send_message).
    ///
    /// # Errors
    /// [`ScheduleError`] with the task: its priority is beyond the levels, it is not registered, it cannot be
    /// encoded, it exceeds the frame limit, or this attempt has ended.
    pub fn schedule<T: TaskSpec>(&self, task: T, priority: Priority) -> Result<(), ScheduleError<T>> {
        ManagerExt::schedule(&self.proxy, task, priority)
    }

    /// Sends a message to the manager's inbox.
    ///
    /// `Ok` means buffered. The buffer leaves within about a millisecond, at the end of the task, on a panic and on
    /// `exit`; a worker that is killed may take with it what has not left: see [`flush`](Self::flush). The call
    /// waits only when more than 1 MiB waits for the socket.
    ///
    /// # Errors
    /// [`SendError`]: the message cannot be encoded, exceeds the frame limit, or this attempt has ended.
    pub fn send_message<M: TaskMessage>(&self, message: &M) -> Result<(), SendError> {
        self.proxy.send_message(message)
    }

    /// Waits until the manager has everything that this task sent or scheduled so far.
    ///
    /// # Errors
    /// [`SendError`] if the request could not be sent.
    pub fn flush(&self) -> Result<(), SendError> {
        self.proxy.flush()
    }

    /// Whether this task should stop: somebody cancelled it, or its manager closes. Cheap enough for a loop.
    pub fn is_cancelled(&self) -> bool {
        self.proxy.worker.is_cancelled(self.proxy.lease)
    }

    /// Fails with an error if this task [should stop](Self::is_cancelled): `cx.check_cancelled()?`.
    ///
    /// # Errors
    /// [`Cancelled`], by which the task ends as cancelled.
    pub fn check_cancelled(&self) -> Result<(), Cancelled> {
        if self.is_cancelled() { Err(Cancelled) } else { Ok(()) }
    }

    /// A token that is cancelled when this task should stop, for what waits asynchronously.
    pub fn cancellation_token(&self) -> CancellationToken {
        self.proxy.worker.cancellation_token(self.proxy.lease)
    }

    /// This worker's half of a service; made when it is first asked for.
    ///
    /// # Panics
    /// If its [`KINDS`](Extension::KINDS) overlap those of another that was asked for before.
    pub fn extension<E: Extension>(&self) -> Arc<E> {
        self.proxy.worker.extensions.get(&self.proxy.worker)
    }
}

impl fmt::Debug for TaskContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskContext")
            .field("task", &self.task_id())
            .field("attempt", &self.attempt)
            .field("worker", &self.worker())
            .finish_non_exhaustive()
    }
}

/// The manager as a worker sees it. It can be cloned and sent to other threads; once its task's attempt has ended, it
/// refuses what it is given.
#[derive(Clone)]
pub struct Proxy {
    worker: Arc<Worker>,
    lease: u64,
}

impl Proxy {
    /// See [`TaskContext::flush`].
    ///
    /// # Errors
    /// [`SendError`] if the request could not be sent.
    pub fn flush(&self) -> Result<(), SendError> {
        self.worker.flush()
    }
}

impl Manager for Proxy {
    fn priority_levels(&self) -> u8 {
        self.worker.priority_levels()
    }

    fn schedule_encoded(
        &self,
        task: EncodedTask,
        priority: Priority,
    ) -> Result<(), ScheduleError<EncodedTask>> {
        match self.worker.schedule(self.lease, &task, priority) {
            Ok(()) => Ok(()),
            Err(kind) => Err(ScheduleError::<EncodedTask>::new(task, kind)),
        }
    }

    fn send_encoded(&self, message: EncodedMessage) -> Result<(), SendError> {
        self.worker.send(self.lease, &message)
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy").field("worker", &self.worker.name).finish_non_exhaustive()
    }
}

/// A task asked for a session that its registry does not make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the registry makes no session of type {type_name}")]
#[non_exhaustive]
pub struct NoSession {
    /// The type that was asked for.
    pub type_name: &'static str,
}

/// The task was asked to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the task was cancelled")]
#[non_exhaustive]
pub struct Cancelled;
