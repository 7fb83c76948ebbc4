//! Events and senders in other processes, over connections of your own.
//!
//! You do not need this module for worker processes: a `ProcessManager` of `workfleet-task-manager` connects its workers by
//! itself.
//!
//! A program, the processes that it starts, and those that they start form a tree:
//!
//! ```text
//!   program                 attach_child(connection to worker)
//!      │
//!   worker                  connect(connection to program), attach_child(connection to its child)
//!      │
//!   child of the worker     connect(connection to worker)
//! ```
//!
//! Each process has at most one parent ([`connect`]) and any number of children ([`attach_child`]). It may have further
//! connections, each to the named events of another pool ([`connect_scope`]). An event or a sender that was sent to another
//! process finds its way back by its address. A process in between passes on what is for others.

use std::sync::Arc;

use crate::{Event, sent};
pub use crate::{
    pins::Pins,
    tree::{
        Child, ChildConnection, EventNameError, NAME_LIMIT_BYTES, Parent, ParentConnection, ProtocolError,
        Scope, TABLE,
    },
};

/// Connects this process to its parent, which gets everything for which there is no [other connection](connect_scope). `None` if
/// the process is connected already.
pub fn connect(up: Arc<dyn ParentConnection>) -> Option<Parent> {
    Parent::new(sent::own(), None, up)
}

/// Connects this process to another for the named events of one scope, beside its parent. In the other process, the scope is
/// [open](open_scope), or connected in turn. `None` if the scope has such a connection already.
///
/// Connect before events of the scope are used here: an event that is in use keeps the connection that it has.
pub fn connect_scope(scope: u128, up: Arc<dyn ParentConnection>) -> Option<Parent> {
    Parent::new(sent::own(), Some(scope), up)
}

/// Connects this process to one of its children.
#[doc(alias = "attach_below")]
pub fn attach_child(connection: Arc<dyn ChildConnection>) -> Child {
    Child::new(sent::own(), connection)
}

/// Makes this process the home of the named events of this scope, until the returned value is dropped. In child processes,
/// [`named_event`] finds them here.
pub fn open_scope(id: u128) -> Scope {
    Scope::new(sent::own(), id)
}

/// The event of this name in this scope. Where the scope is open, an event is made when its name is first asked for. It is
/// forgotten once it is clear and no copy of it is left.
///
/// # Errors
/// [`EventNameError`].
pub fn named_event(scope: u128, name: &str) -> Result<Event, EventNameError> {
    Ok(sent::event(sent::own().named_event(scope, name)?))
}

/// How many beats this process has ignored, because their token was unregistered before their sender came here. Beats of a token
/// that was unregistered later are counted by its [`Heartbeaters`](crate::Heartbeaters::stats).
pub fn beats_ignored() -> u64 {
    sent::own().beats_ignored()
}
