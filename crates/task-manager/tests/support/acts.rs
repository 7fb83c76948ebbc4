//! Tasks that do a deed of their test in their first attempts, and say by which attempt they ended, and where.

use std::{fmt, process};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use workfleet_task_manager::{Task, TaskContext, TaskError, TaskSpec};

/// What an [`Act`] does.
pub(crate) trait Deed: Serialize + DeserializeOwned + fmt::Debug + Send + 'static {
    fn run(self, cx: &TaskContext) -> Result<(), TaskError>;
}

/// Does its deed in the first attempts; returns in those that follow.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Act<D> {
    deed: D,
    attempts: u32,
}

impl<D> Act<D> {
    /// In every attempt.
    pub(crate) fn always(deed: D) -> Self {
        Self::in_first(u32::MAX, deed)
    }

    /// In the first attempt alone.
    pub(crate) fn once(deed: D) -> Self {
        Self::in_first(1, deed)
    }

    pub(crate) fn in_first(attempts: u32, deed: D) -> Self {
        Self { deed, attempts }
    }
}

/// By which attempt a task ended, and in which process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Done {
    pub(crate) attempt: u32,
    pub(crate) pid: u32,
}

impl Done {
    pub(crate) fn by(cx: &TaskContext) -> Self {
        Self { attempt: cx.attempt(), pid: process::id() }
    }
}

impl<D: Deed> TaskSpec for Act<D> {
    const NAME: &'static str = "act";
    type Output = Done;
}

impl<D: Deed> Task for Act<D> {
    fn run(self, cx: &TaskContext) -> Result<Done, TaskError> {
        if cx.attempt() <= self.attempts {
            self.deed.run(cx)?;
        }
        Ok(Done::by(cx))
    }
}
