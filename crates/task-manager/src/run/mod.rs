//! How a worker runs a task. It is the same in a worker process, on a worker thread, and in place.
//!
//! Invariant: an attempt always ends as a value, unless the task's code ends the process.

pub(crate) mod host;
pub(crate) mod kept;
pub(crate) mod open;
pub(crate) mod panics;
pub(crate) mod queue;
pub(crate) mod queued;
mod running;
pub(crate) mod runtime;
pub(crate) mod sessions;
pub(crate) mod socket_ownership;
pub(crate) mod together;
pub(crate) mod traces;

use std::{
    any::Any,
    panic::{self, AssertUnwindSafe},
};

use crate::failure::{Failed, FailureCause};

/// One attempt at a task, as whoever runs it knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Attempt {
    /// What fences its reports.
    pub(crate) lease: u64,
    /// The task's place in its manager's order of arrival.
    pub(crate) sequence: u64,
    /// From 1.
    pub(crate) number: u32,
}

/// A task's thread has as much stack as a main thread has by default.
pub(crate) const STACK_BYTES: usize = 8 * 1024 * 1024;

/// Runs a task's code: its panic is a failure.
pub(crate) fn caught<R>(run: impl FnOnce() -> Result<R, Box<Failed>>) -> Result<R, Box<Failed>> {
    // A panic that an earlier task caught, or that was resumed, is none of this one's.
    panics::forget();
    panic::catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|payload| Err(panicked(payload).into()))
}

/// The failure of an attempt that ended in this panic, on this thread, just now.
fn panicked(payload: Box<dyn Any + Send>) -> FailureCause {
    let (location, trace) = panics::last();
    let message = workfleet_panics::message(payload);
    FailureCause::Panicked { message, location, backtrace: trace.into_text() }
}

/// Classifies the outcome of an attempt. An output that is too large is a failure. An attempt that returns an error
/// after it was cancelled counts as cancelled. A failure names its task by `debug`, which runs the task's code on this
/// thread.
pub(crate) fn classify<R>(
    ended: Result<R, Box<Failed>>,
    output_bytes: usize,
    limit_bytes: u64,
    is_cancelled: impl FnOnce() -> bool,
    debug: impl FnOnce() -> String,
) -> Result<R, Box<Failed>> {
    let mut classified = match ended {
        Ok(_) if output_bytes as u64 > limit_bytes => {
            Err(FailureCause::OutputTooLarge { len_bytes: output_bytes as u64, limit_bytes }.into())
        }
        Err(mut failed) if matches!(failed.cause, FailureCause::Error { .. }) && is_cancelled() => {
            failed.cause = FailureCause::Cancelled;
            Err(failed)
        }
        ended => ended,
    };
    if let Err(failed) = &mut classified {
        failed.debug = debug();
    }
    classified
}
