//! The settings of a [`ThreadManager`], and how it starts.

use std::{
    fmt,
    sync::{Arc, atomic::AtomicU64},
    time::Instant,
};

use tokio::sync::mpsc;
use workfleet_heartbeat::runtime_thread;

use super::{ThreadManager, exchange::Exchange, worker_slot::Plan};
use crate::{
    pool::{
        ManagerStartError, Pool, Services, Shared, driver,
        settings::{Settings, Starting, scopes_of_every_pool, settings_of_every_pool},
        start_patiently, worker_slot,
    },
    registry::Registry,
    worker,
};

/// A task whose thread is gone, however that came about, is not tried again.
const CRASH_LIMIT: u16 = 1;

/// Settings of a [`ThreadManager`].
#[derive(Clone)]
#[must_use = "a builder does nothing until it is started"]
pub struct ThreadManagerBuilder {
    settings: Settings,
}

impl ThreadManager {
    /// A manager of tasks in `registry`, to be [started](ThreadManagerBuilder::start).
    pub fn builder(registry: Registry) -> ThreadManagerBuilder {
        ThreadManagerBuilder::new(registry)
    }
}

impl ThreadManagerBuilder {
    fn new(registry: Registry) -> Self {
        Self { settings: Settings::new(registry) }
    }

    settings_of_every_pool!();

    /// Starts the manager and its threads, and waits until the first has made its sessions. If no thread is ready, for a
    /// reason that may pass, it tries again for at most 10 s: see [`outage_patience`](Self::outage_patience). It blocks
    /// the thread: in async code, use [`start_async`](Self::start_async).
    ///
    /// # Errors
    /// [`ManagerStartError`]: a setting or the registry is not acceptable, not one thread is ready, this process was
    /// started as a worker process and has not called [`init`](crate::init), or the call would block a thread on
    /// which tokio polls a future.
    pub fn start(self) -> Result<ThreadManager, ManagerStartError> {
        if runtime_thread::is_polling() {
            return Err(ManagerStartError::InsideRuntime);
        }
        let deadline = self.settings.first_deadline();
        self.launch(deadline)?.blocking_finish()
    }

    /// The same as [`start`](Self::start), without blocking the thread: on any executor, or none.
    ///
    /// # Errors
    /// [`ManagerStartError`]: a setting or the registry is not acceptable, not one thread is ready, or this process was
    /// started as a worker process and has not called [`init`](crate::init).
    ///
    /// # Cancel safety
    /// If this is dropped, the threads that were started end in the background.
    pub async fn start_async(self) -> Result<ThreadManager, ManagerStartError> {
        let deadline = self.settings.first_deadline();
        let started = start_patiently(deadline, || self.clone().launch(Instant::now())).await;
        started?.finish().await
    }

    /// What the system refuses for now is tried again until `deadline`, by blocking the thread.
    fn launch(self, deadline: Instant) -> Result<Starting<ThreadManager>, ManagerStartError> {
        if worker::has_marker() {
            return Err(ManagerStartError::InitNotReached);
        }
        let Self { mut settings } = self;
        let heartbeaters = settings.heartbeaters.take();
        settings.check(&[])?;
        let session_values = Arc::new(settings.session_values()?);
        let shared = Shared::new(settings.setup(CRASH_LIMIT, None, false));
        let exchange = Arc::new(Exchange::new(Services(settings.services.clone())));
        let runtime = driver::ManagerRuntime::new(deadline).map_err(ManagerStartError::Runtime)?;
        let (report_first_try, first_tries) = mpsc::channel(settings.workers);
        let registry = settings.registry.clone();
        let backtraces = settings.backtraces();
        let plan = Arc::new(Plan {
            shared: Arc::clone(&shared),
            entries: settings.registry.entries().into(),
            registry: settings.registry,
            session_values,
            together: settings.async_tasks > 1,
            backtraces,
            limits: settings.limits,
            exchange: Arc::clone(&exchange),
            first_tries: report_first_try,
            incarnations: AtomicU64::new(1),
        });
        let life = move |number| worker_slot::run(Arc::clone(&plan), number);
        let aside = Arc::clone(&exchange).serve();
        let at_end = move || exchange.close();
        let grace = settings.limits.exit;
        let thread = driver::start(deadline, runtime, Arc::clone(&shared), grace, life, aside, at_end)
            .map_err(ManagerStartError::Runtime)?;
        let pool = Pool::new(shared, thread, heartbeaters);
        let manager = ThreadManager { pool, _registry: registry };
        Ok(Starting { manager: Some(manager), first_tries })
    }

    scopes_of_every_pool!(ThreadManager, "every thread has ended or is abandoned");
}

impl fmt::Debug for ThreadManagerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.settings.fmt_builder("ThreadManagerBuilder", f)
    }
}
