//! When something that ended is started again, and when to give up. Cores: no clock, no randomness; both come in as
//! arguments.
//!
//! [`Backoff`] says how long to wait, [`Streak`] counts what came to nothing in a row, [`Budget`] bounds how often
//! something may be restarted within a time.

mod backoff;
mod budget;
mod streak;

pub use backoff::Backoff;
pub use budget::{Budget, Charges};
pub use streak::{Charge, Streak};
