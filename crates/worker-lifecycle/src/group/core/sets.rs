//! Children that were added together: all of them become members of the group, or none does.
//!
//! Invariant: a set is here until it is decided, which happens once: when each of its children has been up, or, if one
//! did not come up, when all are gone.

use std::collections::{BTreeMap, BTreeSet};

use crate::group::ids::ChildId;

/// Which children were added together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::group) struct SetId(u64);

#[derive(Debug, Default)]
pub(super) struct Sets {
    sets: BTreeMap<SetId, Set>,
    next: u64,
}

#[derive(Debug)]
struct Set {
    /// Those that have not gone.
    members: BTreeSet<ChildId>,
    /// Those of them that were never up.
    awaited: BTreeSet<ChildId>,
    /// One did not come up.
    has_failed: bool,
}

impl Sets {
    pub(super) fn begin(&mut self, children: &[ChildId]) -> SetId {
        let id = SetId(self.next);
        self.next += 1;
        let members: BTreeSet<ChildId> = children.iter().copied().collect();
        self.sets.insert(id, Set { awaited: members.clone(), members, has_failed: false });
        id
    }

    pub(super) fn has_come_up(&mut self, set: SetId, child: ChildId) {
        if let Some(set) = self.sets.get_mut(&set) {
            set.awaited.remove(&child);
        }
    }

    pub(super) fn has_gone(&mut self, set: SetId, child: ChildId) {
        if let Some(set) = self.sets.get_mut(&set) {
            set.awaited.remove(&child);
            set.members.remove(&child);
        }
    }

    /// A child did not come up. Returns the others, which are to be removed.
    pub(super) fn fail(&mut self, set: SetId, child: ChildId) -> Vec<ChildId> {
        let Some(set) = self.sets.get_mut(&set) else { return Vec::new() };
        set.has_failed = true;
        set.members.iter().copied().filter(|member| *member != child).collect()
    }

    /// If the set is settled, forgets it and returns who is left of it.
    pub(super) fn settle_if_done(&mut self, id: SetId) -> Option<BTreeSet<ChildId>> {
        let set = self.sets.get(&id)?;
        let is_done = if set.has_failed { set.members.is_empty() } else { set.awaited.is_empty() };
        if is_done { self.sets.remove(&id).map(|set| set.members) } else { None }
    }
}
