//! Where a fleet's tasks, members and locks are kept, when the fleet is more than one program.
//!
//! A **member** is a program's manager, or a client, that has joined an engine. It enqueues tasks, leases tasks, settles them, and asks for
//! locks. Its **lease** lasts as long as it beats.
//!
//! # One fence
//!
//! A member that is not heard of for the time of its lease is gone, in one step: its tasks go to others, its locks end after a delay, and
//! every call of it fails with [`EngineError::MemberGone`]. If it lives on, it joins as another member. Each lease of a task is a **run** with
//! a larger number than all before, and each grant of a lock has a larger fence. So what a member says too late is refused.
//!
//! # Every call may be repeated
//!
//! A call whose answer is lost may have been carried out. So clients make the ids of members and tasks, and number their
//! [calls](Call): a repeated call has no further effect, and gets the answer of the first. Engines keep answers and ids for a
//! [window](EngineOptions::repeat_window), and refuse repetitions that come later.
//!
//! # What is in here
//!
//! | to do | see |
//! |---|---|
//! | write an engine, or use one | [`Engine`] |
//! | describe a task | [`NewTask`] |
//! | number calls, and repeat them | [`Calls`] |
//! | enqueue a task by a cron expression | `schedule::Schedule` (feature `cron`) |
//! | know what an engine decides | [`cores::EngineCore`] |
//! | have an engine in this process | `memory::Memory` (feature `memory`) |
//! | repeat calls until they have an answer | `repeat::Repeating` (feature `memory`) |
//! | know whether an engine does what it promises | `conformance` (feature `conformance`) |
//! | test what stands on an engine | `faults::Faulty` (feature `conformance`) |
//!
//! A task's order is its priority, then its arrival. It waits for its [time](NewTask::not_before), for a slot of its
//! [concurrency key](Concurrency), for the [rate](Rate) of its series, and for a member that knows its name. What fails for good is a
//! [dead letter](DeadLetter), until somebody retries or drops it.
//!
//! # Features
//!
//! - `memory`: the engine in this process, and what repeats calls. Both need tokio's timers.
//! - `conformance`: what every engine promises, as tests for the author of an engine; and an engine whose calls go wrong by a seed.
//! - `cron`: schedules by cron expressions, with time zones.
//!
//! Without features, there is no runtime in this crate: the port, and its rules.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod call;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod cores;
mod error;
#[cfg(feature = "conformance")]
pub mod faults;
mod id;
mod locks;
mod member;
#[cfg(feature = "memory")]
pub mod memory;
mod options;
mod outcome;
mod port;
#[cfg(feature = "memory")]
pub mod repeat;
#[cfg(feature = "cron")]
pub mod schedule;
mod task;

pub use call::{Call, Calls};
pub use error::EngineError;
pub use id::{EngineTime, FleetTaskId, MemberId, RandomError};
pub use locks::{LockAnswer, LockCall, LockOwner, LockParty, LockView, MemberLockOp};
pub use member::{Beat, Beaten, Departure, Held, Join, Joined};
pub use options::EngineOptions;
pub use outcome::{
    Backlog, Cancelled, DeadCause, DeadLetter, DeadLetterAnswer, DeadLetterOp, DeadLetters, EngineBooks,
    Inspection, MemberView, TaskOutcome, TaskState,
};
pub use port::{Capabilities, Engine, Hint, LeaseCall, Reply};
pub use task::{
    Concurrency, Enqueued, Format, LeasedTask, NewTask, Parent, Payload, Rate, Retry, Settled, Settlement,
    Tally, TaskRun, Unique, UniqueFor, Verdict,
};

/// The programs in the README compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
