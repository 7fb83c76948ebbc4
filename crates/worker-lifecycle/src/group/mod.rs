//! Groups: workers that are started, watched, restarted and stopped together.

mod control;
mod core;
mod driver;
mod report;
mod roster;
mod spec;
mod workers;

pub use control::{AddError, Child, RemoveError, WorkersControl};
pub use core::{Restart, RestartStrategy, StopOrder};
pub use driver::GroupError;
pub use report::{ChildReport, HeldUp, StopReport};
pub(crate) use roster::Roster;
pub use spec::{BySpec, ChildSpec, IntoChild};
pub use workers::Workers;

use std::fmt;

use crate::outcome::Outcome;

/// A child of a group: unique in it, also among children of the same name. It stays the same when the child is restarted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChildId(u64);

impl fmt::Display for ChildId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which of a child's lives: 1 is the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Life(u32);

/// What a child tells its group.
pub(crate) struct ChildEvent {
    child: ChildId,
    life: Life,
    what: Occurrence,
}

impl ChildEvent {
    pub(crate) fn new(child: ChildId, life: Life, what: Occurrence) -> Self {
        Self { child, life, what }
    }
}

pub(crate) enum Occurrence {
    /// Its `on_startup` has succeeded.
    Up,
    Ended(Outcome),
    /// It did not even begin.
    Refused,
}
