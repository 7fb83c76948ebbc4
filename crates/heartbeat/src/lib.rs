//! Heartbeats with details, throttled and flushed, and events: within a process and across processes.

pub mod cores;
mod details;

pub use details::{DETAILS_LIMIT_BYTES, Details, DetailsError, DetailsMismatch};
