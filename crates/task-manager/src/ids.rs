//! The ids of managers and of their tasks.
//!
//! Invariant: [`TaskId`]s are unique across managers and machines and sort by their manager's start, then by arrival.

use std::{
    fmt,
    time::{SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

/// Names one task in every log, message and failure: 128 bits, unique across machines, sortable by time.
///
/// The upper 44 bits are the milliseconds since 1970 at which its manager started, the next 36 are random, and the
/// lower 48 count the manager's tasks. So ids sort by their manager's start and, within it, by arrival.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TaskId(pub(crate) u128);

/// How many bits of a [`TaskId`] count the tasks of one manager.
const SEQUENCE_BITS: u32 = 48;

impl TaskId {
    pub(crate) fn new(manager: ManagerId, sequence: u64) -> Self {
        Self(manager.0 | u128::from(sequence & ((1 << SEQUENCE_BITS) - 1)))
    }

    /// The id's 128 bits, for a store or a log of one's own.
    pub fn to_bits(self) -> u128 {
        self.0
    }

    /// Where the task stands in its manager's order of arrival, from 0.
    pub fn sequence(self) -> u64 {
        (self.0 & ((1 << SEQUENCE_BITS) - 1)) as u64
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:020x}-{}", self.0 >> SEQUENCE_BITS, self.sequence())
    }
}

impl fmt::Debug for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The upper 80 bits of every [`TaskId`] of one manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ManagerId(u128);

impl ManagerId {
    pub(crate) fn to_bits(self) -> u128 {
        self.0
    }

    /// An id that no other manager has.
    pub(crate) fn unlike_others() -> Self {
        use std::hash::{BuildHasher, RandomState};
        // A clock before 1970 sorts first, and the random part still tells managers apart.
        let start_ms =
            SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        Self::new(start_ms, RandomState::new().hash_one(std::process::id()))
    }

    /// `start_ms` is the manager's start in milliseconds since 1970; of `random`, 36 bits are used.
    pub(crate) fn new(start_ms: u64, random: u64) -> Self {
        let upper = (u128::from(start_ms & ((1 << 44) - 1)) << 36) | u128::from(random & ((1 << 36) - 1));
        Self(upper << SEQUENCE_BITS)
    }
}
