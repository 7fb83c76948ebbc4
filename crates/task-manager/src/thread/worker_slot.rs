//! One slot of worker threads: a thread is started and served, and then the next.
//!
//! Invariant: nothing waits for a thread without a limit. One that does not end in time is abandoned: its tasks have
//! ended for everybody else, and it ends when they do.

use std::{
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::{
    sync::{mpsc::Sender, oneshot, watch::Receiver},
    time::timeout,
};
use workfleet_scheduler::Gone;

use super::{
    connection::{Mail, ThreadConnection},
    exchange::Exchange,
    worker::ThreadWorker,
};
use crate::{
    extension::Extensions,
    pool::{
        Limits, Mode, OwnThread, ReadyWorker, Shared, StartFailure, changed, mailbox::Mailbox, waits,
        worker_name, worker_slot,
    },
    registry::{Registry, entry::Entry},
    run::{STACK_BYTES, kept::Kept, open::OpenAttempts, queue::TaskQueue},
    service::{Peer, WorkerIncarnation},
    session_values::SessionValues,
};

/// Where no grace is given, how long a thread that runs no task has to make its sessions and to end them.
const IDLE_END: Duration = Duration::from_secs(1);

/// What every slot of a manager starts from.
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
    /// Each slot reports here that a worker has come up, or that none will.
    pub(super) first_tries: Sender<Result<(), StartFailure>>,
    pub(super) incarnations: AtomicU64,
}

/// A thread that takes tasks.
pub(super) struct Started {
    queue: Arc<TaskQueue>,
    worker: Weak<ThreadWorker>,
    incarnation: WorkerIncarnation,
    mailbox: Arc<Mailbox<Mail>>,
    /// Resolves when the thread has ended.
    ended: oneshot::Receiver<()>,
}

impl worker_slot::Plan for Plan {
    type Worker = Started;

    fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    fn first_tries(&self) -> &Sender<Result<(), StartFailure>> {
        &self.first_tries
    }

    async fn start(&self, slot: usize, mode: &mut Receiver<Mode>) -> Result<Started, StartFailure> {
        start(self, slot, mode).await
    }

    async fn serve(&self, worker: Started, slot: usize, mode: &mut Receiver<Mode>) -> Duration {
        worker.serve(self, slot, mode).await;
        Duration::ZERO
    }
}

/// Starts a thread and waits for its sessions.
async fn start(plan: &Plan, slot: usize, mode: &mut Receiver<Mode>) -> Result<Started, StartFailure> {
    let shared = &plan.shared;
    let name: Arc<str> = worker_name(slot).into();
    let incarnation = WorkerIncarnation(plan.incarnations.fetch_add(1, Ordering::Relaxed));
    let queue = Arc::new(TaskQueue::default());
    let mailbox = Arc::new(Mailbox::default());
    let (mut connection, mut peer) = (None, None);
    let worker = Arc::new_cyclic(|weak| {
        let own = connection.insert(Arc::new(ThreadConnection {
            queue: Arc::clone(&queue),
            entries: Arc::clone(&plan.entries),
            together: plan.together,
            exchange: Arc::clone(&plan.exchange),
            worker: Weak::clone(weak),
            mailbox: Arc::clone(&mailbox),
        }));
        ThreadWorker {
            name: Arc::clone(&name),
            slot,
            shared: Arc::clone(shared),
            registry: plan.registry.clone(),
            entries: Arc::clone(&plan.entries),
            queue: Arc::clone(&queue),
            sessions: Kept::default(),
            open: Mutex::new(OpenAttempts::default()),
            abandoned: AtomicBool::new(false),
            extensions: Extensions::default(),
            exchange: Arc::clone(&plan.exchange),
            peer: peer
                .insert(Peer {
                    sender: own.clone(),
                    remote: None,
                    worker: Arc::clone(&name),
                    incarnation,
                    frame_limit_bytes: shared.frame_limit_bytes,
                })
                .clone(),
        }
    });
    let (Some(connection), Some(peer)) = (connection, peer) else {
        unreachable!("both were made with the worker")
    };
    let weak = Arc::downgrade(&worker);
    let (tell_ready, ready) = oneshot::channel();
    let (tell_ended, mut ended) = oneshot::channel();
    let values = Arc::clone(&plan.session_values);
    let backtraces = plan.backtraces;
    let work = move || {
        let _own = OwnThread::of(&worker.shared);
        let made = worker.sessions.make(&worker.registry, &values);
        let is_ready = made.is_ok();
        // If nobody waits any more, nobody will hand out tasks.
        if tell_ready.send(made).is_ok() && is_ready {
            worker.run(backtraces);
        }
        worker.sessions.end();
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
        // It may just have become ready, and would wait for tasks forever.
        queue.close();
        let is_to_end = matches!(failure, StartFailure::Closing | StartFailure::Session { .. });
        if is_to_end && !ends(&mut ended, plan.limits.exit, mode).await {
            workfleet_notice::warn!(worker = %name, "{NOT_ENDED}");
        }
        return Err(failure);
    }
    plan.exchange.worker_ready(incarnation);
    shared.services.worker_ready(&peer);
    drop(peer);
    shared.worker_ready(
        slot,
        ReadyWorker { tasks: connection.clone(), supervisor: connection, remote: None, name, pid: None },
    );
    Ok(Started { queue, worker: weak, incarnation, mailbox, ended })
}

/// What is said of a thread that is given up though no task runs there: a session is being made or dropped.
const NOT_ENDED: &str = "a thread has not ended within the grace and is left alone";

/// Waits for a thread to end. False if it does not within the grace, or, where there is none, almost at once.
async fn ends(ended: &mut oneshot::Receiver<()>, grace: Duration, mode: &mut Receiver<Mode>) -> bool {
    let mut patience = waits::patience(grace);
    tokio::select! {
        biased;
        within = waits::within(&mut patience, &mut *ended) => return within.is_some(),
        () = changed(mode, Mode::Finishing) => {}
    }
    timeout(IDLE_END.min(grace), ended).await.is_ok()
}

impl Started {
    /// Serves the thread until it has ended, or has to be given up.
    async fn serve(mut self, plan: &Plan, slot: usize, mode: &mut Receiver<Mode>) {
        let mut last_mode = Mode::Running;
        let mut patience = None;
        let mut gone = Gone::Died;
        let ended = loop {
            tokio::select! {
                biased;
                _ = &mut self.ended => break true,
                mail = self.mailbox.next() => match mail {
                    // What a thread says is handled before it goes on.
                    Mail::CatchUp => if plan.shared.caught_up(slot, Instant::now()).is_some() {
                        gone = Gone::Overdue;
                        break false;
                    },
                    Mail::Retire => {
                        patience.get_or_insert_with(|| waits::patience(plan.limits.exit));
                    }
                },
                () = changed(mode, last_mode) => {
                    last_mode = *mode.borrow();
                    match last_mode {
                        Mode::Killing => {
                            self.queue.close();
                            let is_idle = self.queue.running().is_empty();
                            patience = Some(waits::patience(if is_idle { IDLE_END } else { Duration::ZERO }));
                        }
                        Mode::Finishing => {
                            self.queue.close();
                            patience.get_or_insert_with(|| waits::patience(plan.limits.exit));
                        }
                        // Those that have nothing in hand are let go one by one.
                        Mode::Running | Mode::Leaving => {}
                    }
                }
                () = waits::run_out(&mut patience) => break false,
            }
        };
        if !ended && let Some(worker) = self.worker.upgrade() {
            if gone == Gone::Died && self.queue.running().is_empty() {
                workfleet_notice::warn!(worker = &*worker.name, "{NOT_ENDED}");
            }
            worker.abandon();
            ThreadWorker::let_go(worker);
        }
        plan.shared.thread_gone(slot, &self.queue.running(), gone);
        if gone == Gone::Overdue {
            // Only now, when nobody listens to how that ends: what runs beside the one that is late is done elsewhere. The
            // thread ends once all of it has ended.
            self.queue.revoke(None);
            self.queue.close();
        }
        plan.exchange.worker_gone(self.incarnation);
    }
}
