//! What decides: pure state machines, without clock, thread, randomness or IO.
//!
//! [`LocalState`](crate::LocalState) drives them, and so may whatever else serves locks, a broker for example: both then
//! grant in the same order, by construction. Programs that only want locks need nothing from here.

mod key_state;
mod locked_key;
mod queue;
mod wait_graph;

pub use key_state::{Grant, KeyState, Left};
pub(crate) use locked_key::{Answer, LockedKey, Owned, SharedGraph, first_request};
pub use wait_graph::{Blocked, WaitGraph};

#[cfg(test)]
mod tests;
