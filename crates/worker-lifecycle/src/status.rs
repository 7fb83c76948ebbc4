//! What a worker looks like from outside at one moment.

use std::{collections::BTreeMap, fmt};

use crate::lifecycle::WorkerState;

/// A worker at one moment; of a group, with its children. With the feature `serde` it can be serialised.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Status {
    /// Its name. Siblings may share one.
    pub name: String,
    /// Its state.
    pub state: WorkerState,
    /// Whether it is running.
    pub running: bool,
    /// Whether it was asked to stop and has not ended.
    pub stopping: bool,
    /// Whether it does its work: it came up and was not asked to stop. A group: and all its children do, except those
    /// that may end and have.
    pub ready: bool,
    /// Of a child: how often it was restarted.
    pub restarts: u32,
    /// How many messages wait for it, if it has a queue.
    pub queue_size: Option<usize>,
    /// Whatever else it says about itself.
    pub details: BTreeMap<String, String>,
    /// Of a group: its children, in the order in which they start.
    pub children: Vec<Status>,
}

impl Status {
    fn fmt_at(&self, f: &mut fmt::Formatter<'_>, depth: usize) -> fmt::Result {
        write!(f, "{:indent$}{} {}", "", self.name, self.state, indent = 2 * depth)?;
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

/// A line for each worker, children indented.
impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fmt_at(f, 0)
    }
}

/// Adds to a worker's [`Status`] what only the worker knows. Closures are sources.
///
/// It is called by whoever asks for the status, while the worker runs.
pub trait StatusSource: Send + Sync {
    /// Adds it.
    fn add_to(&self, status: &mut Status);
}

impl<F: Fn(&mut Status) + Send + Sync> StatusSource for F {
    fn add_to(&self, status: &mut Status) {
        self(status);
    }
}
