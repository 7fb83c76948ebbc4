//! Why what waited was given up: no worker was up, and none would start.

use std::time::Duration;

use workfleet_scheduler::Verdict;

use crate::failure::FailureCause;

#[derive(Debug, Default)]
pub(super) struct GivenUp {
    /// How long no worker was up; none if waiting cannot help.
    waited: Option<Duration>,
    reason: String,
}

impl GivenUp {
    /// `last` is what became of the last start that failed.
    pub(super) fn new(verdict: Verdict, last: &str) -> Self {
        match verdict {
            Verdict::Certain => Self { waited: None, reason: format!("no worker can start: {last}") },
            Verdict::Waited(time) => {
                let whole_ms = Duration::from_millis(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
                let reason = format!("no worker has started for {whole_ms:?}: {last}");
                Self { waited: Some(time), reason }
            }
        }
    }

    /// How a task has failed by it of which so many attempts were begun.
    pub(super) fn cause(&self, attempts: u32) -> FailureCause {
        let (waited, reason) = (self.waited, self.reason.clone());
        match attempts {
            0 => FailureCause::NeverStarted { waited, reason },
            attempts => FailureCause::NotStartedAgain { attempts, waited, reason },
        }
    }
}
