//! How urgent a task is.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How urgent a task is: 0 is the most urgent. The default is 1.
///
/// Tasks of one priority are started in the order they were scheduled in. A running task is never preempted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Priority(pub u8);

impl Default for Priority {
    fn default() -> Self {
        Self(1)
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}
