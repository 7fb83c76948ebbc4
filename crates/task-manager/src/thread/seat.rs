//! The life of the worker threads on one seat.
//!
//! Invariant: nothing waits for a thread without a limit. One that does not end in time is abandoned: its tasks have
//! ended for everybody else, and it ends when they do.

use std::{
    sync::{
        Arc, Mutex, OnceLock, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use tokio::{
    sync::{Notify, mpsc::Sender, oneshot, watch::Receiver},
    time::timeout,
};
use workfleet_scheduler::Gone;

use super::{exchange::Exchange, line::ThreadLine, worker::ThreadWorker};
use crate::{
    extension::Extensions,
    pool::{Limits, Mode, Seated, Shared, StartFailure, changed, seat, waits, worker_name},
    registry::{Entry, Registry},
    run::{self, STACK_BYTES, open::OpenAttempts, queue::TaskQueue},
    service::{Incarnation, Peer},
    session_values::SessionValues,
};

/// A thread that runs no task ends at once when it is told to, but for the making of its sessions and their destructors.
const IDLE_END: Duration = Duration::from_secs(1);

/// What every seat of a manager starts from.
pub(super) struct Plan {
    pub(super) shared: Arc<Shared>,
    pub(super) registry: Registry,
    /// The values for the sessions of workers.
    pub(super) session_values: Arc<SessionValues>,
    pub(super) entries: Arc<[Entry]>,
    pub(super) together: bool,
    pub(super) backtraces: bool,
    pub(super) limits: Limits,
    pub(super) exchange: Arc<Exchange>,
    /// Each seat reports here that a worker has come up, or that none will.
    pub(super) first_tries: Sender<Result<(), StartFailure>>,
    pub(super) incarnations: AtomicU64,
}

/// A thread that takes tasks.
pub(super) struct Started {
    queue: Arc<TaskQueue>,
    worker: Weak<ThreadWorker>,
    incarnation: Incarnation,
    retired: Arc<Notify>,
    overdue: Arc<Notify>,
    /// Resolves when the thread has ended.
    ended: oneshot::Receiver<()>,
}

impl seat::Plan for Plan {
    type Worker = Started;

    fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    fn first_tries(&self) -> &Sender<Result<(), StartFailure>> {
        &self.first_tries
    }

    async fn start(&self, seat: usize, mode: &mut Receiver<Mode>) -> Result<Started, StartFailure> {
        start(self, seat, mode).await
    }

    async fn serve(&self, worker: Started, seat: usize, mode: &mut Receiver<Mode>) -> Duration {
        worker.serve(self, seat, mode).await;
        Duration::ZERO
    }
}

/// Starts a thread and waits for its sessions.
async fn start(plan: &Plan, seat: usize, mode: &mut Receiver<Mode>) -> Result<Started, StartFailure> {
    let shared = &plan.shared;
    let name: Arc<str> = worker_name(seat).into();
    let incarnation = Incarnation(plan.incarnations.fetch_add(1, Ordering::Relaxed));
    let queue = Arc::new(TaskQueue::default());
    let (retired, overdue) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (mut line, mut peer) = (None, None);
    let worker = Arc::new_cyclic(|weak| {
        let own = line.insert(Arc::new(ThreadLine {
            queue: Arc::clone(&queue),
            entries: Arc::clone(&plan.entries),
            together: plan.together,
            exchange: Arc::clone(&plan.exchange),
            worker: Weak::clone(weak),
            retired: Arc::clone(&retired),
            overdue: Arc::clone(&overdue),
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
            abandoned: AtomicBool::new(false),
            extensions: Extensions::default(),
            exchange: Arc::clone(&plan.exchange),
            peer: peer
                .insert(Peer {
                    line: own.clone(),
                    worker: Arc::clone(&name),
                    incarnation,
                    frame_limit_bytes: shared.frame_limit_bytes,
                })
                .clone(),
        }
    });
    let (Some(line), Some(peer)) = (line, peer) else { unreachable!("both were made with the worker") };
    let weak = Arc::downgrade(&worker);
    let (tell_ready, ready) = oneshot::channel();
    let (tell_ended, mut ended) = oneshot::channel();
    let values = Arc::clone(&plan.session_values);
    let backtraces = plan.backtraces;
    let work = move || {
        let made = run::make_sessions(&worker.registry, &values).map(|sessions| {
            let first = worker.sessions.set(sessions).is_ok();
            debug_assert!(first, "sessions are made once");
        });
        let is_ready = made.is_ok();
        // If nobody waits any more, nobody will hand out tasks.
        if tell_ready.send(made).is_ok() && is_ready {
            worker.run(backtraces);
        }
        // The sessions go with their thread.
        drop(worker);
        // An error means that nobody waits any more: the thread was abandoned.
        let _ = tell_ended.send(());
    };
    let thread = thread::Builder::new().name(format!("workfleet-{name}")).stack_size(STACK_BYTES);
    thread.spawn(work).map_err(StartFailure::spawn)?;
    let mut patience = waits::patience(plan.limits.session);
    let started = tokio::select! {
        biased;
        () = changed(mode, Mode::Running) => Err(StartFailure::Closing),
        ready = waits::within(&mut patience, ready) => match ready {
            Some(Ok(Ok(()))) => Ok(()),
            Some(Ok(Err(failed))) => Err(failed.into()),
            Some(Err(_)) => Err(StartFailure::Session { reason: "the thread ended".into() }),
            None => Err(StartFailure::SessionTimeout { after: plan.limits.session, stopped_by: None }),
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
    plan.exchange.worker_ready(incarnation);
    shared.services.worker_ready(&peer);
    drop(peer);
    shared.worker_ready(seat, Seated { line, name, pid: None });
    Ok(Started { queue, worker: weak, incarnation, retired, overdue, ended })
}

impl Started {
    /// Serves the thread until it has ended, or has to be given up.
    async fn serve(mut self, plan: &Plan, seat: usize, mode: &mut Receiver<Mode>) {
        let mut last_mode = Mode::Running;
        let mut patience = None;
        let mut gone = Gone::Died;
        let ended = loop {
            tokio::select! {
                biased;
                _ = &mut self.ended => break true,
                () = self.overdue.notified() => if plan.shared.overdue(seat).is_some() {
                    gone = Gone::Overdue;
                    break false;
                },
                () = changed(mode, last_mode) => {
                    last_mode = *mode.borrow();
                    self.queue.close();
                    patience = Some(waits::patience(match last_mode {
                        Mode::Killing if !self.queue.running().is_empty() => Duration::ZERO,
                        Mode::Killing => IDLE_END,
                        Mode::Running | Mode::Finishing => plan.limits.exit,
                    }));
                }
                () = self.retired.notified() => patience = Some(waits::patience(plan.limits.exit)),
                () = waits::run_out(&mut patience) => break false,
            }
        };
        if !ended && let Some(worker) = self.worker.upgrade() {
            worker.abandon();
        }
        plan.shared.thread_gone(seat, &self.queue.running(), gone);
        if gone == Gone::Overdue {
            // Only now, when nobody listens to how that ends: what runs beside the one that is late is done elsewhere. The
            // thread ends once all of it has ended.
            self.queue.revoke(None);
            self.queue.close();
        }
        plan.exchange.worker_gone(self.incarnation);
    }
}
