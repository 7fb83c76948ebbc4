//! Fleets of workers: tasks scheduled by priority over worker processes that may crash, supervised services, locks by key, and
//! heartbeats.
//!
//! Use it to run work in several processes of one program, so that a crash, a hang or a kill costs one task and not the program.
//! The same tasks also run on threads.
//!
//! A **task** is a small serialisable struct with a `run` method. The program hands tasks to a **manager**. The manager starts the
//! same program again, once for each **worker**, and sends tasks to the workers. A task's output comes back through its
//! handle, its messages through an inbox.
//!
//! ```text
//!   your program                                        workers: the same program, started again
//!
//!   manager.submit(task) ──► queue, by priority ──────► worker-0   runs one task after the other
//!   handle.wait() ◄───────── output, or why it failed ─ worker-1   dies: a new one is started,
//!   manager.messages() ◄──── messages ───────────────── worker-1   and its task is run again
//! ```
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
//! - **Nothing waits forever**, except for code of yours that does not end. A worker that exits, aborts, is killed, overflows its
//!   stack, falls silent or never starts is replaced, and each wait for its task ends.
//! - **Work survives its workers.** If a worker dies, the task that it ran is run again, up to three times in all. The tasks that
//!   waited behind it go to other workers, and their attempts are not counted. So a task may run more than once, but each
//!   handle resolves exactly once.
//! - **Failures say what happened.** A [`TaskFailure`](task::TaskFailure) has the whole chain of errors, or the panic. It has a
//!   certificate for each worker that died: the signal or the exit code, and the last lines of its standard error.
//! - **No process is left behind.** A manager may end by [`close`](task::Pool::close), by a drop or by a `SIGKILL`: its worker
//!   processes end, and so do the processes in their groups. On systems other than Linux there is one exception: a worker that is
//!   stopped (SIGSTOP) when its program is killed stays.
//! - **Data travels, never code.** What arrives is decoded as a registered type, or refused. Its length is checked against a limit
//!   before memory is reserved.
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
//! | run many waiting tasks at once in one worker | [`AsyncTask`], [`async_tasks`] |
//! | run the same tasks on threads | [`ThreadManager`], and [`Pool`] for either kind |
//! | run one task in place, in a test for example | [`TaskContext::detached`], [`NullManager`] |
//! | decide where and when a worker runs its tasks | [`WorkerLoop`] |
//! | keep something expensive in each worker | [`Registry::session`] |
//! | resume a long task after its worker died, or fail it when it hangs | [`TaskContext::heartbeat`], [`TaskSpec::HEARTBEAT_TIMEOUT`] |
//! | get heartbeats from any job, in any process | [`Heartbeaters`] |
//! | wait in one process for what happens in another | [`Event`], [`TaskContext::event`] |
//! | end properly on Ctrl-C | `Pool::close_on_signal` (feature `task-signal`, on by default) |
//! | stop tasks | [`TaskHandle::cancel`], [`TaskContext::check_cancelled`], [`ClosePolicy`] |
//! | test code that has a manager | [`test_worker!`] |
//! | run services that are supervised and stop cleanly | [`worker`] |
//! | let one task write a thing at a time, or many read it | [`lock`](mod@lock) |
//!
//! The examples are whole programs:
//!
//! - `manifest` digests every file below some directories in worker processes. It shows a progress bar, ends properly on Ctrl-C, and
//!   loses nothing when workers are killed.
//! - `priorities` is a crawl whose tasks schedule tasks.
//! - `chain` copies files, and verifies each copy before it is published.
//! - `resume` is a search that is killed and goes on from its last heartbeat.
//! - `attach-to-async` is a service on tokio that gives its hard work to worker processes.
//! - `service` has supervised workers: it takes lines over TCP, counts them, answers probes, and restarts what fails.
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
//! | `engine` | `workfleet-engine` | the port to where a fleet's tasks, members and locks are kept |
//! | [`wire`] | `workfleet-wire` | frames and typed messages between processes |
//! | [`worker`] | `workfleet-worker-lifecycle` | workers, queue consumers and supervised groups |
//!
//! | feature | what it adds |
//! |---|---|
//! | `lock` (default) | the module [`lock`](mod@lock) |
//! | `engine` | the module `engine` |
//! | `engine-memory`, `engine-conformance`, `engine-cron` | the features of these names of `engine` |
//! | `task-signal` (default) | `Pool::close_on_signal` |
//! | `worker` (default) | the module [`worker`] |
//! | `worker-serde`, `worker-signal`, `worker-probe`, `worker-systemd` | the features of these names of [`worker`] |
//! | `wire-tokio`, `wire-codec` | the asynchronous functions of [`wire`], and its `tokio_util` codec |
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

#[cfg(feature = "engine")]
#[doc(inline)]
pub use workfleet_engine as engine;
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
