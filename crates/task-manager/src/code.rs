//! A task's code, which stays where it was compiled.

use crate::{context::TaskContext, error::TaskError, task::TaskSpec};

/// A task with its code.
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use workfleet_task_manager::{Task, TaskContext, TaskError, TaskSpec};
///
/// #[derive(Debug, Serialize, Deserialize)]
/// struct Square(u64);
/// impl TaskSpec for Square {
///     const NAME: &'static str = "square";
///     type Output = u64;
/// }
/// impl Task for Square {
///     fn run(self, _cx: &TaskContext) -> Result<u64, TaskError> {
///         Ok(self.0.checked_mul(self.0).ok_or("the square does not fit 64 bits")?)
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a task that runs on its worker's thread",
    label = "`Task` is not implemented for `{Self}`",
    note = "if `{Self}` implements `AsyncTask`, register it by `async_task::<{Self}>()`, and in place await its `run`",
    note = "otherwise implement `Task`: `fn run(self, cx: &TaskContext) -> Result<Self::Output, TaskError>`"
)]
pub trait Task: TaskSpec {
    /// Does the work. It runs on the worker's task thread and may block.
    ///
    /// A panic is caught: it fails this task alone and the worker lives on. Work is delivered *at least* once: a
    /// task whose worker dies is run again, so what it does outside the fleet should bear being done twice.
    ///
    /// # Errors
    /// Whatever the task fails with. [`TaskError`] is made from any error by `?`, and reaches the manager with its
    /// chain of sources.
    fn run(self, cx: &TaskContext) -> Result<Self::Output, TaskError>;
}

/// A task whose code is asynchronous.
///
/// It runs on its worker's thread, in a single-threaded tokio runtime, alone by default. Where the manager allows
/// [several at once](crate::ProcessManagerBuilder::async_tasks), a worker runs that many of them beside one another.
///
/// Futures that it spawns (`tokio::spawn`) go on after it has ended, in the background of its worker. They are polled
/// while the worker waits for tasks, while it runs asynchronous tasks, and now and then between other tasks. It stands
/// still while a task runs that is not asynchronous, and, in a [`WorkerLoop`](crate::WorkerLoop), while its program does
/// other things. When its worker leaves, it is dropped, before the [sessions](crate::Registry::session). A worker that
/// has something in the background takes some microseconds longer to begin a task that comes alone.
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use workfleet_task_manager::{AsyncTask, Registry, TaskContext, TaskError, TaskSpec};
///
/// #[derive(Debug, Serialize, Deserialize)]
/// struct Resolve(String);
/// impl TaskSpec for Resolve {
///     const NAME: &'static str = "resolve";
///     type Output = Vec<std::net::SocketAddr>;
/// }
/// impl AsyncTask for Resolve {
///     async fn run(self, _cx: &TaskContext) -> Result<Self::Output, TaskError> {
///         Ok(tokio::net::lookup_host(self.0).await?.collect())
///     }
/// }
/// let registry = Registry::new().async_task::<Resolve>();
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an asynchronous task",
    label = "`AsyncTask` is not implemented for `{Self}`",
    note = "if `{Self}` implements `Task`, register it by `task::<{Self}>()`",
    note = "otherwise implement `AsyncTask`: `async fn run(self, cx: &TaskContext) -> Result<Self::Output, TaskError>`"
)]
pub trait AsyncTask: TaskSpec {
    /// Does the work. It should not block: the other tasks of its worker would wait.
    ///
    /// When the task is cancelled, the future is not dropped: it is told, by
    /// [`TaskContext::cancellation_token`](crate::TaskContext::cancellation_token), and ends by itself. Everything
    /// else is as for [`Task::run`].
    ///
    /// # Errors
    /// As for [`Task::run`].
    fn run(self, cx: &TaskContext) -> impl Future<Output = Result<Self::Output, TaskError>> + Send;
}
