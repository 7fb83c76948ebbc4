//! What workers fail with, and why one could not be started.
//!
//! Invariant: a failure can be cloned, because every caller gets the whole outcome of a worker, with the sources.

use std::{error::Error, fmt, sync::Arc, time::Duration};

use workfleet_causes::{readable, shown, with_sources};

use crate::{grace::GracePeriodError, lifecycle::WorkerState};

/// The error of a worker's hook: made by `?` from any error, or from a text.
///
/// It does not itself implement [`Error`]: that is what lets `?` convert everything that does. [`as_dyn`](Self::as_dyn)
/// gives the error that it was made from.
///
/// ```
/// use workfleet_worker_lifecycle::WorkerError;
///
/// fn port(text: &str) -> Result<u16, WorkerError> {
///     let port = text.parse()?;
///     if port < 1024 {
///         return Err(format!("port {port} is reserved").into());
///     }
///     Ok(port)
/// }
/// assert_eq!(port("80").unwrap_err().to_string(), "port 80 is reserved");
/// assert_eq!(port("http").unwrap_err().to_string(), "invalid digit found in string");
/// ```
#[derive(Clone)]
pub struct WorkerError(Arc<dyn Error + Send + Sync>);

impl WorkerError {
    /// The error that this was made from.
    pub fn as_dyn(&self) -> &(dyn Error + Send + Sync + 'static) {
        &*self.0
    }
}

impl<E: Into<Box<dyn Error + Send + Sync>>> From<E> for WorkerError {
    fn from(error: E) -> Self {
        Self(error.into().into())
    }
}

/// In the words of the error that it was made from. One that panics for them harms nobody who shows it.
impl fmt::Display for WorkerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&shown(&self.as_dyn(), f.alternate()))
    }
}

impl fmt::Debug for WorkerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A hook of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Hook {
    /// [`Worker::on_startup`](crate::Worker::on_startup).
    OnStartup,
    /// [`Worker::run`](crate::Worker::run).
    Run,
    /// [`Worker::on_shutdown`](crate::Worker::on_shutdown).
    OnShutdown,
    /// [`Worker::after_shutdown`](crate::Worker::after_shutdown).
    AfterShutdown,
    /// The worker's own `Drop`.
    Drop,
    /// A task that it has spawned: see [`WorkerContext::spawn`](crate::WorkerContext::spawn).
    Task,
    /// The function that makes a child's next worker: see [`ChildSpec::new`](crate::ChildSpec::new).
    Factory,
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::OnStartup => "on_startup",
            Self::Run => "run",
            Self::OnShutdown => "on_shutdown",
            Self::AfterShutdown => "after_shutdown",
            Self::Drop => "drop",
            Self::Task => "a spawned task",
            Self::Factory => "its factory",
        })
    }
}

/// How a hook failed.
#[doc(alias = "FailureCause")]
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum WorkerFailureCause {
    /// It returned an error.
    Error(WorkerError),
    /// It panicked with this message.
    Panic(String),
}

impl WorkerFailureCause {
    /// In words, with the sources.
    pub(crate) fn in_full(&self) -> String {
        match self {
            Self::Error(error) => with_sources(error.as_dyn()),
            Self::Panic(message) => message.clone(),
        }
    }
}

/// A hook that failed, and how.
#[derive(Clone)]
pub struct WorkerFailure {
    hook: Hook,
    cause: WorkerFailureCause,
}

impl WorkerFailure {
    pub(crate) fn new(hook: Hook, cause: WorkerFailureCause) -> Self {
        Self { hook, cause }
    }

    /// The hook that failed.
    pub fn hook(&self) -> Hook {
        self.hook
    }

    /// How it failed.
    pub fn cause(&self) -> &WorkerFailureCause {
        &self.cause
    }

    /// Whether it panicked.
    pub fn is_panic(&self) -> bool {
        matches!(self.cause, WorkerFailureCause::Panic(_))
    }
}

impl fmt::Display for WorkerFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.cause {
            WorkerFailureCause::Error(error) => write!(f, "{} failed: {error}", self.hook),
            WorkerFailureCause::Panic(message) => write!(f, "{} panicked: {message}", self.hook),
        }
    }
}

impl Error for WorkerFailure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.cause {
            // Its text is in ours already.
            WorkerFailureCause::Error(error) => error.as_dyn().source(),
            WorkerFailureCause::Panic(_) => None,
        }
    }
}

readable!(struct WorkerFailure { hook, cause });

/// Why a worker was not started, or did not come up.
#[derive(Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// It was started before.
    #[error("the worker `{name}` was started already: it is {state}")]
    AlreadyStarted {
        /// Its name.
        name: String,
        /// Its state now.
        state: WorkerState,
    },
    /// There is no tokio runtime here to run it.
    #[error("the worker `{name}` needs a tokio runtime to run in")]
    NoRuntime {
        /// Its name.
        name: String,
    },
    /// The tokio runtime here has no timer, which stops, restarts and deadlines need. (tokio tells that by a panic alone, which
    /// the panic hook reports.)
    #[error(
        "the worker `{name}` needs a tokio runtime with a timer: call `enable_time` or `enable_all` on the runtime's builder"
    )]
    NoTimer {
        /// Its name.
        name: String,
    },
    /// The environment sets a grace period that is none.
    #[error(transparent)]
    GracePeriod(#[from] GracePeriodError),
    /// Its `on_startup` failed.
    #[error("the worker `{name}` did not start")]
    Failed {
        /// Its name.
        name: String,
        /// How `on_startup` failed.
        #[source]
        failure: WorkerFailure,
    },
    /// This process is a fork of the one that the worker was made in.
    #[error(
        "the worker `{name}` belongs to the process that this one is a fork of: start another after the fork"
    )]
    Forked {
        /// Its name.
        name: String,
    },
    /// It was asked to stop before it was up.
    #[error("the worker `{name}` was stopped before it was up")]
    Stopped {
        /// Its name.
        name: String,
    },
}

readable!(StartError {
    AlreadyStarted { name, state },
    NoRuntime { name },
    NoTimer { name },
    GracePeriod(error),
    Failed { name, failure },
    Forked { name },
    Stopped { name },
});

/// A worker that blocks its thread: its deadline has passed, and nothing can abort it.
///
/// What it does is out of reach: a thread cannot be ended from outside. If it ever returns, the worker ends as
/// [`ForceStopped`](WorkerState::ForceStopped), and [`wait_for_shutdown`](crate::WorkerRef::wait_for_shutdown) tells.
#[doc(alias = "Stuck")]
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("the worker `{name}` is stuck: it blocks its thread, {overdue:?} after its deadline")]
#[non_exhaustive]
pub struct StuckError {
    /// The worker's name.
    pub name: String,
    /// How long after its deadline it was given up.
    pub overdue: Duration,
}

readable!(struct StuckError { name, overdue });

#[cfg(all(test, not(workfleet_loom)))]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] Inner);

    #[derive(Debug, thiserror::Error)]
    #[error("inner")]
    struct Inner;

    /// An error that is its own source.
    #[derive(Debug)]
    struct Cycle;

    impl fmt::Display for Cycle {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a circle")
        }
    }

    impl Error for Cycle {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(self)
        }
    }

    fn failure(error: impl Error + Send + Sync + 'static) -> WorkerFailure {
        WorkerFailure::new(Hook::Run, WorkerFailureCause::Error(error.into()))
    }

    #[test]
    fn what_main_prints_of_a_failure_is_its_text_and_its_sources() {
        let failure = failure(Outer(Inner));
        assert_eq!(format!("{failure:?}"), "run failed: outer: inner");
        assert!(format!("{failure:#?}").starts_with("WorkerFailure {\n    hook: Run,"), "{failure:#?}");
    }

    #[test]
    fn an_error_that_is_its_own_source_has_an_end() {
        let text = format!("{:?}", failure(Cycle));
        assert!(text.starts_with("run failed: a circle"), "{text}");
        assert!(text.ends_with("are left out)"), "{text}");
    }
}
