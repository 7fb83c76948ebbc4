//! Heartbeats with details, throttled and flushed, and events: within a process and across processes.
//!
//! Whoever works on something for long *beats*: it says that it is alive, and how far it has come. Whoever cares *registers* a
//! token and gets a [`HeartbeatSender`] to hand over, and its callback is told of the beats, and of silences that last too long.
//!
//! # Quick start
//!
//! ```
//! use std::time::Duration;
//! use workfleet_heartbeat::{Heartbeaters, HeartbeaterOptions, Report};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let heartbeaters = Heartbeaters::new()?;
//! let options = HeartbeaterOptions::new().timeout(Duration::from_secs(30)).throttle(Duration::from_secs(1));
//! let sender = heartbeaters.register_with("import/42", options, |report| match report {
//!     Report::Beat(details) => println!("row {:?}", details.decode::<u64>()),
//!     Report::Late(details) => println!("it is back, at row {:?}", details.decode::<u64>()),
//!     Report::Missed { silent_for, .. } => println!("nothing for {silent_for:?}"),
//!     _ => {}
//! })?;
//!
//! std::thread::spawn(move || {
//!     for row in 0..1_000_u64 {
//!         // … import the row …
//!         sender.send(&row)?;
//!     }
//!     Ok::<_, workfleet_heartbeat::HeartbeatError>(())
//! });
//! // … when the work is done, or given up:
//! heartbeaters.unregister("import/42").await?; // every beat so far, or a later one, has been reported
//! # Ok(())
//! # }
//! ```
//!
//! # Events
//!
//! An [`Event`] is set or clear, and can be waited for, blocking or on any executor:
//!
//! ```
//! use std::time::Duration;
//! use workfleet_heartbeat::Event;
//!
//! let stop = Event::new();
//! let worker = std::thread::spawn({
//!     let stop = stop.clone();
//!     move || {
//!         let mut rounds = 0_u64;
//!         while !stop.is_set() {
//!             rounds += 1; // … work …
//!         }
//!         rounds
//!     }
//! });
//! assert!(stop.blocking_wait_timeout(Duration::from_millis(10)).is_err()); // nobody else has set it
//! stop.set()?;
//! println!("{} rounds", worker.join().unwrap());
//! # Ok::<_, workfleet_heartbeat::EventLost>(())
//! ```
//!
//! # In other processes
//!
//! With the feature `remote`, an [`Event`] and a [`HeartbeatSender`] can be serialised. Sent in the payload of a task, they work
//! in the worker that runs it, and in the processes that this one starts; the module `remote` is for other connections.
//!
//! - Each process sends the latest beat of each token, about once a millisecond; callbacks run where the token is
//!   registered.
//! - A flush asks those processes that hold the sender. One that is stopped makes it
//!   [late](UnregisterError::FlushTimedOut) for its own tokens, and one that is killed is not waited for.
//! - [`Event::is_set`] reads what is known here; a change takes one hop over a socket.
//! - A program that was stopped itself reads what has come before it calls a token silent.
//!
//! # A program that was stopped as a whole
//!
//! After SIGSTOP and SIGCONT, or a container's freezer, a token is not called silent for time in which this program did not run. The
//! heartbeaters look at a timeout when half of it is over, and when half of the rest is, down to an eighth. If they look more than
//! [10 ms](cores::AWAY) too late, that part of the timeout begins again. The time of a flush is measured alike. So a token that beats
//! at least every half of its timeout, less 10 ms, is not missed because of one stop, whenever that was; a stop that begins after one
//! look and is over before the next is not noticed. If the heartbeaters are late again and again, they must be twice as late each
//! time, until the token beats: a program that is always late still finds out who is silent.
//!
//! # Forks
//!
//! In a fork of this process there is none of its threads. There, each call that needs one fails at once, by
//! [`RegisterError::Forked`], [`UnregisterError::Forked`], [`HeartbeatError::Forked`] or [`EventLost`]; what is made after the fork
//! works.
//!
//! # Coming from temporalio
//!
//! | temporalio | here |
//! |---|---|
//! | `SharedStateManager.create_from_multiprocessing` | [`Heartbeaters::new`]; its poller's executor is [`HeartbeatersBuilder::executor`] |
//! | `register_heartbeater` | [`Heartbeaters::register`], with a callback of its own |
//! | `unregister_heartbeater` | [`Heartbeaters::unregister`] |
//! | `SharedHeartbeatSender.send_heartbeat` | [`HeartbeatSender::send`] |
//! | `new_event` | [`Event::new`] |
//!
//! # Limits and cost
//!
//! - Details have up to [64 KiB](DETAILS_LIMIT_BYTES), encoded.
//! - A beat is one small allocation and one short critical section, beside the encoding; the first after a pause has a thread woken
//!   that runs the callback.
//! - Nothing wakes up while nothing happens. With a timeout, a token that beats often wakes the thread twice per timeout, and
//!   one that falls silent a few times before that is [noticed](#a-program-that-was-stopped-as-a-whole).

#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(all(test, feature = "remote", not(workfleet_loom)))]
mod convention;
pub mod cores;
mod details;
mod options;
mod report;
mod stats;
#[cfg(all(test, not(workfleet_loom)))]
mod testing;
mod token;

pub use details::{DETAILS_LIMIT_BYTES, Details, DetailsError, DetailsMismatch};
pub use options::HeartbeaterOptions;
pub use report::Report;
pub use stats::HeartbeatStats;
pub use token::Token;

#[cfg(feature = "remote")]
mod address;
#[cfg(feature = "runtime")]
mod error;
#[cfg(feature = "runtime")]
mod event;
#[cfg(feature = "runtime")]
mod executor;
#[cfg(feature = "runtime")]
mod registry;
#[cfg(feature = "runtime")]
mod park;
#[cfg(feature = "remote")]
mod pins;
#[cfg(feature = "remote")]
mod ports;
#[cfg(feature = "remote")]
pub mod remote;
#[cfg(feature = "runtime")]
#[doc(hidden)]
pub mod runtime_thread;
#[cfg(feature = "runtime")]
mod sender;
#[cfg(feature = "remote")]
mod sent;
#[cfg(feature = "runtime")]
mod sync;
#[cfg(feature = "remote")]
mod tree;

#[cfg(feature = "runtime")]
pub use {
    error::{HeartbeatError, RegisterError, UnregisterError},
    event::{Event, EventLost, WaitError},
    executor::Executor,
    registry::{DEFAULT_UNREGISTER_TIMEOUT, Heartbeaters, HeartbeatersBuilder, Unregister},
    sender::HeartbeatSender,
};

/// The programs in the README compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
