//! The program's side: it starts the guardian, tells it of each worker, and starts it again where it dies.
//!
//! One guardian serves every manager of this process that starts its workers from the same program. It is started before the
//! first worker, and ended and reaped when the last of these managers is closed.
//!
//! Invariants:
//! - A guardian that is to be ended is killed before its socket is closed: it takes the end of that for the program's death.
//! - No guardian waits for this process, and this process waits for a guardian that does not read at most [`PATIENCE`], never
//!   on a manager's thread. After that, another takes its place and is told everything.
//! - In a process that was forked from this one, nothing of this acts: it is another program, with a guardian of its own.

use std::{
    collections::BTreeMap,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    process::{self, Child},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError, Weak,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    net::{AddressFamily, SocketFlags, SocketType, socketpair},
    process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, pidfd_send_signal, waitid},
};

use workfleet_fork::{Home, PerProcess};

use super::record::Record;
use crate::{
    markers,
    process::{Program, reap},
    sys::{descriptor, naming::Naming, pidfd, socket},
};

/// How long a guardian may not read while its socket is full, before another takes its place.
const PATIENCE: Duration = Duration::from_secs(2);
/// How soon a guardian is started again that died before it was one; longer each time.
const FIRST_DELAY: Duration = Duration::from_millis(10);
const LONGEST_DELAY: Duration = Duration::from_secs(1);
/// How soon to try again where the system cannot tell when to.
const WITHOUT_EVENT: Duration = Duration::from_millis(1);
/// How long a closing manager waits for the guardian to be reaped: it was killed.
const END_LIMIT: Duration = Duration::from_secs(1);

/// The guardians of this process.
static GUARDIANS: PerProcess<Mutex<Vec<Weak<Guardian>>>> = PerProcess::new();

/// A guardian, and what it is to know.
#[derive(Debug)]
pub(crate) struct Guardian {
    program: Program,
    home: Home,
    state: Mutex<State>,
    /// A guardian process was started or has ended, or this guardian is to end.
    changed: Condvar,
    /// Workers that are reaped, of which the guardian has not been told.
    forgotten: Mutex<Vec<u64>>,
    next_id: AtomicU64,
    /// Disconnected when the thread has ended that watches the guardian.
    watching: Mutex<mpsc::Receiver<()>>,
}

#[derive(Debug)]
struct State {
    /// Managers that need it.
    holds: usize,
    /// The last of them has gone.
    ended: bool,
    current: Option<GuardianProcess>,
    /// Lives that were killed, to be reaped by the thread.
    over: Vec<GuardianProcess>,
    /// What a new guardian is told first.
    workers: BTreeMap<u64, Known>,
}

/// A worker, as the guardian is to know it.
#[derive(Debug)]
struct Known {
    marker: String,
    /// Once it is started.
    process: Option<(u32, Arc<OwnedFd>)>,
}

/// A guardian process.
#[derive(Debug)]
struct GuardianProcess {
    child: Child,
    pid: Pid,
    process: Arc<OwnedFd>,
    socket: OwnedFd,
    begun: Instant,
}

/// A manager's need of a guardian.
#[derive(Debug)]
pub(crate) struct Hold {
    guardian: Arc<Guardian>,
}

/// A worker that the guardian knows, until this is dropped.
#[derive(Debug)]
pub(crate) struct Ward {
    guardian: Arc<Guardian>,
    id: u64,
}

/// The guardian of this process for workers of `program`. Its process is started when the first worker is.
///
/// # Errors
/// The system gives no thread.
pub(crate) fn hold(program: &Program) -> io::Result<Hold> {
    let mut guardians = lock(GUARDIANS.get_or_init(Mutex::default));
    guardians.retain(|guardian| guardian.strong_count() > 0);
    for guardian in guardians.iter().filter_map(Weak::upgrade) {
        if guardian.program == *program {
            let mut state = lock(&guardian.state);
            if !state.ended {
                state.holds += 1;
                drop(state);
                return Ok(Hold { guardian });
            }
        }
    }
    let guardian = Guardian::start(program.clone())?;
    guardians.push(Arc::downgrade(&guardian));
    Ok(Hold { guardian })
}

impl Hold {
    pub(crate) fn guardian(&self) -> Arc<Guardian> {
        Arc::clone(&self.guardian)
    }
}

/// Ends the guardian if no manager is left that needs it, and waits until it is reaped, at most [`END_LIMIT`].
impl Drop for Hold {
    fn drop(&mut self) {
        let guardian = &self.guardian;
        if !guardian.home.is_here() {
            return;
        }
        let mut state = lock(&guardian.state);
        state.holds -= 1;
        if state.holds > 0 {
            return;
        }
        state.ended = true;
        state.workers.clear();
        state.end_guardian();
        drop(state);
        guardian.changed.notify_all();
        let watching = lock(&guardian.watching);
        if watching.recv_timeout(END_LIMIT) == Err(mpsc::RecvTimeoutError::Timeout) {
            tracing::warn!("the guardian process was killed, and is not gone within {END_LIMIT:?}");
        }
    }
}

impl Guardian {
    fn start(program: Program) -> io::Result<Arc<Self>> {
        let (ends, watching) = mpsc::channel();
        let guardian = Arc::new(Self {
            program,
            home: Home::here(),
            state: Mutex::new(State {
                holds: 1,
                ended: false,
                current: None,
                over: Vec::new(),
                workers: BTreeMap::new(),
            }),
            changed: Condvar::new(),
            forgotten: Mutex::default(),
            next_id: AtomicU64::new(0),
            watching: Mutex::new(watching),
        });
        let watched = Arc::clone(&guardian);
        let thread = thread::Builder::new().name("workfleet-guard".into()).spawn(move || {
            watched.keep_alive();
            drop(ends);
        });
        thread.naming("starting a thread for the guardian process")?;
        Ok(guardian)
    }

    /// Tells the guardian that a worker with this marker is about to be started. Blocks for about a millisecond where that
    /// starts, and for [`PATIENCE`] where it does not read.
    ///
    /// # Errors
    /// The guardian is not there, and cannot be started: for the system's reason.
    pub(crate) fn announce(self: &Arc<Self>, marker: &str) -> io::Result<Ward> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let ward = Ward { guardian: Arc::clone(self), id };
        let mut state = lock(&self.state);
        state.workers.insert(id, Known { marker: marker.to_owned(), process: None });
        self.tell(&mut state, id).naming("the guardian process")?;
        drop(state);
        Ok(ward)
    }

    /// Tells the guardian what it is to know of a worker.
    fn tell(&self, state: &mut State, id: u64) -> io::Result<()> {
        if state.ended {
            return Err(io::Error::other("the manager is closing"));
        }
        self.tell_forgotten(state);
        if let (Some(current), Some(known)) = (&state.current, state.workers.get(&id)) {
            match current.tell(id, known) {
                Ok(()) => return Ok(()),
                Err(error) => {
                    tracing::warn!(pid = %current.pid, %error, "the guardian process is replaced: it was told nothing");
                }
            }
            state.end_guardian();
        }
        // The new one is told everything.
        self.start_guardian(state)
    }

    /// Tells the guardian of those who were reaped, as far as it listens now. It matters to its memory only.
    fn tell_forgotten(&self, state: &mut State) {
        let mut forgotten = lock(&self.forgotten);
        while let Some(&id) = forgotten.last() {
            state.workers.remove(&id);
            if let Some(current) = &state.current
                && socket::send_now(&current.socket, &Record::Forgotten { id }.encode()).is_err()
            {
                return;
            }
            forgotten.pop();
        }
    }

    /// Starts a guardian process and tells it everything.
    fn start_guardian(&self, state: &mut State) -> io::Result<()> {
        let current = GuardianProcess::begin(&self.program)?;
        let told = state.workers.iter().try_for_each(|(&id, known)| current.tell(id, known));
        state.current = Some(current);
        self.changed.notify_all();
        match told {
            // It has died at once: the thread sees to that. If it is the program that ends, the worker shows why.
            Err(error) if is_death(&error) => Ok(()),
            Err(error) => {
                state.end_guardian();
                Err(error)
            }
            Ok(()) => Ok(()),
        }
    }

    /// The thread that reaps what is over, and starts a guardian again that dies or is stopped while it has workers.
    fn keep_alive(&self) {
        let mut failures = 0;
        loop {
            let mut state = lock(&self.state);
            while !state.ended && state.current.is_none() && state.over.is_empty() {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            let over = std::mem::take(&mut state.over);
            let watched = state.current.as_ref().map(|current| Arc::clone(&current.process));
            let ended = state.ended;
            drop(state);
            over.into_iter().for_each(GuardianProcess::reap);
            if ended {
                return;
            }
            if let Some(process) = watched {
                await_end(&process);
                self.replace(&process, &mut failures);
            }
        }
    }

    /// Starts another in the place of this process, if it is still the guardian.
    fn replace(&self, process: &Arc<OwnedFd>, failures: &mut u32) {
        let mut state = lock(&self.state);
        let Some(current) = state.current.as_ref().filter(|current| Arc::ptr_eq(&current.process, process))
        else {
            return;
        };
        tracing::warn!(pid = %current.pid, "the guardian process has died or was stopped");
        *failures = if current.has_settled() { 0 } else { *failures + 1 };
        state.end_guardian();
        // Otherwise the next worker starts one.
        while !state.ended && state.current.is_none() && !state.workers.is_empty() {
            if let Some(before) = failures.checked_sub(1) {
                let delay = FIRST_DELAY.saturating_mul(1 << before.min(16)).min(LONGEST_DELAY);
                let waited = self.changed.wait_timeout(state, delay);
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
                if state.ended || state.current.is_some() {
                    return;
                }
            }
            if let Err(error) = self.start_guardian(&mut state) {
                workfleet_notice::warn!(%error, "the guardian process cannot be started again");
                *failures += 1;
            }
        }
    }
}

impl State {
    /// Kills the guardian process, which leaves it to the thread to be reaped.
    fn end_guardian(&mut self) {
        if let Some(current) = self.current.take() {
            current.kill();
            self.over.push(current);
        }
    }
}

impl GuardianProcess {
    fn begin(program: &Program) -> io::Result<Self> {
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .naming("socketpair(SOCK_SEQPACKET)")?;
        let marker = markers::of_socket(&theirs)?.ok_or_else(|| io::Error::other("a socket that is none"))?;
        let own = pidfd::of_this_process()?;
        let mut command = program.command();
        command
            .env(super::MARKER, marker)
            .stdin(theirs)
            .stdout(descriptor::null()?)
            .stderr(descriptor::null()?);
        let mut child = program.named(command.spawn())?;
        let pid = Pid::from_child(&child);
        let current = match pidfd::open(pid) {
            Ok(process) => {
                Self { child, pid, process: Arc::new(process), socket: ours, begun: Instant::now() }
            }
            Err(error) => {
                // It cannot be watched, so it must not live.
                let _ = kill_process_group(pid, Signal::KILL);
                let _ = child.wait();
                return Err(error);
            }
        };
        match current.send(&Record::Program { pid: process::id() }, Some(own.as_fd())) {
            Err(error) if !is_death(&error) => {
                current.kill();
                current.reap();
                Err(error)
            }
            _ => Ok(current),
        }
    }

    fn tell(&self, id: u64, known: &Known) -> io::Result<()> {
        let marker = known.marker.clone();
        match &known.process {
            None => self.send(&Record::Announced { id, marker }, None),
            Some((pid, process)) => {
                self.send(&Record::Registered { id, pid: *pid, marker }, Some(process.as_fd()))
            }
        }
    }

    /// Sends a record, and waits at most [`PATIENCE`] for the socket to take it.
    fn send(&self, record: &Record, descriptor: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let bytes = record.encode();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let sent = match descriptor {
                Some(descriptor) => socket::send_with_descriptors(&self.socket, &bytes, &[descriptor]),
                None => socket::send_now(&self.socket, &bytes).map(drop),
            };
            let Err(error) = sent else { return Ok(()) };
            let left = deadline.saturating_duration_since(Instant::now());
            // As many descriptors are on their way as this user may have open.
            let too_many = error.raw_os_error() == Some(libc::ETOOMANYREFS);
            if left.is_zero() || !(too_many || error.kind() == io::ErrorKind::WouldBlock) {
                return Err(error).naming("writing to its socket");
            }
            if too_many {
                thread::park_timeout(WITHOUT_EVENT);
            } else if let Ok(left) = Timespec::try_from(left) {
                // Whatever ends it, the next try tells.
                let _ = poll(&mut [PollFd::new(&self.socket, PollFlags::OUT)], Some(&left));
            }
        }
    }

    /// Whether it became a guardian: it leads a session then. It is not reaped yet.
    fn has_settled(&self) -> bool {
        let pid = self.pid.as_raw_nonzero().get();
        // SAFETY: it takes a number and touches no memory.
        let leads = unsafe { libc::getsid(pid) } == pid;
        leads || self.begun.elapsed() > LONGEST_DELAY
    }

    /// Kills it, and what the program has started in its group before it became a guardian.
    fn kill(&self) {
        if pidfd::kill_group(&self.process) == Err(Errno::INVAL) {
            // It is not reaped yet: the number is its own.
            let _ = kill_process_group(self.pid, Signal::KILL);
        }
        // An error means that it is dead.
        let _ = pidfd_send_signal(&self.process, Signal::KILL);
    }

    /// Waits until it is dead, and reaps it. It was killed.
    fn reap(mut self) {
        if reap::adopts() {
            reap::await_death(self.pid);
            reap::rest_of_group(self.pid);
        }
        // An error means that somebody else in this program has reaped it.
        let _ = self.child.wait();
    }
}

impl Ward {
    /// Tells the guardian which process the worker has become, before it is greeted.
    ///
    /// # Errors
    /// As of [`announce`](Guardian::announce).
    pub(crate) fn register(&self, pid: u32, process: Arc<OwnedFd>) -> io::Result<()> {
        let mut state = lock(&self.guardian.state);
        if let Some(known) = state.workers.get_mut(&self.id) {
            known.process = Some((pid, process));
        }
        self.guardian.tell(&mut state, self.id).naming("the guardian process")
    }
}

/// Where the guardian is being told something right now, it hears of this with what comes next.
impl Drop for Ward {
    fn drop(&mut self) {
        if !self.guardian.home.is_here() {
            return;
        }
        lock(&self.guardian.forgotten).push(self.id);
        let mut state = match self.guardian.state.try_lock() {
            Ok(state) => state,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        self.guardian.tell_forgotten(&mut state);
    }
}

/// Whether nobody is left at the other end.
fn is_death(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

/// Returns when the process is dead or stopped.
fn await_end(process: &OwnedFd) {
    let options = WaitIdOptions::EXITED | WaitIdOptions::STOPPED | WaitIdOptions::NOWAIT;
    // Any other error means that somebody else in this program has reaped it.
    while let Err(Errno::INTR) = waitid(WaitId::PidFd(process.as_fd()), options) {}
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
