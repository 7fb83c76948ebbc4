//! Tells systemd how a tree of workers is doing: ready, stopping, alive.

use std::{borrow::Cow, future::pending, time::Duration};

use sd_notify::NotifyState;
use tokio::time::{MissedTickBehavior, interval};

use crate::{context::WorkerContext, error::WorkerError, reference::WorkerRef, worker::Worker};

/// A worker that tells systemd when its tree of workers is up and when it stops, for a service with `Type=notify`.
///
/// If the service has `WatchdogSec=`, it also tells systemd twice within that time that the tree is alive. A task of the same
/// runtime sends these messages. So they cease when all threads of the runtime are blocked, and when the tree has ended.
///
/// It writes to the socket that `$NOTIFY_SOCKET` names. Without that variable it does nothing until it is stopped. As the child of
/// a group it reports the outermost group; [`with_watched`](Self::with_watched) sets another worker.
///
/// ```
/// use workfleet_worker_lifecycle::{SystemdNotifier, WorkerContext, Workers, start};
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let service = Workers::new("service")
///     .with_child(|cx: WorkerContext| async move { cx.stopping().await })
///     .with_child(SystemdNotifier::new());
/// let service = start(service).await?;
/// service.shutdown().await?.into_result()?;
/// # Ok(()) }
/// ```
#[derive(Debug, Default)]
pub struct SystemdNotifier {
    watched: Option<WorkerRef>,
}

impl SystemdNotifier {
    /// Speaks for the tree that it will be a child in.
    pub fn new() -> Self {
        Self::default()
    }

    /// Speaks for this worker.
    #[doc(alias = "watching")]
    #[must_use]
    pub fn with_watched(mut self, worker: WorkerRef) -> Self {
        self.watched = Some(worker);
        self
    }
}

/// What cannot be told is logged: it is no reason to stop a service that works.
fn tell(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        workfleet_notice::warn!("cannot notify the service manager: {error}");
    }
}

impl Worker for SystemdNotifier {
    fn name(&self) -> Cow<'static, str> {
        "systemd_notifier".into()
    }

    async fn run(&mut self, cx: &WorkerContext) -> Result<(), WorkerError> {
        let watched = self.watched.clone().unwrap_or_else(|| cx.root());
        // Half of the time that systemd waits for, as its manual asks.
        let mut beats = sd_notify::watchdog_enabled().map(|period| {
            let mut beats = interval((period / 2).max(Duration::from_millis(1)));
            beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
            beats
        });
        let mut is_up = false;
        loop {
            let beat = async {
                match &mut beats {
                    Some(beats) => drop(beats.tick().await),
                    None => pending().await,
                }
            };
            let up = async {
                match is_up {
                    false => watched.wait_for_startup().await,
                    true => pending().await,
                }
            };
            tokio::select! {
                biased;
                () = cx.stopping() => return Ok(()),
                up = up => {
                    is_up = true;
                    if up.is_ok() {
                        tell(NotifyState::Ready);
                    }
                }
                () = beat => {
                    if !watched.state().is_stopped() {
                        tell(NotifyState::Watchdog);
                    }
                }
            }
        }
    }

    async fn on_shutdown(&mut self, _cx: &WorkerContext) -> Result<(), WorkerError> {
        tell(NotifyState::Stopping);
        Ok(())
    }
}
