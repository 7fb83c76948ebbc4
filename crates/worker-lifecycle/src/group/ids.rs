//! The ids of a group's children, and the numbers of their incarnations.

use std::fmt;

/// A child of a group: unique in it, also among children of the same name. It stays the same when the child is restarted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChildId(pub(crate) u64);

impl fmt::Display for ChildId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number of a child's start: 1 is the first. A restarted child is the next incarnation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ChildIncarnation(pub(super) u32);
