//! A manager's closing, as callers and the manager's own thread share it. What each of them does is in `close`.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use tokio::sync::watch;

use super::{ClosePolicy, CloseReport};

/// The state that callers that close a manager share with its own thread.
#[derive(Debug)]
pub(crate) struct Closing {
    /// The harshest way that was asked for.
    pub(super) asked: watch::Sender<Option<ClosePolicy>>,
    pub(super) ended: watch::Sender<bool>,
    outcome: Mutex<Outcome>,
    /// What is lost was said.
    said: AtomicBool,
}

#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// What was read while the manager closes. After that, the report, until a caller takes it.
    pub(super) report: Option<CloseReport>,
    pub(super) has_ended: bool,
    /// No caller will ask for the report.
    pub(super) left_alone: bool,
    /// How many tasks were cancelled when closing began.
    cancelled_before: Option<u64>,
}

impl Outcome {
    pub(super) fn cut_short(&self, cancelled: u64) -> u64 {
        cancelled - self.cancelled_before.unwrap_or(cancelled)
    }
}

impl Closing {
    pub(super) fn new() -> Self {
        let outcome = Outcome { report: Some(CloseReport::default()), ..Outcome::default() };
        Self {
            asked: watch::Sender::new(None),
            ended: watch::Sender::new(false),
            outcome: Mutex::new(outcome),
            said: AtomicBool::new(false),
        }
    }

    /// Waits until closing has ended.
    pub(super) async fn ended(&self) {
        // The sender is here, so there is no error.
        let _ = self.ended.subscribe().wait_for(|ended| *ended).await;
    }

    pub(super) fn has_ended(&self) -> bool {
        self.lock().has_ended
    }

    /// Whether it is decided that no caller will ask for the report.
    pub(super) fn is_left_alone(&self) -> bool {
        self.lock().left_alone
    }

    /// Whether the caller is the first to log the losses, and so has to.
    pub(super) fn is_to_be_said(&self) -> bool {
        !self.said.swap(true, Ordering::Relaxed)
    }

    /// How many of the tasks that are cancelled by now were not when closing began.
    pub(super) fn cut_short(&self, cancelled: u64) -> u64 {
        self.lock().cut_short(cancelled)
    }

    /// Closing begins, unless it has before, and this many tasks were cancelled by then.
    pub(super) fn begin(&self, cancelled: u64) {
        self.lock().cancelled_before.get_or_insert(cancelled);
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Outcome> {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
