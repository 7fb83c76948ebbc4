//! The decisions of a task manager: which task goes to which worker, what becomes of it, and when a worker is replaced.
//!
//! Pure state machines: no IO, no clock, no thread, no randomness, no tokio. Time is an argument, and one sequence of calls
//! gives one sequence of answers.
//!
//! | machine | decides |
//! |---|---|
//! | [`Scheduler`] | which task goes to which worker, what is asked back, whom nothing is heard of, how each task ends |
//! | [`Restarts`] | when a worker that died or did not start is replaced, and when what waits is given up |
//!
//! This crate is a part of `workfleet-task-manager`, whose pools drive it; its interface follows what they need.
//!
//! ```
//! use std::time::{Duration, Instant};
//!
//! use workfleet_scheduler::{PrefetchBudget, Class, Limits, Scheduler};
//!
//! let mut scheduler = Scheduler::new(Limits {
//!     levels: 2,
//!     crash_limit: 3,
//!     silence_limit: None,
//!     heartbeat_grace: Duration::from_secs(10),
//!     prefetch_budget: PrefetchBudget { prefetch: true, concurrent: 1 },
//!     tasks_per_worker: u64::MAX,
//! });
//! let now = Instant::now();
//! scheduler.schedule(0, 1, Class::default(), "a task");
//! assert!(scheduler.next_dispatch(now).is_none(), "nobody is there");
//!
//! scheduler.worker_ready(now, 0);
//! let lease = scheduler.next_dispatch(now).expect("a worker is there").lease;
//! let ended = scheduler.done(now, 0, lease, Duration::from_millis(3)).expect("the lease stands");
//! assert_eq!((ended.task.body, scheduler.books().done), ("a task", 1));
//! assert!(scheduler.done(now, 0, lease, Duration::ZERO).is_none(), "a task ends once");
//! ```

#![cfg_attr(docsrs, feature(doc_cfg))]

mod dispatch;
mod effect;
mod flights;
mod heartbeat_deadline;
mod lease;
mod limits;
mod liveness;
mod load;
mod queue;
mod recalls;
mod restart;
mod scheduler;
#[cfg(test)]
#[path = "../../heartbeat/src/testing.rs"]
mod testing;
#[cfg(test)]
mod tests;
mod time;
mod worker;

pub use effect::{Dispatch, Effect, Ended, Ending, Gone, Kill};
pub use lease::{Books, Lease};
pub use limits::Limits;
pub use load::{Demand, PrefetchBudget};
pub use queue::{Class, Pending};
pub use restart::{
    AWAY, BACKOFF, FIRST_PATIENCE, Next, OUTAGE_PATIENCE, Prospect, Restarts, Verdict, WorkerUse,
    first_patience,
};
pub use scheduler::Scheduler;

/// The programs in the README compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
