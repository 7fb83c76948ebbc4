//! Events and senders in other processes: what whoever owns the connections between processes plugs in here.
//!
//! A program and the processes that it starts, and those that they start, form a tree. Each process is one node of it, with
//! one way up at most ([`connect`]) and any number of processes below ([`attach_below`]). An event or a sender that
//! arrives in another process finds the way home upwards; what passes through a process in between is passed on there.
//!
//! The process whose workers these are does this by itself: a `ProcessManager` of `workfleet-task-manager` plugs its
//! workers in. This module is for those who have other connections.

pub use crate::tree::{
    Down, Downwards, KINDS, NAME_LIMIT_BYTES, NameTooLong, Pins, Scope, Up, Upwards, Violation, attach_below,
    beats_ignored, connect, named_event, open_scope,
};
