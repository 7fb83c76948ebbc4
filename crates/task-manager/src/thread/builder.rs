//! The settings of a [`ThreadManager`], and how it starts.

use std::{
    fmt,
    sync::{Arc, atomic::AtomicU64, mpsc},
};

use super::{ThreadManager, exchange::Exchange, seat::Plan};
use crate::{
    pool::{
        CloseReport, Pool, ScopeError, Shared, StartError, StartFailure, driver, seat,
        settings::{self, Settings, settings_of_every_pool},
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

impl ThreadManagerBuilder {
    pub(super) fn new(registry: Registry) -> Self {
        Self { settings: Settings::new(registry) }
    }

    settings_of_every_pool!();

    /// Starts the manager and its threads, and waits until the first has made its sessions. What keeps all of them from
    /// that and may pass, it waits for, 10 s at most: see [`outage_patience`](Self::outage_patience).
    ///
    /// # Errors
    /// [`StartError`]: a setting or the registry is not acceptable, not one thread is ready, or this process was
    /// started as a worker process and has not called [`init`](crate::init).
    pub fn start(self) -> Result<ThreadManager, StartError> {
        if worker::is_marked() {
            return Err(StartError::InitNotReached);
        }
        let Self { settings } = self;
        settings.check(&[])?;
        let deadline = settings.first_deadline();
        let shared = Shared::new(settings.setup(CRASH_LIMIT, None, false));
        let exchange = Arc::new(Exchange::new(settings.services.clone()));
        let runtime = driver::ManagerRuntime::new(deadline).map_err(StartError::Runtime)?;
        let (report_first_try, first_tries) = mpsc::channel();
        let registry = settings.registry.clone();
        let plan = Arc::new(Plan {
            shared: Arc::clone(&shared),
            entries: settings.registry.entries().into(),
            registry: settings.registry,
            together: settings.async_tasks > 1,
            limits: settings.limits,
            exchange: Arc::clone(&exchange),
            first_tries: report_first_try,
            incarnations: AtomicU64::new(1),
        });
        let workers = settings.workers;
        let lives = move || (0..workers).map(|number| seat::run(Arc::clone(&plan), number)).collect();
        let aside = Arc::clone(&exchange).serve();
        let at_end = move || exchange.close();
        let thread = driver::start(deadline, runtime, Arc::clone(&shared), lives, aside, at_end)
            .map_err(StartError::Runtime)?;
        let pool = Pool::new(shared, settings.limits.exit, thread);
        let manager = ThreadManager { pool, _registry: registry };
        StartFailure::unless_one_starts(&first_tries).map_err(|failure| {
            manager.kill();
            StartError::Workers(failure)
        })?;
        Ok(manager)
    }

    /// Starts a manager for the duration of a closure: closes it by
    /// [`ClosePolicy::Cancel`](crate::ClosePolicy::Cancel) if that ends well, by
    /// [`ClosePolicy::Kill`](crate::ClosePolicy::Kill) if it ends in an error or a panic, and warns of tasks that were
    /// never begun.
    ///
    /// # Errors
    /// [`ScopeError`]: the manager did not start, or the closure's own error.
    ///
    /// # Panics
    /// If the closure does, once every thread has ended or is abandoned.
    pub fn scope<R, E>(
        self,
        scope: impl FnOnce(&ThreadManager) -> Result<R, E>,
    ) -> Result<(R, CloseReport), ScopeError<E>> {
        settings::scope(self.start(), scope)
    }
}

impl fmt::Debug for ThreadManagerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThreadManagerBuilder")
            .field("registry", &self.settings.registry)
            .field("workers", &self.settings.workers)
            .field("priority_levels", &self.settings.priority_levels)
            .finish_non_exhaustive()
    }
}
