//! One slot of worker processes: a worker is started, served and reaped, and the next is started.
//!
//! Invariants:
//! - Everything that a worker sent before it died is handled before its tasks go to other workers.
//! - Every process that was started is killed with its group and reaped, on every way out of here.
//! - Every wait for a worker has a limit: for its greeting, its sessions, its death, and its exit.

use std::{
    io::{self, ErrorKind},
    os::fd::OwnedFd,
    sync::{Arc, atomic::AtomicU64, atomic::Ordering},
    time::Duration,
};

use tokio::{
    sync::{Semaphore, mpsc::Sender, watch::Receiver},
    time::timeout,
};
use workfleet_heartbeat::{cores::Patience, remote::Pins};
use workfleet_scheduler::Kill;

use super::{
    held_stdout::HeldStdout,
    logs::{Logs, Taps},
    program::Program,
    spawn::{Process, Spawned, spawn},
    turns::in_turn,
};
use workfleet_causes::with_sources;

use crate::{
    connection::{Connection, Event, HandshakeFailed, Mail, Terms},
    failure::{DeathCertificate, ExitStatus, KillReason},
    guardian::Guardian,
    pool::{Mode, ReadyWorker, Remote, Shared, StartFailure, changed, waits, worker_name, worker_slot},
    protocol::{self, Violation},
    service::WorkerIncarnation,
    sys::status_page::StatusPage,
};

/// How long a killed worker may take to be gone before its tasks go to others all the same.
const REAP_LIMIT: Duration = Duration::from_secs(2);

/// An exiting process closes its socket shortly before it is dead; one that lives on after this has let go of it.
const DEATH_BEHIND_END: Duration = Duration::from_millis(100);

/// A program that ends before it is ready has its exit handlers to run; one that lives on after this is killed.
const EXIT_BEHIND_END: Duration = Duration::from_secs(1);

/// What every slot of a manager starts from.
pub(super) struct Plan {
    pub(super) shared: Arc<Shared>,
    pub(super) program: Program,
    pub(super) guardian: Arc<Guardian>,
    /// A file with the values for the sessions of workers, if there are any.
    pub(super) session_values: Option<Arc<OwnedFd>>,
    /// What they refer to lives for as long as this.
    pub(super) _session_pins: Pins,
    pub(super) terms: Terms,
    pub(super) silence_limit: Duration,
    pub(super) logs: Logs,
    /// Each slot reports here that a worker has come up, or that none will.
    pub(super) first_tries: Sender<Result<(), StartFailure>>,
    pub(super) incarnations: AtomicU64,
    /// Who may start a process now.
    pub(super) spawning: Semaphore,
}

/// A worker process that has shaken hands.
pub(super) struct Worker {
    process: Process,
    connection: Connection,
    status_page: StatusPage,
    taps: Taps,
    /// It was told to exit, and has so long for that.
    exit: Option<Patience>,
}

impl worker_slot::Plan for Plan {
    type Worker = Worker;

    fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    fn first_tries(&self) -> &Sender<Result<(), StartFailure>> {
        &self.first_tries
    }

    async fn start(&self, slot: usize, mode: &mut Receiver<Mode>) -> Result<Worker, StartFailure> {
        start(self, slot, mode).await
    }

    async fn serve(&self, mut worker: Worker, slot: usize, mode: &mut Receiver<Mode>) -> Duration {
        let killed_because = worker.serve(self, slot, mode).await;
        worker.reap(&self.shared, slot, killed_because).await
    }
}

/// Starts a worker up to the point where it takes tasks.
async fn start(plan: &Plan, slot: usize, mode: &mut Receiver<Mode>) -> Result<Worker, StartFailure> {
    let shared = &plan.shared;
    let name: Arc<str> = worker_name(slot).into();
    let holds_stdout = plan.program.arguments.are_for_harness;
    let greeting = plan.terms.welcome(shared, &name, holds_stdout);
    let greeting =
        greeting.map_err(|error| StartFailure::spawn(io::Error::new(ErrorKind::InvalidInput, error)))?;
    let (program, guardian) = (plan.program.clone(), Arc::clone(&plan.guardian));
    let values = plan.session_values.clone();
    let pipe_stdout = plan.logs.takes_stdout();
    let log = plan.logs.of(slot);
    let start = move || {
        let held_stdout = holds_stdout.then(|| HeldStdout::new(pipe_stdout)).transpose()?;
        spawn(&program, &guardian, pipe_stdout, held_stdout, &greeting, values.as_deref())
    };
    let limits = &plan.terms.limits;
    let closing = changed(mode, Mode::Running);
    let spawned = in_turn(&plan.spawning, closing, limits.init, start).await;
    let spawned = spawned.ok_or(StartFailure::Closing)?.map_err(StartFailure::spawn)?;
    let Spawned { mut process, socket, status_page, stdout, stderr } = spawned;
    process.register().map_err(StartFailure::spawn)?;
    let mut taps = plan.logs.tap(&log, stdout, stderr).map_err(StartFailure::spawn)?;
    let incarnation = WorkerIncarnation(plan.incarnations.fetch_add(1, Ordering::Relaxed));
    let mut connection = Connection::new(socket, Arc::clone(&name), incarnation, shared.frame_limit_bytes)
        .map_err(StartFailure::spawn)?;
    let mut greeted = false;
    let ready = tokio::select! {
        biased;
        () = changed(mode, Mode::Running) => Err(HandshakeFailed::Closing),
        ready = connection.shake_hands(shared, &plan.terms, &mut greeted) => ready,
    };
    let Err(failed) = ready else {
        let sender = connection.sender();
        let (tasks, remote) = (sender.clone(), Some(sender.clone() as Arc<dyn Remote>));
        let ready = ReadyWorker { tasks, supervisor: sender.clone(), remote, name, pid: Some(process.id()) };
        shared.worker_ready(slot, ready);
        return Ok(Worker { process, connection, status_page, taps, exit: None });
    };
    let stopped_by = process.stopped_by();
    let exited = match failed {
        HandshakeFailed::Ended => timeout(EXIT_BEHIND_END, process.died()).await.is_ok(),
        HandshakeFailed::Closing if greeted || connection.has_greeted() => {
            // It makes its sessions, or has.
            connection.sender().finish();
            leaves(&mut process, limits.exit, mode).await
        }
        // It goes by itself, once it has ended the sessions before that one.
        HandshakeFailed::Session(_) => leaves(&mut process, limits.exit, mode).await,
        _ => false,
    };
    connection.sender().close();
    let status = process.reap(REAP_LIMIT).await;
    if greeted {
        shared.services.worker_gone(incarnation);
    }
    drop(connection);
    let certificate = DeathCertificate {
        worker: name.to_string(),
        pid: process.id(),
        status,
        killed_because: (!exited).then_some(KillReason::ConnectionEnded),
        stderr_tail: taps.last_words().await,
        charged: None,
    };
    Err(start_failure(failed, certificate, greeted, stopped_by, &plan.terms))
}

fn start_failure(
    failed: HandshakeFailed,
    certificate: DeathCertificate,
    greeted: bool,
    stopped_by: Option<i32>,
    terms: &Terms,
) -> StartFailure {
    let limits = &terms.limits;
    match failed {
        HandshakeFailed::Ended => StartFailure::died(certificate, greeted),
        HandshakeFailed::Closing => StartFailure::Closing,
        HandshakeFailed::NotReached => StartFailure::InitNotReached {
            after: limits.init,
            stopped_by,
            stderr_tail: certificate.stderr_tail,
        },
        HandshakeFailed::SessionsNotMade => {
            StartFailure::SessionTimeout { after: limits.session, stopped_by }
        }
        HandshakeFailed::Version(theirs) => StartFailure::Version { ours: protocol::VERSION, theirs },
        HandshakeFailed::Session(failed) => failed.into(),
        HandshakeFailed::Registry(theirs, only_ours, only_theirs) => {
            StartFailure::Registry { theirs, only_ours, only_theirs }
        }
        HandshakeFailed::Violation(violation) => StartFailure::Violation { reason: with_sources(&violation) },
    }
}

/// Waits for a worker to leave in order, unless the workers are to die. False if it does not within the grace.
async fn leaves(process: &mut Process, grace: Duration, mode: &mut Receiver<Mode>) -> bool {
    let mut patience = waits::patience(grace);
    tokio::select! {
        biased;
        () = changed(mode, Mode::Finishing) => false,
        left = waits::within(&mut patience, process.died()) => left.is_some(),
    }
}

impl Worker {
    /// Serves the worker until it is dead or has to die; why, if it is for us to kill it.
    async fn serve(&mut self, plan: &Plan, slot: usize, mode: &mut Receiver<Mode>) -> Option<KillReason> {
        let shared = &plan.shared;
        // It may have sent more behind its greeting.
        if let Err(violation) = self.connection.handle(shared, slot) {
            return Some(self.violated(&violation));
        }
        let mut last_mode = Mode::Running;
        loop {
            tokio::select! {
                biased;
                () = changed(mode, last_mode) => {
                    last_mode = *mode.borrow();
                    match last_mode {
                        Mode::Killing => return Some(KillReason::Closing),
                        Mode::Finishing => self.retire(plan),
                        // Those that have nothing in hand are let go one by one.
                        Mode::Running | Mode::Leaving => {}
                    }
                }
                event = self.connection.next() => match event {
                    Event::Received => {
                        if let Err(violation) = self.connection.handle(shared, slot) {
                            return Some(self.violated(&violation));
                        }
                    }
                    Event::Ended => return self.disconnected().await,
                    Event::Mail(mail) => match mail {
                        Mail::CatchUp => match self.connection.catch_up(shared, slot) {
                            Ok(None) => {}
                            Ok(Some(kill)) => return Some(self.reason(kill, plan)),
                            Err(violation) => return Some(self.violated(&violation)),
                        },
                        Mail::Retire => self.retire(plan),
                        Mail::BreakOff => return Some(KillReason::ProtocolViolated),
                        Mail::Broken => {
                            // What it has sent counts; and it may have died of itself.
                            if let Err(violation) = self.connection.catch_up(shared, slot) {
                                return Some(self.violated(&violation));
                            }
                            let killed_because = self.disconnected().await;
                            if killed_because.is_none() {
                                self.drain(shared, slot);
                            }
                            return killed_because;
                        }
                        // The connection sees to that.
                        Mail::Blocked => {}
                    },
                },
                () = self.process.died() => {
                    self.drain(shared, slot);
                    return None;
                }
                () = waits::run_out(&mut self.exit) => {
                    return Some(KillReason::NotExited(plan.terms.limits.exit));
                }
            }
        }
    }

    /// Tells the worker to go, and begins to wait for that.
    fn retire(&mut self, plan: &Plan) {
        if self.exit.is_none() {
            self.connection.sender().finish();
            self.exit = Some(waits::patience(plan.terms.limits.exit));
        }
    }

    /// What the core has decided, with what only we know.
    fn reason(&self, kill: Kill, plan: &Plan) -> KillReason {
        let silent_for = plan.silence_limit;
        match (kill, self.process.stopped_by()) {
            (Kill::HeartbeatMissed { timeout }, _) => KillReason::HeartbeatMissed(timeout),
            (Kill::Silent, Some(signal)) => KillReason::Stopped { signal, silent_for },
            (Kill::Silent, None) => KillReason::Silent(silent_for),
        }
    }

    /// The connection can be used no more in one direction at least: because the worker has died, or else it has to.
    async fn disconnected(&mut self) -> Option<KillReason> {
        let dead = timeout(DEATH_BEHIND_END, self.process.died()).await.is_ok();
        (!dead).then_some(KillReason::ConnectionEnded)
    }

    /// Handles what a dead worker left.
    fn drain(&mut self, shared: &Shared, slot: usize) {
        if let Err(violation) = self.connection.drain(shared, slot) {
            self.violated(&violation);
        }
    }

    fn violated(&self, violation: &Violation) -> KillReason {
        let worker = self.connection.peer().worker();
        workfleet_notice::error!(worker, error = %with_sources(violation), "protocol violated");
        KillReason::ProtocolViolated
    }

    /// Kills what is left, reaps it, and gives its tasks to others. Returns how long to wait before the next start.
    async fn reap(mut self, shared: &Shared, slot: usize, killed_because: Option<KillReason>) -> Duration {
        self.connection.sender().close();
        let status = self.process.reap(REAP_LIMIT).await;
        if killed_because.is_some() {
            // What it sent up to its end counts.
            self.drain(shared, slot);
        }
        let certificate = DeathCertificate {
            worker: self.connection.peer().worker().to_owned(),
            pid: self.process.id(),
            status,
            killed_because,
            stderr_tail: self.taps.last_words().await,
            charged: None,
        };
        let (certificate, delay) = shared.worker_gone(slot, &self.status_page.read(), certificate);
        shared.services.worker_gone(self.connection.peer().incarnation());
        let went = self.exit.is_some() && certificate.status == ExitStatus::Exited(0);
        let ended = *shared.mode.borrow() != Mode::Running
            && matches!(certificate.status, ExitStatus::Exited(0) | ExitStatus::Signaled(libc::SIGKILL));
        let not_exited = matches!(killed_because, Some(KillReason::NotExited(_)));
        let expected = went || (ended && !not_exited);
        if !expected {
            tracing::warn!(%certificate, "a worker died");
        }
        delay
    }
}
