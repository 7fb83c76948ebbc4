//! Where events and heartbeaters meet the tree of processes: neither side knows more of the other than these traits.
//!
//! The tree sees an event as a [`Replica`] and heartbeaters as a [`BeatSink`]. An event sees the tree as an [`EventPlace`],
//! and heartbeaters and their senders see it as a [`TokenPlace`]. What is serialised connects them, in `sent`.

use std::{any::Any, fmt, sync::Arc, vec::Drain};

use crate::{
    Details, HeartbeatError,
    address::Address,
    cores::{
        Key,
        event::{Input, Send as ToSend},
    },
};

/// An event of this process, as the tree sees it.
pub(crate) trait Replica: Any + Send + Sync {
    /// Another process has said this of it.
    fn handle(self: Arc<Self>, input: Input);
}

/// Heartbeaters of this process, as the tree sees them.
pub(crate) trait BeatSink: Send + Sync {
    /// Takes in beats that came together. Returns how many of them are for tokens that are gone.
    fn beats(self: Arc<Self>, beats: Drain<'_, Arrived>) -> u64;
}

/// A beat that came from another process.
pub(crate) struct Arrived {
    /// The token's, with the heartbeaters that it is registered with.
    pub(crate) key: Key,
    pub(crate) details: Details,
    /// How many were superseded by this one on their way.
    pub(crate) superseded: u64,
}

/// Called when something has been done, on any thread; without locks of this crate.
pub(crate) type Done = Box<dyn FnOnce() + Send>;

/// Where the event has its home.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Here,
    /// In another process, to which there is a way.
    Elsewhere,
    /// Nowhere, or there is no way to it.
    Lost,
}

/// The place of an event in the tree.
pub(crate) trait EventPlace: fmt::Debug + Send + Sync {
    fn address(&self) -> &Address;

    fn origin(&self) -> Origin;

    /// Whether the answer from home would have to be read by this very thread.
    fn reads_here(&self) -> bool;

    /// Sends what a step of the event's core asks for; under the core's lock.
    fn send(&self, messages: &[ToSend]);

    /// Keeps the event although no copy of it is held, or keeps it no longer. What is returned is to be dropped without
    /// the lock.
    #[must_use]
    fn keep(&self, event: Option<Arc<dyn Replica>>) -> Option<Arc<dyn Replica>>;

    /// No copy of the event is held here any more. It was at this address of memory.
    fn forget(&self, event: *const ());
}

/// The place of a token in the tree: the way that its beats take through this process.
pub(crate) trait TokenPlace: Any + Send + Sync {
    fn address(&self) -> &Address;

    /// Passes a beat on that was made here.
    fn beat(&self, details: Details) -> Result<(), HeartbeatError>;

    /// Has every child process with the token's sender deliver its beats, then calls `done`.
    fn flush(&self, done: Done) -> Box<dyn Unanswered>;

    /// Takes in everything that was sent to this process up to now, and then calls `done`.
    fn catch_up(&self, done: Done);
}

/// A flush under way. When it is dropped, nobody waits for its end any more, which may never be told then.
pub(crate) trait Unanswered: Send {
    /// The processes whose answers are missing.
    fn names(&self) -> Vec<String>;
}
