//! Calls a user's function for a message. Its failure is counted and reported, and stops nothing.

use std::{
    fmt,
    future::Future,
    sync::atomic::{AtomicU64, Ordering},
};

use workfleet_panics::catch;

use crate::{error::WorkerFailureCause, output::HookOutput, panic::Caught};

/// Where failures of handlers go: to the log and, if set, to a function of the user.
pub(crate) struct Failures<F> {
    /// Called for each failure, on the consumer's task.
    report: Option<Report<F>>,
}

type Report<F> = Box<dyn FnMut(&F) + Send>;

impl<F> Failures<F> {
    pub(crate) fn new() -> Self {
        Self { report: None }
    }

    pub(crate) fn set_report(&mut self, report: impl FnMut(&F) + Send + 'static) {
        self.report = Some(Box::new(report));
    }

    /// Notes one. `handler` and `cause` say whose it is and what happened.
    pub(crate) fn note(&mut self, handler: &str, cause: &WorkerFailureCause, failure: &F, count: &AtomicU64) {
        // It orders nothing: it is a number to look at.
        count.fetch_add(1, Ordering::Relaxed);
        let how = match cause {
            WorkerFailureCause::Error(_) => "a handler failed",
            WorkerFailureCause::Panic(_) => "a handler panicked",
        };
        let Some(report) = &mut self.report else {
            // Nobody else learns what failed.
            return workfleet_notice::error!(handler, "{how}: {}", cause.in_full());
        };
        tracing::error!(handler, "{how}: {}", cause.in_full());
        if let Err(panic) = catch(|| report(failure)) {
            workfleet_notice::error!(handler, "the report of a failure panicked: {panic}");
        }
    }
}

impl<F> fmt::Debug for Failures<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Failures").finish_non_exhaustive()
    }
}

/// Calls a handler and awaits what it returns; its error or its panic is the output.
pub(crate) async fn survive<Fut: Future<Output: HookOutput>>(
    call: impl FnOnce() -> Fut,
) -> Result<(), WorkerFailureCause> {
    let called = Caught::new(async { call().await.into_result() });
    match called.await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(WorkerFailureCause::Error(error)),
        Err(panic) => Err(WorkerFailureCause::Panic(panic)),
    }
}
