//! An order of stopping of one's own: a function that is given a group's children when the group stops.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use workfleet_causes::with_sources;

use super::{ChildEvent, ChildId, ChildIncarnation, Occurrence, StopHookFailure};
use crate::{
    clock::STUCK_AFTER,
    error::{StuckError, WorkerError},
    outcome::Outcome,
    output::HookOutput,
    panic::Caught,
    reference::WorkerRef,
};

/// What a group is given to stop by.
pub(super) type StopHook = Box<dyn FnOnce(Vec<StoppingChild>) -> HookFuture + Send>;
type HookFuture = Pin<Box<dyn Future<Output = Result<(), WorkerError>> + Send>>;

pub(super) fn erase<F, Fut>(hook: F) -> StopHook
where
    F: FnOnce(Vec<StoppingChild>) -> Fut + Send + 'static,
    Fut: Future<Output: HookOutput> + Send + 'static,
{
    Box::new(move |children| Box::pin(async move { hook(children).await.into_result() }))
}

/// A stop hook at work.
pub(super) struct RunningHook(Pin<Box<Caught<HookFuture>>>);

impl RunningHook {
    pub(super) fn new(hook: StopHook, children: Vec<StoppingChild>) -> Self {
        Self(Box::pin(Caught::new(Box::pin(async move { hook(children).await }))))
    }

    /// How it ended.
    pub(super) async fn end(running: &mut Option<Self>) -> Result<(), StopHookFailure> {
        let Some(Self(hook)) = running else { return std::future::pending().await };
        match hook.as_mut().await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(StopHookFailure::Failed(with_sources(error.as_dyn()))),
            Err(panic) => Err(StopHookFailure::Panicked(panic)),
        }
    }

    /// Drops it where it waits.
    pub(super) fn cut(mut self) -> StopHookFailure {
        self.0.as_mut().abort().err().map_or(StopHookFailure::CutOff, StopHookFailure::Panicked)
    }
}

/// What the group and the hook know of a child's stop.
#[derive(Debug, Default)]
pub(super) struct StopShared {
    /// Whether the hook has asked: it asks once, so that what it asks has a bound.
    is_asked: AtomicBool,
    /// Cancelled when the child is given up as stuck.
    pub(super) stuck: CancellationToken,
}

/// A child of a group that stops, as the group's [stop hook](crate::Workers::with_stop_hook) gets it.
#[derive(Clone)]
pub struct StoppingChild {
    id: ChildId,
    worker: WorkerRef,
    events: mpsc::UnboundedSender<ChildEvent>,
    shared: Arc<StopShared>,
}

impl StoppingChild {
    pub(super) fn new(
        id: ChildId,
        worker: WorkerRef,
        events: mpsc::UnboundedSender<ChildEvent>,
    ) -> (Self, Arc<StopShared>) {
        let shared = Arc::new(StopShared::default());
        (Self { id, worker, events, shared: Arc::clone(&shared) }, shared)
    }

    /// Which child.
    pub fn id(&self) -> ChildId {
        self.id
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.worker.name()
    }

    /// A reference to it.
    pub fn worker(&self) -> &WorkerRef {
        &self.worker
    }

    /// Asks it to stop, within its own grace period or what the group has left, and returns at once. Again, it does nothing.
    pub fn ask_to_stop(&self) {
        if !self.shared.is_asked.swap(true, Ordering::Relaxed) {
            // A group that is gone has stopped its children.
            let _ = self.events.send(ChildEvent::new(
                self.id,
                ChildIncarnation::default(),
                Occurrence::AskedByHook,
            ));
        }
    }

    /// Asks it to stop and waits for its end.
    ///
    /// # Errors
    /// [`StuckError`]: it blocks its thread, past its deadline. The group's report says so too.
    ///
    /// # Cancel safety
    /// The request stands from the first poll on.
    pub async fn stop(&self) -> Result<Outcome, StuckError> {
        self.ask_to_stop();
        tokio::select! {
            biased;
            outcome = self.worker.wait_for_shutdown() => Ok(outcome),
            () = self.shared.stuck.cancelled() => {
                Err(StuckError { name: self.name().to_owned(), overdue: STUCK_AFTER })
            }
        }
    }
}

impl fmt::Debug for StoppingChild {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoppingChild")
            .field("id", &self.id)
            .field("worker", &self.worker)
            .finish_non_exhaustive()
    }
}
