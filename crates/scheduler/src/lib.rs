//! The decisions of a task manager: which task goes to which worker, how a task ends, and when a worker is replaced.
//!
//! This crate is a part of `workfleet-task-manager`, whose pools drive it. Its interface follows what they need: use it
//! directly only to build another driver.
//!
//! It has pure state machines: no IO, clock, thread, randomness or tokio. Time is an argument, and the same sequence of calls gives
//! the same sequence of answers.
//!
//! | machine | decides |
//! |---|---|
//! | [`Scheduler`] | which task goes to which worker, which tasks are taken back, which worker is silent, how each task ends |
//! | [`Restarts`] | when a worker that died or did not start is replaced, and when waiting tasks are given up |
//!
//! ```text
//!   the driver reports            the scheduler                       the driver carries out
//!
//!   schedule, cancel,             queue ─► dispatch ─► in flight      next_dispatch(): send a task to a worker slot
//!   worker_ready, done, failed, ─►           ▲            │         ─► poll_effect(): recall, cancel, ping, …
//!   worker_gone, heartbeat,                  └─ retried ──┘           poll_timeout(): call handle_timeout() then
//!   handle_timeout(now)
//! ```
//!
//! A worker *slot* is a number from 0: one worker after the other runs in it.
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
//! assert!(scheduler.next_dispatch(now).is_none(), "no worker is ready");
//!
//! scheduler.worker_ready(now, 0);
//! let lease = scheduler.next_dispatch(now).expect("a worker is ready").lease;
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
mod roster;
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
