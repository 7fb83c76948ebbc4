//! Groups: workers that are started, watched, restarted and stopped together.

mod control;
mod core;
mod driver;
mod ids;
mod report;
mod roster;
mod spec;
mod stop_hook;
mod workers;

pub use control::{AddAllError, AddError, Child, RemoveError, WorkersControl};
pub use core::{Restart, RestartStrategy, StopOrder};
pub use driver::GroupError;
pub use ids::ChildId;
pub(crate) use ids::ChildIncarnation;
pub use report::{ChildReport, HeldUp, StopHookFailure, StopReport};
pub use roster::Role;
pub(crate) use roster::Roster;
pub use spec::{BySpec, ChildSpec, IntoChild};
pub use stop_hook::StoppingChild;
pub use workers::Workers;

use crate::outcome::Outcome;

/// What a child tells its group.
pub(crate) struct ChildEvent {
    child: ChildId,
    incarnation: ChildIncarnation,
    what: Occurrence,
}

impl ChildEvent {
    pub(crate) fn new(child: ChildId, incarnation: ChildIncarnation, what: Occurrence) -> Self {
        Self { child, incarnation, what }
    }
}

pub(crate) enum Occurrence {
    /// Its `on_startup` has succeeded.
    Up,
    Ended(Outcome),
    /// It did not even begin.
    Refused,
    /// The group's stop hook asks it to stop.
    AskedByHook,
}
