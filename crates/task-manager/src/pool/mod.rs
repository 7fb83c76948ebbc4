//! The parts of every pool, for any kind of worker: the submission queue, the core, the inbox, and closing.
//!
//! A manager has a thread of its own with a runtime of its own, on which the life of each worker is a future
//! ([`driver`]). What it shares with the threads that schedule is in [`shared`].

mod close;
mod closing;
pub(crate) mod delegate;
pub(crate) mod driver;
mod exit;
mod given_up;
pub(crate) mod mailbox;
mod messages;
mod own_thread;
mod policy;
mod report;
mod services;
pub(crate) mod settings;
mod shared;
#[cfg(feature = "signal")]
mod signals;
mod start;
mod submission_queue;
pub(crate) mod waits;
mod worker_connection;
pub(crate) mod worker_slot;

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
};

use tokio::sync::watch;
use workfleet_heartbeat::{
    Event, HeartbeaterRegistry,
    remote::{EventNameError, named_event},
    runtime_thread,
};

pub use messages::{MessageStream, Messages};
pub(crate) use own_thread::OwnThread;
pub use policy::ClosePolicy;
pub use report::{Abandoned, CloseReport};
pub(crate) use services::Services;
pub use settings::ScopeError;
pub(crate) use shared::{Mode, ReadyWorker, Setup, Shared, worker_name};
#[cfg(feature = "signal")]
pub use signals::SignalWatch;
pub(crate) use start::{Limits, may_pass, patiently, spawn_patiently, start_patiently};
pub use start::{ManagerStartError, StartFailure};
pub(crate) use worker_connection::{CaughtUp, GiveTasks, Remote, SendFrames, Supervise};

use workfleet_causes::readable;

use crate::{
    handle::TaskHandle,
    heartbeat::HeartbeatersError,
    heartbeaters::PoolHeartbeaters,
    inbox::Reads,
    manager::{Manager, ManagerExt},
    message::{self, EncodedMessage, ReadMessage, TaskMessage},
    options::TaskOptions,
    outcome::OutcomeCell,
    park,
    refusal::{MessageSendError, ScheduleError, ScheduleErrorKind},
    stats::{Stats, WorkerStats},
    task::{EncodedTask, TaskSpec},
};

/// A manager could not be closed from here.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum CloseError {
    /// The call came from a thread of the manager itself: from a [`Service`](crate::Service), or from a task of a
    /// [`ThreadManager`](crate::ThreadManager). It would wait for that thread.
    #[error("a manager cannot be closed from one of its own threads")]
    OwnThread,
    /// This process is a fork of the one that started the manager, which goes on there.
    #[error(
        "this process is a fork of the one that started the manager: start another manager after the fork, or exec"
    )]
    Forked,
    /// The call would block a thread on which an async runtime polls futures. The manager stays open: use
    /// [`close_async`](Pool::close_async) there.
    #[error("closing would block a thread on which an async runtime polls futures: use close_async there")]
    InsideRuntime,
}

readable!(CloseError { OwnThread, Forked, InsideRuntime });

/// A running pool of workers: what [`ProcessManager`](crate::ProcessManager) and
/// [`ThreadManager`](crate::ThreadManager) have in common, and what both dereference to.
///
/// A function that takes `&Pool` works with either, and a task's code is the same on both.
///
/// All methods take `&self` and work on any thread. A method that blocks the thread has an asynchronous form. On a
/// thread where tokio polls a future, the blocking method returns an error that names that form. (Code inside
/// `tokio::task::unconstrained`, and code on other executors, is not recognised: it blocks.)
///
/// Dropping a manager closes it by [`ClosePolicy::Cancel`], or by [`ClosePolicy::Kill`] while panicking. A
/// [warning](crate#warnings) counts what the report would have had, and the tasks that were cut short. A manager that
/// was not dropped when the program exits warns then.
///
/// The drop waits until every worker is gone. There is one exception: on a thread where tokio polls a future, it warns
/// and returns at once, and the manager closes in the background, with the same grace. If the program ends meanwhile,
/// its workers end too.
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use workfleet_task_manager::{
///     Pool, Registry, Task, TaskContext, TaskError, TaskFailure, TaskSpec, ThreadManager,
/// };
///
/// #[derive(Debug, Serialize, Deserialize)]
/// struct Square(u64);
/// impl TaskSpec for Square {
///     const NAME: &'static str = "square";
///     type Output = u64;
/// }
/// impl Task for Square {
///     fn run(self, _cx: &TaskContext) -> Result<u64, TaskError> {
///         Ok(self.0 * self.0)
///     }
/// }
///
/// fn squares(pool: &Pool) -> Result<Vec<u64>, Box<dyn std::error::Error>> {
///     let handles: Vec<_> = (0..4).map(|n| pool.submit(Square(n))).collect::<Result<_, _>>()?;
///     Ok(handles.into_iter().map(|handle| handle.wait()).collect::<Result<_, TaskFailure>>()?)
/// }
///
/// let manager = ThreadManager::builder(Registry::new().task::<Square>()).workers(2).start()?;
/// assert_eq!(squares(&manager)?, [0, 1, 4, 9]);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
pub struct Pool {
    shared: Arc<Shared>,
    /// The manager's own thread, which ends when every worker has.
    thread: Mutex<Option<JoinHandle<()>>>,
    heartbeaters: Arc<PoolHeartbeaters>,
}

impl Pool {
    pub(crate) fn new(
        shared: Arc<Shared>,
        thread: JoinHandle<()>,
        heartbeaters: Option<Arc<dyn HeartbeaterRegistry>>,
    ) -> Self {
        exit::warn_about(&shared);
        let heartbeaters = PoolHeartbeaters::new(heartbeaters);
        shared.heartbeaters.set(&heartbeaters);
        Self { shared, thread: Mutex::new(Some(thread)), heartbeaters }
    }

    /// Schedules a task without a handle: its output is dropped, and its failure comes with the messages.
    ///
    /// # Errors
    /// [`ScheduleError`] with the task: its priority is beyond the levels, it is not registered, it cannot be
    /// encoded, it exceeds the frame limit, the manager is closed, or this process is a fork of the one that started it.
    pub fn schedule<T: TaskSpec>(&self, task: T) -> Result<(), ScheduleError<T>> {
        ManagerExt::schedule(self, task)
    }

    /// Schedules a task as `options` say: a [`TaskOptions`], or a [`Priority`](crate::Priority) alone. Otherwise the same as
    /// [`schedule`](Self::schedule).
    ///
    /// # Errors
    /// As for [`schedule`](Self::schedule).
    pub fn schedule_with<T: TaskSpec>(
        &self,
        task: T,
        options: impl Into<TaskOptions>,
    ) -> Result<(), ScheduleError<T>> {
        ManagerExt::schedule_with(self, task, options)
    }

    /// Submits a task. Its output or failure comes through the handle, and only there.
    ///
    /// # Errors
    /// As for [`schedule`](Self::schedule).
    pub fn submit<T: TaskSpec>(&self, task: T) -> Result<TaskHandle<T::Output>, ScheduleError<T>> {
        self.submit_with(task, TaskOptions::new())
    }

    /// Submits a task as `options` say: a [`TaskOptions`], or a [`Priority`](crate::Priority) alone.
    ///
    /// # Errors
    /// As for [`schedule`](Self::schedule).
    #[doc(alias = "submit_at")]
    pub fn submit_with<T: TaskSpec>(
        &self,
        task: T,
        options: impl Into<TaskOptions>,
    ) -> Result<TaskHandle<T::Output>, ScheduleError<T>> {
        let encoded = match EncodedTask::new(&task) {
            Ok(encoded) => encoded,
            Err(error) => return Err(ScheduleError::new(task, ScheduleErrorKind::Encode(error))),
        };
        let (spec, payload_bytes) = (encoded.spec, encoded.payload.len());
        let cell = Arc::new(OutcomeCell::default());
        let priority = options.into().priority_of(self.shared.levels);
        match self.shared.schedule(encoded, priority, Some(Arc::clone(&cell))) {
            Ok(id) => Ok(TaskHandle::new(cell, Arc::downgrade(&self.shared), spec, payload_bytes, id)),
            Err((_encoded, kind)) => Err(ScheduleError::new(task, kind)),
        }
    }

    /// Puts a message into the manager's own inbox.
    ///
    /// # Errors
    /// [`MessageSendError`]: the message cannot be encoded, the inbox is beyond its limit, or the manager is closed.
    pub fn send_message<M: TaskMessage>(&self, message: &M) -> Result<(), MessageSendError> {
        ManagerExt::send_message(self, message)
    }

    /// Opens a reader of the inbox. It yields messages of type `M`, or with [`EncodedMessage`], messages of any type
    /// that no other reader claims. It also yields the failures of tasks that were scheduled without a handle.
    ///
    /// The reader ends when every scheduled task has ended and no item is left for it. More tasks may be scheduled
    /// meanwhile.
    ///
    /// Several readers may be open at once. The items in the inbox are for:
    ///
    /// | an item | is for |
    /// |---|---|
    /// | a message of a type that a reader was opened for, now or before | readers of that type only |
    /// | a message of any other type, if a reader of [`EncodedMessage`] was opened, now or before | readers of `EncodedMessage` only |
    /// | a message of any other type, if none was | every reader, as [`MessageError::Unexpected`](crate::MessageError::Unexpected), which has the message |
    /// | the failure of a task without a handle | every reader; if a reader of [`NoMessage`](crate::NoMessage) is open, only readers of that |
    ///
    /// Each item goes to one reader. A reader gets its items in the order of arrival. A reader is open until it is
    /// dropped. Dropping it loses no item.
    ///
    /// Messages have to be read: if more than the [inbox limit](crate::ProcessManagerBuilder::inbox_limit) waits, no
    /// task is begun until readers have made room. [`Stats::inbox_full`] shows this state. If no open reader takes the
    /// waiting items, the manager logs a warning, once for each pause.
    ///
    /// The reader blocks its thread while it waits. On a thread where tokio polls a future, it yields
    /// [`MessageError::InsideRuntime`](crate::MessageError::InsideRuntime) and ends: use
    /// [`message_stream`](Self::message_stream) there. It works on the threads that a runtime has for blocking
    /// (`spawn_blocking`, `block_in_place`).
    ///
    /// ```
    /// use serde::{Deserialize, Serialize};
    /// use workfleet_task_manager::{NoMessage, Registry, TaskMessage, ThreadManager};
    ///
    /// #[derive(Debug, PartialEq, Serialize, Deserialize)]
    /// struct Progress(u32);
    /// impl TaskMessage for Progress {
    ///     const NAME: &'static str = "progress";
    /// }
    /// #[derive(Debug, PartialEq, Serialize, Deserialize)]
    /// struct Found(String);
    /// impl TaskMessage for Found {
    ///     const NAME: &'static str = "found";
    /// }
    ///
    /// let manager = ThreadManager::builder(Registry::new()).workers(1).start()?;
    /// let mut found = manager.messages::<Found>();
    /// let mut progress = manager.messages::<Progress>();
    /// manager.send_message(&Progress(1))?;
    /// manager.send_message(&Found("a needle".into()))?;
    /// assert_eq!(found.next().expect("one is there")?.content, Found("a needle".into()));
    /// assert_eq!(progress.next().expect("one is there")?.content, Progress(1));
    /// assert!(found.next().is_none()); // no task is pending
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    pub fn messages<M: ReadMessage>(&self) -> Messages<'_, M> {
        Messages::new(&self.shared, Reads::WithTheWork(message::kinds::<M>()))
    }

    /// The same as [`messages`](Self::messages), but the reader ends when the manager has closed and all its items were
    /// read. Use it in a service, which opens its readers before it has work.
    ///
    /// Closing does not wait for such a reader. Items that it has not read stay for it, and are not in the
    /// [report](crate::CloseReport). There is one exception. [`ClosePolicy::Join`] waits for tasks; if the inbox is full
    /// meanwhile and no reader takes anything for the [grace period](crate::ProcessManagerBuilder::grace), `Join` warns,
    /// and from then on consumes everything itself.
    ///
    /// If such a reader is dropped after the close, the items that it has not read are lost. A warning counts them.
    ///
    /// ```
    /// use std::thread;
    /// use serde::{Deserialize, Serialize};
    /// use workfleet_task_manager::{
    ///     ClosePolicy, Registry, Task, TaskContext, TaskError, TaskMessage, TaskSpec, ThreadManager,
    /// };
    ///
    /// #[derive(Debug, Serialize, Deserialize)]
    /// struct Progress(u32);
    /// impl TaskMessage for Progress {
    ///     const NAME: &'static str = "progress";
    /// }
    ///
    /// #[derive(Debug, Serialize, Deserialize)]
    /// struct Work;
    /// impl TaskSpec for Work {
    ///     const NAME: &'static str = "work";
    ///     type Output = ();
    /// }
    /// impl Task for Work {
    ///     fn run(self, cx: &TaskContext) -> Result<(), TaskError> {
    ///         Ok(cx.send_message(&Progress(100))?)
    ///     }
    /// }
    ///
    /// let manager = ThreadManager::builder(Registry::new().task::<Work>()).workers(1).start()?;
    /// let messages = manager.messages_until_close::<Progress>();
    /// let read = thread::scope(|scope| {
    ///     let reader = scope.spawn(|| messages.count());
    ///     for _ in 0..3 {
    ///         manager.schedule(Work)?;
    ///     }
    ///     manager.close(ClosePolicy::Join)?;
    ///     Ok::<_, Box<dyn std::error::Error>>(reader.join().expect("it does not panic"))
    /// })?;
    /// assert_eq!(read, 3);
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    pub fn messages_until_close<M: ReadMessage>(&self) -> Messages<'_, M> {
        Messages::new(&self.shared, Reads::UntilClose(message::kinds::<M>()))
    }

    /// The same as [`messages`](Self::messages), as a stream.
    ///
    /// # Cancel safety
    /// Dropping a pending `next` loses nothing.
    pub fn message_stream<M: ReadMessage>(&self) -> MessageStream<M> {
        MessageStream::new(Arc::clone(&self.shared), Reads::WithTheWork(message::kinds::<M>()))
    }

    /// The same as [`messages_until_close`](Self::messages_until_close), as a stream.
    ///
    /// # Cancel safety
    /// Dropping a pending `next` loses nothing.
    pub fn message_stream_until_close<M: ReadMessage>(&self) -> MessageStream<M> {
        MessageStream::new(Arc::clone(&self.shared), Reads::UntilClose(message::kinds::<M>()))
    }

    /// The event of this name, which this manager's tasks find by [`TaskContext::event`](crate::TaskContext::event). It
    /// exists while the manager does. It is forgotten when it is clear and no copy of it is held.
    ///
    /// # Errors
    /// [`EventNameError`].
    pub fn event(&self, name: &str) -> Result<Event, EventNameError> {
        named_event(self.shared.id.to_bits(), name)
    }

    /// What makes events and registers heartbeaters for the users of this manager: what its builder was
    /// [given](crate::ProcessManagerBuilder::heartbeaters), or [`Heartbeaters`](workfleet_heartbeat::Heartbeaters) of its own,
    /// which are made at the first call and stop when the manager is dropped.
    ///
    /// Its senders and events work in the tasks that they are sent to, in whichever worker:
    ///
    /// ```
    /// use serde::{Deserialize, Serialize};
    /// use workfleet_heartbeat::{HeartbeatSender, HeartbeaterOptions, Report};
    /// use workfleet_task_manager::{Registry, Task, TaskContext, TaskError, TaskSpec, ThreadManager};
    ///
    /// #[derive(Debug, Serialize, Deserialize)]
    /// struct Import(HeartbeatSender);
    /// impl TaskSpec for Import {
    ///     const NAME: &'static str = "import";
    ///     type Output = ();
    /// }
    /// impl Task for Import {
    ///     fn run(self, _cx: &TaskContext) -> Result<(), TaskError> {
    ///         Ok(self.0.send("half way")?)
    ///     }
    /// }
    ///
    /// let manager = ThreadManager::builder(Registry::new().task::<Import>()).workers(1).start()?;
    /// let heartbeaters = manager.heartbeaters()?;
    /// let callback = |report: Report| println!("{report:?}");
    /// let sender = heartbeaters.register("import".into(), HeartbeaterOptions::new(), Box::new(callback))?;
    /// manager.submit(Import(sender))?.wait()?;
    /// heartbeaters.blocking_unregister("import".into())?; // every beat so far, or a later one, has been reported
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`HeartbeatersError::Start`], [`HeartbeatersError::ManagerGone`]: the manager's own could not be started; this process is a fork.
    pub fn heartbeaters(&self) -> Result<Arc<dyn HeartbeaterRegistry>, HeartbeatersError> {
        if !self.shared.home.is_here() {
            return Err(HeartbeatersError::ManagerGone);
        }
        self.heartbeaters.get()
    }

    /// The books and the roster, all of one moment. Empty in a fork of the process that started the manager.
    pub fn stats(&self) -> Stats {
        if !self.shared.home.is_here() {
            return Stats::default();
        }
        self.shared.snapshot(|books, queued, slots| Stats {
            tasks: books.into(),
            queued,
            inbox: self.shared.inbox.len(),
            inbox_full: self.shared.inbox.is_full(),
            dropped_messages: self.shared.inbox.dropped(),
            workers: (slots.iter().enumerate())
                .map(|(slot, slot_now)| WorkerStats {
                    name: worker_name(slot),
                    pid: slot_now.pid,
                    ready: slot_now.is_ready,
                    in_flight: slot_now.in_flight,
                    silent_for: slot_now.silent_for,
                })
                .collect(),
        })
    }

    /// Closes the manager and waits until every worker is gone: dead and reaped, or, if it is a thread, ended or
    /// abandoned. Blocks the thread: in async code, use [`close_async`](Self::close_async).
    ///
    /// While it closes, and after, tasks from outside are handed back; tasks of running tasks are taken by
    /// [`ClosePolicy::Join`] and returned in the report otherwise.
    ///
    /// Closing twice is harmless; closing again with a harsher policy hurries the first. All calls, blocking and
    /// asynchronous, wait for the same end. The report is handed out once: the first call whose wait ends gets it. Every
    /// other call gets a report with the books only.
    ///
    /// # Errors
    /// - [`CloseError::OwnThread`] when called by a [`Service`](crate::Service), or by a task of this very pool.
    /// - [`CloseError::Forked`] in a fork of the process that started the manager.
    /// - [`CloseError::InsideRuntime`] on a thread where tokio polls a future. It works on the threads that a runtime
    ///   has for blocking (`spawn_blocking`, `block_in_place`).
    pub fn close(&self, policy: ClosePolicy) -> Result<CloseReport, CloseError> {
        if !self.shared.home.is_here() {
            return Err(CloseError::Forked);
        }
        if OwnThread::is_of(&self.shared) {
            return Err(CloseError::OwnThread);
        }
        if runtime_thread::is_polling() {
            return Err(CloseError::InsideRuntime);
        }
        Ok(self.close_by(policy))
    }

    /// The same as [`close`](Self::close), without blocking the thread: on any executor, or none. This is the way to shut
    /// down with a report in async code; a manager that is dropped there leaves its report to the log.
    ///
    /// ```
    /// use workfleet_task_manager::{ClosePolicy, Registry, ThreadManager};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let manager = ThreadManager::builder(Registry::new()).workers(1).start_async().await?;
    /// // … tasks, and other futures of this runtime that they need …
    /// let report = manager.close_async(ClosePolicy::Join).await?;
    /// assert_eq!(report.tasks.pending, 0);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`CloseError::OwnThread`] when awaited by a task of this very pool; [`CloseError::Forked`] in a fork of the process that
    /// started the manager.
    ///
    /// # Cancel safety
    /// Closing begins when this is first polled, and goes on in the background if this is dropped. Call it again to wait
    /// for the end and to get the report.
    pub async fn close_async(&self, policy: ClosePolicy) -> Result<CloseReport, CloseError> {
        if !self.shared.home.is_here() {
            return Err(CloseError::Forked);
        }
        if OwnThread::is_of(&self.shared) {
            return Err(CloseError::OwnThread);
        }
        Ok(self.closed_by(policy).await)
    }

    /// Asks for this way to close, and waits for the end.
    pub(crate) async fn closed_by(&self, policy: ClosePolicy) -> CloseReport {
        self.shared.ask_to_close(policy);
        self.shared.closing.ended().await;
        self.shared.take_report()
    }

    /// Blocks the thread, of any kind.
    fn close_by(&self, policy: ClosePolicy) -> CloseReport {
        let report = park::block_on(self.closed_by(policy));
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && let Err(panic) = thread.join()
        {
            workfleet_panics::discard(panic);
            workfleet_notice::error!("the manager's thread has failed");
        }
        report
    }

    /// Lets the manager's thread close it in the background. Nobody will get the report: what it says of what is lost goes
    /// to the log.
    pub(crate) fn close_in_background(&self, policy: ClosePolicy) {
        if !self.shared.home.is_here() {
            return;
        }
        self.shared.leave_alone();
        self.shared.ask_to_close(policy);
    }
}

impl Manager for Pool {
    fn priority_levels(&self) -> u8 {
        self.shared.levels
    }

    fn schedule_encoded(
        &self,
        task: EncodedTask,
        options: TaskOptions,
    ) -> Result<(), ScheduleError<EncodedTask>> {
        match self.shared.schedule(task, options.priority_of(self.shared.levels), None) {
            Ok(_id) => Ok(()),
            Err((task, kind)) => Err(ScheduleError::new(task, kind)),
        }
    }

    fn send_encoded(&self, message: EncodedMessage) -> Result<(), MessageSendError> {
        self.shared.send(message)
    }

    fn heartbeaters(&self) -> Result<Arc<dyn HeartbeaterRegistry>, HeartbeatersError> {
        self.heartbeaters()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // In a fork there is neither that thread nor a pool.
        if !self.shared.home.is_here() || self.shared.closing.is_left_alone() {
            return;
        }
        let policy = if thread::panicking() { ClosePolicy::Kill } else { ClosePolicy::Cancel };
        if self.shared.closing.has_ended() {
            // Closing was awaited by nobody up to its end.
            self.shared.leave_alone();
        } else if OwnThread::is_of(&self.shared) {
            // A service or a task dropped the last owner. Its thread cannot wait for itself, and ends by this.
            workfleet_notice::warn!(
                "a manager was dropped on a thread of its own: it ends at once, without a report"
            );
            self.close_in_background(ClosePolicy::Kill);
        } else if runtime_thread::is_polling() {
            workfleet_notice::warn!(
                ?policy,
                "a manager was dropped inside an async runtime and closes in the background: await close_async instead"
            );
            self.close_in_background(policy);
        } else {
            self.shared.tell_what_is_lost(&self.close_by(policy));
        }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

/// Waits for the manager to close, or to close more harshly.
pub(crate) async fn changed(mode: &mut watch::Receiver<Mode>, from: Mode) {
    // An error means that the manager is gone, which waits for its slots.
    let _ = mode.wait_for(|mode| *mode > from).await;
}
