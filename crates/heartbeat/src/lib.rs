//! Heartbeats with details, throttled and flushed, and events: within a process and across processes.
//!
//! Use it where a job runs for long and another part of the program has to know that it is alive and how far it has come.
//!
//! The supervisor *registers* a token with a callback, and hands the [`HeartbeatSender`] that it gets to the job. The job *beats*:
//! it sends how far it has come. The callback gets the latest details, and is told once when the job was silent for too long.
//!
//! ```text
//!   job (a thread, a task, another process)            supervisor
//!
//!   sender.send(&row) ──► latest details win ──► throttle ──► callback(Report::Beat)
//!                                       no beat in time ────► callback(Report::Missed)
//!                                        unregister(token) ──► flushes, then no call any more
//! ```
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
//! assert!(stop.blocking_wait_timeout(Duration::from_millis(10)).is_err()); // nothing has set it yet
//! stop.set()?;
//! println!("{} rounds", worker.join().unwrap());
//! # Ok::<_, workfleet_heartbeat::EventLostError>(())
//! ```
//!
//! # In other processes
//!
//! With the feature `remote`, an [`Event`] and a [`HeartbeatSender`] can be serialised. If they are sent in the payload of a task,
//! they work in the worker that runs it, and in the processes that this worker starts. The module `remote` is for other
//! connections.
//!
//! - Each process sends the latest beat of each token, about once a millisecond. The callback runs in the process that has
//!   registered the token.
//! - A flush asks each process that holds the sender. A stopped process makes the flush of its own tokens
//!   [time out](UnregisterError::FlushTimedOut). A killed process is not waited for.
//! - [`Event::is_set`] reads the state that this process knows. A change takes one hop over a socket.
//! - A program that was stopped first reads what has arrived, and only then reports a token as silent.
//!
//! # A program that was stopped as a whole
//!
//! After SIGSTOP and SIGCONT, or after a container's freezer, the time in which this program did not run does not count as silence.
//!
//! For this, the heartbeaters check a timeout in parts: when half of it is over, when half of the rest is, and so on down to an
//! eighth. If a check comes more than [10 ms](cores::AWAY) too late, that part of the timeout begins again. Flushes are timed the
//! same way.
//!
//! So one stop does not make a token missed if the token beats at least every half of its timeout, less 10 ms. A stop that begins
//! after one check and is over before the next is not noticed. If checks are late again and again, each must be twice as late as
//! the one before to count as a stop, until the token beats: so a program that is always late still reports silence.
//!
//! # Forks
//!
//! A fork of this process has none of its threads. In a fork, each call that needs one fails at once with
//! [`RegisterError::Forked`], [`UnregisterError::Forked`], [`HeartbeatError::Forked`] or [`EventLostError`]. What is made after the fork
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
//! | `SharedStateManager`, to be subclassed | [`HeartbeaterRegistry`], which [`Heartbeaters`] are one of |
//!
//! # Limits and cost
//!
//! - Details have up to [64 KiB](DETAILS_LIMIT_BYTES), encoded.
//! - A beat costs its encoding, one small allocation and one short critical section. The first beat after a pause also wakes a
//!   thread, which runs the callback.
//! - No thread wakes up while nothing happens. With a timeout, a token that beats often wakes a thread twice per timeout. A token
//!   that falls silent wakes it a few times before the silence is [reported](#a-program-that-was-stopped-as-a-whole).

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

pub use details::{DETAILS_LIMIT_BYTES, Details, DetailsDecodeError, DetailsError};
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
mod own_sink;
#[cfg(feature = "runtime")]
mod park;
#[cfg(feature = "remote")]
mod pins;
#[cfg(feature = "remote")]
mod ports;
#[cfg(feature = "runtime")]
mod receiver;
#[cfg(feature = "runtime")]
mod registry;
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
mod substitute;
#[cfg(feature = "runtime")]
mod sync;
#[cfg(feature = "remote")]
mod tree;

#[cfg(feature = "runtime")]
pub use {
    error::{HeartbeatError, RegisterError, UnregisterError},
    event::{Event, EventLostError, WaitError},
    executor::Executor,
    receiver::{HeartbeatFlush, HeartbeatReceiver},
    registry::{DEFAULT_UNREGISTER_TIMEOUT, Heartbeaters, HeartbeatersBuilder, Unregister},
    sender::HeartbeatSender,
    substitute::{HeartbeatCallback, HeartbeaterRegistry, Unregistering},
};

/// The programs in the README compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
