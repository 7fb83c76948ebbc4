//! The rules of heartbeats as pure state machines: no IO, clock or thread. Events and the time are arguments, and the
//! driver asks what to do.

#[cfg(feature = "runtime")]
#[cfg_attr(not(feature = "remote"), expect(dead_code, reason = "an event that stays at home has no copies"))]
pub(crate) mod event;
#[cfg(all(test, not(workfleet_loom)))]
mod naive_wait;
mod patience;
mod silence;
mod table;
mod throttle;

pub use patience::{AWAY, Patience};
pub use silence::Silence;
pub use table::{Closed, Key, Refused, Removed, Table, Taken, Work};
pub use throttle::{Throttle, ThrottleLimits};
