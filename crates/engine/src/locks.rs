//! Locks, as a member asks an engine for them.
//!
//! The operations and their answers are those of [`LockTable`](workfleet_shared_lock::cores::LockTable): each request has a number,
//! a repeated operation changes nothing, and the answer is the state of all requests that changed since a version.

use std::{fmt, sync::Arc, time::Duration};

use workfleet_shared_lock::{
    Fence, Mode,
    cores::{Changes, LockOp, LockOpError, RequestId},
};

use crate::MemberId;

/// In whose name a member asks for a lock. Deadlocks are found among owners, across members.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LockOwner {
    /// The member.
    pub member: MemberId,
    /// The owner's label, of which the member has one only.
    pub label: Arc<str>,
}

impl fmt::Display for LockOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.label.fmt(f)
    }
}

/// What a member wants of one of its requests. Keys are texts, and so are owners, of which the member has one only of each label.
pub type MemberLockOp = LockOp<Arc<str>, Arc<str>>;

/// Operations of one member on locks, and a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockCall {
    /// The member.
    pub member: MemberId,
    /// What it wants of which of its requests.
    pub ops: Vec<(RequestId, MemberLockOp)>,
    /// The version of the last answer that the member has had, which confirms it. 0 at first.
    pub since: u64,
    /// If nothing has changed since, and no operation is refused, the answer waits for a change, for this long at most.
    pub wait: Duration,
}

/// The answer to a [`LockCall`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LockAnswer {
    /// The states of those requests that have changed since the version that was named.
    pub changes: Changes<Arc<str>, LockOwner>,
    /// The operations that were not carried out.
    pub refused: Vec<(RequestId, LockOpError)>,
}

impl LockAnswer {
    /// Makes an answer. Engines do.
    #[must_use]
    pub const fn new(changes: Changes<Arc<str>, LockOwner>, refused: Vec<(RequestId, LockOpError)>) -> Self {
        Self { changes, refused }
    }
}

/// A request that holds a key or waits for it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LockParty {
    /// The member. It may be gone, for as long as the lock-delay.
    pub member: MemberId,
    /// The owner's label, if it is known.
    pub owner: Option<Arc<str>>,
    /// How it holds the key, or wants to.
    pub mode: Mode,
    /// The grant's fence, or the one that it will have.
    pub fence: Fence,
    /// For how long it has been holding the key, or waiting for it.
    pub age: Duration,
}

/// One key that is held.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LockView {
    /// The key.
    pub key: Arc<str>,
    /// How it is held.
    pub mode: Mode,
    /// Those that hold it, in the order of arrival.
    pub holders: Vec<LockParty>,
    /// Those that wait for it, in the order of arrival.
    pub waiters: Vec<LockParty>,
}
