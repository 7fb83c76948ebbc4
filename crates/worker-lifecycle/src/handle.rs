//! Handles: how a worker is started and owned.

use std::{
    fmt,
    ops::Deref,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::runtime::Handle;

use crate::{
    error::StartError,
    reason::StoppedBy,
    reference::WorkerRef,
    runner::Runner,
    shared::{Made, Shared, Unstarted},
    worker::IntoWorker,
};

/// Starts a worker and waits until it is up: until its `on_startup` has succeeded.
///
/// ```
/// use workfleet_worker_lifecycle::{WorkerContext, WorkerState, start};
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let worker = start(|cx: WorkerContext| async move { cx.stopping().await }).await?;
/// assert_eq!(worker.state(), WorkerState::Running);
/// let outcome = worker.shutdown().await?;
/// assert_eq!(outcome.state(), WorkerState::Stopped);
/// # Ok(()) }
/// ```
///
/// # Errors
/// [`StartError`]: its start-up failed, it was stopped meanwhile, there is no tokio runtime with a timer, or the grace
/// period in the environment is none. The worker is dropped; [`WorkerHandle::new`] keeps it where it could be started again.
///
/// # Cancel safety
/// Dropping the future asks the worker to stop.
#[doc(alias = "startup")]
pub async fn start<Kind>(worker: impl IntoWorker<Kind>) -> Result<WorkerHandle, StartError> {
    let worker = worker.into_worker();
    let shared = Shared::new(Made::of(&worker));
    let runtime = shared.begin()?;
    let handle = WorkerHandle {
        worker: WorkerRef::new(Arc::clone(&shared)),
        pending: Mutex::new(None),
        is_owned: true,
    };
    // From before it runs, so that it finds its end awaited however quick that is.
    let watcher = shared.board.subscribe();
    runtime.spawn(Runner::new(worker, shared).live());
    handle.wait_for_startup().await?;
    drop(watcher);
    Ok(handle)
}

/// Spawns a worker whose start was marked.
type Launch = Box<dyn FnOnce(&Handle) + Send>;

/// The owner of a worker: **dropping it asks the worker to stop** and aborts it when its grace period is over, without
/// waiting for either. [`detach`](Self::detach) lets it run on instead.
///
/// It can be dropped anywhere: in another runtime, or outside any. All that [`WorkerRef`] can do, it can too.
pub struct WorkerHandle {
    worker: WorkerRef,
    /// Until it is started.
    pending: Mutex<Option<Launch>>,
    /// Whether dropping this stops the worker.
    is_owned: bool,
}

impl WorkerHandle {
    /// A handle of a worker that is not started yet.
    ///
    /// ```
    /// use workfleet_worker_lifecycle::{QueueConsumerWorker, WorkerHandle, WorkerState};
    ///
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let consumer = QueueConsumerWorker::new(|n: u32| async move { println!("{n}") });
    /// let (sender, consumer) = (consumer.sender(), WorkerHandle::new(consumer));
    /// assert_eq!(consumer.state(), WorkerState::Init);
    /// sender.send(1)?; // kept until it is started
    /// consumer.startup().await?;
    /// assert!(consumer.startup().await.is_err());
    /// # Ok(()) }
    /// ```
    pub fn new<Kind>(worker: impl IntoWorker<Kind>) -> Self {
        let worker = worker.into_worker();
        let shared = Shared::new(Made::of(&worker));
        let unstarted = Unstarted::new(&shared);
        let launch: Launch = Box::new(move |runtime| {
            runtime.spawn(Runner::new(worker, Arc::clone(unstarted.shared())).live());
        });
        Self { worker: WorkerRef::new(shared), pending: Mutex::new(Some(launch)), is_owned: true }
    }

    /// Starts the worker and waits until it is up.
    ///
    /// # Errors
    /// [`StartError`]. After [`StartError::NoRuntime`], [`StartError::NoTimer`] and [`StartError::GracePeriod`] the worker is as before and may be
    /// started again; a second start is [`StartError::AlreadyStarted`].
    ///
    /// # Cancel safety
    /// The worker is started by the first poll. Dropping the future afterwards changes nothing: it comes up unwatched.
    pub async fn startup(&self) -> Result<(), StartError> {
        let runtime = self.worker.shared().begin()?;
        // From before it runs, so that it finds its end awaited however quick that is.
        let _watcher = self.worker.shared().board.subscribe();
        let launch = self.pending.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(launch) = launch {
            launch(&runtime);
        }
        self.wait_for_startup().await
    }

    /// Gives up the ownership: the worker runs until it ends or is stopped through a reference.
    ///
    /// A worker that was not started is dropped.
    pub fn detach(mut self) -> WorkerRef {
        self.is_owned = false;
        self.worker.clone()
    }

    /// A reference that others can keep: it does not stop the worker when it is dropped.
    pub fn worker(&self) -> WorkerRef {
        self.worker.clone()
    }
}

impl Deref for WorkerHandle {
    type Target = WorkerRef;

    fn deref(&self) -> &WorkerRef {
        &self.worker
    }
}

impl Drop for WorkerHandle {
    fn drop(&mut self) {
        if self.is_owned {
            self.worker.stop_within_grace(StoppedBy::HandleDropped);
        }
    }
}

impl fmt::Debug for WorkerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WorkerHandle").field(self.worker.shared()).finish()
    }
}
