//! How one task is scheduled, where its defaults are not wanted.

use crate::priority::Priority;

/// How one task is scheduled: what [`submit`](crate::Pool::submit) and [`schedule`](crate::Pool::schedule) leave at its default.
///
/// ```
/// use workfleet_task_manager::{Priority, TaskOptions};
///
/// let options = TaskOptions::new().priority(Priority(0));
/// assert_eq!(options, Priority(0).into()); // a priority alone is an option too
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TaskOptions {
    priority: Option<Priority>,
}

impl TaskOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// How urgent the task is; 1 by default, or 0 where that is the only level.
    pub fn priority(self, priority: Priority) -> Self {
        Self { priority: Some(priority) }
    }

    /// The priority among so many levels. One that was asked for may be beyond them.
    pub(crate) fn priority_of(self, levels: u8) -> Priority {
        self.priority.unwrap_or_else(|| Priority::default().min(Priority(levels.saturating_sub(1))))
    }
}

impl From<Priority> for TaskOptions {
    fn from(priority: Priority) -> Self {
        Self::new().priority(priority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_priority_is_one_of_the_levels_and_another_is_kept() {
        let defaults = TaskOptions::new();
        assert_eq!(
            [1, 2, 128].map(|levels| defaults.priority_of(levels)),
            [Priority(0), Priority(1), Priority(1)]
        );
        assert_eq!(TaskOptions::from(Priority(7)).priority_of(2), Priority(7));
    }
}
