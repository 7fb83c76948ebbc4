//! Tasks on threads of this process.
//!
//! The scheduler, the inbox, the handles and the ways to close are those of every pool; here a worker is a thread.
//! [`worker_slot`] starts and serves a worker thread, [`worker`] runs on it, and [`exchange`] carries the frames of
//! services.

mod builder;
mod connection;
mod exchange;
mod worker;
mod worker_slot;

pub use builder::ThreadManagerBuilder;

use crate::{
    pool::{Pool, delegate::manages_by_its_pool},
    registry::Registry,
};

/// A [`Pool`] of threads: the same tasks, unchanged, in this process.
///
/// Tasks travel to a thread as to another process, by name and data. So a task that works here works there. A thread
/// differs from a process in three ways:
///
/// - It cannot be killed. A task that does not stop when it is told to is abandoned by
///   [`ClosePolicy::Cancel`](crate::ClosePolicy::Cancel) after the grace period, and by
///   [`ClosePolicy::Kill`](crate::ClosePolicy::Kill) at once; the [report](crate::CloseReport::abandoned) names it.
/// - It cannot die alone: what ends a worker process (an abort, a signal, `exit`) ends this one. A panic is a failure of
///   its task here too, unless the program is built with `panic = "abort"`.
/// - It gives no sign of life, and has no log of its own. A task has one attempt. Another attempt follows only if its
///   thread was abandoned because of [a task beside it](ThreadManagerBuilder::heartbeat_grace).
///
/// Do not let a task wait for another task of the same pool: it occupies a thread that the other may need.
/// [`TaskContext::schedule`](crate::TaskContext::schedule) does not wait.
///
/// To find where a task panicked, the first start of a thread manager installs a panic hook. It calls the program's own
/// hook.
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use workfleet_task_manager::{
///     ClosePolicy, Registry, Task, TaskContext, TaskError, TaskSpec, ThreadManager,
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
/// let manager = ThreadManager::builder(Registry::new().task::<Square>()).workers(2).start()?;
/// assert_eq!(manager.submit(Square(7))?.wait()?, 49);
/// assert_eq!(manager.close(ClosePolicy::Join)?.tasks.done, 1);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
pub struct ThreadManager {
    pool: Pool,
    /// Dropped behind the pool, which waits for its thread: so that what makes the sessions, which is the user's, is not
    /// dropped there.
    _registry: Registry,
}

manages_by_its_pool!(ThreadManager);
