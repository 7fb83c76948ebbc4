//! Tasks scheduled by priority over a pool of worker processes or threads that cannot hang.
//!
//! Use it for work that may crash, leak, hang or be killed, and that must not take the program down.
//!
//! A *task* is a serialisable type with a name and a `run` method. A *manager* runs tasks in *workers*. A worker is a process that
//! the manager starts from the same program, or a thread. The manager sends tasks to its workers in batches, and replaces a worker
//! that dies. A task's output comes back typed, through its handle. A failed task's handle says why it failed.
//!
//! ```text
//!   your program                                             worker process: the same program, up to init()
//!   ┌───────────────────────────────────────────┐            ┌─────────────────────────────┐
//!   │ submit(task) ─► queue ─► (name, fields)   │──socket──► │ registry: name ─► T::run()  │
//!   │ handle.wait() ◄───────── output           │◄────────── │                             │
//!   │ messages() ◄──── inbox ◄ message, failure │◄────────── │ cx.send_message(…)          │
//!   └───────────────────────────────────────────┘            └─────────────────────────────┘
//! ```
//!
//! ```no_run
//! use serde::{Deserialize, Serialize};
//! use workfleet_task_manager::{
//!     ClosePolicy, Message, MessageError, ProcessManager, Registry, Task, TaskContext, TaskError, TaskMessage,
//!     TaskSpec, init,
//! };
//!
//! /// Counts the words of a file.
//! #[derive(Debug, Serialize, Deserialize)]
//! struct Count(std::path::PathBuf);
//!
//! impl TaskSpec for Count {
//!     const NAME: &'static str = "count";
//!     type Output = usize;
//! }
//!
//! impl Task for Count {
//!     fn run(self, cx: &TaskContext) -> Result<usize, TaskError> {
//!         let words = std::fs::read_to_string(&self.0)?.split_whitespace().count();
//!         cx.send_message(&Counted { words })?;
//!         Ok(words)
//!     }
//! }
//!
//! #[derive(Debug, Serialize, Deserialize)]
//! struct Counted {
//!     words: usize,
//! }
//!
//! impl TaskMessage for Counted {
//!     const NAME: &'static str = "counted";
//! }
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let registry = Registry::new().task::<Count>();
//!     init(&registry); // in a worker process this never returns
//!
//!     let manager = ProcessManager::builder(registry).workers(4).start()?;
//!     let readme = manager.submit(Count("README.md".into()))?; // its output comes through the handle
//!     manager.schedule(Count("no-such-file".into()))?; // its failure comes with the messages
//!     for message in manager.messages::<Counted>() {
//!         match message {
//!             Ok(Message { content, .. }) => println!("{} words", content.words),
//!             Err(MessageError::Failed(failure)) => eprintln!("{failure}"),
//!             Err(error) => return Err(error.into()),
//!         }
//!     }
//!     println!("README.md has {} words", readme.wait()?);
//!     println!("{}", manager.close(ClosePolicy::Join)?);
//!     Ok(())
//! }
//! ```
//!
//! # What is promised
//!
//! - **Every task ends exactly once**: done, failed, cancelled, or returned because the manager closed before it was
//!   begun. [`Stats`] balances at every moment.
//! - **Work is delivered at least once.** If a worker dies, the task that it ran is run again, up to the
//!   [crash limit](ProcessManagerBuilder::crash_limit). If a task's output was written to the worker's socket, the task is not run
//!   again. The messages and children of an attempt that died are kept. A child that the next attempt schedules again is
//!   not scheduled twice.
//! - **Only the task that ran is charged** with its worker's death. The tasks that waited behind it go to other workers.
//! - **An outage costs time, not tasks.** If no worker is up and none starts, for a reason that may pass, waiting tasks are kept
//!   for the [`outage_patience`](ProcessManagerBuilder::outage_patience). Then they fail. If the reason cannot pass, they fail at
//!   once.
//! - **Nothing waits forever**, if processes die, are stopped, do not start, or send garbage. Two waits are up to you.
//!   [`ClosePolicy::Join`] waits as long as tasks run. And if messages are not read, no task is begun beyond the
//!   [inbox limit](ProcessManagerBuilder::inbox_limit); a warning and [`Stats::inbox_full`] say so.
//! - **No process survives its manager**: neither the workers, nor what their tasks started in the workers' process groups. (A
//!   thread cannot be killed: a worker thread that does not stop is [abandoned](CloseReport::abandoned), and named.)
//! - **A panic is a failure** of its task; the worker goes on. (With `panic = "abort"`, the worker dies.)
//! - **No task's code runs on the manager's thread**: neither its `Debug` form, nor its destructors, nor its `Deserialize`. All of
//!   these run in the worker, or on the thread that reads an output or a message.
//!
//! The manager's thread does run other code of yours: services, with their extensions in worker threads; the wakers of futures
//! that await the manager; and the subscriber of `tracing`, for the manager's warnings. None of these may block. While one blocks,
//! the whole pool waits.
//!
//! # Warnings
//!
//! If something is lost or broken, an event of `tracing` at level `WARN` or `ERROR` says so. If no subscriber is set on that
//! thread, most of these events are also written to standard error, as one line that begins with `workfleet: `. Events about what
//! costs only time are not written, for example the death of a worker. Of several failed starts in a row in one worker's
//! place, the first is written. A worker process writes its lines to its own standard error, which its manager
//! [logs](ProcessManagerBuilder::log_directory).
//!
//! If a manager is dropped with work left, it says what is lost. It does the same if it was not closed when the program returns
//! from `main` or calls `exit`. A program that is killed, aborts, or calls `_exit` says nothing.
//!
//! The environment variable `WORKFLEET_WARNINGS=off` keeps these lines from standard error, in the program and in its workers. For
//! tests, cargo can set it (`[env]` in `.cargo/config.toml`). If standard error does not take a line at once, the line is lost;
//! the next line says how many are missing.
//!
//! # Tasks by priority
//!
//! 0 is the most urgent of the [priority levels](ProcessManagerBuilder::priority_levels). Within a level, tasks start in the order
//! in which they were scheduled. A running task is never preempted. The manager sends a worker enough tasks ahead to keep it busy,
//! measured in estimated time. If the worker falls behind, the manager takes back the tasks that it has not begun.
//!
//! # Heartbeats
//!
//! Two different signals show whether a worker and its task are alive:
//!
//! | signal | comes from | its absence means | seen by | then |
//! |---|---|---|---|---|
//! | sign of life | a thread of the worker process, when the manager asks; also while a task blocks | the process is stopped, or held by the kernel | [`WorkerStats::silent_for`] | after the [limit](ProcessManagerBuilder::silence_limit), the worker is killed and its task is tried again |
//! | [heartbeat](TaskContext::heartbeat) | the task itself | the task makes no progress | [`TaskHandle::last_heartbeat`] | after the task's [timeout](TaskSpec::HEARTBEAT_TIMEOUT), if it has one, the task has failed; if it does not end, its worker is killed |
//!
//! If a process is stopped, its tasks are silent too: the shorter limit decides. The details of a task's last heartbeat are what
//! its next attempt [resumes](TaskContext::last_heartbeat) from, and are in its [failure](FailureReport::last_heartbeat).
//!
//! # Events and senders in payloads
//!
//! A [`HeartbeatSender`](workfleet_heartbeat::HeartbeatSender) beats for a token, not for a task. Its beats reach a callback in the
//! process that has registered the token. A sender and an [`Event`](workfleet_heartbeat::Event) are ordinary fields of a task, and
//! work wherever the task runs. Events are also found [by name](TaskContext::event).
//!
//! ```no_run
//! use serde::{Deserialize, Serialize};
//! use workfleet_heartbeat::{Event, HeartbeatSender, Heartbeaters, Report};
//! use workfleet_task_manager::{
//!     ClosePolicy, ProcessManager, Registry, Task, TaskContext, TaskError, TaskSpec, init,
//! };
//!
//! /// Imports rows until it is told to stop.
//! #[derive(Debug, Serialize, Deserialize)]
//! struct Import {
//!     rows: HeartbeatSender,
//!     stop: Event,
//! }
//!
//! impl TaskSpec for Import {
//!     const NAME: &'static str = "import";
//!     type Output = u64;
//! }
//!
//! impl Task for Import {
//!     fn run(self, _cx: &TaskContext) -> Result<u64, TaskError> {
//!         let mut row = 0_u64;
//!         while !self.stop.is_set() {
//!             // … import the row …
//!             row += 1;
//!             self.rows.send(&row)?;
//!         }
//!         Ok(row)
//!     }
//! }
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let registry = Registry::new().task::<Import>();
//!     init(&registry); // in a worker process this never returns
//!
//!     let manager = ProcessManager::builder(registry).start()?;
//!     let (heartbeaters, stop) = (Heartbeaters::new()?, Event::new());
//!     let rows = heartbeaters.register("import/42", {
//!         let stop = stop.clone();
//!         move |report: Report| {
//!             let row = report.details().and_then(|details| details.decode::<u64>().ok());
//!             if row >= Some(1_000_000) {
//!                 let _ = stop.set(); // it was made in this process: this cannot fail
//!             }
//!         }
//!     })?;
//!     let imported = manager.submit(Import { rows, stop })?.wait()?;
//!     heartbeaters.blocking_unregister("import/42")?; // every beat that was sent, or a later one, is reported now
//!     println!("{imported} rows");
//!     manager.close(ClosePolicy::Join)?;
//!     Ok(())
//! }
//! ```
//!
//! # Tests
//!
//! A test binary has no `main` of yours that could call [`init`]. Write [`test_worker!`] in it instead.
//!
//! # In async programs
//!
//! Each call that waits has a blocking form and an asynchronous one. The asynchronous form works on any executor.
//!
//! | blocks | does not | on a thread where tokio polls a future, the blocking form |
//! |---|---|---|
//! | [`start`](ProcessManagerBuilder::start) | [`start_async`](ProcessManagerBuilder::start_async) | is [`ManagerStartError::InsideRuntime`] |
//! | [`scope`](ProcessManagerBuilder::scope) | [`scope_async`](ProcessManagerBuilder::scope_async) | is [`ScopeError::Start`] with the same |
//! | [`close`](Pool::close) | [`close_async`](Pool::close_async) | is [`CloseError::InsideRuntime`]; the manager stays open |
//! | dropping a manager | [`close_async`](Pool::close_async), then dropping it | warns, returns at once, and goes on in the background; the report is lost |
//! | [`messages`](Pool::messages), [`messages_until_close`](Pool::messages_until_close) | [`message_stream`](Pool::message_stream), [`message_stream_until_close`](Pool::message_stream_until_close) | yields [`MessageError::InsideRuntime`] |
//! | [`TaskHandle::wait`], [`wait_timeout`](TaskHandle::wait_timeout) | `.await` | warns, once for each place in the program, and blocks |
//!
//! Inside `spawn_blocking` and `block_in_place`, the blocking forms work.
//!
//! # Where tasks run
//!
//! | manager | its workers | use it for |
//! |---|---|---|
//! | [`ProcessManager`] | processes: this program, run again | work that may crash, leak, block, or be killed |
//! | [`ThreadManager`] | threads of this process | work that is trusted, tests, and platforms without processes |
//! | [`NullManager`] | none | one task, run in place with [`TaskContext::detached`] |
//!
//! The first two are a [`Pool`]; a task's code is the same everywhere. [`WorkerLoop`] runs a worker process's tasks on a
//! thread of the program's choice.
//!
//! # Coming from Python
//!
//! The concepts and most names are those of undr's `task` module. These things differ: names and data travel, never code; the
//! manager listens on no port; messages and outputs are pushed, not polled; a dead worker is replaced, and its task is tried
//! again; closing reports what it left.
//!
//! | `undr.task` | here |
//! |---|---|
//! | `Task`, its `run(session, manager)` | [`Task`], or [`AsyncTask`]; [`cx.session()`](TaskContext::session) and [`cx.schedule()`](TaskContext::schedule) |
//! | `Chain` | [`Chain`]: nested, of mixed types, and its failure names the link |
//! | `Manager`, `NullManager`, `ProcessManager` | [`Manager`], [`NullManager`], [`ProcessManager`] |
//! | `ProcessManager(workers, priority_levels, log_directory)` | [`ProcessManagerBuilder`] |
//! | `schedule(task, priority)`, also from a task | [`Pool::schedule_with`], [`TaskContext::schedule_with`] |
//! | `send_message`, `messages()` | [`TaskContext::send_message`], [`Pool::send_message`], [`Pool::messages`], [`Pool::message_stream`]; [`Pool::messages_until_close`] for a service |
//! | `close`, `ClosePolicy.{JOIN, CANCEL, KILL}` | [`Pool::close`], [`Pool::close_async`], [`ClosePolicy`] |
//! | the `with` block | [`ProcessManagerBuilder::scope`] |
//! | `WorkerException` | [`TaskFailure`] |
//! | `Proxy`, and in a task its `manager` | [`Proxy`] |
//! | `Proxy.setup`, `next_task`, `acknowledge_and_next_task`, `CloseRequest` | [`WorkerLoop::setup`], [`WorkerLoop::next_task`], [`FinishedTask::acknowledge_and_next_task`], [`NextTask::Close`] |
//! | `send_bytes`, `receive_message`, … | the crate `workfleet-wire`; the kinds of its frames are in [`kinds`] |
//! | a `requests.Session` for each worker | [`Registry::session`], of any type |
//!
//! | `multiprocessing.Pool` | here |
//! |---|---|
//! | `Pool(processes)`, `ThreadPool` | [`ProcessManager`], [`ThreadManager`] |
//! | `initializer`, `initargs` | [`Registry::session`]: what it makes is lent to every task of the worker |
//! | `maxtasksperchild` | [`tasks_per_worker`](ProcessManagerBuilder::tasks_per_worker) |
//! | `context` (`fork`, `spawn`, `forkserver`) | always a fresh process: what a fork inherits from a program with threads is not safe to use |
//! | `apply` | [`submit`](Pool::submit), then [`wait`](TaskHandle::wait) |
//! | `apply_async`, `AsyncResult.get(timeout)`, `ready` | [`submit`](Pool::submit), [`wait_timeout`](TaskHandle::wait_timeout) or `.await`, [`is_finished`](TaskHandle::is_finished) |
//! | `callback`, `error_callback` | code after the `.await`; or messages and failures in one place: [`Pool::messages`] |
//! | `map`, `starmap`, `imap` | collect the handles of [`submit`](Pool::submit) and wait for each: their order is that of the tasks |
//! | `imap_unordered` | [`Pool::messages`], or the handles in a `FuturesUnordered` |
//! | `chunksize` | not needed: tasks are batched by estimated time |
//! | `close` and `join`, `terminate` | [`ClosePolicy::Join`], [`ClosePolicy::Kill`] |
//! | the `with` block, which terminates | [`ProcessManagerBuilder::scope`], which cancels, and kills after an error |
//! | a remote traceback | [`FailureCause`]: the chain of errors or the panic, where it was, and the backtrace |
//! | a lambda, a closure, a bound method as a task | not possible, on purpose: only names and data travel |
//! | `Event` | [`Event`](workfleet_heartbeat::Event) in a task's payload, or [by name](TaskContext::event) |
//! | `Value`, `Array`, `shared_memory`, `Queue`, `Lock` | no shared memory here; messages and sessions instead, and a further crate for locks |
//!
//! | Temporal's activities | here |
//! |---|---|
//! | `heartbeat(details)`, `record_heartbeat` | [`TaskContext::heartbeat`] |
//! | `heartbeat_details` | [`TaskContext::last_heartbeat`], also where a worker died |
//! | `heartbeat_timeout` | [`TaskSpec::HEARTBEAT_TIMEOUT`]; the failure is not retried, and it comes when the attempt has ended |
//! | `max_heartbeat_throttle_interval`, `default_heartbeat_throttle_interval` | [`max_heartbeat_throttle`](ProcessManagerBuilder::max_heartbeat_throttle), [`default_heartbeat_throttle`](ProcessManagerBuilder::default_heartbeat_throttle) |
#![doc = include_str!("../docs/worker-process.md")]
#![doc = include_str!("../docs/hostile.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(not(unix))]
compile_error!("workfleet needs Unix sockets and process groups");

mod bytes;
mod chain;
mod code;
mod connection;
mod context;
#[cfg(all(test, not(workfleet_loom)))]
mod convention;
mod cut;
mod detached;
mod error;
mod events;
mod extension;
mod failure;
#[cfg_attr(not(any(target_os = "linux", target_os = "android")), path = "guardian/unguarded.rs")]
mod guardian;
mod guards;
mod handle;
mod heartbeat;
mod heartbeaters;
mod ids;
mod inbox;
pub mod kinds;
mod manager;
mod markers;
mod message;
mod mismatch;
mod options;
mod outcome;
mod park;
mod pool;
mod priority;
mod process;
mod protocol;
mod refusal;
mod registry;
mod run;
mod service;
mod session_values;
mod stats;
mod sync;
mod sys;
mod task;
mod thread;
mod worker;

pub use chain::{CHAIN_NESTING_LIMIT, Chain, ChainOutputError, ChainOutputs};
pub use code::{AsyncTask, Task};
pub use context::{CancelledError, Proxy, SessionError, TaskContext};
pub use error::TaskError;
pub use extension::{Extension, ServiceSender};
pub use failure::{
    DeathCertificate, ExitStatus, FailedLink, FailureCause, FailureReport, KillReason, TaskFailure,
};
pub use handle::TaskHandle;
pub use heartbeat::{HeartbeatersError, TaskHeartbeatError};
pub use heartbeaters::WithHeartbeaters;
pub use ids::TaskId;
pub use inbox::InboxOverflow;
pub use manager::{Manager, ManagerExt, NullManager};
pub use message::{
    EncodedMessage, Message, MessageError, NAME_LIMIT_BYTES, NoMessage, ReadMessage, TaskMessage,
};
pub use options::TaskOptions;
#[cfg(feature = "signal")]
pub use pool::SignalWatch;
pub use pool::{
    Abandoned, CloseError, ClosePolicy, CloseReport, ManagerStartError, MessageStream, Messages, Pool,
    ScopeError, StartFailure,
};
pub use priority::Priority;
pub use process::{ProcessManager, ProcessManagerBuilder};
pub use refusal::{MessageSendError, ScheduleError, ScheduleErrorKind};
pub use registry::{Registry, RegistryError};
pub use service::{Peer, Service, WorkerIncarnation};
pub use stats::{Stats, TaskCounts, WorkerStats};
pub use task::{EncodedTask, SpecInfo, TaskSpec};
pub use thread::{ThreadManager, ThreadManagerBuilder};
pub use worker::{
    CloseRequest, FinishedTask, NextTask, ReceivedTask, WorkerLoop, WorkerLoopError, init, init_test_worker,
};

/// The programs in the README compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
