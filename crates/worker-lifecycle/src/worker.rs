//! What a worker is: hooks, a name, a grace period. And what else can be one: a function that returns a future.

use std::{borrow::Cow, future::Future, sync::Arc, time::Duration};

use crate::{
    context::WorkerContext,
    error::WorkerError,
    given::{Given, answers_of_every_worker, settings_of_every_worker},
    grace,
    group::Role,
    name,
    output::HookOutput,
    shared::Made,
    status::StatusSource,
};

/// Something that runs until it is asked to stop, and cleans up after itself.
///
/// Only [`run`](Self::run) has to be written. The hooks are called one after the other on one task, so they share the
/// worker's fields without locks:
///
/// 1. [`on_startup`](Self::on_startup); if it fails, 4 comes next.
/// 2. [`run`](Self::run), unless the worker was asked to stop meanwhile.
/// 3. [`on_shutdown`](Self::on_shutdown), if `on_startup` succeeded, however `run` ended.
/// 4. [`after_shutdown`](Self::after_shutdown), always.
///
/// Then the worker is dropped, and after that its [outcome](crate::Outcome) is published. It has the errors and panics of all
/// hooks; with any of them, the worker is [`Failed`](crate::WorkerState::Failed).
///
/// If a runtime is shut down, its workers end. Nothing can wait any more then: if the worker was running, its `on_shutdown` is
/// polled once and dropped. Steps 3 and 4 are skipped only if the process ends without dropping the runtime, or if a hook
/// blocks its thread forever.
///
/// ```
/// use std::time::Duration;
/// use workfleet_worker_lifecycle::{Worker, WorkerContext, WorkerError, start};
///
/// /// Counts until it is stopped.
/// #[derive(Default)]
/// struct Counter {
///     count: u64,
/// }
///
/// impl Worker for Counter {
///     async fn run(&mut self, cx: &WorkerContext) -> Result<(), WorkerError> {
///         let mut ticks = tokio::time::interval(Duration::from_millis(1));
///         while cx.until_stopping(ticks.tick()).await.is_some() {
///             self.count += 1;
///         }
///         Ok(())
///     }
///
///     async fn on_shutdown(&mut self, _cx: &WorkerContext) -> Result<(), WorkerError> {
///         println!("counted to {}", self.count);
///         Ok(())
///     }
/// }
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let counter = start(Counter::default()).await?;
/// assert_eq!(counter.name(), "counter");
/// counter.shutdown().await?.into_result()?;
/// # Ok(()) }
/// ```
pub trait Worker: Send + 'static {
    /// Its name, in messages and in its status: by default that of its type, in snake_case.
    #[doc(alias = "worker_name")]
    fn name(&self) -> Cow<'static, str> {
        name::of_type::<Self>().into()
    }

    /// How long it has to stop before it is aborted. `None`, the default, takes
    /// [`WORKFLEET_STOPPING_GRACE_PERIOD`](crate::GRACE_PERIOD_VARIABLE) seconds, or 10.
    ///
    /// It is measured by tokio's clock, which on Linux stands still while the machine is suspended.
    ///
    /// Time in which the program alone was stopped (by SIGSTOP, a debugger or a container's freezer) is not counted either, where
    /// it is noticed. For that, a wait for a deadline wakes up now and then. If it wakes more than 200 ms late, that time is not
    /// counted. At most a sixteenth of the rest of the grace period may be counted although the program was stopped.
    #[doc(alias = "stopping_grace_period")]
    fn grace(&self) -> Option<Duration> {
        None
    }

    /// What its status says beyond its state, if anything. This is called once, before the start. The returned source is called each
    /// time the status is read.
    fn status(&self) -> Option<Arc<dyn StatusSource>> {
        None
    }

    /// Its queue, if it takes messages: [`QueueConsumer::status`](crate::QueueConsumer::status). The queue's size, and what
    /// failed, was discarded or handed back, is then in the worker's status beside what [`status`](Self::status) says. Asked
    /// once, before the start.
    #[doc(alias = "queue_size")]
    fn queue(&self) -> Option<Arc<dyn StatusSource>> {
        None
    }

    /// Makes what the worker needs. [`start`](crate::start) returns when this has.
    ///
    /// # Errors
    /// The worker does not start: [`start`](crate::start) returns the error.
    #[doc(alias = "startup")]
    fn on_startup(&mut self, cx: &WorkerContext) -> impl Future<Output = Result<(), WorkerError>> + Send {
        let _ = cx;
        async { Ok(()) }
    }

    /// Does its work, until `cx` says that it is to stop, or nothing is left to do.
    ///
    /// At the deadline the future is dropped at its present `.await`.
    ///
    /// # Errors
    /// An error ends the worker as failed, and is in its outcome.
    fn run(&mut self, cx: &WorkerContext) -> impl Future<Output = Result<(), WorkerError>> + Send;

    /// Cleans up. It is called if `on_startup` succeeded, and has the rest of the grace period. If `run` was aborted at
    /// its deadline, nothing is left. If the runtime is shut down, nothing can wait. In both cases `on_shutdown` is
    /// polled once: it does what it can do without waiting.
    ///
    /// # Errors
    /// An error is in the worker's outcome, beside a failure of `run`.
    fn on_shutdown(&mut self, cx: &WorkerContext) -> impl Future<Output = Result<(), WorkerError>> + Send {
        let _ = cx;
        async { Ok(()) }
    }

    /// Called last, after an abort too, and skipped only where [`on_shutdown`](Self::on_shutdown) would be. `code` is 0 after a normal end, 1 after a forced one, 2 after a failure,
    /// and `reason` says it in words.
    fn after_shutdown(&mut self, reason: &str, code: u8) {
        let _ = (reason, code);
    }

    /// What only this crate's own workers are.
    #[doc(hidden)]
    fn role(&self) -> Role {
        Role(None)
    }
}

impl Made {
    pub(crate) fn of<W: Worker>(worker: &W) -> Self {
        Self {
            name: worker.name(),
            grace: worker.grace().map_or_else(grace::default_period, Ok),
            role: worker.role(),
            source: worker.status(),
            queue: worker.queue(),
        }
    }
}

/// What can be started: every [`Worker`], and every function from a [`WorkerContext`] to a future.
///
/// `Kind` tells the two apart and is never named. The future's output is `()` or a `Result<(), E>`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a worker",
    label = "neither a `Worker` nor a function from a `WorkerContext` to a future",
    note = "a function that is a worker takes its context and says so: `|cx: WorkerContext| async move {{ … }}`; its output is `()` or a `Result<(), E>`",
    note = "for a function without a context that is called again and again, use `WorkerFunction::new`"
)]
pub trait IntoWorker<Kind>: Send {
    /// The worker that it becomes.
    type Worker: Worker;

    /// Becomes one.
    fn into_worker(self) -> Self::Worker;
}

/// The kind of [`IntoWorker`] that is a [`Worker`] already.
#[derive(Debug)]
pub enum ByTrait {}

/// The kind of [`IntoWorker`] that is a function.
#[derive(Debug)]
pub enum ByFunction {}

impl<W: Worker> IntoWorker<ByTrait> for W {
    type Worker = W;

    fn into_worker(self) -> W {
        self
    }
}

impl<F, Fut> IntoWorker<ByFunction> for F
where
    F: FnOnce(WorkerContext) -> Fut + Send + 'static,
    Fut: Future<Output: HookOutput> + Send + 'static,
{
    type Worker = FnWorker<F>;

    fn into_worker(self) -> FnWorker<F> {
        worker_fn(self)
    }
}

/// A function as a worker, to give it a name or a grace period.
///
/// Without a name of its own it has that of the function in which its closure stands.
///
/// ```
/// use std::time::Duration;
/// use workfleet_worker_lifecycle::{WorkerContext, start, worker_fn};
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let waiter = worker_fn(|cx: WorkerContext| async move { cx.stopping().await });
/// let waiter = start(waiter.with_name("waiter").with_grace(Duration::from_secs(1))).await?;
/// waiter.shutdown().await?;
/// # Ok(()) }
/// ```
pub fn worker_fn<F, Fut>(function: F) -> FnWorker<F>
where
    F: FnOnce(WorkerContext) -> Fut + Send + 'static,
    Fut: Future<Output: HookOutput> + Send + 'static,
{
    FnWorker { function: Some(function), given: Given::default() }
}

/// A function that is a worker: what [`worker_fn`] makes.
#[derive(Debug)]
pub struct FnWorker<F> {
    /// Taken when it runs.
    function: Option<F>,
    given: Given,
}

impl<F> FnWorker<F> {
    settings_of_every_worker!();
}

impl<F, Fut> Worker for FnWorker<F>
where
    F: FnOnce(WorkerContext) -> Fut + Send + 'static,
    Fut: Future<Output: HookOutput> + Send + 'static,
{
    answers_of_every_worker!(F);

    async fn run(&mut self, cx: &WorkerContext) -> Result<(), WorkerError> {
        match self.function.take() {
            Some(function) => function(cx.clone()).await.into_result(),
            // Nobody runs a worker twice.
            None => Ok(()),
        }
    }
}
