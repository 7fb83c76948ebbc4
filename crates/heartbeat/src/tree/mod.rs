//! The tree of processes, over which events and beats travel: it knows neither events nor heartbeaters, but the traits in
//! `ports`.
//!
//! A process is a [`Node`](node::Node). Messages for another home leave by an [`Outlet`](outlet::Outlet), chosen by the
//! address. A child process is an [`AttachedChild`](child::AttachedChild). The arrows between the files go one way: from
//! `ends` and `child` over `events` and `channels` to `node`, and from there to `outlet` and `frames`.

mod batch;
mod channels;
mod child;
mod connection;
mod ends;
mod events;
mod flush;
mod frames;
mod node;
mod outlet;
mod rounds;
#[cfg(all(test, not(workfleet_loom)))]
mod tests;
mod waiting;

pub(crate) use channels::NoChannel;
pub use connection::{ChildConnection, ParentConnection};
pub use ends::{Child, Parent, Scope};
pub use events::EventNameError;
pub use frames::{NAME_LIMIT_BYTES, ProtocolError, TABLE};
pub(crate) use node::Node;
