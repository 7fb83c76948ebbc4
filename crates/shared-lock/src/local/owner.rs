//! The owner in whose name a request is made, if it has one.

use std::{
    cmp::Ordering,
    sync::{
        Arc,
        atomic::{self, AtomicU64},
    },
};

/// A known owner. Two owners are the same if they were made by the same call; the label does not matter.
#[derive(Clone, Debug)]
pub(super) struct Owner(Arc<Identity>);

#[derive(Debug)]
struct Identity {
    /// Unique in this process.
    id: u64,
    label: Arc<str>,
}

impl Owner {
    pub(super) fn new(label: &str) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let id = NEXT.fetch_add(1, atomic::Ordering::Relaxed);
        Self(Arc::new(Identity { id, label: label.into() }))
    }

    pub(super) fn label(&self) -> &Arc<str> {
        &self.0.label
    }
}

impl PartialEq for Owner {
    fn eq(&self, other: &Self) -> bool {
        self.0.id == other.0.id
    }
}

impl Eq for Owner {}

impl PartialOrd for Owner {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Owner {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.id.cmp(&other.0.id)
    }
}
