//! What every pool of workers has, whatever its workers are: where tasks come in, the core that decides, the inbox, and
//! the ways to close.
//!
//! A manager has a thread of its own with a runtime of its own, on which the life of each worker is a future
//! ([`driver`]). What it shares with the threads that schedule is in [`shared`].

pub(crate) mod driver;
mod intake;
mod line;
mod messages;
mod own_thread;
mod report;
mod restart;
pub(crate) mod seat;
pub(crate) mod settings;
mod shared;
mod start;

use std::{
    fmt,
    marker::PhantomData,
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tokio::sync::watch;
use workfleet_heartbeat::{
    Event,
    remote::{NameTooLong, named_event},
};

pub(crate) use line::{CaughtUp, Line};
pub use messages::{MessageStream, Messages};
pub(crate) use own_thread::OwnThread;
pub use report::{Abandoned, CloseReport};
pub use settings::ScopeError;
pub(crate) use shared::{Mode, Seated, Setup, Shared, guarded, wake, woken};
pub(crate) use start::Limits;
pub use start::{StartError, StartFailure};

use crate::{
    handle::{Slot, TaskHandle},
    inbox::Taken,
    manager::{Manager, ManagerExt, ScheduleError, ScheduleErrorKind, SendError},
    message::{EncodedMessage, TaskMessage},
    stats::{Stats, WorkerStats},
    task::{EncodedTask, Priority, TaskSpec},
};

/// How a manager closes.
///
/// What becomes of a task, by what it was doing when the manager began to close:
///
/// | | `Join` | `Cancel`, also a scope that ends well, and drop | `Kill`, also a scope that fails, and drop while panicking |
/// |---|---|---|---|
/// | waits, in the queue or in a worker's hand | is run | never starts | never starts |
/// | runs, and ends when it is told | runs to its end | ends as cancelled | is killed, or abandoned on its thread |
/// | runs, and finishes when it is told | runs to its end | ends with its output | is killed, or abandoned on its thread |
/// | runs on, whatever it is told | runs to its end | is killed, or abandoned, after the grace period | is killed, or abandoned on its thread |
/// | is scheduled meanwhile by one that runs | is run | never starts | never starts |
/// | has ended | its output or failure stays in its handle | the same | the same |
///
/// Whatever way a task ends, its handle says so by the time the manager has closed. Of tasks without a handle, the
/// [`CloseReport`] has those that never started and the failures, cancellations among them, that nobody read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClosePolicy {
    /// Reads and drops the messages, waits for every task however long it takes, then lets the workers go.
    Join,
    /// Starts nothing more, cancels what runs, and waits for that up to the grace period; then does as `Kill`.
    Cancel,
    /// Starts nothing more, cancels what runs, and ends every worker at once. Worker processes are killed. Worker
    /// threads cannot be: one that runs a task is abandoned and named in the [report](CloseReport::abandoned).
    Kill,
}

/// A manager could not be closed from here.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CloseError {
    /// The call came from a thread of the manager itself (a [`Service`](crate::Service), or a task of a
    /// [`ThreadManager`](crate::ThreadManager)), which it would wait for.
    #[error("a manager cannot be closed from one of its own threads")]
    OwnThread,
}

/// A running pool of workers: what [`ProcessManager`](crate::ProcessManager) and
/// [`ThreadManager`](crate::ThreadManager) have in common, and what both dereference to.
///
/// A function that takes `&Pool` works with either, and a task's code is the same on both.
///
/// All methods take `&self` and work from any thread, inside a runtime or outside. Dropping a manager closes it by
/// [`ClosePolicy::Cancel`], or by [`ClosePolicy::Kill`] while panicking; what would stand in the report is counted in a
/// warning.
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
    grace: Duration,
    /// The manager's own thread, which ends when every worker has.
    thread: Mutex<Option<JoinHandle<()>>>,
    /// The process that started it: in one that this has forked, there is neither that thread nor a pool.
    process: u32,
}

impl Pool {
    pub(crate) fn new(shared: Arc<Shared>, grace: Duration, thread: JoinHandle<()>) -> Self {
        Self { shared, grace, thread: Mutex::new(Some(thread)), process: std::process::id() }
    }

    /// Schedules a task and lets it go: its output is dropped, its failure comes with the messages.
    ///
    /// # Errors
    /// [`ScheduleError`] with the task: its priority is beyond the levels, it is not registered, it cannot be
    /// encoded, it exceeds the frame limit, or the manager is closed.
    pub fn schedule<T: TaskSpec>(&self, task: T, priority: Priority) -> Result<(), ScheduleError<T>> {
        ManagerExt::schedule(self, task, priority)
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
        let (spec, payload_bytes) = (encoded.spec, encoded.payload.len());
        let slot = Arc::new(Slot::default());
        match self.shared.schedule(encoded, priority, Some(Arc::clone(&slot))) {
            Ok(id) => Ok(TaskHandle::new(slot, Arc::downgrade(&self.shared), spec, payload_bytes, id)),
            Err((_encoded, kind)) => Err(ScheduleError::new(task, kind)),
        }
    }

    /// Puts a message into the manager's own inbox.
    ///
    /// # Errors
    /// [`SendError`]: the message cannot be encoded, the inbox is beyond its limit, or the manager is closed.
    pub fn send_message<M: TaskMessage>(&self, message: &M) -> Result<(), SendError> {
        ManagerExt::send_message(self, message)
    }

    /// The messages of the tasks, and the failures of those that were scheduled without a handle; ends when every
    /// scheduled task has ended and everything was read. More tasks may be scheduled meanwhile.
    ///
    /// It blocks the thread while it waits. Inside an async runtime, its blocking threads included, it yields
    /// [`MessageError::InsideRuntime`](crate::MessageError::InsideRuntime) and ends: use
    /// [`message_stream`](Self::message_stream) there.
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

    /// The event of this name, which this manager's tasks find by
    /// [`TaskContext::event`](crate::TaskContext::event). It is there while the manager is, and forgotten when nobody holds it
    /// and it is clear.
    ///
    /// # Errors
    /// [`NameTooLong`].
    pub fn event(&self, name: &str) -> Result<Event, NameTooLong> {
        named_event(self.shared.id.to_bits(), name)
    }

    /// The books and the roster, all of one moment.
    pub fn stats(&self) -> Stats {
        self.shared.look(|books, queued, seats| Stats {
            tasks: books.into(),
            queued,
            inbox: self.shared.inbox.len(),
            workers: (seats.iter().enumerate())
                .map(|(seat, look)| WorkerStats {
                    name: worker_name(seat),
                    pid: look.seated.as_ref().and_then(|seated| seated.pid),
                    ready: look.seated.is_some(),
                    in_flight: look.in_flight,
                    silent_for: look.silent_for,
                })
                .collect(),
        })
    }

    /// Closes the manager and waits until every worker is gone: dead and reaped, or, if it is a thread, ended or
    /// abandoned. Blocks the thread.
    ///
    /// While it closes, and after, tasks from outside are handed back; tasks of running tasks are taken by
    /// [`ClosePolicy::Join`] and returned in the report otherwise. Closing twice is harmless; closing again with a
    /// harsher policy hurries the first.
    ///
    /// # Errors
    /// [`CloseError::OwnThread`] when called by a [`Service`](crate::Service), or by a task of this very pool.
    pub fn close(&self, policy: ClosePolicy) -> Result<CloseReport, CloseError> {
        if OwnThread::is_of(&self.shared) {
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
                    tracing::warn!(grace = ?self.grace, "tasks outlast their cancellation and are ended");
                    shared.mode.send_replace(Mode::Killing);
                }
            }
            ClosePolicy::Kill => self.kill(),
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
        let mut left = shared.left.lock().unwrap_or_else(PoisonError::into_inner);
        report.unstarted = std::mem::take(&mut left.unstarted);
        report.abandoned = std::mem::take(&mut left.abandoned);
        drop(left);
        report.tasks = shared.look(|books, _, _| books.into());
        report
    }

    /// Ends every worker, without waiting for it.
    pub(crate) fn kill(&self) {
        self.shared.refuse_newcomers();
        self.shared.halt();
        self.shared.mode.send_replace(Mode::Killing);
    }
}

impl Manager for Pool {
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

impl Drop for Pool {
    fn drop(&mut self) {
        if self.process != std::process::id() {
            return;
        }
        let policy = if thread::panicking() { ClosePolicy::Kill } else { ClosePolicy::Cancel };
        let open = self.thread.get_mut().unwrap_or_else(PoisonError::into_inner).is_some();
        if OwnThread::is_of(&self.shared) {
            // A service or a task dropped the last owner. Its thread cannot wait for itself, and ends by this.
            tracing::warn!("a manager was dropped on a thread of its own: it ends at once, without a report");
            self.kill();
        } else if open {
            self.close_by(policy).log_what_is_lost();
        }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

/// What the worker on this seat is called, in failures, statistics and logs.
pub(crate) fn worker_name(seat: usize) -> String {
    format!("worker-{seat}")
}

/// Waits for the manager to close, or to close more harshly.
pub(crate) async fn changed(mode: &mut watch::Receiver<Mode>, from: Mode) {
    // An error means that the manager is gone, which waits for its seats.
    let _ = mode.wait_for(|mode| *mode > from).await;
}
