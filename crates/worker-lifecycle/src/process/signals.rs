//! Ctrl-C and SIGTERM: the first stops a worker gracefully, the second at once.
//!
//! Invariants:
//! - Signals are heard on a thread of their own, so that a worker which blocks its runtime holds up none of this.
//! - Every signal has an effect. Signals before the first has been served count as the first, then the next is the second. After
//!   the second, and once the worker has ended and nobody else in the program watches, a signal ends the process at once.

use std::{
    io, process,
    sync::{
        Arc,
        atomic::{AtomicI32, Ordering},
        mpsc,
    },
    time::Duration,
};

use tokio::sync::Notify;
use workfleet_signals::{Heard, SIGNAL_CODE, Second, Watch};

use super::exit_deadline;
use crate::{
    error::{StartError, StuckError},
    handle::WorkerHandle,
    lifecycle::WorkerState,
    outcome::Outcome,
    reason::StoppedBy,
    reference::WorkerRef,
    worker::IntoWorker,
};

/// How long an aborted worker has to end after the second signal, before the process is ended without it.
const ABORT_LIMIT: Duration = Duration::from_secs(1);

/// Starts a worker, most often a group, and waits for its end. Until then, the first SIGINT (Ctrl-C) or SIGTERM
/// [shuts it down](WorkerRef::shutdown), and the second [aborts](WorkerRef::abort) it. If it blocks its thread, so that it
/// has not ended a second later, the second signal ends the process with 128 and the signal's number.
///
/// Signals are the process's, and so are first and second: a pool of `workfleet-task-manager` that is watched by `close_on_signal` in the
/// same program closes at the same first signal, and the second then ends the process at once, whatever the worker still does. If the
/// first has come before this is called, and somebody who heard it still watches, the worker is stopped as it starts. From the end
/// on, if nobody else watches, a signal ends the process on the spot.
///
/// ```no_run
/// use workfleet_worker_lifecycle::{WorkerFunction, Workers, run_until_signal};
///
/// #[tokio::main]
/// async fn main() -> Result<(), Box<dyn std::error::Error>> {
///     let ticker = WorkerFunction::new(|| async { println!("tick") });
///     let ended = run_until_signal(Workers::new("service").with_child(ticker)).await?;
///     eprintln!("{ended}");
///     ended.exit()
/// }
/// ```
///
/// # Errors
/// [`RunError`]: the worker did not start, or signals cannot be caught.
///
/// # Cancel safety
/// Dropping the future asks the worker to stop and no longer heeds signals.
pub async fn run_until_signal<Kind>(worker: impl IntoWorker<Kind>) -> Result<RunEnded, RunError> {
    run_until_signal_with(worker, RunOptions::default()).await
}

/// How [`run_until_signal_with`] runs a worker.
#[derive(Clone, Debug, Default)]
pub struct RunOptions {
    exit_margin: Option<Duration>,
}

impl RunOptions {
    /// Ends the process this long after the worker's grace period at the latest. The grace period begins with the first signal.
    ///
    /// This helps if something cannot stop: a worker that blocks its thread, a destructor, or a runtime that waits for one of its
    /// threads when `main` returns. The process then exits with 1, and standard error names the workers that have not ended. By
    /// default there is no such deadline.
    ///
    /// The deadline holds until the process ends, also after [`run_until_signal_with`] has returned. If the whole program was
    /// stopped, at most a sixteenth of the limit is counted for that time. Functions that run at the exit (`atexit`) have one
    /// second; then the process ends without them.
    #[doc(alias = "with_exit_margin")]
    #[must_use]
    pub fn exit_margin(mut self, margin: Duration) -> Self {
        self.exit_margin = Some(margin);
        self
    }
}

/// [`run_until_signal`] with options.
///
/// ```no_run
/// use std::time::Duration;
/// use workfleet_worker_lifecycle::{RunOptions, WorkerFunction, Workers, run_until_signal_with};
///
/// #[tokio::main]
/// async fn main() -> Result<(), Box<dyn std::error::Error>> {
///     let ticker = WorkerFunction::new(|| async { println!("tick") });
///     let service = Workers::new("service").with_grace(Duration::from_secs(20)).with_child(ticker);
///     // A supervisor that kills after 30 seconds does not have to.
///     let options = RunOptions::default().exit_margin(Duration::from_secs(5));
///     run_until_signal_with(service, options).await?.exit()
/// }
/// ```
///
/// # Errors
/// As [`run_until_signal`].
///
/// # Cancel safety
/// As [`run_until_signal`]. A deadline that a signal has set stands.
pub async fn run_until_signal_with<Kind>(
    worker: impl IntoWorker<Kind>,
    options: RunOptions,
) -> Result<RunEnded, RunError> {
    let handle = WorkerHandle::new(worker);
    let listening = Listening::begin(&handle, options).map_err(RunError::Signals)?;
    let first = Arc::clone(&listening.first);
    let life = async {
        match handle.startup().await {
            // If it was stopped before it was up, that is how it ended.
            Ok(()) | Err(StartError::Stopped { .. }) => Ok(handle.wait_for_shutdown().await),
            Err(error) => Err(RunError::Start(error)),
        }
    };
    let outcome = tokio::select! {
        ended = life => Ok(ended?),
        () = first.notified() => handle.shutdown().await,
    };
    Ok(RunEnded { outcome, second_signal: listening.end() })
}

/// Why [`run_until_signal`] did not run a worker.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// Signals cannot be caught.
    #[error("signals cannot be caught")]
    Signals(#[source] io::Error),
    /// The worker did not start.
    #[error(transparent)]
    Start(StartError),
}

workfleet_causes::readable!(RunError { Signals(source), Start(error) });

/// How a worker ended that ran until a signal.
#[derive(Clone, Debug)]
pub struct RunEnded {
    outcome: Result<Outcome, StuckError>,
    second_signal: Option<i32>,
}

impl RunEnded {
    /// The worker's outcome; it has none if it is stuck.
    ///
    /// # Errors
    /// The worker blocks its thread.
    pub fn outcome(&self) -> Result<&Outcome, &StuckError> {
        self.outcome.as_ref()
    }

    /// The exit code for the process: 0 after a normal end, 1 if the worker was aborted at its deadline or is stuck, and 2 if it
    /// failed. If a second signal was needed, it is 128 plus the signal's number.
    pub fn exit_code(&self) -> u8 {
        match (self.second_signal, &self.outcome) {
            (Some(signal), _) => u8::try_from(SIGNAL_CODE + signal).unwrap_or(u8::MAX),
            (None, Ok(outcome)) => outcome.code(),
            (None, Err(_)) => 1,
        }
    }

    /// Ends the process with [`exit_code`](Self::exit_code), also if a worker is stuck. (A return from `main` would wait for the
    /// thread that a stuck worker blocks.)
    pub fn exit(self) -> ! {
        process::exit(self.exit_code().into())
    }
}

/// In words, with the workers that were late.
impl std::fmt::Display for RunEnded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.outcome {
            Err(stuck) => stuck.fmt(f),
            Ok(outcome) => {
                outcome.fmt(f)?;
                match outcome.report() {
                    Some(report) if outcome.state() != WorkerState::Stopped => write!(f, "\n{report}"),
                    _ => Ok(()),
                }
            }
        }
    }
}

/// Hears signals while a worker runs.
struct Listening {
    /// Notified by the first signal.
    first: Arc<Notify>,
    /// The number of the second signal; 0 if there was none.
    second: Arc<AtomicI32>,
    /// Dropped when the worker has ended, before the watch: its thread may wait for that.
    running: Option<mpsc::Sender<()>>,
    watch: Option<Watch>,
}

impl Listening {
    fn begin(worker: &WorkerRef, options: RunOptions) -> io::Result<Self> {
        let (running, ended) = mpsc::channel();
        let (first, second) = (Arc::new(Notify::new()), Arc::new(AtomicI32::new(0)));
        let listener = Listener {
            worker: worker.clone(),
            options,
            first: Arc::clone(&first),
            second: Arc::clone(&second),
            ended,
        };
        let watch = Watch::begin("signals", Second::IsHeard, move |heard| listener.listen(heard))?;
        Ok(Self { first, second, running: Some(running), watch: Some(watch) })
    }

    /// The worker has ended. Returns the second signal, if there was one.
    fn end(mut self) -> Option<i32> {
        self.close();
        // The thread has ended.
        let second = self.second.load(Ordering::SeqCst);
        (second != 0).then_some(second)
    }

    fn close(&mut self) {
        self.running.take();
        self.watch.take();
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.close();
    }
}

struct Listener {
    worker: WorkerRef,
    options: RunOptions,
    first: Arc<Notify>,
    second: Arc<AtomicI32>,
    ended: mpsc::Receiver<()>,
}

impl Listener {
    fn listen(self, mut heard: Heard) {
        let Some(signal) = heard.first() else { return };
        tracing::info!(signal, "stopping");
        self.worker.stop_within_grace(StoppedBy::Signal(signal));
        if let Some(margin) = self.options.exit_margin {
            let limit = self.worker.grace().saturating_add(margin);
            if let Err(error) = exit_deadline::arm(self.worker.clone(), limit) {
                workfleet_notice::error!("there is no deadline for the end of this process: {error}");
            }
        }
        self.first.notify_one();

        let Some(signal) = heard.second() else { return };
        tracing::warn!(signal, "aborting");
        self.second.store(signal, Ordering::SeqCst);
        heard.arm();
        self.worker.abort_for(StoppedBy::Signal(signal));
        if self.ended.recv_timeout(ABORT_LIMIT) == Err(mpsc::RecvTimeoutError::Timeout) {
            workfleet_notice::error!("a worker is stuck: ending the process without it");
            process::exit(SIGNAL_CODE + signal);
        }
    }
}
