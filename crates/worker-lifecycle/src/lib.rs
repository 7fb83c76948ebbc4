//! Workers with a managed lifecycle: started, stopped gracefully, forced after a grace period, supervised in groups.
//!
//! Use it for the parts of a service that run until the service stops: servers, pollers, queue consumers, timers.
//!
//! A *worker* runs until it is asked to stop. It is a type with hooks, or a function. A *group* is a worker that starts other
//! workers in order, restarts them, and stops them by one deadline. Each worker has an *outcome*, which says how it ended.
//!
//! ```text
//!        start(service)                  shutdown(): one grace period for all of it
//!              │                             │
//!   service ───▼────────── running ──────────▼── stopping ──► outcome, with a report of what was late
//!    ├─ mailer │ started first               │ all at once, or
//!    └─ ticker │ started second              │ the last first
//!              ▲ a child that fails is restarted with backoff, within a budget
//! ```
//!
//! ```
//! use std::time::Duration;
//! use workfleet_worker_lifecycle::{
//!     ChildSpec, OnStop, QueueConsumerWorker, WorkerContext, WorkerError, WorkerFunction, Workers, start,
//! };
//!
//! /// Fails now and then, as network code does.
//! async fn poll_upstream(cx: WorkerContext) -> Result<(), WorkerError> {
//!     let mut ticks = tokio::time::interval(Duration::from_secs(1));
//!     while cx.until_stopping(ticks.tick()).await.is_some() {
//!         println!("polled"); // with `?` where it may fail
//!     }
//!     Ok(())
//! }
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let mailer = QueueConsumerWorker::new(|address: String| async move {
//!         println!("mail to {address}");
//!     });
//!     let mailer = mailer.with_name("mailer").with_on_stop(OnStop::Drain);
//!     let mails = mailer.sender(); // for any thread
//!     let ticker = WorkerFunction::new(|| async { println!("tick") }).with_interval(Duration::from_secs(60));
//!
//!     let service = Workers::new("service")
//!         .with_grace(Duration::from_secs(5)) // for all of it
//!         .with_child(mailer)
//!         .with_child(ticker.with_name("ticker"))
//!         .with_child(ChildSpec::new(|| poll_upstream)); // restarted when it fails
//!     let service = start(service).await?;
//!
//!     mails.send("you@example.org".into())?;
//!     println!("{}", service.status());
//!     service.shutdown().await?.into_result()?;
//!     Ok(())
//! }
//! ```
//!
//! # What is promised
//!
//! - **Every worker has an outcome**, and the outcome is kept. Every caller that waits for it gets it, before the end or after,
//!   as often as it asks. The outcome has the errors and panics of all hooks.
//! - **Cleaning up is not skipped.** [`Worker::on_shutdown`] is called whenever the start-up succeeded, however `run` ended. If
//!   the runtime is shut down, it is polled once. [`Worker::after_shutdown`] is always called. Both need the worker's thread: a
//!   process that exits without dropping its runtime calls neither.
//! - **A stop is prompt, and has a deadline.** The request wakes a worker that waits. Nothing polls, and an idle worker takes no
//!   processor time. A worker that ignores the request is aborted when its grace period is over.
//! - **Tasks spawned by [`WorkerContext::spawn`] end with their worker.** If such a task fails, its worker fails.
//! - **Children end with their group.** A whole tree of groups stops by one deadline. Its [report](StopReport) names the workers
//!   that were late.
//! - **No message is lost silently.** A message is handled, or returned to its sender, or handed back as a leftover, or counted as
//!   discarded; also if it was sent while the consumer stopped.
//! - **A handler that fails stops nothing else**: neither other handlers nor the consumer.
//!
//! A worker that blocks its thread cannot be aborted. It is reported as [`StuckError`], by name, and callers that wait for it go on.
//! This needs a multi-thread runtime with a free thread.
//!
//! # How to go on
//!
//! | to do | see |
//! |---|---|
//! | write a worker with hooks | [`Worker`] |
//! | make a worker of a function | [`start`], [`worker_fn`], [`WorkerFunction`] to call it again and again |
//! | start, stop, wait, see the state | [`WorkerHandle`], [`WorkerRef`], [`Outcome`], [`Status`] |
//! | send messages to a worker | [`QueueConsumerWorker`], [`QueueConsumer`] in a worker of your own, [`start_consumer`], [`MessageProducer`], [`OnStop`] |
//! | fan messages out to handlers by type | [`AsyncConsumer`], [`AsyncDispatcher`], [`Dispatcher`] |
//! | spawn what ends with a worker | [`WorkerContext::spawn`] |
//! | run workers together | [`Workers`], [`ChildSpec`], [`WorkersControl`] to add and remove them meanwhile, several at once too |
//! | stop them one after the other | [`StopOrder`], [`Workers::with_stop_hook`] |
//! | restart what fails | [`Restart`], [`RestartStrategy`], [`Backoff`], [`Budget`] |
//! | stop on Ctrl-C, answer probes, tell systemd | `run_until_signal`, `Probe`, `SystemdNotifier`: features |
//!
//! # States
//!
//! ```text
//! Init → Running → Stopping → Stopped | ForceStopped | Failed
//!        Running ───────────→ Stopped | Failed                 (run ended by itself)
//! ```
//!
//! A worker is `Running` from just before its `on_startup`, and `Stopping` from the request to stop. If the request comes during
//! the start-up, `run` is skipped.
//!
//! # Features
//!
//! | feature | what it adds |
//! |---|---|
//! | `runtime` (default) | everything that runs, on tokio; without it there are only the cores, without tokio: [`Lifecycle`], [`Backoff`], [`Budget`], [`Streak`] |
//! | `serde` | [`Status`] and [`WorkerState`] can be serialised |
//! | `signal` | `run_until_signal`: the first SIGINT or SIGTERM stops gracefully, the second at once |
//! | `probe` | `Probe`: readiness and liveness over HTTP |
//! | `systemd` | `SystemdNotifier`: readiness, stopping and the watchdog of systemd |
//!
//! # Where it comes from
//!
//! The concepts and most names are those of the worker module of Python's aio-fluid. Supervision (strategies, intensity and
//! period) is that of Erlang's OTP. These things differ from aio-fluid:
//!
//! - a failed `run` is followed by the clean-up hooks, and errors are kept;
//! - a group with a failed child has failed, and children do not outlive their group;
//! - sending is thread-safe;
//! - a stop wakes a worker that waits; nothing polls.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod lifecycle;
mod restart;
#[cfg(test)]
#[path = "../../heartbeat/src/testing.rs"]
mod testing;

pub use lifecycle::{Lifecycle, LifecycleEvent, Step, TransitionError, WorkerState, WorkerStateError};
pub use restart::{Backoff, Budget, Charge, Charges, Streak};

#[cfg(feature = "runtime")]
mod clock;
#[cfg(feature = "runtime")]
mod context;
#[cfg(all(test, feature = "runtime", not(workfleet_loom)))]
mod convention;
#[cfg(feature = "runtime")]
mod dispatch;
#[cfg(feature = "runtime")]
mod error;
#[cfg(feature = "runtime")]
mod function;
#[cfg(feature = "runtime")]
mod given;
#[cfg(feature = "runtime")]
mod grace;
#[cfg(feature = "runtime")]
mod group;
#[cfg(feature = "runtime")]
mod handle;
#[cfg(feature = "runtime")]
mod name;
#[cfg(feature = "runtime")]
mod outcome;
#[cfg(feature = "runtime")]
mod output;
#[cfg(feature = "runtime")]
mod panic;
#[cfg(feature = "runtime")]
mod process;
#[cfg(feature = "runtime")]
mod queue;
#[cfg(feature = "runtime")]
mod reason;
#[cfg(feature = "runtime")]
mod reference;
#[cfg(feature = "runtime")]
mod runner;
#[cfg(feature = "runtime")]
mod shared;
#[cfg(feature = "runtime")]
mod status;
#[cfg(feature = "runtime")]
mod sync;
#[cfg(feature = "runtime")]
mod tasks;
#[cfg(feature = "runtime")]
mod worker;

#[cfg(feature = "runtime")]
pub use context::WorkerContext;
#[cfg(feature = "runtime")]
pub use dispatch::{
    AsyncConsumer, AsyncDispatcher, AsyncHandler, DispatchEvent, DispatchEventError, Dispatched, Dispatcher,
    EventMessage, Handler, HandlerFailure,
};
#[cfg(feature = "runtime")]
pub use error::{Hook, StartError, StuckError, WorkerError, WorkerFailure, WorkerFailureCause};
#[cfg(feature = "runtime")]
pub use function::WorkerFunction;
#[cfg(feature = "runtime")]
pub use grace::{GRACE_PERIOD_VARIABLE, GracePeriodError};
#[cfg(feature = "runtime")]
#[doc(hidden)]
pub use group::Role;
#[cfg(feature = "runtime")]
pub use group::{
    AddAllError, AddError, BySpec, Child, ChildId, ChildReport, ChildSpec, GroupError, HeldUp, IntoChild,
    RemoveError, Restart, RestartStrategy, StopHookFailure, StopOrder, StopReport, StoppingChild, Workers,
    WorkersControl,
};
#[cfg(feature = "runtime")]
pub use handle::{WorkerHandle, start};
#[cfg(feature = "runtime")]
pub use outcome::{Ending, Outcome, OutcomeError};
#[cfg(feature = "runtime")]
pub use output::HookOutput;
#[cfg(feature = "runtime")]
pub use queue::{
    ConsumerHandle, Leftovers, MessageConsumer, MessageProducer, OnStop, QueueConsumer, QueueConsumerWorker,
    QueueSendError, QueueSendErrorKind, QueueSender, start_consumer,
};
#[cfg(feature = "runtime")]
pub use reason::{StatusReason, StoppedBy};
#[cfg(feature = "runtime")]
pub use reference::{StateWatch, WorkerRef};
#[cfg(feature = "runtime")]
pub use status::{Status, StatusSource};
#[cfg(feature = "runtime")]
pub use worker::{ByFunction, ByTrait, FnWorker, IntoWorker, Worker, worker_fn};

#[cfg(feature = "probe")]
pub use process::probe::Probe;
#[cfg(feature = "signal")]
pub use process::signals::{RunEnded, RunError, RunOptions, run_until_signal, run_until_signal_with};
#[cfg(feature = "systemd")]
pub use process::systemd::SystemdNotifier;

/// The programs in the README compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
