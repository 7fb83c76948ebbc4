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

/// A group of workers that are started in order, watched, restarted if need be, and stopped together. Groups nest.
///
/// - **Start**: phase by phase, in each in the order of adding; each child waits until the one before is up. The group is
///   up when all are, also if some have ended since. If one does not come up, or fails before all are up, the others are
///   stopped and the group's start fails.
/// - **An end** that nobody asked for, a clean one too, stops the group, once it is up; the [report](crate::StopReport) names
///   the child. If the child failed, the group is
///   [`Failed`](crate::WorkerState::Failed). Children that are given as a function, [`ChildSpec::new`], are
///   [restarted](crate::Restart) instead, after a [backoff](Self::with_backoff) and within a
///   [budget](Self::with_budget); when that is spent, the group fails.
/// - **Stop**: [at once or in reverse phases](Self::with_stop_order), or in [an order of your own](Self::with_stop_hook), by one deadline for the whole tree: a child has its
///   own grace period, or what its group has left, whichever is less. The outcome's [report](crate::Outcome::report) says
///   who held it up. If a child had to be aborted or is stuck, the group is
///   [`ForceStopped`](crate::WorkerState::ForceStopped).
/// - **Nothing outlives its group**: when it has ended, all its children have, except those that block their threads,
///   which are reported as stuck.
///
/// A group without children, or whose children have all ended as they may, runs until it is stopped: children can be
/// added. A worker belongs to one group, because it is moved there; two children of the same name are two.
///
/// ```
/// use std::time::Duration;
/// use workfleet_worker_lifecycle::{ChildSpec, WorkerContext, WorkerFunction, Workers, start};
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let ticker = WorkerFunction::new(|| async { println!("tick") }).with_heartbeat(Duration::from_secs(1));
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

    /// Sets who is restarted with a child that is. The default is nobody.
    #[must_use]
    pub fn with_strategy(mut self, strategy: RestartStrategy) -> Self {
        self.config.strategy = strategy;
        self
    }

    /// Sets how long a child waits to be restarted. It begins anew for a child that was up for at least the longest delay.
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

    /// Sets a function that stops the children in an order of its own. It is called when the group begins to stop and any
    /// child lives, with those that live, in the order in which they start. Until it ends, no child is asked to stop but by
    /// [`StoppingChild::stop`] and [`ask_to_stop`](StoppingChild::ask_to_stop).
    ///
    /// When it ends, whatever it has left is stopped in the group's [stop order](Self::with_stop_order), all at once by
    /// default: also if it ends with an error or a panic. Then the group has [failed](crate::GroupError::StopHook). At the
    /// group's deadline it is dropped where it waits, and those that it has left are aborted; where the group has no deadline
    /// ([`gracefully_stop`](crate::WorkerRef::gracefully_stop)), it has none either. The report says what went wrong with it:
    /// [`StopReport::stop_hook`](crate::StopReport::stop_hook). A group that is aborted does not call it.
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
    ///         Ok::<(), workfleet_worker_lifecycle::Stuck>(())
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
