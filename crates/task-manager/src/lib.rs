//! Tasks scheduled by priority over a pool of worker processes that cannot hang.
//!
//! A *task* is a type with a name, fields that travel, and code that stays where it was compiled. A *manager* runs
//! tasks in *workers*: processes that it starts from the same program, feeds in batches, watches, and replaces when
//! they die. What a task yields comes back typed, through its handle; what it fails with says why.
//!
//! ```no_run
//! use serde::{Deserialize, Serialize};
//! use workfleet_task_manager::{
//!     ClosePolicy, Message, MessageError, Priority, ProcessManager, Registry, Task, TaskContext, TaskError,
//!     TaskMessage, TaskSpec, init,
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
//!     manager.schedule(Count("no-such-file".into()), Priority(0))?; // its failure comes with the messages
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
//! - **Nothing waits for ever**, whatever dies, is stopped, does not start, or sends garbage. [`ClosePolicy::Join`]
//!   waits as long as tasks run: their deadlines are theirs. And messages have to be read: beyond the
//!   [inbox limit](ProcessManagerBuilder::inbox_limit), no task is begun until they are.
//! - **Nothing survives its manager**: workers, and what their tasks started in their process group, go with it.
//! - **A panic is a failure** of its task; the worker lives on. (With `panic = "abort"` it is a death.)
//!
//! # Tasks by priority
//!
//! 0 is the most urgent of the [priority levels](ProcessManagerBuilder::priority_levels). Within a level, tasks start
//! in the order in which they were scheduled; a running task is never preempted. A worker is given as many tasks ahead
//! as it needs to stay busy, measured in estimated time; what it has not begun is taken back when it falls behind.
//!
//! # Tests
//!
//! A test binary is not its own `main`, so it gets its entry by [`test_worker!`].
//!
//! # Where it comes from
//!
//! The concepts and most names are those of Python's undr (`Task`, `Manager`, `ProcessManager`, `Proxy`, `ClosePolicy`,
//! the frames). What differs: names and data travel, never code; the
//! manager listens on no port; messages and results are pushed, not polled; a dead worker is replaced and its task
//! tried again; closing reports what it left.

#[cfg(not(unix))]
compile_error!("workfleet needs Unix sockets and process groups");

mod chain;
mod context;
mod detached;
mod error;
mod extension;
mod failure;
mod handle;
mod inbox;
mod manager;
mod message;
mod pool;
mod process;
mod protocol;
mod registry;
mod run;
mod scheduler;
mod service;
mod stats;
mod sync;
mod sys;
mod task;
mod thread;
mod worker;

pub use chain::{Chain, ChainOutputs, NoOutput};
pub use context::{Cancelled, NoSession, Proxy, TaskContext};
pub use error::TaskError;
pub use extension::{Extension, ServiceLine};
pub use failure::{
    DeathCertificate, ExitStatus, FailedLink, FailureCause, FailureReport, KillReason, TaskFailure,
};
pub use handle::TaskHandle;
pub use manager::{Manager, ManagerExt, NullManager, ScheduleError, ScheduleErrorKind, SendError};
pub use message::{EncodedMessage, Message, MessageError, NoMessage, TaskMessage};
pub use pool::{
    Abandoned, CloseError, ClosePolicy, CloseReport, MessageStream, Messages, Pool, ScopeError, StartError,
    StartFailure,
};
pub use process::{ProcessManager, ProcessManagerBuilder};
pub use registry::{Registry, RegistryError};
pub use service::{Incarnation, Peer, Service};
pub use stats::{Stats, TaskCounts, WorkerStats};
pub use task::{AsyncTask, EncodedTask, Priority, SpecInfo, Task, TaskId, TaskSpec};
pub use thread::{ThreadManager, ThreadManagerBuilder};
pub use worker::{CloseRequest, FinishedTask, NextTask, ReceivedTask, WorkerError, WorkerLoop, init};
