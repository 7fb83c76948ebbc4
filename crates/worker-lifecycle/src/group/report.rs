//! How a group stopped: when each child ended, and which children were late.

use std::{fmt, time::Duration};

use super::ids::ChildId;
use crate::{error::StuckError, lifecycle::WorkerState, outcome::Outcome};

/// How a group's children stopped: in its [`Outcome::report`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StopReport {
    /// The time from the request to the last child's end. Stuck children are not waited for.
    pub took: Duration,
    /// The child whose end stopped the group: it ended by itself, without a failure. (It is neither
    /// [restarted](crate::Restart::Always), nor [may it end](crate::ChildSpec::may_end).)
    pub ended_by: Option<String>,
    /// What went wrong with the group's [stop hook](crate::Workers::with_stop_hook).
    pub stop_hook: Option<StopHookFailure>,
    /// Every child that was up when the group began to stop, in the order in which they ended; stuck ones last.
    pub children: Vec<ChildReport>,
}

/// How one child stopped.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ChildReport {
    /// Which child.
    pub id: ChildId,
    /// Its name.
    pub name: String,
    /// From when it was asked to stop to its end.
    pub took: Duration,
    /// Its outcome; if it is stuck, it has none.
    pub outcome: Result<Outcome, StuckError>,
}

/// How a group's [stop hook](crate::Workers::with_stop_hook) did not end well. The children that it had left were then stopped
/// by the group.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StopHookFailure {
    /// It returned an error, with this text. The group has failed.
    Failed(String),
    /// It panicked with this message. The group has failed.
    Panicked(String),
    /// It had not ended at the group's deadline, and was dropped where it waited.
    CutOff,
}

impl fmt::Display for StopHookFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) => write!(f, "the stop hook failed: {error}"),
            Self::Panicked(panic) => write!(f, "the stop hook panicked: {panic}"),
            Self::CutOff => f.write_str("the stop hook was cut off at the group's deadline"),
        }
    }
}

/// A worker that did not stop within its grace period.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HeldUp {
    /// The names from the group's child down to the worker.
    pub path: Vec<String>,
    /// Whether it could not even be aborted, because it blocks its thread.
    pub is_stuck: bool,
    /// How long it took, or has taken.
    pub took: Duration,
}

impl StopReport {
    /// Every worker of the tree that did not stop within its grace period: it was aborted, or is stuck.
    pub fn held_up_by(&self) -> Vec<HeldUp> {
        let mut found = Vec::new();
        self.collect(&mut Vec::new(), &mut found);
        found
    }

    /// The child that ended last.
    pub fn slowest(&self) -> Option<&ChildReport> {
        self.children.iter().max_by_key(|child| child.took)
    }

    fn collect(&self, path: &mut Vec<String>, found: &mut Vec<HeldUp>) {
        for child in &self.children {
            path.push(child.name.clone());
            match &child.outcome {
                Err(_) => found.push(HeldUp { path: path.clone(), is_stuck: true, took: child.took }),
                Ok(outcome) => match outcome.report() {
                    Some(report) => report.collect(path, found),
                    None if outcome.is_aborted() => {
                        found.push(HeldUp { path: path.clone(), is_stuck: false, took: child.took });
                    }
                    None => {}
                },
            }
            path.pop();
        }
    }

    /// What a group has come to whose children ended like this, if none failed.
    pub(crate) fn worst(&self) -> WorkerState {
        if self.held_up_by().is_empty() && self.stop_hook != Some(StopHookFailure::CutOff) {
            WorkerState::Stopped
        } else {
            WorkerState::ForceStopped
        }
    }
}

/// Which child ended the group, and what to set if it is meant to end.
pub(super) struct EndedBy<'a>(pub(super) &'a str);

impl fmt::Display for EndedBy<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the child `{}` ended by itself, and the group with it: `ChildSpec::may_end` lets a child end, \
             `Restart::Always` restarts it",
            self.0
        )
    }
}

/// How long it took, which child ended the group if one did, and a line for each worker that held it up.
impl fmt::Display for StopReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "stopped in {:?}", self.took)?;
        if let Some(child) = &self.ended_by {
            write!(f, "\n{}", EndedBy(child))?;
        }
        if let Some(failure) = &self.stop_hook {
            write!(f, "\n{failure}")?;
        }
        for held_up in self.held_up_by() {
            let how = if held_up.is_stuck { "is stuck" } else { "was aborted" };
            write!(f, "\n{} {how} after {:?}", held_up.path.join("/"), held_up.took)?;
        }
        Ok(())
    }
}
