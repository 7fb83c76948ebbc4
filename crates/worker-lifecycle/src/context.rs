//! What a worker knows about itself while it runs: above all, when to stop.

use std::{fmt, future::Future, sync::Arc};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    clock, lifecycle::WorkerState, output::HookOutput, reason::StoppedBy, reference::WorkerRef,
    shared::Shared,
};

/// A running worker's view of itself. Clone it for what the worker spawns.
///
/// ```
/// # use std::time::Duration;
/// use workfleet_worker_lifecycle::{WorkerContext, start};
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let polite = start(|cx: WorkerContext| async move {
///     let mut ticks = tokio::time::interval(Duration::from_secs(3600));
///     while cx.until_stopping(ticks.tick()).await.is_some() {
///         println!("one more hour");
///     }
/// })
/// .await?;
/// polite.shutdown().await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct WorkerContext {
    shared: Arc<Shared>,
}

impl WorkerContext {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The worker's name.
    pub fn name(&self) -> &str {
        self.shared.name()
    }

    /// The worker's state.
    pub fn state(&self) -> WorkerState {
        self.shared.state()
    }

    /// Whether the worker was started: its state is any other than [`Init`](WorkerState::Init).
    pub fn has_started(&self) -> bool {
        self.state().has_started()
    }

    /// Whether the worker is [`Running`](WorkerState::Running): it was started, and was not asked to stop.
    pub fn is_running(&self) -> bool {
        self.state().is_running()
    }

    /// Whether the worker was asked to stop, or has ended: what outlives it by its context stops too. It takes no lock.
    pub fn is_stopping(&self) -> bool {
        self.shared.is_stopping()
    }

    /// Whether the worker has ended: it is [`Stopped`](WorkerState::Stopped), [`ForceStopped`](WorkerState::ForceStopped)
    /// or [`Failed`](WorkerState::Failed).
    pub fn is_stopped(&self) -> bool {
        self.state().is_stopped()
    }

    /// Waits until the worker is asked to stop.
    ///
    /// # Cancel safety
    /// Dropping it loses nothing.
    pub async fn stopping(&self) {
        self.shared.token.cancelled().await;
    }

    /// The future's output, or `None` if the worker is asked to stop first, which drops the future. If both are there,
    /// the stop wins.
    ///
    /// # Cancel safety
    /// That of the future.
    pub async fn until_stopping<F: Future>(&self, future: F) -> Option<F::Output> {
        tokio::select! {
            biased;
            () = self.stopping() => None,
            output = future => Some(output),
        }
    }

    /// Spawns a task that ends with the worker, in the worker's runtime. Returns whether it was spawned: the future is dropped
    /// if `run` has ended, or the worker was not started by this process.
    ///
    /// - **It does not outlive the worker.** If `run` ended because the worker was asked to stop, the tasks have the rest of the grace
    ///   period to end by themselves; a clone of the context tells them to. Then they are dropped. If `run` ended for another
    ///   reason, they are dropped at once. `on_shutdown` is called when all tasks have ended. A task that blocks its thread makes
    ///   the worker [`StuckError`](crate::StuckError).
    /// - **Its failure is the worker's failure.** If it panics or returns an error, `run` and the other tasks are dropped, and
    ///   `on_shutdown` is called. The worker is then [`Failed`](WorkerState::Failed), with a [failure](crate::WorkerFailure) of
    ///   [`Hook::Task`](crate::Hook::Task). A failure of a task that `on_startup` spawned is noticed from the start of `run`.
    ///
    /// ```
    /// use std::time::Duration;
    /// use workfleet_worker_lifecycle::{WorkerContext, start};
    ///
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let server = start(|cx: WorkerContext| async move {
    ///     let ticking = cx.clone();
    ///     cx.spawn(async move {
    ///         let mut ticks = tokio::time::interval(Duration::from_secs(1));
    ///         while ticking.until_stopping(ticks.tick()).await.is_some() {
    ///             println!("tick");
    ///         }
    ///     });
    ///     cx.stopping().await;
    /// })
    /// .await?;
    /// server.shutdown().await?.into_result()?; // the ticks have ended
    /// # Ok(()) }
    /// ```
    pub fn spawn<F>(&self, future: F) -> bool
    where
        F: Future<Output: HookOutput> + Send + 'static,
    {
        let runtime = self.shared.runtime().filter(|_| self.shared.is_here());
        let Some(runtime) = runtime else {
            workfleet_panics::discard(future);
            return false;
        };
        self.shared.tasks.spawn(runtime, future)
    }

    /// A token that is cancelled when the worker is asked to stop, and at the latest when it has ended. Cancelling it
    /// does not stop the worker; [`stop`](Self::stop) does.
    pub fn cancellation_token(&self) -> CancellationToken {
        self.shared.token.child_token()
    }

    /// Asks the worker itself to stop, within its grace period.
    pub fn stop(&self) {
        self.stop_for(StoppedBy::Itself);
    }

    pub(crate) fn stop_for(&self, by: StoppedBy) {
        self.shared.request_stop(Some(self.shared.deadline_by_grace()), by);
    }

    /// When the worker will be aborted, if that is settled. It moves on if the whole program is stopped meanwhile.
    pub fn deadline(&self) -> Option<Instant> {
        let deadline = self.shared.board.borrow().deadline;
        deadline.map(clock::on_tokios)
    }

    /// A reference to the worker, for others.
    pub fn worker(&self) -> WorkerRef {
        WorkerRef::new(Arc::clone(&self.shared))
    }

    /// The outermost group that the worker is in; itself, if it is in none.
    pub fn root(&self) -> WorkerRef {
        let mut shared = Arc::clone(&self.shared);
        while let Some(group) = shared.group() {
            shared = group;
        }
        WorkerRef::new(shared)
    }
}

impl fmt::Debug for WorkerContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WorkerContext").field(&self.shared).finish()
    }
}
