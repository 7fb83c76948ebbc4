//! Shared and exclusive locks by key, for readers and writers of anything that has a name.
//!
//! Use it where tasks or threads must not work on the same file, record or dataset at once. A key is any text, and needs no
//! declaration. A key that is not held takes no memory. It works on every async executor and in blocking code, and needs no
//! runtime and no thread of its own.
//!
//! ```text
//!   "dataset/42":   holders             waiters, in the order of arrival
//!                   shared, shared  ◄─  exclusive  ◄─  shared  ◄─  shared
//!                                       waits for      both are granted together,
//!                                       the holders    after the exclusive one
//! ```
//!
//! Requests are granted in the order of arrival. A waiting future can be dropped at any time. A guard can be sent to other tasks
//! and threads.
//!
//! # Quick start
//!
//! ```
//! use workfleet_shared_lock::{LocalState, LockFailed, Mode};
//!
//! async fn rebuild(state: &LocalState) -> Result<(), LockFailed> {
//!     let guard = state.lock("dataset/42", Mode::Exclusive).await?; // alone
//!     // … write the dataset …
//!     drop(guard);
//!
//!     let guard = state.lock("dataset/42", Mode::Shared).await?; // with other readers
//!     // … read it …
//!     guard.release(); // the same as dropping it
//!     Ok(())
//! }
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), LockFailed> {
//! rebuild(&LocalState::new()).await
//! # }
//! ```
//!
//! In code that may block, use the methods whose names begin with `blocking_`:
//!
//! ```
//! use std::time::Duration;
//! use workfleet_shared_lock::{LocalState, LockFailed, Mode};
//!
//! let state = LocalState::new(); // a handle: clone it for every thread and task
//! let guard = state.blocking_lock("dataset/42", Mode::Exclusive)?;
//!
//! // Not within a millisecond, not at once.
//! let late = state.blocking_lock_timeout("dataset/42", Mode::Shared, Duration::from_millis(1));
//! assert!(matches!(late, Err(LockFailed::TimedOut { .. })));
//! assert!(state.blocking_try_lock("dataset/42", Mode::Shared)?.is_none());
//! drop(guard);
//! assert!(state.blocking_try_lock("dataset/42", Mode::Shared)?.is_some());
//! # Ok::<(), LockFailed>(())
//! ```
//!
//! Do not call a `blocking_` method in async code. It stops the other tasks of its thread, and one of those may hold the lock.
//! (`blocking_try_lock`, `blocking_is_free` and `blocking_snapshot` of a [`LocalState`] never wait, and may be called anywhere.)
//!
//! # What is here
//!
//! | to do | see |
//! |---|---|
//! | take a lock, and wait for it if need be | [`lock`], [`blocking_lock`] |
//! | take a lock only if it is free, or wait with a timeout | [`try_lock`]; `lock_timeout`, [`blocking_lock_timeout`] |
//! | several at once, without deadlock | [`lock_many`], [`try_lock_many`], `lock_many_timeout`, [`blocking_lock_many_timeout`] |
//! | go on from writing to reading | [`LockGuard::downgrade`] |
//! | protect a store from holders that were late | [`Fence`] |
//! | find deadlocks | [`LocalState::owner`] |
//! | see who holds what, who waits, and for how long | [`snapshot`], [`LocalState::counters`], [`LocalStateBuilder::ages`] |
//! | stop | [`close`] |
//! | choose at run time where the locks are kept | [`DynSharedState`] |
//!
//! # Order and fairness
//!
//! Requests are granted in the order of arrival. A request arrives when its future is first polled. A shared request joins the
//! shared holders only if no request waits. When a lock is released, the first waiter gets it; if that is a reader, all readers
//! up to the next writer get it. So no request is overtaken, and neither readers nor writers starve.
//!
//! A released lock belongs to the first waiter at once, and stays with it until its future is polled or dropped. So do not keep a
//! future that you have polled once and will not poll again: drop it.
//!
//! # Fences
//!
//! A holder may be paused, swapped out or stopped in a debugger. Its lock is still held, but a write that it sent out of the
//! process may arrive late, after the writes of later holders. Each guard has a [`fence`](LockGuard::fence), a number that is
//! larger for every later exclusive grant of its key. Send it with each write, and let the store refuse a fence smaller than
//! the largest that it has seen: [`Fence`] shows how. Only this protects data outside the process.
//!
//! # Cancel safety
//!
//! If a future of [`lock`] is dropped, it loses its place in the queue, and nothing else. If the lock was granted to it already,
//! the next waiter gets it. A future of [`lock_many`] also releases what it has taken. So all of them can be used in `select!`,
//! under timeouts and in tasks that are aborted. Wakers are called and dropped outside every lock.
//!
//! # Deadlock
//!
//! Locks are not re-entrant: a holder that asks for its key again waits for itself, unless both requests are shared and no
//! request waits. Two tasks that each hold what the other wants wait forever. There are two remedies:
//!
//! - Take all locks at once with [`lock_many`], which has one order for all callers.
//! - Give each task an [owner](LocalState::owner). Then a request that would close a cycle of owners fails at once with
//!   [`LockFailed::WouldDeadlock`], which names the cycle. The other owners in the cycle go on waiting.
//!
//! A request without an owner takes no part in this: a cycle that includes one is not found.
//!
//! ```
//! use workfleet_shared_lock::{LocalState, LockFailed, Mode};
//!
//! async fn transfer(state: &LocalState, from: &str, to: &str) -> Result<(), LockFailed> {
//!     let guards = state.lock_many([(from, Mode::Exclusive), (to, Mode::Exclusive)]).await?;
//!     // Both are held, or we are not here.
//!     guards.release();
//!     Ok(())
//! }
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), LockFailed> {
//! # transfer(&LocalState::new(), "a", "b").await
//! # }
//! ```
//!
//! # Limits and cost
//!
//! - A key has 1 byte up to [4 KiB](DEFAULT_KEY_LIMIT_BYTES), or another [limit](LocalStateBuilder::key_limit_bytes).
//!   The number of keys, holders and waiters is bounded by memory alone; each is the caller's own task or guard.
//! - Taking and releasing a free key costs two short critical sections behind one of 64 locks: about 100 ns. It allocates nothing
//!   if the key has at most 22 bytes; a longer key is allocated once.
//! - A held key takes one entry of 72 bytes in a table that is at least 7/16 full, and its guard 56 bytes. Tables shrink again.
//! - A waiter takes one small allocation. If it has an owner, it also enters a graph behind one lock for all keys. A request that
//!   need not wait never touches that graph.
//! - Keys may come from outside: they are hashed with a seed that is new for each state (foldhash). Foldhash resists chosen keys
//!   as long as an attacker can neither observe the hashes nor time single requests.
//! - The clock is read only if [ages](LocalStateBuilder::ages) or a timeout ask for it.
//! - Nothing here yields on its own: a task that takes free locks in a loop should yield now and then, as with
//!   everything that is ready at once.
//!
//! # What it does not do
//!
//! - It protects no value: the key names what the lock is for, wherever that is.
//! - It has no upgrade from shared to exclusive, which deadlocks as soon as two ask for it, and no re-entrancy.
//! - It does not reach beyond the process. [`SharedState`] is made so that other states can.
//! - A holder that never lets go keeps its lock; a local lock has no lease.
//!
//! # Features
//!
//! - `tokio` (default): `lock_timeout`, over tokio's timer. Nothing else needs tokio. Without a runtime that has a timer,
//!   a wait with a limit fails with [`LockFailed::NoTimer`]; a free lock needs no timer.
//! - `tracing` (default): events of the target `workfleet::lock` at the level `debug`. A request is `acquiring`, and then
//!   `acquired` and later `released`, or it is `failed`. Each event has the `key` and the `mode`; a granted one has the `fence`,
//!   a failed one the `reason`; all but `released` have the `owner`, if it is known. Where no subscriber wants them, an event costs
//!   one comparison.
//!
//! [`lock`]: SharedState::lock
//! [`try_lock`]: SharedState::try_lock
//! [`lock_many`]: SharedState::lock_many
//! [`try_lock_many`]: SharedState::try_lock_many
//! [`blocking_lock_many_timeout`]: SharedState::blocking_lock_many_timeout
//! [`blocking_lock`]: SharedState::blocking_lock
//! [`blocking_lock_timeout`]: SharedState::blocking_lock_timeout
//! [`snapshot`]: SharedState::snapshot
//! [`close`]: SharedState::close

#![cfg_attr(docsrs, feature(doc_cfg))]

mod blocking;
#[cfg(all(test, not(workfleet_loom)))]
mod convention;
pub mod cores;
mod display;
mod dynamic;
mod error;
mod events;
mod fence;
mod guard;
mod inherent;
#[cfg(feature = "tokio")]
mod limit;
mod local;
mod mode;
mod snapshot;
mod state;
mod sync;
#[cfg(test)]
mod testing;

pub use dynamic::DynSharedState;
pub use error::{Cycle, CycleLink, LockFailed, LockRequestError};
pub use fence::Fence;
pub use guard::{Guards, LockGuard};
pub use local::{DEFAULT_KEY_LIMIT_BYTES, LocalGuard, LocalState, LocalStateBuilder};
pub use mode::Mode;
pub use snapshot::{Counters, KeySnapshot, Party, Snapshot};
pub use state::SharedState;

/// The programs in the README compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
