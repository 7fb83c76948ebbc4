//! What an operator asks for: the holders, the waiters, and counters.

use std::{sync::Arc, time::Duration};

use crate::{Fence, Mode};

/// All keys that are held, in the order of the keys.
///
/// Each key's entry is exact for one instant. Entries of different keys may be of different instants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// One entry for each key that is held.
    pub keys: Vec<KeySnapshot>,
}

impl Snapshot {
    /// The entry of a key; `None` if it is not held.
    #[must_use]
    pub fn key(&self, key: &str) -> Option<&KeySnapshot> {
        let index = self.keys.binary_search_by(|entry| (*entry.key).cmp(key)).ok()?;
        self.keys.get(index)
    }

    pub(crate) fn new(mut keys: Vec<KeySnapshot>) -> Self {
        keys.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        Self { keys }
    }
}

/// One key, with its holders and waiters.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeySnapshot {
    /// The key.
    pub key: Arc<str>,
    /// How it is held.
    pub mode: Mode,
    /// The holders, in the order of arrival: one, or several if it is held shared.
    pub holders: Vec<Party>,
    /// The waiters, in the order of arrival.
    pub waiters: Vec<Party>,
}

/// A holder or a waiter of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Party {
    /// The owner's label; `None` if the owner is not known.
    pub owner: Option<Arc<str>>,
    /// How it holds the key, or wants to.
    pub mode: Mode,
    /// The grant's fence, or the one that it will have.
    pub fence: Fence,
    /// For how long it has been holding the key, or waiting for it; `None` if the state keeps no
    /// [ages](crate::LocalStateBuilder::ages).
    pub age: Option<Duration>,
}

/// What happened since the state was made. All of it adds up at every instant:
///
/// - `exclusive_grants + shared_grants = releases +` those held now;
/// - `waits = waits_granted + waits_cancelled + waits_closed +` those waiting now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Exclusive locks granted, at once or after waiting.
    pub exclusive_grants: u64,
    /// Shared locks granted, at once or after waiting.
    pub shared_grants: u64,
    /// Locks let go.
    pub releases: u64,
    /// Exclusive locks turned into shared ones.
    pub downgrades: u64,
    /// Requests that had to wait.
    pub waits: u64,
    /// Waits that ended with a grant.
    pub waits_granted: u64,
    /// Waits that were given up: the future was dropped, or its time was over.
    pub waits_cancelled: u64,
    /// Waits that ended because the state was closed.
    pub waits_closed: u64,
    /// Requests refused because they would have closed a cycle. They do not count as waits.
    pub deadlocks: u64,
    /// The time that all granted waits took together; `None` if the state keeps no
    /// [ages](crate::LocalStateBuilder::ages).
    pub wait_time: Option<Duration>,
}

impl Counters {
    pub(crate) fn count_grant(&mut self, mode: Mode) {
        match mode {
            Mode::Exclusive => self.exclusive_grants += 1,
            Mode::Shared => self.shared_grants += 1,
        }
    }

    /// Adds another's figures to these.
    pub(crate) fn add(&mut self, other: &Self) {
        // No `..`: a figure that is not added does not compile.
        let Self {
            exclusive_grants,
            shared_grants,
            releases,
            downgrades,
            waits,
            waits_granted,
            waits_cancelled,
            waits_closed,
            deadlocks,
            wait_time,
        } = *other;
        self.exclusive_grants += exclusive_grants;
        self.shared_grants += shared_grants;
        self.releases += releases;
        self.downgrades += downgrades;
        self.waits += waits;
        self.waits_granted += waits_granted;
        self.waits_cancelled += waits_cancelled;
        self.waits_closed += waits_closed;
        self.deadlocks += deadlocks;
        self.add_wait_time(wait_time);
    }

    pub(crate) fn add_wait_time(&mut self, time: Option<Duration>) {
        if let Some(time) = time {
            self.wait_time = Some(self.wait_time.unwrap_or_default().saturating_add(time));
        }
    }
}
