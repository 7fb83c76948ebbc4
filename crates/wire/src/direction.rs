//! Which way a frame goes.

use std::fmt;

/// Which way a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the manager to a worker.
    ToWorker,
    /// From a worker to the manager.
    ToManager,
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ToWorker => "to a worker",
            Self::ToManager => "to the manager",
        })
    }
}
