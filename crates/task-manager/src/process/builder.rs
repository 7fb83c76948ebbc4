//! The settings of a [`ProcessManager`], and how it starts.

use std::{
    ffi::OsString,
    fmt, fs,
    future::pending,
    io,
    path::{self, Path, PathBuf},
    sync::{Arc, atomic::AtomicU64},
    thread,
    time::{Duration, Instant},
};

use tokio::sync::{Semaphore, mpsc, oneshot};
use workfleet_heartbeat::{cores::ThrottleLimits, runtime_thread};

use super::{
    ProcessManager, arguments,
    logs::Logs,
    program::{Arguments, Program},
    worker_slot::Plan,
};
use crate::{
    connection::Terms,
    events::Events,
    guardian,
    pool::{
        ManagerStartError, Pool, Shared, StartFailure, driver, may_pass, patiently,
        settings::{FOR_EVER, Settings, Starting, scopes_of_every_pool, settings_of_every_pool},
        start_patiently, worker_slot,
    },
    registry::Registry,
    sys::{memory_file, naming::Naming},
    worker,
};

/// How many processes are started at a time.
const SPAWNS_AT_A_TIME: usize = 16;
/// How long the log thread may take to write what workers printed last.
const LOG_LIMIT: Duration = Duration::from_secs(1);

/// Settings of a [`ProcessManager`].
///
/// # Under a terminal
///
/// [`init`](crate::init) gives up a worker's controlling terminal. So a task that opens `/dev/tty` gets an error
/// (`ENXIO`), and no use of a terminal stops its worker. Before `init`, a worker is a background process: the kernel
/// stops it if it reads from the terminal or changes its settings.
///
/// Ctrl-C, Ctrl-\\ and Ctrl-Z reach the program, and not its workers. This library handles none of them by itself.
/// Ctrl-Z (SIGTSTP) stops only the program: its workers finish the tasks that they have, and wait. When the program goes
/// on, it reads what they sent. The time in which it was stopped is not counted against tasks or workers.
///
/// To pause the workers too, send SIGSTOP and SIGCONT to their process groups, whose numbers are the workers' [process
/// ids](crate::WorkerStats::pid). While the program runs, a worker must not be stopped for longer than the [silence
/// limit](Self::silence_limit).
#[derive(Clone)]
#[must_use = "a builder does nothing until it is started"]
pub struct ProcessManagerBuilder {
    settings: Settings,
    log_directory: Option<PathBuf>,
    crash_limit: u16,
    silence_limit: Duration,
    throttle: ThrottleLimits,
    program: Option<PathBuf>,
    arguments: Option<Arguments>,
}

impl ProcessManager {
    /// A manager of tasks in `registry`, to be [started](ProcessManagerBuilder::start).
    pub fn builder(registry: Registry) -> ProcessManagerBuilder {
        ProcessManagerBuilder::new(registry)
    }
}

impl ProcessManagerBuilder {
    fn new(registry: Registry) -> Self {
        Self {
            settings: Settings::new(registry),
            log_directory: None,
            crash_limit: 3,
            silence_limit: Duration::from_secs(30),
            throttle: ThrottleLimits::default(),
            program: None,
            arguments: None,
        }
    }

    settings_of_every_pool!();

    /// Writes each worker's standard output and standard error to `<worker>.log` in this directory, each line after its
    /// time. By default the workers print where this process does. A relative path is taken from the directory in which
    /// the manager is started, also for workers that are started later.
    ///
    /// Lines of both streams are written whole. Lines of more than 16 KiB are written in pieces. The last line of a
    /// worker gets an end if it has none. The same holds for what workers without logs print to the program's standard
    /// error. There, other writers may cut a line that is longer than `PIPE_BUF` (4 KiB on Linux).
    ///
    /// If a log was renamed or removed, a new one is made before the next line is written. The same happens to every log
    /// on [request](ProcessManager::reopen_logs).
    ///
    /// A process that has left its worker's group (`setsid`) may print to the log until the manager closes. After that,
    /// printing kills it by SIGPIPE. So give a process that is to outlive the manager its own standard output and error.
    ///
    /// The directory is made now, and again whenever it is missing. If a log cannot be written (no directory, no space,
    /// no descriptor), its worker goes on. The lines are counted, one warning is logged, and writing goes on as soon as
    /// possible. Then the log says how many lines are missing.
    pub fn log_directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.log_directory = Some(directory.into());
        self
    }

    /// How often a worker may die while running one task before that task is given up; at least 1, 3 by default.
    pub fn crash_limit(mut self, attempts: u16) -> Self {
        self.crash_limit = attempts;
        self
    }

    /// How long a worker with a task may give no sign of life before it is killed; at least 1 ms, 30 s by default. A
    /// thread of the worker gives the sign, also while the task blocks. So only a process that is stopped, or that the
    /// kernel holds, is silent. Its certificate says so: [`KillReason::Stopped`](crate::KillReason::Stopped) or
    /// [`KillReason::Silent`](crate::KillReason::Silent).
    ///
    /// The manager asks for the sign after half of the limit, and the worker has the other half to answer. If the
    /// manager's own program was stopped in that half, the worker has the half again.
    pub fn silence_limit(mut self, limit: Duration) -> Self {
        self.silence_limit = limit;
        self
    }

    /// The longest time for which a worker holds back a task's [heartbeat](crate::TaskContext::heartbeat) before it
    /// sends the latest; 60 s by default, as in Temporal. With a [timeout](crate::TaskSpec::HEARTBEAT_TIMEOUT), it is at
    /// most four fifths of that.
    #[doc(alias = "max_heartbeat_throttle_interval")]
    pub fn max_heartbeat_throttle(mut self, interval: Duration) -> Self {
        self.throttle.most = interval.min(FOR_EVER);
        self
    }

    /// The same for tasks without a timeout; 30 s by default, the same as in Temporal.
    #[doc(alias = "default_heartbeat_throttle_interval")]
    pub fn default_heartbeat_throttle(mut self, interval: Duration) -> Self {
        self.throttle.without_timeout = interval.min(FOR_EVER);
        self
    }

    /// How long a started process may take to reach [`init`](crate::init); 10 s by default.
    pub fn init_limit(mut self, limit: Duration) -> Self {
        self.settings.limits.init = limit.min(FOR_EVER);
        self
    }

    /// Starts the workers from another program than this one. That program has to call [`init`](crate::init) with a
    /// registry of the same names. A relative path is taken as for [`log_directory`](Self::log_directory).
    pub fn program(mut self, path: impl Into<PathBuf>) -> Self {
        self.program = Some(path.into());
        self
    }

    /// The arguments of the worker processes. By default they are those of this program, so that code before
    /// [`init`](crate::init) does the same in a worker. In a test binary, they tell the harness to run only the test of
    /// [`test_worker!`](crate::test_worker).
    pub fn arguments<A: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments = Some(Arguments::given(arguments.into_iter().map(Into::into).collect()));
        self
    }

    /// Starts the manager and its workers, and waits until the first worker is ready, usually some milliseconds. If no
    /// worker starts, for a reason that may pass, it tries again for at most 10 s: see
    /// [`outage_patience`](Self::outage_patience). It blocks the thread: in async code, use
    /// [`start_async`](Self::start_async).
    ///
    /// # Errors
    /// [`ManagerStartError`]: a setting or the registry is not acceptable, not one worker starts, or the call would block a thread on
    /// which tokio polls a future.
    pub fn start(self) -> Result<ProcessManager, ManagerStartError> {
        if runtime_thread::is_polling() {
            return Err(ManagerStartError::InsideRuntime);
        }
        let deadline = self.settings.first_deadline();
        self.launch(deadline)?.blocking_finish()
    }

    /// The same as [`start`](Self::start), without blocking the thread: on any executor, or none.
    ///
    /// # Errors
    /// [`ManagerStartError`]: a setting or the registry is not acceptable, or not one worker starts.
    ///
    /// # Cancel safety
    /// If this is dropped, the workers that were started end in the background.
    pub async fn start_async(mut self) -> Result<ProcessManager, ManagerStartError> {
        let deadline = self.settings.first_deadline();
        if self.arguments.is_none() && !arguments::are_known() && !worker::has_marker() {
            self.arguments = Some(self.find_arguments(deadline).await?);
        }
        let started = start_patiently(deadline, || self.clone().launch(Instant::now())).await;
        started?.finish().await
    }

    /// Asks a test binary for its entry, on a thread of its own: that takes as long as the binary takes to list its tests.
    async fn find_arguments(&self, deadline: Instant) -> Result<Arguments, ManagerStartError> {
        let limit = self.settings.limits.init;
        let asked = start_patiently(deadline, || {
            let (tell, told) = oneshot::channel();
            let ask = move || {
                // An error means that the caller has given up the start.
                let _ = tell.send(patiently(deadline, || arguments::of_a_worker(limit)));
            };
            let thread = thread::Builder::new().name("workfleet-start".into()).spawn(ask);
            thread.naming("starting a thread").map_err(ManagerStartError::Runtime)?;
            Ok(told)
        });
        let found = asked.await?.await;
        let found = found.unwrap_or_else(|_| Err(io::Error::other("the thread that lists tests panicked")));
        found.map_err(|error| ManagerStartError::Workers(StartFailure::spawn(error)))
    }

    /// What the system refuses for now is tried again until `deadline`, by blocking the thread.
    fn launch(mut self, deadline: Instant) -> Result<Starting<ProcessManager>, ManagerStartError> {
        if worker::has_marker() {
            return Err(ManagerStartError::InitNotReached);
        }
        let silence_ms = u64::try_from(self.silence_limit.as_millis()).unwrap_or(u64::MAX);
        self.settings.check(&[
            ("crash_limit", u64::from(self.crash_limit), 1, u64::from(u16::MAX)),
            ("silence_limit, in ms,", silence_ms, 1, u64::from(u32::MAX)),
        ])?;
        self.fix_paths()?;
        self.settings.services.push(Arc::new(Events::default()));
        let arguments = match self.arguments.take() {
            Some(arguments) => arguments,
            None => patiently(deadline, || arguments::of_a_worker(self.settings.limits.init))
                .map_err(|error| ManagerStartError::Workers(StartFailure::spawn(error)))?,
        };
        let program = Program { path: self.program, arguments };
        let session_values = self.settings.session_values()?;
        let values_file = if session_values.as_bytes().is_empty() {
            None
        } else {
            let file = || memory_file::holding("workfleet-sessions", session_values.as_bytes());
            Some(Arc::new(patiently(deadline, file).map_err(ManagerStartError::SessionValues)?))
        };
        let Self { mut settings, log_directory, crash_limit, silence_limit, throttle, .. } = self;
        let shared = Shared::new(settings.setup(crash_limit, Some(silence_limit), true));
        if let Some(directory) = &log_directory
            && let Err(error) =
                fs::create_dir_all(directory).naming(format!("making {}", directory.display()))
            && !may_pass(&error)
        {
            return Err(ManagerStartError::LogDirectory(error));
        }
        let guardian =
            patiently(deadline, || guardian::hold(&program)).map_err(ManagerStartError::Runtime)?;
        let (logs, log_writer) = Logs::start(deadline, log_directory).map_err(ManagerStartError::Runtime)?;
        let runtime = driver::ManagerRuntime::new(deadline).map_err(ManagerStartError::Runtime)?;
        let reopener = logs.reopener();
        let (report_first_try, first_tries) = mpsc::channel(settings.workers);
        let plan = Arc::new(Plan {
            shared: Arc::clone(&shared),
            program,
            guardian: guardian.guardian(),
            session_values: values_file,
            _session_pins: session_values.into_pins(),
            terms: Terms {
                registry: settings.registry.clone(),
                async_tasks: settings.async_tasks,
                throttle,
                backtraces: settings.backtraces(),
                limits: settings.limits,
            },
            silence_limit,
            logs,
            first_tries: report_first_try,
            incarnations: AtomicU64::new(1),
            spawning: Semaphore::new(SPAWNS_AT_A_TIME),
        });
        let life = move |number| worker_slot::run(Arc::clone(&plan), number);
        let at_end = move || {
            log_writer.finish(LOG_LIMIT);
            drop(guardian);
        };
        let grace = settings.limits.exit;
        let thread = driver::start(deadline, runtime, Arc::clone(&shared), grace, life, pending(), at_end)
            .map_err(ManagerStartError::Runtime)?;
        let pool = Pool::new(shared, thread, settings.heartbeaters.take());
        let manager = ProcessManager { pool, logs: reopener };
        Ok(Starting { manager: Some(manager), first_tries })
    }

    /// Relative paths mean now what they will mean when the last worker is started, wherever the program is by then.
    fn fix_paths(&mut self) -> Result<(), ManagerStartError> {
        if let Some(directory) = &mut self.log_directory {
            let absolute = path::absolute(&*directory).naming("getcwd");
            *directory = absolute.map_err(ManagerStartError::LogDirectory)?;
        }
        // A name alone is looked for among the system's programs.
        let is_path = |program: &Path| program.parent().is_some_and(|parent| !parent.as_os_str().is_empty());
        if let Some(program) = self.program.as_mut().filter(|program| is_path(program)) {
            let absolute = path::absolute(&*program).naming("getcwd");
            *program = absolute.map_err(|error| ManagerStartError::Workers(StartFailure::spawn(error)))?;
        }
        Ok(())
    }

    scopes_of_every_pool!(ProcessManager, "every worker is dead");
}

impl fmt::Debug for ProcessManagerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.settings.fmt_builder("ProcessManagerBuilder", f)
    }
}

#[cfg(all(test, not(workfleet_loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_those_that_the_methods_state() {
        let s = Duration::from_secs;
        let ProcessManagerBuilder { settings, log_directory, crash_limit, silence_limit, throttle, .. } =
            ProcessManagerBuilder::new(Registry::new());
        let cores = thread::available_parallelism().map_or(1, usize::from);
        assert_eq!((settings.workers, settings.priority_levels, settings.async_tasks), (2 * cores, 2, 1));
        assert_eq!((settings.limits.exit, settings.heartbeat_grace), (s(10), s(10)));
        assert_eq!((settings.limits.init, settings.limits.session), (s(10), s(60)));
        assert_eq!((settings.outage_patience, silence_limit), (s(60), s(30)));
        assert_eq!((throttle.most, throttle.without_timeout), (s(60), s(30)));
        assert_eq!((settings.frame_limit_bytes, settings.inbox_limit_bytes), (64 << 20, 256 << 20));
        assert_eq!((settings.return_limit, settings.children_limit, crash_limit), (100, u32::MAX, 3));
        assert_eq!((settings.tasks_per_worker, log_directory), (u64::MAX, None));
    }
}
