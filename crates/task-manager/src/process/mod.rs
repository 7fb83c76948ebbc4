//! Tasks in worker processes.
//!
//! The manager has a thread of its own with a runtime of its own, which reads every worker's connection, starts
//! workers and buries them ([`driver`], [`seat`]). What it shares with the threads that schedule is in [`shared`].

mod builder;
mod driver;
mod intake;
mod link;
mod logs;
mod messages;
mod report;
mod restart;
mod seat;
mod shared;
mod spawn;
mod start;

use std::{
    fmt,
    marker::PhantomData,
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle, ThreadId},
    time::{Duration, Instant},
};

pub use builder::{ProcessManagerBuilder, ScopeError};
pub(crate) use link::Link;
pub use messages::{MessageStream, Messages};
pub use report::CloseReport;
pub(crate) use shared::Shared;
pub use start::{StartError, StartFailure};

use crate::{
    handle::{Slot, TaskHandle},
    inbox::{Item, Taken},
    manager::{Manager, ScheduleError, ScheduleErrorKind, SendError},
    message::{EncodedMessage, TaskMessage},
    registry::Registry,
    stats::{Stats, WorkerStats},
    task::{EncodedTask, Priority, TaskSpec},
};
use shared::Mode;

/// How a manager closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClosePolicy {
    /// Reads and drops the messages, waits for every task however long it takes, then lets the workers go.
    Join,
    /// Starts nothing more, cancels what runs, waits for that up to the
    /// [grace period](ProcessManagerBuilder::grace), then kills.
    Cancel,
    /// Kills every worker at once.
    Kill,
}

/// A manager could not be closed from here.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CloseError {
    /// The call came from the manager's own thread (a [`Service`](crate::Service)), which it would wait for.
    #[error("a manager cannot be closed from its own thread")]
    OwnThread,
}

/// A pool of worker processes.
///
/// Every worker is this program, run again up to [`init`](crate::init). A worker that dies is replaced, its running
/// task is tried again up to the crash limit, and the tasks behind it go elsewhere uncharged. No death, malformed
/// frame or failed start makes anything wait for ever.
///
/// The manager runs on a thread and in a runtime of its own; all methods take `&self` and work from any thread,
/// inside a runtime or outside.
///
/// Dropping it closes it by [`ClosePolicy::Cancel`], or by [`ClosePolicy::Kill`] while panicking.
///
/// ```no_run
/// use serde::{Deserialize, Serialize};
/// use workfleet_task_manager::{
///     ClosePolicy, ProcessManager, Registry, Task, TaskContext, TaskError, TaskSpec,
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
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     let registry = Registry::new().task::<Square>();
///     workfleet_task_manager::init(&registry); // in a worker process this never returns
///     let manager = ProcessManager::builder(registry).workers(2).start()?;
///     let handles: Vec<_> = (0..10).map(|n| manager.submit(Square(n))).collect::<Result<_, _>>()?;
///     for handle in handles {
///         println!("{}", handle.wait()?);
///     }
///     println!("{}", manager.close(ClosePolicy::Join)?);
///     Ok(())
/// }
/// ```
pub struct ProcessManager {
    shared: Arc<Shared>,
    grace: Duration,
    thread: Mutex<Option<JoinHandle<()>>>,
    thread_id: ThreadId,
}

impl ProcessManager {
    /// A manager of tasks in `registry`, to be [started](ProcessManagerBuilder::start).
    pub fn builder(registry: Registry) -> ProcessManagerBuilder {
        ProcessManagerBuilder::new(registry)
    }

    /// Schedules a task and lets it go: its output is dropped, its failure comes with the messages.
    ///
    /// # Errors
    /// [`ScheduleError`] with the task: its priority is beyond the levels, it is not registered, it cannot be
    /// encoded, it exceeds the frame limit, or the manager is closed.
    pub fn schedule<T: TaskSpec>(&self, task: T, priority: Priority) -> Result<(), ScheduleError<T>> {
        crate::ManagerExt::schedule(self, task, priority)
    }

    /// Submits a task of the default priority, 1 (0 where that is the only level); its output or failure comes
    /// through the handle, and only there.
    ///
    /// # Errors
    /// As for [`schedule`](Self::schedule).
    pub fn submit<T: TaskSpec>(&self, task: T) -> Result<TaskHandle<T::Output>, ScheduleError<T>> {
        self.submit_at(task, Priority::default().min(Priority(self.shared.levels - 1)))
    }

    /// Submits a task of some priority.
    ///
    /// # Errors
    /// As for [`schedule`](Self::schedule).
    pub fn submit_at<T: TaskSpec>(
        &self,
        task: T,
        priority: Priority,
    ) -> Result<TaskHandle<T::Output>, ScheduleError<T>> {
        let encoded = match EncodedTask::new(&task) {
            Ok(encoded) => encoded,
            Err(error) => return Err(ScheduleError::new(task, ScheduleErrorKind::Encode(error))),
        };
        let spec = encoded.spec;
        let slot = Arc::new(Slot::default());
        match self.shared.schedule(encoded, priority, Some(Arc::clone(&slot))) {
            Ok(id) => Ok(TaskHandle::new(slot, Arc::downgrade(&self.shared), spec, id)),
            Err((_encoded, kind)) => Err(ScheduleError::new(task, kind)),
        }
    }

    /// Puts a message into the manager's own inbox.
    ///
    /// # Errors
    /// [`SendError`]: the message cannot be encoded, the inbox is beyond its
    /// [limit](ProcessManagerBuilder::inbox_limit), or the manager is closed.
    pub fn send_message<M: TaskMessage>(&self, message: &M) -> Result<(), SendError> {
        crate::ManagerExt::send_message(self, message)
    }

    /// The messages of the tasks, and the failures of those that were scheduled without a handle; ends when every
    /// scheduled task has ended and everything was read. More tasks may be scheduled meanwhile.
    ///
    /// It blocks the thread while it waits. Inside an async runtime, its blocking threads included, it yields
    /// [`MessageError::InsideRuntime`](crate::MessageError::InsideRuntime) and ends: use [`message_stream`](Self::message_stream) there.
    pub fn messages<M: TaskMessage>(&self) -> Messages<'_, M> {
        Messages { shared: &self.shared, refused: false, of: PhantomData }
    }

    /// The same as [`messages`](Self::messages), as a stream.
    ///
    /// # Cancel safety
    /// Dropping a pending `next` loses nothing.
    pub fn message_stream<M: TaskMessage>(&self) -> MessageStream<M> {
        MessageStream::new(Arc::clone(&self.shared))
    }

    /// The books and the roster, all of one moment.
    pub fn stats(&self) -> Stats {
        self.shared.look(|books, queued, seats| Stats {
            tasks: books.into(),
            queued,
            inbox: self.shared.inbox.len(),
            workers: (seats.iter().enumerate())
                .map(|(seat, (seated, in_flight))| WorkerStats {
                    name: format!("worker-{seat}"),
                    pid: seated.as_ref().map(|seated| seated.pid),
                    in_flight: *in_flight,
                })
                .collect(),
        })
    }

    /// Closes the manager and waits until every worker is dead and reaped. Blocks the thread.
    ///
    /// While it closes, and after, tasks from outside are handed back; tasks of running tasks are taken by
    /// [`ClosePolicy::Join`] and returned in the report otherwise. Closing twice is harmless; closing again with a
    /// harsher policy hurries the first.
    ///
    /// # Errors
    /// [`CloseError::OwnThread`] when called by a [`Service`](crate::Service).
    pub fn close(&self, policy: ClosePolicy) -> Result<CloseReport, CloseError> {
        if thread::current().id() == self.thread_id {
            return Err(CloseError::OwnThread);
        }
        Ok(self.close_by(policy))
    }

    fn close_by(&self, policy: ClosePolicy) -> CloseReport {
        let shared = &self.shared;
        let mut report = CloseReport::default();
        shared.refuse_newcomers();
        match policy {
            ClosePolicy::Join => {
                while let (Taken::Item(item), room) = shared.inbox.take() {
                    report.add(item);
                    if room {
                        shared.resume();
                    }
                }
            }
            ClosePolicy::Cancel => {
                shared.halt();
                if !shared.inbox.wait_for_end(Instant::now() + self.grace) {
                    tracing::warn!(grace = ?self.grace, "tasks outlast their cancellation and are killed");
                    shared.mode.send_replace(Mode::Killing);
                }
            }
            ClosePolicy::Kill => {
                shared.halt();
                shared.mode.send_replace(Mode::Killing);
            }
        }
        shared.mode.send_if_modified(|mode| {
            let before = *mode;
            *mode = before.max(Mode::Finishing);
            before != *mode
        });
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(thread) = thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the manager's thread has failed");
        }
        drop(thread);
        for item in shared.inbox.drain() {
            report.add(item);
        }
        report.unstarted =
            std::mem::take(&mut shared.returned.lock().unwrap_or_else(PoisonError::into_inner).tasks);
        report.tasks = shared.look(|books, _, _| books.into());
        report
    }
}

impl CloseReport {
    fn add(&mut self, item: Item) {
        match item {
            Item::Message { .. } => self.unread_messages += 1,
            Item::Failure(failure) => self.failures.push(failure),
        }
    }
}

impl Manager for ProcessManager {
    fn priority_levels(&self) -> u8 {
        self.shared.levels
    }

    fn schedule_encoded(
        &self,
        task: EncodedTask,
        priority: Priority,
    ) -> Result<(), ScheduleError<EncodedTask>> {
        match self.shared.schedule(task, priority, None) {
            Ok(_id) => Ok(()),
            Err((task, kind)) => Err(ScheduleError::new(task, kind)),
        }
    }

    fn send_encoded(&self, message: EncodedMessage) -> Result<(), SendError> {
        self.shared.send(message)
    }
}

impl Drop for ProcessManager {
    fn drop(&mut self) {
        let policy = if thread::panicking() { ClosePolicy::Kill } else { ClosePolicy::Cancel };
        let open = self.thread.get_mut().unwrap_or_else(PoisonError::into_inner).is_some();
        if thread::current().id() == self.thread_id {
            // A service dropped the last owner: the thread cannot wait for itself, and ends by this.
            self.shared.refuse_newcomers();
            self.shared.halt();
            self.shared.mode.send_replace(Mode::Killing);
        } else if open {
            let report = self.close_by(policy);
            if report.tasks.returned > 0 {
                tracing::warn!(%report, "a manager was dropped before all its tasks had begun");
            }
        }
    }
}

impl fmt::Debug for ProcessManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessManager").field("stats", &self.stats()).finish_non_exhaustive()
    }
}
