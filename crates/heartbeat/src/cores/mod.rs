//! The rules of heartbeats as pure state machines: no IO, clock or thread. What happens and the time are arguments; whoever
//! drives them asks what to do.

mod silence;
mod throttle;

pub use silence::Silence;
pub use throttle::{Throttle, ThrottleLimits};
