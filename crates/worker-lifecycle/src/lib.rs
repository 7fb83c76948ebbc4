//! Workers with a managed lifecycle.
//!
//! Placeholder front page.

mod lifecycle;

#[cfg(feature = "runtime")]
mod context;
#[cfg(feature = "runtime")]
mod error;
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
mod runner;
#[cfg(feature = "runtime")]
mod shared;
#[cfg(feature = "runtime")]
mod status;
#[cfg(feature = "runtime")]
mod worker;

pub use lifecycle::{Event, IllegalTransition, Lifecycle, Step, WorkerState};

#[cfg(feature = "runtime")]
pub use {
    context::WorkerContext,
    error::{FailureCause, Hook, StartError, Stuck, WorkerError, WorkerFailed, WorkerFailure},
    grace::{GRACE_PERIOD_VARIABLE, GracePeriodError},
    group::{ChildId, ChildReport, HeldUp, StopReport},
    handle::{StateWatch, WorkerHandle, WorkerRef, start},
    outcome::{Ending, Outcome},
    status::{Status, StatusSource},
    worker::{ByFunction, ByTrait, FnWorker, HookOutput, IntoWorker, Role, Worker, worker_fn},
};
