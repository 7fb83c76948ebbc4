//! What decides: pure state machines, without clock, thread, randomness or IO.
//!
//! [`LockTable`] is whole: keys, deadlocks, members, fences. A broker or an engine serves it. [`LocalState`](crate::LocalState)
//! keeps its keys in the entries of sharded tables instead, and shares the decisions with it: both grant in the same order,
//! by construction. Programs that only want locks need nothing from here.

mod key_state;
mod locked_key;
mod queue;
mod table;
mod wait_graph;

pub use key_state::{Grant, KeyState, Left};
pub(crate) use locked_key::{Answer, LockedKey, Owned, SharedGraph, first_request};
pub use table::{
    Changes, LockOp, LockOpError, LockTable, RequestEnd, RequestId, RequestState, Requester, TableKey,
};
pub use wait_graph::{Blocked, WaitGraph};

#[cfg(test)]
mod tests;
