//! Tasks on threads of this process.
//!
//! The scheduler, the inbox, the handles and the ways to close are those of every pool; here a worker is a thread.
//! [`worker_slot`] is the life of one, [`worker`] what runs on it, and [`exchange`] carries the frames of services.

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
/// Tasks travel as they do to another process, by name and data, so what works here works there. What differs is what a
/// thread cannot do:
///
/// - It cannot be killed. A task that does not stop when it is told to is abandoned by
///   [`ClosePolicy::Cancel`](crate::ClosePolicy::Cancel) after the grace period, and by
///   [`ClosePolicy::Kill`](crate::ClosePolicy::Kill) at once; the [report](crate::CloseReport::abandoned) names it.
/// - It cannot die alone: what ends a worker process (an abort, a signal, `exit`) ends this one. A panic is a failure of
///   its task here too, unless the program is built with `panic = "abort"`.
/// - It has no silence to be noticed by and no log of its own. A task has one attempt; another follows only where its thread was
///   abandoned for [what ran beside it](ThreadManagerBuilder::heartbeat_grace).
///
/// A task that waits for another of the same pool holds up the thread that the other may need: see
/// [`TaskContext::schedule`](crate::TaskContext::schedule) for what does not wait.
///
/// To tell where a task panicked, the first start of a thread manager puts a panic hook before the program's own, which
/// it calls.
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
