//! The life of the workers on one seat: started, served, buried, and started again.
//!
//! Invariants:
//! - Whatever a worker sent before it died is handled before its tasks go to others.
//! - Every process that was started is killed with its group and reaped, on every way out of here.
//! - Nothing waits for a worker without a limit: not its greeting, its sessions, its death, nor its exit.

use std::{
    io::{self, ErrorKind},
    os::fd::OwnedFd,
    sync::{Arc, atomic::AtomicU64, atomic::Ordering},
    thread,
    time::Duration,
};

use tokio::{
    io::Interest,
    sync::{Semaphore, mpsc::Sender, oneshot, watch::Receiver},
    time::timeout,
};
use workfleet_heartbeat::{cores::ThrottleLimits, remote::Pins};
use workfleet_wire::{Decoder, FrameRef, kinds};

use super::{
    link::Link,
    logs::{Logs, Taps},
    spawn::{Process, Program, Spawned, spawn},
};
use crate::{
    causes::with_sources,
    failure::{DeathCertificate, ExitStatus, KillReason},
    guardian::Guardian,
    pool::{Limits, Line, Mode, Seated, Shared, StartFailure, changed, guarded, seat, waits, worker_name},
    protocol::{self, Hello, StartFailed, Violation, Welcome},
    registry::Registry,
    service::{Incarnation, Peer, SERVICE_KINDS},
    session_values::SessionFailed,
    sys::{
        naming::Naming,
        page::Page,
        socket,
        watch::{Watched, watch},
    },
};

/// How long a killed worker may take to be gone before its tasks go to others all the same.
const BURIAL_LIMIT: Duration = Duration::from_secs(2);

/// An exiting process closes its socket shortly before it is dead; one that lives on after this has let go of it.
const DEATH_BEHIND_END: Duration = Duration::from_millis(100);

/// A program that ends before it is ready has its exit handlers to run; one that lives on after this is killed.
const EXIT_BEHIND_END: Duration = Duration::from_secs(1);

/// What every seat of a manager starts from.
pub(super) struct Plan {
    pub(super) shared: Arc<Shared>,
    pub(super) program: Program,
    pub(super) guardian: Arc<Guardian>,
    /// A file with the values for the sessions of workers, if there are any.
    pub(super) session_values: Option<Arc<OwnedFd>>,
    /// What they refer to lives for as long as this.
    pub(super) _session_pins: Pins,
    pub(super) registry: Registry,
    pub(super) async_tasks: u32,
    pub(super) limits: Limits,
    pub(super) silence_limit: Duration,
    pub(super) throttle: ThrottleLimits,
    pub(super) backtraces: bool,
    pub(super) logs: Logs,
    /// Each seat reports here that a worker has come up, or that none will.
    pub(super) first_tries: Sender<Result<(), StartFailure>>,
    pub(super) incarnations: AtomicU64,
    /// Who may start a process now.
    pub(super) spawning: Semaphore,
}

/// A worker process that has shaken hands.
pub(super) struct Worker {
    process: Process,
    connection: Watched,
    decoder: Decoder,
    page: Page,
    taps: Taps,
    link: Arc<Link>,
    peer: Peer,
    /// It was told to exit.
    is_to_go: bool,
}

impl seat::Plan for Plan {
    type Worker = Worker;

    fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    fn first_tries(&self) -> &Sender<Result<(), StartFailure>> {
        &self.first_tries
    }

    async fn start(&self, seat: usize, mode: &mut Receiver<Mode>) -> Result<Worker, StartFailure> {
        start(self, seat, mode).await
    }

    async fn serve(&self, mut worker: Worker, seat: usize, mode: &mut Receiver<Mode>) -> Duration {
        let killed_because = worker.serve(self, seat, mode).await;
        worker.bury(&self.shared, seat, killed_because).await
    }
}

/// Starts a worker up to the point where it takes tasks.
async fn start(plan: &Plan, seat: usize, mode: &mut Receiver<Mode>) -> Result<Worker, StartFailure> {
    let shared = &plan.shared;
    let name: Arc<str> = worker_name(seat).into();
    let welcome = Welcome {
        registry_digest: plan.registry.digest(),
        worker: name.to_string(),
        manager: shared.id,
        priority_levels: shared.levels,
        frame_limit_bytes: shared.frame_limit_bytes,
        children_limit: shared.children_limit,
        async_tasks: plan.async_tasks,
        throttle: plan.throttle.into(),
        backtraces: plan.backtraces,
    };
    let mut greeting = Vec::new();
    protocol::push_greeting(kinds::WELCOME, protocol::VERSION, &welcome, &mut greeting)
        .map_err(|error| StartFailure::spawn(io::Error::new(ErrorKind::InvalidInput, error)))?;
    let (program, guardian) = (plan.program.clone(), Arc::clone(&plan.guardian));
    let values = plan.session_values.clone();
    let pipe_stdout = plan.logs.takes_stdout();
    // Whose turn it is has as long as any other: the time counts from there.
    let permit = tokio::select! {
        biased;
        () = changed(mode, Mode::Running) => return Err(StartFailure::Closing),
        permit = plan.spawning.acquire() => permit,
    };
    let log = plan.logs.of(seat);
    let start = move || spawn(&program, &guardian, pipe_stdout, &greeting, values.as_deref());
    let spawned = off_this_thread(plan.limits.init, start).await;
    drop(permit);
    let spawned = spawned.map_err(StartFailure::spawn)?;
    let Spawned { mut process, socket, page, stdout, stderr } = spawned;
    process.watch().map_err(StartFailure::spawn)?;
    let mut taps = plan.logs.tap(&log, stdout, stderr).map_err(StartFailure::spawn)?;
    let socket = Arc::new(socket);
    let connection = watch(Arc::clone(&socket), Interest::READABLE).map_err(StartFailure::spawn)?;
    let mut decoder = Decoder::new(protocol::limit_bytes(shared.frame_limit_bytes));

    let link = Arc::new(Link::new(Arc::clone(&socket)));
    let peer = Peer {
        line: link.clone(),
        worker: Arc::clone(&name),
        incarnation: Incarnation(plan.incarnations.fetch_add(1, Ordering::Relaxed)),
        frame_limit_bytes: shared.frame_limit_bytes,
    };
    let mut greeted = false;
    let ready = tokio::select! {
        biased;
        () = changed(mode, Mode::Running) => Err(GreetFailed::Closing),
        ready = greet(&connection, &mut decoder, plan, (&link, &peer), &mut greeted) => ready,
    };
    match ready {
        Ok(()) => {
            shared.worker_ready(seat, Seated { line: link.clone(), name, pid: Some(process.id()) });
            Ok(Worker { process, connection, decoder, page, taps, link, peer, is_to_go: false })
        }
        Err(failed) => {
            let stopped_by = process.stopped_by();
            let exited = match failed {
                GreetFailed::Ended => timeout(EXIT_BEHIND_END, process.died()).await.is_ok(),
                GreetFailed::Closing if greeted || has_greeted(&socket, &mut decoder) => {
                    // It makes its sessions, or has.
                    link.finish();
                    leaves(&mut process, plan.limits.exit, mode).await
                }
                // It goes by itself, once it has ended the sessions before that one.
                GreetFailed::Session(_) => leaves(&mut process, plan.limits.exit, mode).await,
                _ => false,
            };
            link.close();
            let status = process.bury(BURIAL_LIMIT).await;
            if greeted {
                shared.services.worker_gone(peer.incarnation());
            }
            link.all_caught_up();
            let certificate = DeathCertificate {
                worker: name.to_string(),
                pid: process.id(),
                status,
                killed_because: (!exited).then_some(KillReason::ConnectionEnded),
                stderr_tail: taps.last_words().await,
                charged: None,
            };
            Err(failed.into_failure(certificate, greeted, stopped_by, &plan.limits))
        }
    }
}

/// Does what it takes to start a process on a thread of its own: that takes a millisecond, or forever where the program's
/// file cannot be read, and the other workers go on. Not on the runtime's threads, which panic where the system allows no
/// more of them.
async fn off_this_thread<T: Send + 'static>(
    limit: Duration,
    start: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let (tell, told) = oneshot::channel();
    let run = move || {
        if tell.is_closed() {
            return;
        }
        // What nobody waits for any more is killed where it is dropped.
        drop(tell.send(start()));
    };
    thread::Builder::new().name("workfleet-start".into()).spawn(run).naming("starting a thread")?;
    match waits::within(&mut waits::patience(limit), told).await {
        Some(told) => {
            told.unwrap_or_else(|_| Err(io::Error::other("the thread that starts workers panicked")))
        }
        None => {
            let reason = format!("the process has not been started within {limit:?}");
            Err(io::Error::new(ErrorKind::TimedOut, reason))
        }
    }
}

/// Why a worker is not ready.
enum GreetFailed {
    /// The connection ended before it was.
    Ended,
    /// The manager closes.
    Closing,
    NotReached,
    SessionsNotMade,
    Version(u16),
    Session(SessionFailed),
    /// The worker's digest, and what only we have and only the worker has.
    Registry(u64, Vec<String>, Vec<String>),
    Violation(Violation),
}

impl From<Violation> for GreetFailed {
    fn from(violation: Violation) -> Self {
        Self::Violation(violation)
    }
}

impl GreetFailed {
    fn into_failure(
        self,
        certificate: DeathCertificate,
        greeted: bool,
        stopped_by: Option<i32>,
        limits: &Limits,
    ) -> StartFailure {
        match self {
            Self::Ended => StartFailure::died(certificate, greeted),
            Self::Closing => StartFailure::Closing,
            Self::NotReached => StartFailure::InitNotReached {
                after: limits.init,
                stopped_by,
                stderr_tail: certificate.stderr_tail,
            },
            Self::SessionsNotMade => StartFailure::SessionTimeout { after: limits.session, stopped_by },
            Self::Version(theirs) => StartFailure::Version { ours: protocol::VERSION, theirs },
            Self::Session(failed) => failed.into(),
            Self::Registry(theirs, only_ours, only_theirs) => {
                StartFailure::Registry { theirs, only_ours, only_theirs }
            }
            Self::Violation(violation) => StartFailure::Violation { reason: with_sources(&violation) },
        }
    }
}

/// Waits for the worker's greeting, and notes that it has come; then for its sessions, and serves it meanwhile: what makes
/// them may use events.
async fn greet(
    connection: &Watched,
    decoder: &mut Decoder,
    plan: &Plan,
    (link, peer): (&Link, &Peer),
    greeted: &mut bool,
) -> Result<(), GreetFailed> {
    let services = &plan.shared.services;
    let mut patience = waits::patience(plan.limits.init);
    loop {
        while let Some(FrameRef { kind, payload }) = decoder.next_frame().map_err(Violation::from)? {
            match kind {
                kinds::HELLO if !*greeted => {
                    let hello: Hello =
                        protocol::decode_greeting(kind, payload)?.map_err(GreetFailed::Version)?;
                    if hello.registry_digest != plan.registry.digest() {
                        let (only_ours, only_theirs) = hello.names.compare(&plan.registry);
                        return Err(GreetFailed::Registry(hello.registry_digest, only_ours, only_theirs));
                    }
                    *greeted = true;
                    services.worker_ready(peer);
                    patience = waits::patience(plan.limits.session);
                }
                kinds::IDLE if *greeted => return Ok(()),
                kinds::START_FAILED if *greeted => {
                    let StartFailed { reason, of_value } = protocol::decode(kind, payload)?;
                    let failed = if of_value { SessionFailed::Value } else { SessionFailed::Made };
                    return Err(GreetFailed::Session(failed(reason)));
                }
                _ if *greeted && SERVICE_KINDS.contains(&kind.0) => {
                    services.hand_over(peer, vec![(kind, payload.into())])?;
                }
                _ => return Err(Violation::OutOfTurn { kind }.into()),
            }
        }
        match waits::within(&mut patience, receive_or_send(connection, decoder, link)).await {
            Some(true) => {}
            Some(false) => return Err(GreetFailed::Ended),
            None if *greeted => return Err(GreetFailed::SessionsNotMade),
            None => return Err(GreetFailed::NotReached),
        }
    }
}

/// Waits for bytes and takes what is there, and sends meanwhile what waits to be sent. False: the connection has ended, or is
/// to end.
///
/// # Cancel safety
/// Dropping this future loses nothing.
async fn receive_or_send(connection: &Watched, decoder: &mut Decoder, link: &Link) -> bool {
    loop {
        tokio::select! {
            biased;
            received = receive(connection, decoder) => return received,
            () = link.broken.notified() => return false,
            () = link.broken_off.notified() => return false,
            // If it fails, the link is broken.
            () = link.writable_again() => {
                link.send();
            }
            // Nothing has come that was not handled.
            () = link.behind.notified() => link.take_catch_ups().into_iter().for_each(guarded),
        }
    }
}

/// Whether the worker's greeting has come, to be read.
fn has_greeted(socket: &OwnedFd, decoder: &mut Decoder) -> bool {
    while let Ok(received_bytes @ 1..) = socket::receive_now(socket, decoder.spare()) {
        decoder.advance(received_bytes);
    }
    // What else it may be ends with the process.
    matches!(decoder.next_frame(), Ok(Some(FrameRef { kind: kinds::HELLO, .. })))
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

/// Waits for bytes and takes what is there. False: the connection has ended.
///
/// # Cancel safety
/// Dropping this future loses nothing: it waits only before it takes.
async fn receive(connection: &Watched, decoder: &mut Decoder) -> bool {
    loop {
        // An error means that the runtime is going.
        let Ok(mut ready) = connection.readable().await else { return false };
        let space = decoder.spare();
        let space_bytes = space.len();
        match socket::receive_now(&**connection.get_ref(), space) {
            Ok(0) => return false,
            Ok(received_bytes) => {
                decoder.advance(received_bytes);
                if received_bytes < space_bytes {
                    // The socket is empty. What comes later is a new event, which this does not clear.
                    ready.clear_ready();
                }
                return true;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => ready.clear_ready(),
            // Reset: the worker died with frames of ours unread.
            Err(_) => return false,
        }
    }
}

/// At the end of its burial, when what it had in hand is on its way to others and is not judged for its silence any more;
/// also where the manager's thread has failed: who waits to catch up must not wait for ever.
impl Drop for Worker {
    fn drop(&mut self) {
        self.link.all_caught_up();
    }
}

impl Worker {
    /// Serves the worker until it is dead or has to die; why, if it is for us to kill it.
    async fn serve(&mut self, plan: &Plan, seat: usize, mode: &mut Receiver<Mode>) -> Option<KillReason> {
        let shared = &plan.shared;
        // It may have sent more behind its greeting.
        if let Err(violation) = shared.handle_frames(seat, &mut self.decoder, &self.peer) {
            return Some(self.violated(&violation));
        }
        let link = Arc::clone(&self.link);
        let mut last_mode = Mode::Running;
        let mut exit_patience = None;
        loop {
            tokio::select! {
                biased;
                () = changed(mode, last_mode) => {
                    last_mode = *mode.borrow();
                    match last_mode {
                        Mode::Killing => return Some(KillReason::Closing),
                        Mode::Finishing => link.retire(),
                        // Those that have nothing in hand are let go one by one.
                        Mode::Running | Mode::Leaving => {}
                    }
                }
                received = receive(&self.connection, &mut self.decoder) => {
                    if !received {
                        return self.disconnected().await;
                    }
                    if let Err(violation) = shared.handle_frames(seat, &mut self.decoder, &self.peer) {
                        return Some(self.violated(&violation));
                    }
                }
                () = link.broken.notified() => {
                    // What it has sent counts; and it may have died of itself.
                    if let Err(violation) = self.catch_up(shared, seat) {
                        return Some(self.violated(&violation));
                    }
                    let killed_because = self.disconnected().await;
                    if killed_because.is_none() {
                        self.drain(shared, seat);
                    }
                    return killed_because;
                }
                () = link.writable_again() => {
                    // If it fails, the branch above is told.
                    link.send();
                }
                () = self.process.died() => {
                    self.drain(shared, seat);
                    return None;
                }
                () = link.behind.notified() => {
                    // Those who ask from now on ask for what comes from now on.
                    let waiting = link.take_catch_ups();
                    let caught_up = self.catch_up(shared, seat);
                    waiting.into_iter().for_each(guarded);
                    if let Err(violation) = caught_up {
                        return Some(self.violated(&violation));
                    }
                }
                () = link.retired.notified() => if exit_patience.is_none() {
                    link.finish();
                    self.is_to_go = true;
                    exit_patience = Some(waits::patience(plan.limits.exit));
                },
                () = link.silent.notified() => {
                    // We may be the one who was late: what it has sent counts.
                    if let Err(violation) = self.catch_up(shared, seat) {
                        return Some(self.violated(&violation));
                    }
                    if shared.is_silent(seat) {
                        let silent_for = plan.silence_limit;
                        return Some(match self.process.stopped_by() {
                            Some(signal) => KillReason::Stopped { signal, silent_for },
                            None => KillReason::Silent(silent_for),
                        });
                    }
                }
                () = link.broken_off.notified() => return Some(KillReason::ProtocolViolated),
                () = link.overdue.notified() => {
                    // It may just have ended.
                    if let Err(violation) = self.catch_up(shared, seat) {
                        return Some(self.violated(&violation));
                    }
                    if let Some(timeout) = shared.overdue(seat) {
                        return Some(KillReason::HeartbeatMissed(timeout));
                    }
                }
                () = waits::run_out(&mut exit_patience) => {
                    return Some(KillReason::NotExited(plan.limits.exit));
                }
            }
        }
    }

    /// The connection can be used no more in one direction at least: because the worker has died, or else it has to.
    async fn disconnected(&mut self) -> Option<KillReason> {
        let dead = timeout(DEATH_BEHIND_END, self.process.died()).await.is_ok();
        (!dead).then_some(KillReason::ConnectionEnded)
    }

    /// Handles what the worker has sent up to now. What it sends meanwhile can wait: it may never end.
    fn catch_up(&mut self, shared: &Shared, seat: usize) -> Result<(), Violation> {
        let mut left_bytes = socket::waiting_bytes(&**self.connection.get_ref());
        while left_bytes > 0 {
            match socket::receive_now(&**self.connection.get_ref(), self.decoder.spare()) {
                // The end will be seen by whoever reads next.
                Ok(0) | Err(_) => break,
                Ok(received_bytes) => {
                    self.decoder.advance(received_bytes);
                    left_bytes = left_bytes.saturating_sub(received_bytes as u64);
                }
            }
            shared.handle_frames(seat, &mut self.decoder, &self.peer)?;
        }
        Ok(())
    }

    /// Handles what a dead worker left in the socket. It does not wait for the end of the stream: a process that the
    /// worker started may hold the other end open.
    fn drain(&mut self, shared: &Shared, seat: usize) {
        loop {
            match socket::receive_now(&**self.connection.get_ref(), self.decoder.spare()) {
                // Its end, or, if another process holds the other end, nothing more.
                Ok(0) | Err(_) => return,
                Ok(received_bytes) => self.decoder.advance(received_bytes),
            }
            if let Err(violation) = shared.handle_frames(seat, &mut self.decoder, &self.peer) {
                self.violated(&violation);
                return;
            }
        }
    }

    fn violated(&self, violation: &Violation) -> KillReason {
        tracing::error!(worker = self.peer.worker(), error = %with_sources(violation), "protocol violated");
        KillReason::ProtocolViolated
    }

    /// Kills what is left, reaps it, and gives its tasks to others. Returns how long to wait before the next start.
    async fn bury(mut self, shared: &Shared, seat: usize, killed_because: Option<KillReason>) -> Duration {
        self.link.close();
        let status = self.process.bury(BURIAL_LIMIT).await;
        if killed_because.is_some() {
            // What it sent up to its end counts.
            self.drain(shared, seat);
        }
        let certificate = DeathCertificate {
            worker: self.peer.worker().to_owned(),
            pid: self.process.id(),
            status,
            killed_because,
            stderr_tail: self.taps.last_words().await,
            charged: None,
        };
        let (certificate, delay) = shared.worker_gone(seat, &self.page.read(), certificate);
        shared.services.worker_gone(self.peer.incarnation());
        let went = self.is_to_go && certificate.status == ExitStatus::Exited(0);
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
