//! What a running task has of its surroundings.
//!
//! Invariant: everything here belongs to one attempt. Once that attempt has ended, what is left of its context in
//! other threads is refused with a typed error.

use std::{
    any::{Any, TypeId},
    fmt,
    sync::{Arc, OnceLock, Weak},
};

use serde::{Serialize, de::DeserializeOwned};
use tokio_util::sync::CancellationToken;
use workfleet_heartbeat::{
    Details, DetailsDecodeError, Event, HeartbeaterRegistry,
    remote::{EventNameError, named_event},
};

use crate::{
    extension::Extension,
    heartbeat::{HeartbeatersError, TaskHeartbeatError},
    ids::TaskId,
    manager::{Manager, ManagerExt},
    message::{EncodedMessage, TaskMessage},
    options::TaskOptions,
    refusal::{MessageSendError, ScheduleError},
    registry::entry::Entry,
    run::{Attempt, host::Host, sessions::Sessions},
    task::{EncodedTask, TaskSpec},
};

/// The surroundings of a running task: its manager, its worker's sessions, and whether it should stop.
pub struct TaskContext {
    proxy: Proxy,
    /// Of the attempts before this one.
    last_heartbeat: Option<Details>,
    /// The worker's, once the task has asked for one.
    sessions: OnceLock<Option<Arc<Sessions>>>,
}

impl TaskContext {
    pub(crate) fn new(host: Arc<dyn Host>, attempt: Attempt, last_heartbeat: Option<Details>) -> Self {
        Self { proxy: Proxy { host, attempt }, last_heartbeat, sessions: OnceLock::new() }
    }

    /// The code of a type of task.
    pub(crate) fn entry(&self, name: &str) -> Option<Entry> {
        self.proxy.host.entry(name)
    }

    /// The manager as seen from here, to be kept by a thread that the task starts.
    pub fn proxy(&self) -> Proxy {
        self.proxy.clone()
    }

    /// This task's id.
    pub fn task_id(&self) -> TaskId {
        TaskId::new(self.proxy.host.manager(), self.proxy.attempt.sequence)
    }

    /// Which attempt at the task this is, from 1. It grows only when a worker died, or a thread was given up, while running
    /// the task.
    pub fn attempt(&self) -> u32 {
        self.proxy.attempt.number
    }

    /// The name of this worker, as it stands in failures and log files: `worker-3`.
    pub fn worker(&self) -> &str {
        self.proxy.host.name()
    }

    /// The worker's session of this type: made by [`Registry::session`](crate::Registry::session) before the
    /// worker's first task, and shared by all of them.
    ///
    /// # Errors
    /// [`SessionError`] if the registry makes none of this type.
    pub fn session<S: Any>(&self) -> Result<&S, SessionError> {
        let sessions = self.sessions.get_or_init(|| self.proxy.host.sessions());
        let session = sessions.as_ref().and_then(|sessions| sessions.get(TypeId::of::<S>()));
        session
            .and_then(|session| session.downcast_ref())
            .ok_or(SessionError { type_name: std::any::type_name::<S>() })
    }

    /// Schedules another task. Once the request has left this process, it takes effect even if this task or its worker
    /// dies.
    ///
    /// If this attempt dies, a later attempt may schedule the same tasks again, in the same order. Its n-th task then
    /// counts as the n-th of the first attempt, and is not run twice.
    ///
    /// `Ok` means buffered, as for [`send_message`](Self::send_message). If the worker is killed before the buffer was
    /// sent, the task is lost until the next attempt schedules it.
    ///
    /// The call never waits for room in a queue, for another task, or for a reader of messages. In a worker process, it
    /// waits for the worker's socket if more than 1 MiB waits there. That blocks the thread, also in an asynchronous
    /// task. The manager always reads, so the wait ends. On a worker thread the call never waits.
    ///
    /// # Errors
    /// [`ScheduleError`], which has the task in it. The task's priority is beyond the levels, it is not registered, it
    /// cannot be encoded, or it exceeds the frame limit; or this task has scheduled as many as it
    /// [may](crate::ProcessManagerBuilder::children_limit); or this attempt has ended.
    pub fn schedule<T: TaskSpec>(&self, task: T) -> Result<(), ScheduleError<T>> {
        ManagerExt::schedule(&self.proxy, task)
    }

    /// Schedules another task as `options` say: a [`TaskOptions`], or a [`Priority`](crate::Priority) alone. Otherwise the same
    /// as [`schedule`](Self::schedule).
    ///
    /// # Errors
    /// As for [`schedule`](Self::schedule).
    pub fn schedule_with<T: TaskSpec>(
        &self,
        task: T,
        options: impl Into<TaskOptions>,
    ) -> Result<(), ScheduleError<T>> {
        ManagerExt::schedule_with(&self.proxy, task, options)
    }

    /// Sends a message to the manager's inbox.
    ///
    /// `Ok` means buffered. The buffer is sent within about a millisecond, at the end of the task, on a panic and on
    /// `exit`. If the worker is killed before that, the message is lost: see [`flush`](Self::flush). The call waits only
    /// if more than 1 MiB waits for the worker's socket. It never waits for a reader of messages.
    ///
    /// # Errors
    /// [`MessageSendError`]: the message cannot be encoded, exceeds the frame limit, or this attempt has ended.
    pub fn send_message<M: TaskMessage>(&self, message: &M) -> Result<(), MessageSendError> {
        self.proxy.send_message(message)
    }

    /// Says that this task makes progress, and how far it is. `details` are any value that [can be
    /// encoded](workfleet_heartbeat::Details::encode), up to 64 KiB.
    ///
    /// Call it as often as you like. It costs little more than encoding the details, and never waits.
    ///
    /// A worker process sends the first heartbeat at once. After that it sends only the latest, and not more often than
    /// every four fifths of the task's [timeout](crate::TaskSpec::HEARTBEAT_TIMEOUT), or every [60
    /// s](crate::ProcessManagerBuilder::max_heartbeat_throttle) if that is sooner. Without a timeout it sends one every
    /// [30 s](crate::ProcessManagerBuilder::default_heartbeat_throttle). The manager shows the last one while the task
    /// runs ([`TaskHandle::last_heartbeat`](crate::TaskHandle::last_heartbeat)). If the worker is killed, the next
    /// attempt finds [the last that was sent](Self::last_heartbeat).
    ///
    /// A heartbeat that is held back is sent when the task is cancelled, by [`flush`](Self::flush), and on `exit`. If
    /// the task fails, it is in the [failure](crate::FailureReport::last_heartbeat). If the task succeeds, it is
    /// dropped.
    ///
    /// If a task has a timeout and no heartbeat arrives for that long, the task has failed. It is cancelled; when it has
    /// ended, it fails with [`FailureCause::HeartbeatTimeout`](crate::FailureCause::HeartbeatTimeout), and is not tried
    /// again. If it does not end within the [grace](crate::ProcessManagerBuilder::heartbeat_grace), its worker is
    /// killed. A heartbeat, an output or a cancellation after the miss changes nothing. A cancellation before the miss
    /// does not stop the clock.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use serde::{Deserialize, Serialize};
    /// use workfleet_task_manager::{NullManager, Task, TaskContext, TaskError, TaskSpec};
    ///
    /// /// Imports rows, and goes on where the last attempt was when its worker died.
    /// #[derive(Debug, Serialize, Deserialize)]
    /// struct Import { rows: u64 }
    ///
    /// impl TaskSpec for Import {
    ///     const NAME: &'static str = "import";
    ///     type Output = u64;
    ///     const HEARTBEAT_TIMEOUT: Option<Duration> = Some(Duration::from_secs(60));
    /// }
    ///
    /// impl Task for Import {
    ///     fn run(self, cx: &TaskContext) -> Result<u64, TaskError> {
    ///         let first = cx.last_heartbeat::<u64>()?.unwrap_or(0);
    ///         for row in first..self.rows {
    ///             // …
    ///             cx.heartbeat(&(row + 1))?;
    ///             cx.check_cancelled()?;
    ///         }
    ///         Ok(self.rows - first)
    ///     }
    /// }
    /// # let done = Import { rows: 3 }.run(&TaskContext::detached(NullManager, ()));
    /// # assert_eq!(done.unwrap(), 3);
    /// ```
    ///
    /// # Errors
    /// [`TaskHeartbeatError`]: the details cannot be encoded or are too large, or this attempt has ended.
    #[doc(alias = "record_heartbeat")]
    pub fn heartbeat<T: Serialize + ?Sized>(&self, details: &T) -> Result<(), TaskHeartbeatError> {
        self.proxy.heartbeat(details)
    }

    /// What earlier attempts at this task said last, as far as it reached the manager; `None` in the first attempt.
    ///
    /// # Errors
    /// [`DetailsDecodeError`] if they said something that is not a `T`.
    #[doc(alias = "heartbeat_details")]
    pub fn last_heartbeat<T: DeserializeOwned>(&self) -> Result<Option<T>, DetailsDecodeError> {
        self.last_heartbeat.as_ref().map(Details::decode).transpose()
    }

    /// Waits until the manager has everything that this task sent or scheduled so far, its latest
    /// [heartbeat](Self::heartbeat) and what it said through a [`HeartbeatSender`](workfleet_heartbeat::HeartbeatSender) too.
    ///
    /// # Errors
    /// [`MessageSendError`] if the request could not be sent.
    pub fn flush(&self) -> Result<(), MessageSendError> {
        self.proxy.flush()
    }

    /// Whether this task should stop, because it was cancelled or its manager closes. Cheap enough for a loop.
    pub fn is_cancelled(&self) -> bool {
        self.proxy.host.is_cancelled(self.proxy.attempt.lease)
    }

    /// Fails with an error if this task [should stop](Self::is_cancelled): `cx.check_cancelled()?`.
    ///
    /// # Errors
    /// [`CancelledError`], by which the task ends as cancelled.
    pub fn check_cancelled(&self) -> Result<(), CancelledError> {
        if self.is_cancelled() { Err(CancelledError) } else { Ok(()) }
    }

    /// A token that is cancelled when this task should stop, for what waits asynchronously.
    pub fn cancellation_token(&self) -> CancellationToken {
        self.proxy.host.cancellation_token(self.proxy.attempt.lease)
    }

    /// The event of this name: the same for all tasks of this manager, in whichever worker, and for
    /// [`Pool::event`](crate::Pool::event).
    ///
    /// ```
    /// # use serde::{Deserialize, Serialize};
    /// # use workfleet_task_manager::{Registry, Task, TaskContext, TaskError, TaskSpec, ThreadManager};
    /// #[derive(Debug, Serialize, Deserialize)]
    /// struct Load;
    /// impl TaskSpec for Load {
    ///     const NAME: &'static str = "load";
    ///     type Output = ();
    /// }
    /// impl Task for Load {
    ///     fn run(self, cx: &TaskContext) -> Result<(), TaskError> {
    ///         Ok(cx.event("loaded")?.set()?)
    ///     }
    /// }
    /// let manager = ThreadManager::builder(Registry::new().task::<Load>()).start()?;
    /// let loaded = manager.event("loaded")?;
    /// manager.submit(Load)?.wait()?;
    /// assert!(loaded.is_set());
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`EventNameError`].
    pub fn event(&self, name: &str) -> Result<Event, EventNameError> {
        named_event(self.proxy.host.manager().to_bits(), name)
    }

    /// What makes events and registers heartbeaters for the users of this task's manager, as
    /// [`Pool::heartbeaters`](crate::Pool::heartbeaters): on a worker thread, and in place where the context's manager has some
    /// ([`WithHeartbeaters`](crate::WithHeartbeaters)). A worker process has none: what the program registered comes in payloads.
    ///
    /// # Errors
    /// [`HeartbeatersError`].
    pub fn heartbeaters(&self) -> Result<Arc<dyn HeartbeaterRegistry>, HeartbeatersError> {
        self.proxy.host.heartbeaters()
    }

    /// This worker's half of a service; made when it is first asked for.
    ///
    /// # Panics
    /// If its [`KINDS`](Extension::KINDS) overlap those of another that was asked for before.
    pub fn extension<E: Extension>(&self) -> Arc<E> {
        let worker: Weak<dyn Host> = Arc::downgrade(&self.proxy.host);
        self.proxy.host.extensions().get(worker)
    }
}

impl fmt::Debug for TaskContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskContext")
            .field("task", &self.task_id())
            .field("attempt", &self.attempt())
            .field("worker", &self.worker())
            .finish_non_exhaustive()
    }
}

/// The manager as a worker sees it. It can be cloned and sent to other threads; once its task's attempt has ended, it
/// refuses what it is given.
#[derive(Clone)]
pub struct Proxy {
    host: Arc<dyn Host>,
    attempt: Attempt,
}

impl Proxy {
    /// See [`TaskContext::flush`].
    ///
    /// # Errors
    /// [`MessageSendError`] if the request could not be sent.
    pub fn flush(&self) -> Result<(), MessageSendError> {
        self.host.flush(self.attempt)
    }

    /// See [`TaskContext::heartbeat`].
    ///
    /// # Errors
    /// [`TaskHeartbeatError`]: the details cannot be encoded or are too large, or the attempt has ended.
    #[doc(alias = "record_heartbeat")]
    pub fn heartbeat<T: Serialize + ?Sized>(&self, details: &T) -> Result<(), TaskHeartbeatError> {
        self.host.heartbeat(self.attempt, Details::encode(details)?)
    }
}

impl Manager for Proxy {
    fn priority_levels(&self) -> u8 {
        self.host.priority_levels()
    }

    fn schedule_encoded(
        &self,
        task: EncodedTask,
        options: TaskOptions,
    ) -> Result<(), ScheduleError<EncodedTask>> {
        let priority = options.priority_of(self.host.priority_levels());
        self.host
            .schedule(self.attempt, task, priority)
            .map_err(|(task, kind)| ScheduleError::<EncodedTask>::new(task, kind))
    }

    fn send_encoded(&self, message: EncodedMessage) -> Result<(), MessageSendError> {
        self.host.send(self.attempt, message)
    }

    fn heartbeaters(&self) -> Result<Arc<dyn HeartbeaterRegistry>, HeartbeatersError> {
        self.host.heartbeaters()
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy").field("worker", &self.host.name()).finish_non_exhaustive()
    }
}

/// A task asked for a session that its registry does not make.
#[doc(alias = "NoSession")]
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the registry makes no session of type {type_name}")]
#[non_exhaustive]
pub struct SessionError {
    /// The type that was asked for.
    pub type_name: &'static str,
}

workfleet_causes::readable!(struct SessionError { type_name });

/// The task was asked to stop.
#[doc(alias = "Cancelled")]
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the task was cancelled")]
#[non_exhaustive]
pub struct CancelledError;

workfleet_causes::readable!(struct CancelledError);
