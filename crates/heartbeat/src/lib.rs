//! Heartbeats with details, throttled and flushed, and events: within a process and across processes.

pub mod cores;
mod details;
mod event;
mod park;
#[cfg(feature = "remote")]
pub mod remote;
#[cfg(all(test, not(workfleet_loom)))]
mod testing;

pub use details::{DETAILS_LIMIT_BYTES, Details, DetailsError, DetailsMismatch};
pub use event::{Event, EventLost, WaitError};
