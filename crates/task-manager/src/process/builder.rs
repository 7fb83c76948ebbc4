//! The settings of a manager, and how it starts.
//!
//! Invariant: what is not acceptable is an error that names the setting, before any process is started.

use std::{
    ffi::OsString,
    fmt, fs,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    path::PathBuf,
    sync::{Arc, Mutex, atomic::AtomicU64, mpsc},
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::sync::Semaphore;

use super::{
    ClosePolicy, CloseReport, ProcessManager, driver,
    logs::Logs,
    seat::Plan,
    shared::{Mode, Setup, Shared},
    spawn::Program,
    start::{Limits, StartError, StartFailure},
};
use crate::{
    registry::{Index, Registry},
    scheduler,
    service::{SERVICE_KINDS, Service},
    task::ManagerId,
    worker,
};

/// How many processes are started at a time.
const SPAWNS_AT_A_TIME: usize = 4;
/// As good as for ever, and still a time that a clock can tell: longer limits mean this one.
const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// Settings of a [`ProcessManager`].
#[derive(Clone)]
#[must_use = "a builder does nothing until it is started"]
pub struct ProcessManagerBuilder {
    registry: Registry,
    workers: usize,
    priority_levels: u8,
    log_directory: Option<PathBuf>,
    crash_limit: u16,
    start_failure_limit: u32,
    return_limit: usize,
    inbox_limit_bytes: usize,
    frame_limit_bytes: u64,
    silence_limit: Duration,
    limits: Limits,
    program: Program,
    services: Vec<Arc<dyn Service>>,
}

impl ProcessManagerBuilder {
    pub(super) fn new(registry: Registry) -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        Self {
            registry,
            workers: 2 * cores,
            priority_levels: 2,
            log_directory: None,
            crash_limit: 3,
            start_failure_limit: 5,
            return_limit: 100,
            inbox_limit_bytes: 256 << 20,
            frame_limit_bytes: workfleet_wire::DEFAULT_FRAME_LIMIT_BYTES,
            silence_limit: Duration::from_secs(30),
            limits: Limits {
                init: Duration::from_secs(10),
                session: Duration::from_secs(60),
                exit: Duration::from_secs(10),
            },
            program: Program::default(),
            services: Vec::new(),
        }
    }

    /// How many worker processes: from 1 to 4096; twice the processor's cores by default.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    /// How many priority levels, from 1 to 128; 2 by default. 0 is the most urgent.
    pub fn priority_levels(mut self, levels: u8) -> Self {
        self.priority_levels = levels;
        self
    }

    /// Where each worker's output goes, as `<worker>.log`, every line behind its time. The directory is made. By
    /// default the workers print where this process does.
    pub fn log_directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.log_directory = Some(directory.into());
        self
    }

    /// How often a worker may die while running one task before that task is given up; at least 1, 3 by default.
    pub fn crash_limit(mut self, attempts: u16) -> Self {
        self.crash_limit = attempts;
        self
    }

    /// After how many failed starts in a row, with no worker left, the waiting tasks fail as never started; at
    /// least 1, 5 by default. Workers that are killed before they are ready count only if it has gone on for 10 s.
    pub fn start_failure_limit(mut self, failures: u32) -> Self {
        self.start_failure_limit = failures;
        self
    }

    /// How many tasks that were never begun the [`CloseReport`] hands back; 100 by default, `usize::MAX` for all.
    pub fn return_limit(mut self, tasks: usize) -> Self {
        self.return_limit = tasks;
        self
    }

    /// Beyond how many bytes of unread messages no task is begun; 256 MiB by default. What runs goes on.
    ///
    /// A program whose tasks send messages has to read them, or, beyond this limit, waits for tasks that wait for it.
    pub fn inbox_limit(mut self, bytes: usize) -> Self {
        self.inbox_limit_bytes = bytes;
        self
    }

    /// The largest task, output or message, encoded; from 4 KiB to 4 GiB, 64 MiB by default.
    pub fn frame_limit(mut self, bytes: u64) -> Self {
        self.frame_limit_bytes = bytes;
        self
    }

    /// How long a worker with a task in hand may give no sign of life before it is killed; at least 1 ms, 30 s by
    /// default. The sign comes from a thread of its own, also while the task blocks: only a stopped process, or one
    /// that the kernel holds, is silent.
    pub fn silence_limit(mut self, limit: Duration) -> Self {
        self.silence_limit = limit;
        self
    }

    /// How long a started process may take to reach [`init`](crate::init); 10 s by default.
    pub fn init_limit(mut self, limit: Duration) -> Self {
        self.limits.init = limit.min(FOR_EVER);
        self
    }

    /// How long a worker may take to make its [sessions](Registry::session); 60 s by default.
    pub fn session_limit(mut self, limit: Duration) -> Self {
        self.limits.session = limit.min(FOR_EVER);
        self
    }

    /// How long cancelled tasks may take to end, and workers to exit, when the manager closes; 10 s by default.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.limits.exit = grace.min(FOR_EVER);
        self
    }

    /// Another program to start workers from than the one that runs. It has to call [`init`](crate::init) with a
    /// registry of the same names.
    pub fn program(mut self, path: impl Into<PathBuf>) -> Self {
        self.program.path = Some(path.into());
        self
    }

    /// Arguments for the worker processes, instead of the ones that tell a test harness which test to run.
    pub fn arguments<A: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.program.arguments = arguments.into_iter().map(Into::into).collect();
        self
    }

    /// Mounts a service on the connections of the workers.
    pub fn service(mut self, service: Arc<dyn Service>) -> Self {
        self.services.push(service);
        self
    }

    /// Starts the manager and its workers, and waits until the first worker is ready: milliseconds.
    ///
    /// # Errors
    /// [`StartError`]: a setting or the registry is not acceptable, or not one worker starts.
    pub fn start(self) -> Result<ProcessManager, StartError> {
        if worker::is_marked() {
            return Err(StartError::InitNotReached);
        }
        self.check()?;
        let id = new_id();
        let shared = Arc::new(Shared::new(Setup {
            id,
            index: Index::new(&self.registry),
            limits: scheduler::Limits {
                seats: self.workers,
                levels: self.priority_levels,
                crash_limit: self.crash_limit,
                silence_limit: self.silence_limit,
            },
            frame_limit_bytes: self.frame_limit_bytes,
            inbox_limit_bytes: self.inbox_limit_bytes,
            start_failure_limit: self.start_failure_limit,
            returned_limit: self.return_limit,
            services: self.services,
        }));
        if let Some(directory) = &self.log_directory {
            fs::create_dir_all(directory).map_err(StartError::LogDirectory)?;
        }
        let (logs, log_writer) = Logs::start(self.log_directory).map_err(StartError::Runtime)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(StartError::Runtime)?;
        let (report_first_try, first_tries) = mpsc::channel();
        let plan = Arc::new(Plan {
            shared: Arc::clone(&shared),
            program: self.program,
            registry_digest: self.registry.digest(),
            limits: self.limits,
            logs,
            first_tries: report_first_try,
            incarnations: AtomicU64::new(1),
            spawning: Semaphore::new(SPAWNS_AT_A_TIME),
        });
        let thread = driver::start(runtime, plan, log_writer).map_err(StartError::Runtime)?;
        let manager = ProcessManager {
            shared,
            grace: self.limits.exit,
            thread_id: thread.thread().id(),
            thread: Mutex::new(Some(thread)),
        };
        let mut first_failure = None;
        for tried in first_tries.iter().take(self.workers) {
            match tried {
                Ok(()) => return Ok(manager),
                Err(failure) => first_failure.get_or_insert(failure),
            };
        }
        manager.shared.mode.send_replace(Mode::Killing);
        Err(StartError::Workers(first_failure.unwrap_or(StartFailure::Closing)))
    }

    /// Starts a manager for the duration of a closure: closes it by [`ClosePolicy::Cancel`] if that ends well, by
    /// [`ClosePolicy::Kill`] if it ends in an error or a panic, and warns of tasks that were never begun.
    ///
    /// # Errors
    /// [`ScopeError`]: the manager did not start, or the closure's own error.
    ///
    /// # Panics
    /// If the closure does, once every worker is dead.
    pub fn scope<R, E>(
        self,
        scope: impl FnOnce(&ProcessManager) -> Result<R, E>,
    ) -> Result<(R, CloseReport), ScopeError<E>> {
        let manager = self.start().map_err(ScopeError::Start)?;
        let ended = catch_unwind(AssertUnwindSafe(|| scope(&manager)));
        let policy = if matches!(ended, Ok(Ok(_))) { ClosePolicy::Cancel } else { ClosePolicy::Kill };
        let report = manager.close_by(policy);
        if report.tasks.returned > 0 {
            tracing::warn!(unstarted = report.tasks.returned, "a scope ended before all its tasks had begun");
        }
        match ended {
            Ok(Ok(value)) => Ok((value, report)),
            Ok(Err(error)) => Err(ScopeError::Scope { error, report: Box::new(report) }),
            Err(panic) => resume_unwind(panic),
        }
    }

    fn check(&self) -> Result<(), StartError> {
        self.registry.check()?;
        let settings = [
            ("workers", self.workers as u64, 1, 4096),
            ("priority_levels", u64::from(self.priority_levels), 1, 128),
            ("crash_limit", u64::from(self.crash_limit), 1, u64::from(u16::MAX)),
            ("start_failure_limit", u64::from(self.start_failure_limit), 1, u64::from(u32::MAX)),
            ("frame_limit", self.frame_limit_bytes, 4096, 4 << 30),
            ("silence_limit, in ms,", self.silence_limit.as_millis() as u64, 1, u64::from(u32::MAX)),
        ];
        for (setting, value, least, most) in settings {
            if !(least..=most).contains(&value) {
                return Err(StartError::Setting { setting, value, least, most });
            }
        }
        let mut taken = Vec::new();
        for service in &self.services {
            let kinds = service.kinds();
            let (first, last) = (*kinds.start(), *kinds.end());
            let foreign = !SERVICE_KINDS.contains(&first) || !SERVICE_KINDS.contains(&last) || first > last;
            if foreign || taken.iter().any(|&(from, to)| first <= to && from <= last) {
                return Err(StartError::ServiceKinds { first, last });
            }
            taken.push((first, last));
        }
        Ok(())
    }
}

impl fmt::Debug for ProcessManagerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessManagerBuilder")
            .field("registry", &self.registry)
            .field("workers", &self.workers)
            .field("priority_levels", &self.priority_levels)
            .finish_non_exhaustive()
    }
}

/// A scope did not end well.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScopeError<E> {
    /// The manager did not start.
    #[error("the manager did not start")]
    Start(#[source] StartError),
    /// The closure ended with an error; every worker was killed.
    #[error("{error}")]
    #[non_exhaustive]
    Scope {
        /// The closure's error.
        error: E,
        /// What was left.
        report: Box<CloseReport>,
    },
}

fn new_id() -> ManagerId {
    use std::hash::{BuildHasher, RandomState};
    // A clock before 1970 sorts first, and the random part still tells managers apart.
    let start_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
    ManagerId::new(start_ms, RandomState::new().hash_one(std::process::id()))
}
