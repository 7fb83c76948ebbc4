//! The life of the worker threads on one seat.
//!
//! Invariant: nothing waits for a thread without a limit. One that does not end in time is abandoned: its tasks have
//! ended for everybody else, and it ends when they do.

use std::{
    sync::{
        Arc, Mutex, OnceLock, Weak,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use tokio::{
    sync::{Notify, oneshot, watch::Receiver},
    time::{Instant, sleep, sleep_until, timeout},
};

use super::{exchange::Exchange, line::ThreadLine, worker::ThreadWorker};
use crate::{
    extension::Extensions,
    pool::{Limits, Mode, Seated, Shared, StartFailure, changed, worker_name},
    registry::{Entry, Registry, with_sources},
    run::{self, STACK_BYTES, open::OpenAttempts, queue::TaskQueue},
    service::{Incarnation, Peer},
};

/// A thread that runs no task ends at once when it is told to, but for the making of its sessions and their destructors.
const IDLE_END: Duration = Duration::from_secs(1);

/// What every seat of a manager starts from.
pub(super) struct Plan {
    pub(super) shared: Arc<Shared>,
    pub(super) registry: Registry,
    pub(super) entries: Arc<[Entry]>,
    pub(super) together: bool,
    pub(super) limits: Limits,
    pub(super) exchange: Arc<Exchange>,
    /// Each first try of a seat reports here.
    pub(super) first_tries: std::sync::mpsc::Sender<Result<(), StartFailure>>,
    pub(super) incarnations: AtomicU64,
}

/// A thread that takes tasks.
struct Started {
    queue: Arc<TaskQueue>,
    worker: Weak<ThreadWorker>,
    incarnation: Incarnation,
    retired: Arc<Notify>,
    /// Resolves when the thread has ended.
    ended: oneshot::Receiver<()>,
}

/// Keeps a thread on `seat` until the manager closes.
pub(super) async fn run(plan: Arc<Plan>, seat: usize) {
    let shared = Arc::clone(&plan.shared);
    let mut mode = shared.mode.subscribe();
    let mut first_try = Some(plan.first_tries.clone());
    while *mode.borrow() == Mode::Running {
        let delay = match start(&plan, seat, &mut mode).await {
            Ok(worker) => {
                if let Some(first_try) = first_try.take() {
                    let _ = first_try.send(Ok(()));
                }
                worker.serve(&plan, seat, &mut mode).await;
                Duration::ZERO
            }
            Err(StartFailure::Closing) => break,
            Err(failure) => {
                tracing::warn!(worker = seat, error = %with_sources(&failure), "a worker did not start");
                let delay = shared.start_failed(&failure);
                if let Some(first_try) = first_try.take() {
                    let _ = first_try.send(Err(failure));
                }
                delay
            }
        };
        if !delay.is_zero() {
            tokio::select! {
                biased;
                () = changed(&mut mode, Mode::Running) => break,
                () = sleep(delay) => {}
            }
        }
    }
}

/// Starts a thread and waits for its sessions.
async fn start(plan: &Plan, seat: usize, mode: &mut Receiver<Mode>) -> Result<Started, StartFailure> {
    let shared = &plan.shared;
    let name: Arc<str> = worker_name(seat).into();
    let incarnation = Incarnation(plan.incarnations.fetch_add(1, Ordering::Relaxed));
    let queue = Arc::new(TaskQueue::default());
    let retired = Arc::new(Notify::new());
    let mut line = None;
    let worker = Arc::new_cyclic(|weak| {
        let own = line.insert(Arc::new(ThreadLine {
            queue: Arc::clone(&queue),
            entries: Arc::clone(&plan.entries),
            together: plan.together,
            exchange: Arc::clone(&plan.exchange),
            worker: Weak::clone(weak),
            retired: Arc::clone(&retired),
        }));
        ThreadWorker {
            name: Arc::clone(&name),
            seat,
            shared: Arc::clone(shared),
            registry: plan.registry.clone(),
            entries: Arc::clone(&plan.entries),
            queue: Arc::clone(&queue),
            sessions: OnceLock::new(),
            open: Mutex::new(OpenAttempts::default()),
            extensions: Extensions::default(),
            exchange: Arc::clone(&plan.exchange),
            peer: Peer {
                line: own.clone(),
                worker: Arc::clone(&name),
                incarnation,
                frame_limit_bytes: shared.frame_limit_bytes,
            },
        }
    });
    let Some(line) = line else { unreachable!("it was made with the worker") };
    let weak = Arc::downgrade(&worker);
    let (tell_ready, ready) = oneshot::channel();
    let (tell_ended, mut ended) = oneshot::channel();
    let work = move || {
        let made = run::make_sessions(&worker.registry).map(|sessions| {
            let first = worker.sessions.set(sessions).is_ok();
            debug_assert!(first, "sessions are made once");
        });
        let is_ready = made.is_ok();
        // If nobody waits any more, nobody will hand out tasks.
        if tell_ready.send(made).is_ok() && is_ready {
            worker.run();
        }
        // The sessions go with their thread.
        drop(worker);
        let _ = tell_ended.send(());
    };
    let thread = thread::Builder::new().name(format!("workfleet-{name}")).stack_size(STACK_BYTES);
    thread.spawn(work).map_err(StartFailure::spawn)?;
    let started = tokio::select! {
        biased;
        () = changed(mode, Mode::Running) => Err(StartFailure::Closing),
        ready = timeout(plan.limits.session, ready) => match ready {
            Ok(Ok(Ok(()))) => Ok(()),
            Ok(Ok(Err(reason))) => Err(StartFailure::Session { reason }),
            Ok(Err(_)) => Err(StartFailure::Session { reason: "the thread ended".into() }),
            Err(_) => Err(StartFailure::SessionTimeout { after: plan.limits.session }),
        },
    };
    if let Err(failure) = started {
        // It may just have become ready, and would wait for tasks for ever.
        queue.close();
        if matches!(failure, StartFailure::Closing) && timeout(IDLE_END, &mut ended).await.is_err() {
            tracing::warn!(worker = %name, "a thread still makes its sessions and is left alone");
        }
        return Err(failure);
    }
    shared.worker_ready(seat, Seated { line, name, pid: None });
    Ok(Started { queue, worker: weak, incarnation, retired, ended })
}

impl Started {
    /// Serves the thread until it has ended, or has to be given up.
    async fn serve(mut self, plan: &Plan, seat: usize, mode: &mut Receiver<Mode>) {
        let mut last_mode = Mode::Running;
        let mut deadline = None;
        let ended = loop {
            tokio::select! {
                biased;
                _ = &mut self.ended => break true,
                () = changed(mode, last_mode) => {
                    last_mode = *mode.borrow();
                    self.queue.close();
                    deadline = Some(Instant::now() + match last_mode {
                        Mode::Killing if !self.queue.running().is_empty() => Duration::ZERO,
                        Mode::Killing => IDLE_END,
                        Mode::Running | Mode::Finishing => plan.limits.exit,
                    });
                }
                () = self.retired.notified() => deadline = Some(Instant::now() + plan.limits.exit),
                () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => break false,
            }
        };
        if !ended && let Some(worker) = self.worker.upgrade() {
            worker.abandon();
        }
        plan.shared.thread_gone(seat, &self.queue.running());
        plan.exchange.worker_gone(self.incarnation);
    }
}
