//! What a worker looks like from outside at one moment.

use std::{
    collections::BTreeMap,
    fmt,
    time::{Duration, SystemTime},
};

use crate::{lifecycle::WorkerState, reason::StatusReason};

/// A worker at one moment; of a group, with its children. With the feature `serde` it can be serialised.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Status {
    /// Its name. Siblings may share one.
    pub name: String,
    /// Its state.
    pub state: WorkerState,
    /// Why it is in this state.
    pub reason: StatusReason,
    /// Since when it is in this state, by the system's clock, which may have been set since. `None` in a fork of its process.
    pub since: Option<SystemTime>,
    /// For how long it has been in this state, by tokio's clock.
    pub lasted: Duration,
    /// Whether it is running.
    pub running: bool,
    /// Whether it was asked to stop and has not ended.
    pub stopping: bool,
    /// Whether it does its work: it came up and was not asked to stop. A group is ready if all its children are, except children
    /// that may end and have ended.
    pub ready: bool,
    /// Of a child: how often it was restarted.
    pub restarts: u32,
    /// How many messages wait for it, if it has a queue.
    pub queue_size: Option<usize>,
    /// What else the worker says about itself.
    pub details: BTreeMap<String, String>,
    /// Of a group: its children, in the order in which they start.
    pub children: Vec<Status>,
}

impl Status {
    fn fmt_at(&self, f: &mut fmt::Formatter<'_>, depth: usize) -> fmt::Result {
        write!(f, "{:indent$}{} {}", "", self.name, self.state, indent = 2 * depth)?;
        write!(f, " for {}", Lasted(self.lasted))?;
        match &self.reason {
            // The state says so already, or the restarts do.
            StatusReason::NotStarted | StatusReason::Started | StatusReason::Restarted(_) => {}
            // A line is a worker.
            reason => write!(f, ", {}", reason.to_string().lines().collect::<Vec<_>>().join("; "))?,
        }
        if self.restarts > 0 {
            write!(f, ", restarts {}", self.restarts)?;
        }
        if let Some(size) = self.queue_size {
            write!(f, ", queue_size {size}")?;
        }
        for (key, value) in &self.details {
            write!(f, ", {key} {value}")?;
        }
        self.children.iter().try_for_each(|child| {
            f.write_str("\n")?;
            child.fmt_at(f, depth + 1)
        })
    }
}

/// A duration for people: its two largest units.
struct Lasted(Duration);

impl fmt::Display for Lasted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        match seconds {
            0 => write!(f, "{}ms", self.0.as_millis()),
            1..60 => write!(f, "{}.{}s", seconds, self.0.subsec_millis() / 100),
            60..3_600 => write!(f, "{}min {}s", seconds / 60, seconds % 60),
            3_600..86_400 => write!(f, "{}h {}min", seconds / 3_600, seconds / 60 % 60),
            _ => write!(f, "{}d {}h", seconds / 86_400, seconds / 3_600 % 24),
        }
    }
}

/// A line for each worker, children indented: its name, its state, for how long it is in it and why, and what else it says.
///
/// ```text
/// service running for 3h 12min
///   mailer running for 4.2s, restarts 2, queue_size 17
///   importer failed for 12.0s, run failed: no space left on device
/// ```
impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fmt_at(f, 0)
    }
}

/// Adds to a worker's [`Status`] what only the worker knows. Closures are sources.
///
/// It is called on the thread that reads the status, while the worker runs.
pub trait StatusSource: Send + Sync {
    /// Adds it.
    fn add_to(&self, status: &mut Status);
}

impl<F: Fn(&mut Status) + Send + Sync> StatusSource for F {
    fn add_to(&self, status: &mut Status) {
        self(status);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_for_how_long_in_two_units() {
        for (millis, expected) in [
            (0, "0ms"),
            (999, "999ms"),
            (1_250, "1.2s"),
            (59_999, "59.9s"),
            (60_000, "1min 0s"),
            (3_599_000, "59min 59s"),
            (11_520_000, "3h 12min"),
            (183_600_000, "2d 3h"),
        ] {
            assert_eq!(Lasted(Duration::from_millis(millis)).to_string(), expected);
        }
    }

    #[test]
    fn a_failure_of_many_lines_is_one_line_of_a_status() {
        let reason = StatusReason::Failed("run failed: a\nb".into());
        let status = Status { name: "w".into(), state: WorkerState::Failed, reason, ..Status::default() };
        assert_eq!(status.to_string(), "w failed for 0ms, run failed: a; b");
    }
}
