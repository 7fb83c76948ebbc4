//! Groups: workers that are started, watched, restarted and stopped together.

mod report;
mod roster;

pub use report::{ChildReport, HeldUp, StopReport};
pub(crate) use roster::Roster;

use std::fmt;

use crate::outcome::Outcome;

/// A child of a group: unique in it, also among children of the same name. It stays the same when the child is restarted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChildId(pub(crate) u64);

impl fmt::Display for ChildId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which of a child's lives: 1 is the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Life(pub(crate) u32);

/// What a child tells its group.
pub(crate) struct ChildEvent {
    pub(crate) child: ChildId,
    pub(crate) life: Life,
    pub(crate) what: Occurrence,
}

pub(crate) enum Occurrence {
    /// Its `on_startup` has succeeded.
    Up,
    Ended(Outcome),
}
