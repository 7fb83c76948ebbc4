//! Workers with a managed lifecycle.
//!
//! Placeholder front page.

mod lifecycle;
mod restart;
#[cfg(test)]
mod testing;

#[cfg(feature = "runtime")]
mod context;
#[cfg(feature = "runtime")]
mod dispatch;
#[cfg(feature = "runtime")]
mod error;
#[cfg(feature = "runtime")]
mod function;
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
mod panic;
#[cfg(feature = "runtime")]
mod process;
#[cfg(feature = "runtime")]
mod queue;
#[cfg(feature = "runtime")]
mod runner;
#[cfg(feature = "runtime")]
mod shared;
#[cfg(feature = "runtime")]
mod status;
#[cfg(feature = "runtime")]
mod sync;
#[cfg(feature = "runtime")]
mod worker;

pub use lifecycle::{Event, IllegalTransition, Lifecycle, Step, WorkerState};
pub use restart::{Backoff, Budget, Charge, Charges, Streak};

#[cfg(feature = "runtime")]
pub use {
    context::WorkerContext,
    dispatch::{
        AsyncConsumer, AsyncDispatcher, AsyncHandler, DispatchEvent, Dispatched, Dispatcher, EventError, EventMessage,
        Handler, HandlerFailure,
    },
    error::{FailureCause, Hook, StartError, Stuck, WorkerError, WorkerFailed, WorkerFailure},
    function::WorkerFunction,
    grace::{GRACE_PERIOD_VARIABLE, GracePeriodError},
    group::{
        AddError, BySpec, Child, ChildId, ChildReport, ChildSpec, GroupError, HeldUp, IntoChild, RemoveError, Restart,
        StopOrder, StopReport, RestartStrategy, Workers, WorkersControl,
    },
    handle::{StateWatch, WorkerHandle, WorkerRef, start},
    outcome::{Ending, Outcome},
    queue::{Leftovers, OnStop, QueueConsumer, QueueConsumerWorker, QueueSender, SendError, SendErrorKind},
    status::{Status, StatusSource},
    worker::{ByFunction, ByTrait, FnWorker, HookOutput, IntoWorker, Role, Worker, worker_fn},
};

#[cfg(feature = "probe")]
pub use process::probe::Probe;
#[cfg(feature = "signal")]
pub use process::signals::{RunEnded, RunError, run_until_signal};
#[cfg(feature = "systemd")]
pub use process::systemd::SystemdNotifier;
