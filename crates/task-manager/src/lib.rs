//! Tasks scheduled by priority over a pool of worker processes or threads that cannot hang.
//!
//! A *task* is a type with a name, fields that travel, and code that stays where it was compiled. A *manager* runs
//! tasks in *workers*: processes that it starts from the same program, feeds in batches, watches, and replaces when
//! they die, or threads. What a task yields comes back typed, through its handle; what it fails with says why.
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
//! - **Work is delivered at least once.** A task whose worker died while running it is run again, up to the
//!   [crash limit](ProcessManagerBuilder::crash_limit). A result that reached the worker's socket is never made
//!   again. The messages and children of an attempt that died stay; a child that the next attempt schedules again is
//!   not doubled.
//! - **Only the task that ran is charged** with its worker's death. What waited behind it goes elsewhere.
//! - **An outage costs time, not tasks**: while no worker is up and none starts, for a reason that may pass, what waits is
//!   kept for as long as the [patience](ProcessManagerBuilder::outage_patience) says. Then it fails, and so it does at once
//!   if the reason cannot pass.
//! - **Nothing waits for ever**, whatever dies, is stopped, does not start, or sends garbage. [`ClosePolicy::Join`]
//!   waits as long as tasks run: their deadlines are theirs. And messages have to be read: beyond the
//!   [inbox limit](ProcessManagerBuilder::inbox_limit), no task is begun until they are. A warning and
//!   [`Stats::inbox_full`] say so.
//! - **No process survives its manager**: workers, and what their tasks started in their process group, go with it. (A thread
//!   cannot be ended: one that does not stop is [abandoned](CloseReport::abandoned), and named.)
//! - **A panic is a failure** of its task; the worker lives on. (With `panic = "abort"` it is a death.)
//! - **No task's code runs on the manager's thread**: neither its `Debug` form, nor its destructors, nor what decodes it. All
//!   of that runs in the worker, or on the thread that reads an output or a message. On the manager's thread run
//!   services, with their extensions in worker threads; the wakers of futures that await the manager; and the
//!   subscriber of `tracing`, for the manager's warnings. None of these may block: while one does, the pool stands still.
//!
//! # What is said, and where
//!
//! What is lost or broken is an event of `tracing`, at level `WARN` or `ERROR`. If no subscriber is set where it happens,
//! most of these events are also written to standard error, as one line that begins with `workfleet: `. Not written is what
//! costs time only, for example the death of a worker, or a start that is tried again: of several failed starts in a row on
//! one slot, the first is. A worker process writes its lines to its own standard error, which its manager
//! [logs](ProcessManagerBuilder::log_directory).
//!
//! A manager that is dropped with work left says what is lost. So does one that has not closed when the program ends by
//! returning from `main` or by `exit`. A program that is killed, aborts, or calls `_exit` says nothing.
//!
//! The environment variable `WORKFLEET_WARNINGS=off` keeps such lines from standard error, in the program and in its
//! workers; for tests, cargo can set it (`[env]` in `.cargo/config.toml`). A line is lost if standard error does not take
//! it at once; the next line says how many are missing.
//!
//! # Tasks by priority
//!
//! 0 is the most urgent of the [priority levels](ProcessManagerBuilder::priority_levels). Within a level, tasks start
//! in the order in which they were scheduled; a running task is never preempted. A worker is given as many tasks ahead
//! as it needs to stay busy, measured in estimated time; what it has not begun is taken back when it falls behind.
//!
//! # Heartbeats
//!
//! A worker and its task are watched by two different signals:
//!
//! | signal | comes from | its absence means | seen by | then |
//! |---|---|---|---|---|
//! | sign of life | a thread of the worker process, when it is asked; also while a task blocks | the process is stopped, or held by the kernel | [`WorkerStats::silent_for`] | past the [limit](ProcessManagerBuilder::silence_limit) it is killed, and its task tried again |
//! | [heartbeat](TaskContext::heartbeat) | the task itself | the task does not get on | [`TaskHandle::last_heartbeat`] | past its [timeout](TaskSpec::HEARTBEAT_TIMEOUT), if it has one, it has failed; if it does not end, its worker is killed for it |
//!
//! A process that is stopped silences its tasks too: whichever limit is the shorter decides. What a task says by a heartbeat
//! is what its next attempt [resumes](TaskContext::last_heartbeat) from, and stands in its
//! [failure](FailureReport::last_heartbeat).
//!
//! # Events and senders in payloads
//!
//! A [`HeartbeatSender`](workfleet_heartbeat::HeartbeatSender) beats for a token rather than for a task, to a callback in the
//! process that has registered it. It and an [`Event`](workfleet_heartbeat::Event) are fields like any other, and work
//! wherever the task runs; events are also found [by name](TaskContext::event).
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
//!                 let _ = stop.set(); // it is at home here: this cannot fail
//!             }
//!         }
//!     })?;
//!     let imported = manager.submit(Import { rows, stop })?.wait()?;
//!     heartbeaters.blocking_unregister("import/42")?; // whatever was sent has been reported now
//!     println!("{imported} rows");
//!     manager.close(ClosePolicy::Join)?;
//!     Ok(())
//! }
//! ```
//!
//! # Tests
//!
//! A test binary is not its own `main`, so it gets its entry by [`test_worker!`].
//!
//! # In async programs
//!
//! What waits has a form that blocks the thread and one that does not. The latter works on any executor.
//!
//! | blocks | does not | on a thread where tokio polls a future, the blocking form |
//! |---|---|---|
//! | [`start`](ProcessManagerBuilder::start) | [`start_async`](ProcessManagerBuilder::start_async) | is [`StartError::InsideRuntime`] |
//! | [`scope`](ProcessManagerBuilder::scope) | [`scope_async`](ProcessManagerBuilder::scope_async) | is [`ScopeError::Start`] with the same |
//! | [`close`](Pool::close) | [`close_async`](Pool::close_async) | is [`CloseError::InsideRuntime`]; the manager stays open |
//! | dropping a manager | [`close_async`](Pool::close_async), then dropping it | warns, returns at once, and goes on in the background; nobody gets the report |
//! | [`messages`](Pool::messages), [`messages_until_close`](Pool::messages_until_close) | [`message_stream`](Pool::message_stream), [`message_stream_until_close`](Pool::message_stream_until_close) | yields [`MessageError::InsideRuntime`] |
//! | [`TaskHandle::wait`], [`wait_timeout`](TaskHandle::wait_timeout) | `.await` | warns, once for each place in the program, and blocks |
//!
//! The blocking forms work on the threads that a runtime has for blocking: inside `spawn_blocking` and `block_in_place`.
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
//! The concepts and most names are those of undr's `task` module. What differs: names and data travel, never code; the
//! manager listens on no port; messages and results are pushed, not polled; a dead worker is replaced and its task
//! tried again; closing reports what it left.
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

pub use chain::{CHAIN_NESTING_LIMIT, Chain, ChainOutputs, NoOutput};
pub use code::{AsyncTask, Task};
pub use context::{Cancelled, NoSession, Proxy, TaskContext};
pub use error::TaskError;
pub use extension::{Extension, ServiceSender};
pub use failure::{
    DeathCertificate, ExitStatus, FailedLink, FailureCause, FailureReport, KillReason, TaskFailure,
};
pub use handle::TaskHandle;
pub use heartbeat::HeartbeatError;
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
    Abandoned, CloseError, ClosePolicy, CloseReport, MessageStream, Messages, Pool, ScopeError, StartError,
    StartFailure,
};
pub use priority::Priority;
pub use process::{ProcessManager, ProcessManagerBuilder};
pub use refusal::{ScheduleError, ScheduleErrorKind, SendError};
pub use registry::{Registry, RegistryError};
pub use service::{Peer, Service, WorkerIncarnation};
pub use stats::{Stats, TaskCounts, WorkerStats};
pub use task::{EncodedTask, SpecInfo, TaskSpec};
pub use thread::{ThreadManager, ThreadManagerBuilder};
pub use worker::{
    CloseRequest, FinishedTask, NextTask, ReceivedTask, WorkerError, WorkerLoop, init, init_test_worker,
};

/// The programs in the README compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
