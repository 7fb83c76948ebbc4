//! Events and senders in other processes: what whoever owns the connections between processes plugs in here.
//!
//! A program and the processes that it starts, and those that they start, form a tree. Each process is one node of it, with
//! one way up at most ([`connect`]), ways out to the named events of other pools ([`connect_scope`]), and any number of processes
//! below ([`attach_below`]). An event or a sender that arrives in another process finds the way home by its address; what passes
//! through a process in between is passed on there.
//!
//! The process whose workers these are does this by itself: a `ProcessManager` of `workfleet-task-manager` plugs its
//! workers in. This module is for those who have other connections.

use std::sync::Arc;

use crate::{Event, sent};
pub use crate::{
    pins::Pins,
    tree::{Down, Downwards, KINDS, NAME_LIMIT_BYTES, NameTooLong, Scope, TABLE, Up, Upwards, Violation},
};

/// Gives this process its way up: the way out for everything that has no [other](connect_scope). `None` if it has one.
pub fn connect(up: Arc<dyn Up>) -> Option<Upwards> {
    Upwards::new(sent::own(), None, up)
}

/// Gives this process a way out to the named events of this scope, beside its way up. Over there, the scope is
/// [open](open_scope), or reached in turn. `None` if the scope has such a way.
///
/// Connect before events of the scope are used here: those that are, keep the way that they have.
pub fn connect_scope(scope: u128, up: Arc<dyn Up>) -> Option<Upwards> {
    Upwards::new(sent::own(), Some(scope), up)
}

/// Takes a process below this one.
pub fn attach_below(connection: Arc<dyn Down>) -> Downwards {
    Downwards::new(sent::own(), connection)
}

/// Makes this process the home of the events that are named in this scope, until what is returned is dropped. Elsewhere,
/// [`named_event`] finds them upwards.
pub fn open_scope(id: u128) -> Scope {
    Scope::new(sent::own(), id)
}

/// The event of this name in this scope. The names of a scope that is open here are made as they are asked for; a name is
/// forgotten when nobody holds the event and it is clear.
///
/// # Errors
/// [`NameTooLong`].
pub fn named_event(scope: u128, name: &str) -> Result<Event, NameTooLong> {
    Ok(sent::event(sent::own().named_event(scope, name)?))
}

/// How many beats have come to this process of tokens that were gone when their sender came here: those of a token that was
/// still there are counted by its [`Heartbeaters`](crate::Heartbeaters::stats).
pub fn beats_ignored() -> u64 {
    sent::own().beats_ignored()
}
