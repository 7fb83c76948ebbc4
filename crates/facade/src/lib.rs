//! Fleets of workers: tasks scheduled by priority over worker processes, supervised services, locks by key, and the wire
//! they talk on.
//!
//! A program describes its work as **tasks**, small serialisable structs with a `run` method, and hands them to a
//! **manager**. The manager starts the program again as many times as it should have **workers**, and gives each of them
//! one task after the other. Their outputs come back through handles, their messages through an inbox.
//!
//! ```no_run
//! use serde::{Deserialize, Serialize};
//! use workfleet::prelude::*;
//!
//! /// Counts the primes below a limit.
//! #[derive(Debug, Serialize, Deserialize)]
//! struct Primes {
//!     below: u64,
//! }
//!
//! impl TaskSpec for Primes {
//!     const NAME: &'static str = "primes"; // a name and data travel, never code
//!     type Output = usize;
//! }
//!
//! impl Task for Primes {
//!     fn run(self, cx: &TaskContext) -> Result<usize, TaskError> {
//!         let mut count = 0;
//!         for n in 2..self.below {
//!             cx.check_cancelled()?;
//!             count += usize::from((2..n).take_while(|d| d * d <= n).all(|d| n % d != 0));
//!         }
//!         Ok(count)
//!     }
//! }
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let registry = Registry::new().task::<Primes>();
//!     workfleet::init(&registry); // in a worker process this never returns
//!
//!     let manager = ProcessManager::builder(registry).start()?;
//!     let counts = (1..=8)
//!         .map(|n| manager.submit(Primes { below: n * 100_000 }))
//!         .collect::<Result<Vec<_>, _>>()?;
//!     for (n, count) in (1..=8).zip(counts) {
//!         println!("{} primes below {}", count.wait()?, n * 100_000);
//!     }
//!     println!("{}", manager.close(ClosePolicy::Join)?);
//!     Ok(())
//! }
//! ```
//!
//! It needs this crate and `serde` with its `derive` feature, and runs on Linux (worker processes: since 5.4) and
//! other Unix systems.
//!
//! # What is promised
//!
//! - **Nothing waits forever** but for what your own code does not end. A worker that exits, aborts, is killed, overflows its
//!   stack, falls silent or never starts is noticed, buried and replaced, and each wait for its task ends.
//! - **Work survives its workers.** The task that ran is run again, up to three times in all; the tasks that waited
//!   behind it go elsewhere and are charged with nothing. So a task may run more than once, but each handle resolves
//!   exactly once.
//! - **Failures say what happened.** A [`TaskFailure`](task::TaskFailure) has the error's whole chain or the panic, and
//!   a certificate for each worker that died: the signal or the exit code, and its last words.
//! - **No process is left behind.** However a manager ends, by [`close`](task::Pool::close), by a drop or by a
//!   `SIGKILL`, its worker processes end, and so do the processes in their groups. Elsewhere than on Linux, a worker that is
//!   stopped when its program is killed stays.
//! - **Data travels, never code.** What arrives is decoded as a registered type or refused, and its length is held
//!   against a limit before memory is taken for it.
//!
//! # How to go on
//!
//! | to do | see |
//! |---|---|
//! | send messages from a running task, and read them | [`TaskContext::send_message`], [`Pool::messages`] |
//! | read messages for as long as a service runs | [`Pool::messages_until_close`], [`Pool::message_stream_until_close`] |
//! | wait for tasks in an async program | [`TaskHandle`] is a future, [`Pool::message_stream`] a stream |
//! | start and close a manager there | [`start_async`], [`scope_async`], [`Pool::close_async`] |
//! | let some tasks go first | [`Priority`], [`Pool::submit_with`] |
//! | schedule tasks from within tasks | [`TaskContext::schedule`] |
//! | run tasks one after the other, as one | [`Chain`] |
//! | run many tasks at once in a worker that wait rather than work | [`AsyncTask`], [`async_tasks`] |
//! | run the same tasks on threads | [`ThreadManager`], and [`Pool`] for either kind |
//! | run one task in place, in a test for example | [`TaskContext::detached`], [`NullManager`] |
//! | decide where and when a worker runs its tasks | [`WorkerLoop`] |
//! | keep something expensive in each worker | [`Registry::session`] |
//! | let a long task go on where it died, and fail when it hangs | [`TaskContext::heartbeat`], [`TaskSpec::HEARTBEAT_TIMEOUT`] |
//! | hear from whoever has a token, in whichever process | [`Heartbeaters`] |
//! | wait in one process for what happens in another | [`Event`], [`TaskContext::event`] |
//! | end properly on Ctrl-C | `Pool::close_on_signal` (feature `task-signal`, on by default) |
//! | stop tasks | [`TaskHandle::cancel`], [`TaskContext::check_cancelled`], [`ClosePolicy`] |
//! | test code that has a manager | [`test_worker!`] |
//! | run services that are supervised and stop cleanly | [`worker`] |
//! | let one work on a thing at a time, or many read it | [`lock`](mod@lock) |
//!
//! The example `manifest` is a whole program: it digests every file below some directories in worker processes, shows
//! a bar, ends properly on Ctrl-C, and loses nothing when workers are killed. Smaller ones are `priorities`, a crawl whose
//! tasks schedule tasks; `chain`, copies that are verified before they are published; `resume`, a search that is killed and
//! goes on from its last heartbeat; and `attach-to-async`, a service on tokio that gives its hard work to worker processes. The example `service` is of supervised workers: it takes lines
//! over TCP, counts them, answers probes, and restarts what fails.
//!
//! # What is in here
//!
//! This crate has no code of its own. Each concept is a crate that stands alone and has a short name here:
//!
//! | name | crate | what it is |
//! |---|---|---|
//! | [`task`] | `workfleet-task-manager` | tasks, managers, worker processes |
//! | [`heartbeat`] | `workfleet-heartbeat` | heartbeats with details, flushes and timeouts; events |
//! | [`lock`](mod@lock) | `workfleet-shared-lock` | shared and exclusive locks by key, within a process |
//! | [`wire`] | `workfleet-wire` | frames and typed messages between processes |
//! | [`worker`] | `workfleet-worker-lifecycle` | workers, queue consumers and supervised groups |
//!
//! Features: `lock` (default) is [`lock`](mod@lock).
//! `task-signal` (default) is `Pool::close_on_signal`. `worker` (default) is [`worker`]; `worker-serde`, `worker-signal`, `worker-probe` and `worker-systemd` add its features
//! of these names. `wire-tokio` adds [`wire`]'s asynchronous functions, `wire-codec` its `tokio_util` codec.
//!
//! [`TaskContext::send_message`]: task::TaskContext::send_message
//! [`TaskContext::heartbeat`]: task::TaskContext::heartbeat
//! [`TaskSpec::HEARTBEAT_TIMEOUT`]: task::TaskSpec::HEARTBEAT_TIMEOUT
//! [`TaskContext::event`]: task::TaskContext::event
//! [`Heartbeaters`]: heartbeat::Heartbeaters
//! [`Event`]: heartbeat::Event
//! [`TaskContext::schedule`]: task::TaskContext::schedule
//! [`TaskContext::check_cancelled`]: task::TaskContext::check_cancelled
//! [`Pool::messages`]: task::Pool::messages
//! [`Pool::message_stream`]: task::Pool::message_stream
//! [`Pool::messages_until_close`]: task::Pool::messages_until_close
//! [`Pool::message_stream_until_close`]: task::Pool::message_stream_until_close
//! [`Pool::close_async`]: task::Pool::close_async
//! [`start_async`]: task::ProcessManagerBuilder::start_async
//! [`scope_async`]: task::ProcessManagerBuilder::scope_async
//! [`Pool::submit_with`]: task::Pool::submit_with
//! [`Registry::session`]: task::Registry::session
//! [`Chain`]: task::Chain
//! [`AsyncTask`]: task::AsyncTask
//! [`async_tasks`]: task::ProcessManagerBuilder::async_tasks
//! [`ThreadManager`]: task::ThreadManager
//! [`Pool`]: task::Pool
//! [`TaskContext::detached`]: task::TaskContext::detached
//! [`NullManager`]: task::NullManager
//! [`WorkerLoop`]: task::WorkerLoop
//! [`TaskHandle`]: task::TaskHandle
//! [`TaskHandle::cancel`]: task::TaskHandle::cancel
//! [`ClosePolicy`]: task::ClosePolicy
//! [`Priority`]: task::Priority

#![cfg_attr(docsrs, feature(doc_cfg))]

#[doc(inline)]
pub use workfleet_heartbeat as heartbeat;
#[cfg(feature = "lock")]
#[doc(inline)]
pub use workfleet_shared_lock as lock;
#[doc(inline)]
pub use workfleet_task_manager as task;
#[doc(inline)]
pub use workfleet_wire as wire;
#[cfg(feature = "worker")]
#[doc(inline)]
pub use workfleet_worker_lifecycle as worker;

#[doc(inline)]
pub use workfleet_task_manager::{init, test_worker};

/// What a program with tasks usually needs: `use workfleet::prelude::*;`.
///
/// The traits [`Manager`](crate::task::Manager) and [`ManagerExt`](crate::task::ManagerExt), and those of locks, come without
/// their names: their methods are there, and the names stay free. Among the names of tasks, those of locks say *lock*: `LocalLocks` is
/// `lock::LocalState`, and `LockMode` is `lock::Mode`.
pub mod prelude {
    #[doc(no_inline)]
    pub use workfleet_heartbeat::{HeartbeatSender, Heartbeaters};
    #[cfg(feature = "lock")]
    #[doc(no_inline)]
    pub use workfleet_shared_lock::{
        LocalState as LocalLocks, LockFailed, LockGuard as _, Mode as LockMode, SharedState as _,
    };
    #[doc(no_inline)]
    pub use workfleet_task_manager::{
        AsyncTask, Chain, ClosePolicy, FailureCause, Manager as _, ManagerExt as _, Message, MessageError,
        NoMessage, Priority, ProcessManager, Registry, Task, TaskContext, TaskError, TaskFailure, TaskHandle,
        TaskMessage, TaskOptions, TaskSpec, ThreadManager,
    };
    #[cfg(feature = "worker")]
    #[doc(no_inline)]
    pub use workfleet_worker_lifecycle::{
        ChildSpec, QueueConsumerWorker, Worker, WorkerContext, WorkerError, WorkerFunction, WorkerHandle,
        WorkerState, Workers,
    };
}

/// The programs in the README compile.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
pub struct Readme;
