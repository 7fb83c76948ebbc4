//! The group: a worker whose work is its children.

use std::{borrow::Cow, fmt, future::Future, sync::Arc, time::Duration};

use tokio::sync::mpsc;

use super::{
    ChildId, ChildSpec, IntoChild, RestartStrategy, Role, Roster, StopOrder, StoppingChild, WorkersControl,
    control::Commands,
    core::Config,
    driver::Driver,
    roster::Entry,
    stop_hook::{self, StopHook},
};
use crate::{
    context::WorkerContext,
    error::WorkerError,
    name,
    output::HookOutput,
    restart::{Backoff, Budget},
    worker::Worker,
};

/// A group of workers. It starts them in order, restarts those that may be restarted, and stops them together. Groups nest.
///
/// - **Start**: the group starts its children phase by phase, and within a phase in the order in which they were added. Each child
///   waits until the one before is up. The group is up when all children came up, also if some have ended since. If a child does
///   not come up, or fails before all are up, the group stops the others and its start fails.
/// - **End of a child**: if a child ends and was not asked to, the group stops, also if the child ended without a failure. The
///   [report](crate::StopReport) names the child. If the child failed, the group is [`Failed`](crate::WorkerState::Failed).
/// - **Restart**: a child that was given as a function, by [`ChildSpec::new`], is [restarted](crate::Restart) instead, after a
///   [backoff](Self::with_backoff) and within a [budget](Self::with_budget). When the budget is spent, the group fails.
/// - **Stop**: [at once or in reverse phases](Self::with_stop_order), or in [an order of your own](Self::with_stop_hook). There is
///   one deadline for the whole tree: a child has its own grace period or the rest of its group's, whichever is shorter. The
///   outcome's [report](crate::Outcome::report) names the children that were late. If a child was aborted or is stuck, the group
///   is [`ForceStopped`](crate::WorkerState::ForceStopped).
/// - **Nothing outlives its group**: when the group has ended, all its children have ended. Only a child that blocks its thread may
///   go on; it is reported as stuck.
///
/// A group without children runs until it is stopped, because children can be added. So does a group whose children all
/// [may end](ChildSpec::may_end) and have ended. A worker is moved into its group, so it belongs to one. Two children may have the
/// same name.
///
/// ```
/// use std::time::Duration;
/// use workfleet_worker_lifecycle::{ChildSpec, WorkerContext, WorkerFunction, Workers, start};
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let ticker = WorkerFunction::new(|| async { println!("tick") }).with_interval(Duration::from_secs(1));
/// let flaky = || |cx: WorkerContext| async move {
///     cx.stopping().await;
///     Ok::<(), std::io::Error>(())
/// };
/// let service = Workers::new("service").with_child(ticker.with_name("ticker")).with_child(ChildSpec::new(flaky));
/// let service = start(service).await?;
/// println!("{}", service.status());
/// let outcome = service.shutdown().await?.into_result()?;
/// if let Some(report) = outcome.report() {
///     println!("{report}");
/// }
/// # Ok(()) }
/// ```
pub struct Workers {
    name: Cow<'static, str>,
    grace: Option<Duration>,
    config: Config,
    children: Vec<ChildSpec>,
    stop_hook: Option<StopHook>,
    roster: Arc<Roster>,
    control: WorkersControl,
    /// Until it is started.
    commands: Option<Commands>,
    /// Once it is.
    driver: Option<Driver>,
}

impl Workers {
    /// A group without children.
    pub fn new(name: impl Into<Cow<'static, str>>) -> Self {
        let (control, commands) = mpsc::unbounded_channel();
        Self {
            name: name.into(),
            grace: None,
            config: Config::default(),
            children: Vec::new(),
            stop_hook: None,
            roster: Arc::default(),
            control: WorkersControl::new(control),
            commands: Some(Commands(commands)),
            driver: None,
        }
    }

    /// Adds a child: a worker or a function, which then lives once, or a [`ChildSpec`].
    #[must_use]
    #[doc(alias = "add_workers")]
    pub fn with_child<Kind>(mut self, child: impl IntoChild<Kind>) -> Self {
        let child = child.into_child();
        let id = ChildId(self.children.len() as u64);
        self.roster.insert(Entry::new(id, child.traits(), child.first()));
        self.children.push(child);
        self
    }

    /// Adds children, as [`with_child`](Self::with_child) does each. Children of several types are given as
    /// [`ChildSpec`]s.
    ///
    /// ```
    /// use workfleet_worker_lifecycle::{WorkerContext, Workers, worker_fn};
    ///
    /// let shard = |number: usize| {
    ///     worker_fn(|cx: WorkerContext| async move { cx.stopping().await }).with_name(format!("shard_{number}"))
    /// };
    /// let shards = Workers::new("shards").with_children((0..4).map(shard));
    /// assert_eq!(shards.num_workers(), 4);
    /// ```
    #[must_use]
    #[doc(alias = "add_workers")]
    pub fn with_children<Kind, C: IntoChild<Kind>>(self, children: impl IntoIterator<Item = C>) -> Self {
        children.into_iter().fold(self, Self::with_child)
    }

    /// Sets its name.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets its grace period: the one deadline for the whole tree.
    #[must_use]
    pub fn with_grace(mut self, grace: Duration) -> Self {
        self.grace = Some(grace);
        self
    }

    /// Sets which other children are restarted together with a child. The default is none.
    #[must_use]
    pub fn with_strategy(mut self, strategy: RestartStrategy) -> Self {
        self.config.strategy = strategy;
        self
    }

    /// Sets how long a child waits before it is restarted. If a child was up for at least the longest delay, its delays begin again
    /// with the shortest.
    #[must_use]
    pub fn with_backoff(mut self, backoff: Backoff) -> Self {
        self.config.backoff = backoff;
        self
    }

    /// Sets how often its children may be restarted, all of them together. The default is five times within a minute.
    #[must_use]
    #[doc(alias("intensity", "max_restarts"))]
    pub fn with_budget(mut self, budget: Budget) -> Self {
        self.config.budget = budget;
        self
    }

    /// Sets the order in which it stops its children. The default is all at once.
    #[must_use]
    pub fn with_stop_order(mut self, stop_order: StopOrder) -> Self {
        self.config.stop_order = stop_order;
        self
    }

    /// Sets a function that stops the children in an order of your own.
    ///
    /// The group calls it when it begins to stop, with the children that run, in the order in which they start. It is not called if
    /// no child runs, or if the group is aborted. Until it ends, only [`StoppingChild::stop`] and
    /// [`ask_to_stop`](StoppingChild::ask_to_stop) ask a child to stop.
    ///
    /// When it ends, the group stops the children that still run, in its [stop order](Self::with_stop_order): all at once by default.
    /// If it ends with an error or a panic, the group does the same, and has [failed](crate::GroupError::StopHook).
    ///
    /// At the group's deadline, the function is dropped and the children that still run are aborted. A group that is stopped by
    /// [`gracefully_stop`](crate::WorkerRef::gracefully_stop) has no deadline, and then the function has none.
    /// [`StopReport::stop_hook`](crate::StopReport::stop_hook) says what went wrong with it.
    ///
    /// It runs on the group's task.
    ///
    /// ```
    /// use workfleet_worker_lifecycle::{QueueConsumerWorker, StoppingChild, WorkerFunction, Workers, start};
    ///
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let events = QueueConsumerWorker::new(|event: String| async move { println!("{event}") }).with_name("events");
    /// let source = WorkerFunction::new(|| async {}).with_name("source");
    /// // What others send to outlives them.
    /// let service = Workers::new("service").with_child(events).with_child(source).with_stop_hook(
    ///     |children: Vec<StoppingChild>| async move {
    ///         for child in children.iter().filter(|child| child.name() != "events") {
    ///             child.stop().await?;
    ///         }
    ///         Ok::<(), workfleet_worker_lifecycle::StuckError>(())
    ///     },
    /// );
    /// let service = start(service).await?;
    /// service.shutdown().await?.into_result()?;
    /// # Ok(()) }
    /// ```
    #[must_use]
    #[doc(alias("_wait_for_workers", "wait_for_workers"))]
    pub fn with_stop_hook<F, Fut>(mut self, hook: F) -> Self
    where
        F: FnOnce(Vec<StoppingChild>) -> Fut + Send + 'static,
        Fut: Future<Output: HookOutput> + Send + 'static,
    {
        self.config.has_stop_hook = true;
        self.stop_hook = Some(stop_hook::erase(hook));
        self
    }

    /// What adds and removes children while it runs.
    pub fn control(&self) -> WorkersControl {
        self.control.clone()
    }

    /// How many children it has been given before the start.
    pub fn num_workers(&self) -> usize {
        self.children.len()
    }
}

/// A group without children. Its name is `workers`, as that of a worker which is given none is its type's.
impl Default for Workers {
    fn default() -> Self {
        Self::new(name::of_type::<Self>())
    }
}

impl Worker for Workers {
    fn name(&self) -> Cow<'static, str> {
        self.name.clone()
    }

    fn grace(&self) -> Option<Duration> {
        self.grace
    }

    async fn on_startup(&mut self, cx: &WorkerContext) -> Result<(), WorkerError> {
        // A worker is started once.
        let Some(commands) = self.commands.take() else { return Ok(()) };
        let children = std::mem::take(&mut self.children);
        let driver = Driver::new(self.config, children, commands, Arc::clone(&self.roster), cx);
        self.driver.insert(driver.with_stop_hook(self.stop_hook.take())).start().await
    }

    async fn run(&mut self, _cx: &WorkerContext) -> Result<(), WorkerError> {
        match &mut self.driver {
            Some(driver) => driver.run().await,
            None => Ok(()),
        }
    }

    async fn on_shutdown(&mut self, _cx: &WorkerContext) -> Result<(), WorkerError> {
        match &mut self.driver {
            Some(driver) => driver.stop().await,
            None => Ok(()),
        }
    }

    fn role(&self) -> Role {
        Role(Some(Arc::clone(&self.roster)))
    }
}

impl fmt::Debug for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workers")
            .field("name", &self.name)
            .field("config", &self.config)
            .field("children", &self.children)
            .finish_non_exhaustive()
    }
}
