//! The settings that every pool has, and how a pool is started for the duration of a closure.
//!
//! Invariant: what is not acceptable is an error that names the setting, before any worker is started.

use std::{
    fmt,
    future::{Future, poll_fn},
    ops::Deref,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::pin,
    sync::Arc,
    task::Poll,
    thread,
    time::{Duration, Instant},
};

use tokio::sync::mpsc;
use workfleet_heartbeat::HeartbeaterRegistry;
use workfleet_scheduler::{Limits, OUTAGE_PATIENCE, PrefetchBudget, first_patience};
use workfleet_wire::kinds::EVENT_KINDS;

use super::{ClosePolicy, CloseReport, ManagerStartError, Pool, Setup, StartFailure};
use crate::{
    ids::ManagerId,
    inbox::InboxOverflow,
    kinds::SERVICE_KINDS,
    park,
    registry::{Registry, index::Index},
    run::traces,
    service::Service,
    session_values::SessionValues,
    sys::status_page,
};

/// As good as forever, and still a time that a clock can tell: longer limits mean this one.
pub(crate) const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) registry: Registry,
    pub(crate) workers: usize,
    pub(crate) priority_levels: u8,
    pub(crate) async_tasks: u32,
    pub(crate) tasks_per_worker: u64,
    pub(crate) outage_patience: Duration,
    pub(crate) return_limit: usize,
    pub(crate) inbox_limit_bytes: usize,
    pub(crate) inbox_overflow: InboxOverflow,
    pub(crate) children_limit: u32,
    pub(crate) frame_limit_bytes: u64,
    pub(crate) limits: super::Limits,
    pub(crate) heartbeat_grace: Duration,
    backtraces: bool,
    pub(crate) services: Vec<Arc<dyn Service>>,
    pub(crate) heartbeaters: Option<Arc<dyn HeartbeaterRegistry>>,
}

impl Settings {
    pub(crate) fn new(registry: Registry) -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        Self {
            registry,
            workers: 2 * cores,
            priority_levels: 2,
            async_tasks: 1,
            tasks_per_worker: u64::MAX,
            outage_patience: OUTAGE_PATIENCE,
            return_limit: 100,
            inbox_limit_bytes: 256 << 20,
            inbox_overflow: InboxOverflow::default(),
            children_limit: u32::MAX,
            frame_limit_bytes: workfleet_wire::DEFAULT_FRAME_LIMIT_BYTES,
            limits: super::Limits {
                init: Duration::from_secs(10),
                session: Duration::from_secs(60),
                exit: Duration::from_secs(10),
            },
            heartbeat_grace: Duration::from_secs(10),
            backtraces: true,
            services: Vec::new(),
            heartbeaters: None,
        }
    }

    /// `more` are settings of one kind of pool: name, value, least, most.
    pub(crate) fn check(&self, more: &[(&'static str, u64, u64, u64)]) -> Result<(), ManagerStartError> {
        self.registry.check()?;
        let settings = [
            ("workers", self.workers as u64, 1, 4096),
            ("priority_levels", u64::from(self.priority_levels), 1, 128),
            ("async_tasks", u64::from(self.async_tasks), 1, status_page::SHARED_PLACES as u64),
            ("tasks_per_worker", self.tasks_per_worker, 1, u64::MAX),
            ("frame_limit", self.frame_limit_bytes, 4096, 4 << 30),
        ];
        for &(setting, value, least, most) in settings.iter().chain(more) {
            if !(least..=most).contains(&value) {
                return Err(ManagerStartError::Setting { setting, value, least, most });
            }
        }
        let own = EVENT_KINDS;
        let mut taken = vec![(*own.start(), *own.end())];
        for service in &self.services {
            let kinds = service.kinds();
            let (first, last) = (*kinds.start(), *kinds.end());
            let foreign = !SERVICE_KINDS.contains(&first) || !SERVICE_KINDS.contains(&last) || first > last;
            if foreign || taken.iter().any(|&(from, to)| first <= to && from <= last) {
                return Err(ManagerStartError::ServiceKinds { first, last });
            }
            taken.push((first, last));
        }
        Ok(())
    }

    /// The values for the sessions of workers.
    pub(crate) fn session_values(&self) -> Result<SessionValues, ManagerStartError> {
        let encoded = self.registry.session_values();
        encoded.map_err(|(session, source)| ManagerStartError::SessionValue { session, source })
    }

    /// Whether failures have backtraces.
    pub(crate) fn backtraces(&self) -> bool {
        self.backtraces && traces::are_allowed()
    }

    /// For the builder's method.
    pub(crate) fn set_backtraces(&mut self, on: bool) {
        self.backtraces = on;
    }

    /// Until when the manager that is started now waits for its first worker.
    pub(crate) fn first_deadline(&self) -> Instant {
        Instant::now() + first_patience(self.outage_patience)
    }

    /// The `Debug` form of a builder with these settings.
    pub(crate) fn fmt_builder(&self, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(name)
            .field("registry", &self.registry)
            .field("workers", &self.workers)
            .field("priority_levels", &self.priority_levels)
            .finish_non_exhaustive()
    }

    /// What the pool's core is made from.
    pub(crate) fn setup(&self, crash_limit: u16, silence_limit: Option<Duration>, prefetch: bool) -> Setup {
        Setup {
            id: ManagerId::unlike_others(),
            index: Index::new(&self.registry.entries(), self.async_tasks > 1),
            workers: self.workers,
            limits: Limits {
                levels: self.priority_levels,
                crash_limit,
                silence_limit,
                heartbeat_grace: self.heartbeat_grace,
                prefetch_budget: PrefetchBudget { prefetch, concurrent: self.async_tasks },
                tasks_per_worker: self.tasks_per_worker,
            },
            frame_limit_bytes: self.frame_limit_bytes,
            inbox_limit_bytes: self.inbox_limit_bytes,
            inbox_overflow: self.inbox_overflow,
            children_limit: self.children_limit,
            outage_patience: self.outage_patience,
            return_limit: self.return_limit,
            services: self.services.clone(),
        }
    }
}

/// Runs `scope` with a manager that was just started, and closes it as its end asks for.
pub(crate) fn scope<M: Deref<Target = Pool>, R, E>(
    started: Result<M, ManagerStartError>,
    scope: impl FnOnce(&M) -> Result<R, E>,
) -> Result<(R, CloseReport), ScopeError<E>> {
    let manager = started.map_err(ScopeError::Start)?;
    let ended = catch_unwind(AssertUnwindSafe(|| scope(&manager)));
    let report = manager.close_by(policy_after(&ended));
    scope_ended(ended, report)
}

/// The same without blocking the thread.
pub(crate) async fn scope_async<M: Deref<Target = Pool>, R, E>(
    started: Result<M, ManagerStartError>,
    scope: impl AsyncFnOnce(&M) -> Result<R, E>,
) -> Result<(R, CloseReport), ScopeError<E>> {
    let manager = started.map_err(ScopeError::Start)?;
    let ended = {
        let mut scope = pin!(scope(&manager));
        poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| scope.as_mut().poll(cx))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(ended)) => Poll::Ready(Ok(ended)),
            Err(panic) => Poll::Ready(Err(panic)),
        })
        .await
    };
    let report = manager.closed_by(policy_after(&ended)).await;
    scope_ended(ended, report)
}

fn policy_after<R, E>(ended: &thread::Result<Result<R, E>>) -> ClosePolicy {
    if matches!(ended, Ok(Ok(_))) { ClosePolicy::Cancel } else { ClosePolicy::Kill }
}

fn scope_ended<R, E>(
    ended: thread::Result<Result<R, E>>,
    report: CloseReport,
) -> Result<(R, CloseReport), ScopeError<E>> {
    if report.tasks.returned > 0 && ended.is_ok() {
        workfleet_notice::warn!(
            unstarted = report.tasks.returned,
            "a scope ended before all its tasks had begun"
        );
    }
    match ended {
        Ok(Ok(value)) => Ok((value, report)),
        Ok(Err(error)) => Err(ScopeError::Scope { error, report: Box::new(report) }),
        Err(panic) => {
            if !report.is_clean() {
                report.tell_what_is_lost();
            }
            resume_unwind(panic)
        }
    }
}

/// A manager whose workers start. If it is dropped before one has, it closes in the background, and nobody is blocked.
pub(crate) struct Starting<M: Deref<Target = Pool>> {
    pub(crate) manager: Option<M>,
    pub(crate) first_tries: mpsc::Receiver<Result<(), StartFailure>>,
}

impl<M: Deref<Target = Pool>> Starting<M> {
    /// Waits until the first worker is ready.
    pub(crate) async fn finish(mut self) -> Result<M, ManagerStartError> {
        let started = StartFailure::unless_one_starts(&mut self.first_tries).await;
        let Some(manager) = &self.manager else { unreachable!("it is there until it is taken below") };
        if let Err(failure) = started {
            manager.closed_by(ClosePolicy::Kill).await;
            return Err(ManagerStartError::Workers(failure));
        }
        let Some(manager) = self.manager.take() else { unreachable!("it was there just now") };
        Ok(manager)
    }

    /// The same by blocking the thread.
    pub(crate) fn blocking_finish(self) -> Result<M, ManagerStartError> {
        park::block_on(self.finish())
    }
}

impl<M: Deref<Target = Pool>> Drop for Starting<M> {
    fn drop(&mut self) {
        if let Some(manager) = &self.manager {
            manager.close_in_background(ClosePolicy::Kill);
        }
    }
}

/// A scope did not end well.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum ScopeError<E> {
    /// The manager did not start.
    #[error("the manager did not start")]
    Start(#[source] ManagerStartError),
    /// The closure ended with an error; every worker was ended by [`ClosePolicy::Kill`].
    #[error("{error}")]
    #[non_exhaustive]
    Scope {
        /// The closure's error.
        error: E,
        /// What was left.
        report: Box<CloseReport>,
    },
}

/// The closure's error in its own `Debug` form, which `main` would have printed; everything with `{:#?}`.
impl<E: fmt::Debug> fmt::Debug for ScopeError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start(error) if f.alternate() => f.debug_tuple("Start").field(error).finish(),
            Self::Start(error) => write!(f, "the manager did not start: {error:?}"),
            Self::Scope { error, report } if f.alternate() => {
                f.debug_struct("Scope").field("error", error).field("report", report).finish()
            }
            Self::Scope { error, .. } => error.fmt(f),
        }
    }
}

/// The methods that the builder of every pool has, with a field `settings`.
macro_rules! settings_of_every_pool {
    () => {
        /// How many workers: from 1 to 4096; twice the processor's cores by default.
        pub fn workers(mut self, workers: usize) -> Self {
            self.settings.workers = workers;
            self
        }

        /// How many priority levels, from 1 to 128; 2 by default. 0 is the most urgent.
        pub fn priority_levels(mut self, levels: u8) -> Self {
            self.settings.priority_levels = levels;
            self
        }

        /// How many [asynchronous tasks](crate::AsyncTask) one worker runs at once: from 1 to 256; 1 by default.
        ///
        /// They share the worker's thread. If one of them blocks, or if the worker runs a [`Task`](crate::Task) beside
        /// them, the others wait.
        pub fn async_tasks(mut self, at_once: u32) -> Self {
            self.settings.async_tasks = at_once;
            self
        }

        /// Replaces a worker by a new one, with new sessions, after this many tasks: for code that leaks. At least 1; by
        /// default, workers are not replaced.
        #[doc(alias = "maxtasksperchild")]
        pub fn tasks_per_worker(mut self, tasks: u64) -> Self {
            self.settings.tasks_per_worker = tasks;
            self
        }

        /// How long tasks wait for a worker while none is up and none starts; 60 s by default.
        ///
        /// An outage costs time, not tasks. A start may fail for a reason that may pass: no descriptor, memory or
        /// process is left, a session cannot be made, a start is slow or killed. Then each worker's start is tried
        /// again, after pauses that grow up to 1 s.
        ///
        /// This time is counted once for the whole pool, while no worker is up and this program is not stopped. A worker
        /// that comes up and dies at once, before it begins a task, does not end the count. When the time is over,
        /// waiting tasks fail with [`NeverStarted`](crate::FailureCause::NeverStarted), or with
        /// [`NotStartedAgain`](crate::FailureCause::NotStartedAgain) if they were begun before. The pool goes on trying.
        /// Tasks that are scheduled before a worker comes up wait for the next start only.
        ///
        /// Some reasons cannot pass: the program is missing or cannot be run, it does not reach [`init`](crate::init),
        /// or its registry or protocol differs. As soon as the starts of all workers have failed for such a reason,
        /// waiting tasks fail. While one worker is up, no task fails because another does not start.
        ///
        /// Until the first worker has come up, the limit is at most 10 s: [`start`](Self::start) tries for this long. A
        /// start that is under way when the time is over may still succeed, within the [limit](Self::session_limit) for
        /// sessions.
        pub fn outage_patience(mut self, patience: std::time::Duration) -> Self {
            self.settings.outage_patience = patience.min($crate::pool::settings::FOR_EVER);
            self
        }

        /// How many tasks that were never begun the [`CloseReport`](crate::CloseReport) hands back; 100 by default,
        /// `usize::MAX` for all.
        pub fn return_limit(mut self, tasks: usize) -> Self {
            self.settings.return_limit = tasks;
            self
        }

        /// No task is begun while more than this many bytes of messages are unread; 256 MiB by default. Running tasks go
        /// on.
        ///
        /// If tasks send messages, the program has to [read](crate::Pool::messages) them. Otherwise, beyond this limit,
        /// the program waits for tasks that are never begun. If no open reader takes the messages that fill the inbox,
        /// the manager logs a warning. [`Stats::inbox_full`](crate::Stats::inbox_full) shows the pause.
        pub fn inbox_limit(mut self, bytes: usize) -> Self {
            self.settings.inbox_limit_bytes = bytes;
            self
        }

        /// What a full inbox does with messages that running tasks still send. By default it
        /// [grows](crate::InboxOverflow::Grow).
        ///
        /// A full inbox does not stop a running task, so one task can send any amount. If you do not trust your tasks,
        /// set [`DropOldest`](crate::InboxOverflow::DropOldest).
        pub fn inbox_overflow(mut self, overflow: crate::InboxOverflow) -> Self {
            self.settings.inbox_overflow = overflow;
            self
        }

        /// How many tasks one task may [schedule](crate::TaskContext::schedule), a [`Chain`](crate::Chain) as a whole; 2^32
        /// - 1 by default, which is no limit.
        ///
        /// Beyond it, `schedule` hands the task back with
        /// [`ScheduleErrorKind::TooManyChildren`](crate::ScheduleErrorKind::TooManyChildren). It does not wait: the
        /// waiting task would occupy the worker that its children need. The limit is the same for each attempt, so a
        /// later attempt can schedule what an earlier one could.
        ///
        /// It bounds what one task adds to the queue, not a whole tree of tasks: children may have children. If you do
        /// not trust your tasks, set 0, let them send messages, and schedule from the program when it reads them.
        pub fn children_limit(mut self, children: u32) -> Self {
            self.settings.children_limit = children;
            self
        }

        /// The largest task, output or message, encoded; from 4 KiB to 4 GiB, 64 MiB by default.
        ///
        /// Exactly this many bytes pass; one byte more fails, and the error has both numbers. A [chain](crate::Chain)
        /// counts as one task, and its outputs as one output. A frame of a [service](crate::Service) has the same limit.
        /// The pool's own headers do not count. The details of heartbeats have a limit of their own, 64 KiB.
        pub fn frame_limit(mut self, bytes: u64) -> Self {
            self.settings.frame_limit_bytes = bytes;
            self
        }

        /// How long a worker may take to make its [sessions](crate::Registry::session); 60 s by default.
        pub fn session_limit(mut self, limit: std::time::Duration) -> Self {
            self.settings.limits.session = limit.min($crate::pool::settings::FOR_EVER);
            self
        }

        /// When the manager closes, how long cancelled tasks may take to end. Also how long a worker that leaves may
        /// take to drop its [sessions](crate::Registry::session) and exit, counted from when it has no task left. 10 s
        /// by default.
        pub fn grace(mut self, grace: std::time::Duration) -> Self {
            self.settings.limits.exit = grace.min($crate::pool::settings::FOR_EVER);
            self
        }

        /// How long a task that missed a [heartbeat](crate::TaskContext::heartbeat), and was cancelled for that, may
        /// take to end; 10 s by default. After that its worker process is killed, or its worker thread is abandoned.
        /// Other tasks that ran there are run again in another worker, and this attempt does not count for them. (On an
        /// abandoned thread, tasks that ignore their cancellation go on as well.)
        pub fn heartbeat_grace(mut self, grace: std::time::Duration) -> Self {
            self.settings.heartbeat_grace = grace.min($crate::pool::settings::FOR_EVER);
            self
        }

        /// Whether the failure of a task that returned an error or panicked has a
        /// [backtrace](crate::FailureCause::Error::backtrace); by default it has.
        ///
        /// They are also off if `RUST_LIB_BACKTRACE` is 0 when the manager is started; without that variable, if
        /// `RUST_BACKTRACE` is 0.
        ///
        /// A backtrace costs some ten microseconds where an error becomes a [`TaskError`](crate::TaskError), or where a
        /// task panics. When an attempt has failed, its worker looks up the names of the functions. For the first
        /// failure of a worker process, that takes a tenth of a second or more; for each new place in the code, some
        /// hundred microseconds.
        pub fn backtraces(mut self, on: bool) -> Self {
            self.settings.set_backtraces(on);
            self
        }

        /// What makes events and registers heartbeaters for the users of this manager, who get it by
        /// [`Pool::heartbeaters`](crate::Pool::heartbeaters). By default the manager makes
        /// [`Heartbeaters`](workfleet_heartbeat::Heartbeaters) of its own when it is first asked.
        ///
        /// A program gives the same to several managers, or substitutes its own implementation. That stays in
        /// the program: tasks in worker processes get its senders and events in their payloads. The manager itself registers nothing
        /// with it: what tasks say by [`TaskContext::heartbeat`](crate::TaskContext::heartbeat) goes to the manager, with its
        /// [timeout](crate::TaskSpec::HEARTBEAT_TIMEOUT) and its retries.
        #[doc(alias = "shared_state_manager")]
        pub fn heartbeaters(
            mut self,
            heartbeaters: std::sync::Arc<dyn workfleet_heartbeat::HeartbeaterRegistry>,
        ) -> Self {
            self.settings.heartbeaters = Some(heartbeaters);
            self
        }

        /// Mounts a service on the connections of the workers.
        pub fn service(mut self, service: std::sync::Arc<dyn crate::Service>) -> Self {
            self.settings.services.push(service);
            self
        }
    };
}
pub(crate) use settings_of_every_pool;

/// The methods of every builder that start a manager for the duration of a closure.
macro_rules! scopes_of_every_pool {
    ($manager:ty, $when_all_have_ended:literal) => {
        /// Starts a manager for the duration of a closure. If the closure succeeds, the manager is closed by
        /// [`ClosePolicy::Cancel`](crate::ClosePolicy::Cancel). If it returns an error or panics, the manager is closed
        /// by [`ClosePolicy::Kill`](crate::ClosePolicy::Kill). It warns of tasks that were never begun.
        ///
        /// # Errors
        /// [`ScopeError`](crate::ScopeError): the manager did not start, or the closure's own error.
        ///
        /// # Panics
        #[doc = concat!("If the closure does, once ", $when_all_have_ended, ".")]
        pub fn scope<R, E>(
            self,
            scope: impl FnOnce(&$manager) -> Result<R, E>,
        ) -> Result<(R, crate::CloseReport), crate::ScopeError<E>> {
            $crate::pool::settings::scope(self.start(), scope)
        }

        /// The same as [`scope`](Self::scope), without blocking the thread: on any executor, or none.
        ///
        /// # Errors
        /// [`ScopeError`](crate::ScopeError): the manager did not start, or the closure's own error.
        ///
        /// # Panics
        /// If the closure does, once every worker is gone.
        ///
        /// # Cancel safety
        /// If this is dropped, the manager is dropped: it closes by [`ClosePolicy::Cancel`](crate::ClosePolicy::Cancel). See
        /// [`Pool`](crate::Pool) for where that waits, and where it goes on in the background.
        pub async fn scope_async<R, E>(
            self,
            scope: impl AsyncFnOnce(&$manager) -> Result<R, E>,
        ) -> Result<(R, crate::CloseReport), crate::ScopeError<E>> {
            $crate::pool::settings::scope_async(self.start_async().await, scope).await
        }
    };
}
pub(crate) use scopes_of_every_pool;
