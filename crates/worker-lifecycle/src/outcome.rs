//! How a worker ended. It is kept, and can be cloned, so that every caller gets it.

use std::{error::Error, fmt, sync::Arc};

use workfleet_causes::readable;

use crate::{error::WorkerFailure, group::StopReport, lifecycle::WorkerState};

/// Why a worker ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Ending {
    /// It was never started.
    NeverStarted,
    /// Its `run` returned by itself.
    ByItself,
    /// It was asked to stop, and did within its grace period.
    Requested,
    /// It did not stop within its grace period and was aborted.
    Forced,
    /// Its runtime was shut down while it ran.
    RuntimeGone,
    /// A hook failed.
    Failed,
    /// It has not ended. This process is a fork of the one that it runs in, and will not be told how it ends.
    Forked,
}

/// How a worker ended. Every caller gets the same outcome, before or after the end, as often as it asks.
#[derive(Clone)]
pub struct Outcome {
    state: WorkerState,
    ending: Ending,
    is_aborted: bool,
    detail: Option<Arc<Detail>>,
}

/// What most outcomes do not have.
#[derive(Debug)]
struct Detail {
    failures: Vec<WorkerFailure>,
    report: Option<StopReport>,
}

impl Outcome {
    /// Of a worker that was not started.
    pub(crate) fn never_started() -> Self {
        Self { state: WorkerState::Init, ending: Ending::NeverStarted, is_aborted: false, detail: None }
    }

    /// Of a worker that runs in the process of which this one is a fork.
    pub(crate) fn forked() -> Self {
        Self { state: WorkerState::ForceStopped, ending: Ending::Forked, is_aborted: true, detail: None }
    }

    pub(crate) fn new(
        state: WorkerState,
        ending: Ending,
        is_aborted: bool,
        failures: Vec<WorkerFailure>,
        report: Option<StopReport>,
    ) -> Self {
        debug_assert_eq!(state == WorkerState::Failed, !failures.is_empty(), "a failure is what makes it so");
        let has_detail = !failures.is_empty() || report.is_some();
        Self { state, ending, is_aborted, detail: has_detail.then(|| Arc::new(Detail { failures, report })) }
    }

    /// The final state; [`WorkerState::Init`] if the worker was never started.
    pub fn state(&self) -> WorkerState {
        self.state
    }

    /// Why it ended.
    pub fn ending(&self) -> Ending {
        self.ending
    }

    /// Whether a hook of it was aborted: also if it then failed, so that its state is [`WorkerState::Failed`].
    pub fn is_aborted(&self) -> bool {
        self.is_aborted
    }

    /// What `after_shutdown` was told, and what a process may exit with: 0 normal, 1 forced, 2 error.
    #[doc(alias = "exit_code")]
    pub fn code(&self) -> u8 {
        code(self.state)
    }

    /// Every hook that failed, in the order in which they did.
    pub fn failures(&self) -> &[WorkerFailure] {
        self.detail.as_deref().map_or(&[], |detail| &detail.failures)
    }

    /// Of a group: how its children stopped, and which were late.
    pub fn report(&self) -> Option<&StopReport> {
        self.detail.as_deref()?.report.as_ref()
    }

    /// In words, with the sources of the failures: for a text, which has no sources.
    pub(crate) fn in_full(&self) -> String {
        if self.failures().is_empty() {
            return self.to_string();
        }
        let failures: Vec<_> = self.failures().iter().map(|failure| format!("{failure:?}")).collect();
        failures.join("; then ")
    }

    /// An error if a hook failed, for `?`. A worker that was forced to stop is no error here: see
    /// [`state`](Self::state).
    ///
    /// # Errors
    /// The worker's state is [`WorkerState::Failed`].
    pub fn into_result(self) -> Result<Self, OutcomeError> {
        if self.failures().is_empty() { Ok(self) } else { Err(OutcomeError::new(self)) }
    }
}

/// The code that goes with a final state.
pub(crate) fn code(state: WorkerState) -> u8 {
    match state {
        WorkerState::ForceStopped => 1,
        WorkerState::Failed => 2,
        _ => 0,
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ending {
            Ending::NeverStarted => f.write_str("never started"),
            Ending::ByItself => f.write_str("ended by itself"),
            Ending::Requested => f.write_str("normal shutdown"),
            Ending::Forced => f.write_str("forced shutdown"),
            Ending::RuntimeGone => f.write_str("forced shutdown: its runtime was shut down"),
            Ending::Forked => {
                f.write_str("out of reach: it belongs to the process that this one is a fork of")
            }
            Ending::Failed => OutcomeError::new(self.clone()).fmt(f),
        }
    }
}

impl fmt::Debug for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Outcome");
        shown.field("state", &self.state).field("ending", &self.ending);
        shown.field("failures", &self.failures()).field("report", &self.report()).finish()
    }
}

/// Why a worker that ended did not end well: its first failure, and the rest in its outcome.
#[doc(alias = "WorkerFailed")]
#[derive(Clone)]
pub struct OutcomeError {
    outcome: Outcome,
}

impl OutcomeError {
    /// `outcome` has at least one failure.
    pub(crate) fn new(outcome: Outcome) -> Self {
        Self { outcome }
    }

    /// The whole outcome.
    pub fn outcome(&self) -> &Outcome {
        &self.outcome
    }
}

impl fmt::Display for OutcomeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, failure) in self.outcome.failures().iter().enumerate() {
            write!(f, "{}{failure}", if number == 0 { "" } else { "; then " })?;
        }
        Ok(())
    }
}

readable!(struct OutcomeError { outcome });

impl Error for OutcomeError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.outcome.failures().first().and_then(Error::source)
    }
}
