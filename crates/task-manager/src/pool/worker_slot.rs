//! A worker slot: one worker after the other, of any kind.

use std::{
    future::Future,
    mem,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    sync::{mpsc::Sender, watch::Receiver},
    time::sleep_until,
};

use super::{Mode, Shared, StartFailure, changed};
use workfleet_causes::with_sources;

/// How one kind of worker is started and served.
pub(crate) trait Plan: Send + Sync + 'static {
    /// A worker that takes tasks.
    type Worker: Send;

    fn shared(&self) -> &Arc<Shared>;

    /// Where each slot reports that a worker has come up, or that none will.
    fn first_tries(&self) -> &Sender<Result<(), StartFailure>>;

    /// Starts a worker up to the point where it takes tasks.
    fn start(
        &self,
        slot: usize,
        mode: &mut Receiver<Mode>,
    ) -> impl Future<Output = Result<Self::Worker, StartFailure>> + Send;

    /// Serves it until it is gone. Returns how long to wait before the next start.
    fn serve(
        &self,
        worker: Self::Worker,
        slot: usize,
        mode: &mut Receiver<Mode>,
    ) -> impl Future<Output = Duration> + Send;
}

const NOT_STARTED: &str = "a worker did not start";

/// Keeps a worker in `slot` until the manager closes.
pub(crate) async fn run<P: Plan>(plan: Arc<P>, slot: usize) {
    let shared = Arc::clone(plan.shared());
    let mut mode = shared.mode.subscribe();
    let mut first_try = Some(plan.first_tries().clone());
    let mut report = |tried| {
        if let Some(first_try) = first_try.take() {
            // There is room for one of each slot; nobody takes it any more once another was the first.
            let _ = first_try.try_send(tried);
        }
    };
    // The last start has failed.
    let mut failing = false;
    while *mode.borrow() == Mode::Running {
        let delay = match plan.start(slot, &mut mode).await {
            Ok(worker) => {
                report(Ok(()));
                failing = false;
                plan.serve(worker, slot, &mut mode).await
            }
            Err(StartFailure::Closing) => break,
            Err(failure) => {
                let error = with_sources(&failure);
                // What is tried again costs time; nobody has to read each of them.
                if mem::replace(&mut failing, true) {
                    tracing::warn!(worker = slot, %error, "{NOT_STARTED}");
                } else {
                    workfleet_notice::warn!(worker = slot, %error, "{NOT_STARTED}");
                }
                let next = shared.start_failed(slot, &failure);
                if next.verdict.is_some() {
                    report(Err(failure));
                }
                next.delay
            }
        };
        if !delay.is_zero() {
            let end = Instant::now() + delay;
            tokio::select! {
                biased;
                () = changed(&mut mode, Mode::Running) => break,
                () = sleep_until(end.into()) => {}
            }
            shared.waited_until(end);
        }
    }
}
