//! The worker's side: what a process does that a manager has started.
//!
//! It has two threads of its own. The *task thread* runs one task after the other, and watches the socket while it has
//! none. The *I/O thread* watches the socket while a task runs: it queues tasks, gives them back, cancels, answers
//! pings, sends what the outbox holds, and kills the process group when the manager is gone. Both start afresh in
//! [`init`], so that whatever runtime the program's `main` is in stays out of it.
//!
//! [`WorkerLoop`] is the same with a task thread that the program provides.
//!
//! Invariants:
//! - A process is a worker only if its standard input is the very socket that its mark names. The mark that a
//!   program started by a task inherits names a socket that the program does not have, so it is nothing there.
//! - The I/O thread never runs a task's code, and nothing but a task's code keeps the task thread from its watch.

mod beats;
pub(crate) mod entry;
mod fork;
mod io;
mod leave;
pub(crate) mod origin;
pub(crate) mod outbox;
mod tasks;
mod upwards;

pub(crate) use fork::end_copy_of;

use std::{
    env, fmt,
    fs::File,
    io as std_io,
    os::fd::{AsFd, OwnedFd},
    process,
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Instant,
};

use rustix::{
    fs::{FileType, fstat},
    stdio::{dup2_stdin, stdin},
};
use tokio_util::sync::CancellationToken;
use workfleet_heartbeat::{Details, cores::ThrottleLimits};
use workfleet_wire::{Decoder, EncodeError, Kind};

use crate::{
    causes::with_sources,
    extension::{Extensions, SendToManager},
    guardian::become_guardian,
    heartbeat::HeartbeatError,
    ids::ManagerId,
    kinds,
    message::EncodedMessage,
    mismatch::Names,
    priority::Priority,
    protocol::{self, EXIT_CODE, MessageFrame, ScheduleFrame},
    refusal::{ScheduleErrorKind, SendError},
    registry::{Registry, entry::Entry, index::Index},
    run::{Attempt, STACK_BYTES, host::Host, kept::Kept, queue::TaskQueue, sessions::Sessions},
    session_values::SessionValues,
    sys::{memory_file, naming::Naming},
    task::EncodedTask,
};
use outbox::{Outbox, PushError};
use tasks::Places;
pub use tasks::{CloseRequest, FinishedTask, NextTask, ReceivedTask, WorkerLoop};

/// The environment variable that marks a worker: the device and inode of the socket that is its standard input.
pub(crate) const MARK: &str = "WORKFLEET_WORKER";

/// This process has reached [`init`] as a worker: its tasks may have managers of their own.
static IS_WORKER: AtomicBool = AtomicBool::new(false);

/// The name of the test that [`test_worker!`](crate::test_worker) makes.
pub(crate) const ENTRY: &str = "workfleet_worker";

/// Turns this process into a worker if a manager has started it as one; otherwise returns at once.
///
/// Call it first in `main`, with the registry that the manager has: a manager starts its workers by running its own
/// program again. In a worker process it never returns. It may be called inside a runtime (`#[tokio::main]`): the
/// worker runs on threads of its own. On Linux, it does not return in the program's guardian process either, which ends what is
/// left of workers when the program was killed: see [`ProcessManager`](crate::ProcessManager).
///
/// ```
/// use workfleet_task_manager::{Registry, init};
///
/// let registry = Registry::new();
/// init(&registry);
/// // From here on, this is the program itself.
/// ```
///
/// The worker has the arguments of the program that started it, unless that
/// [said otherwise](crate::ProcessManagerBuilder::arguments): what comes before `init` does what it did there.
///
/// A start that fails is said on standard error and by the exit code 70; the manager reports it as a
/// [`StartFailure`](crate::StartFailure).
pub fn init(registry: &Registry) {
    entry::is_main();
    become_worker(registry);
}

/// What the test of [`test_worker!`](crate::test_worker) does, which stands in the module of this path.
#[doc(hidden)]
pub fn init_test_worker(registry: &Registry, module_path: &str) {
    // The harness leaves out the crate's name.
    let modules = module_path.split_once("::").map(|(_crate, modules)| modules);
    entry::is_test(modules.map_or_else(|| ENTRY.to_owned(), |modules| format!("{modules}::{ENTRY}")));
    become_worker(registry);
}

fn become_worker(registry: &Registry) {
    become_guardian();
    if !has_connection() {
        return;
    }
    let error = match Worker::start(registry, true) {
        Ok(worker) => worker.work(),
        Err(error) => error,
    };
    // Nobody else can report this: the manager sees the exit code and these lines.
    use std_io::Write;
    let _ = writeln!(std_io::stderr(), "workfleet worker: {error}");
    process::exit(EXIT_CODE);
}

/// Takes the connection away from standard input, where anything that reads that would eat the frames, and leaves `/dev/null`
/// there.
fn leave_stdin() -> std_io::Result<OwnedFd> {
    let socket = rustix::io::fcntl_dupfd_cloexec(stdin(), 3).naming("fcntl(F_DUPFD_CLOEXEC)")?;
    // Not to be written.
    let null = File::open("/dev/null").naming("opening /dev/null")?;
    dup2_stdin(null).naming("dup2")?;
    Ok(socket)
}

/// Whether this process was started as a worker and has not reached [`init`].
pub(crate) fn is_marked() -> bool {
    !IS_WORKER.load(Ordering::Relaxed) && (has_connection() || origin::is_marked())
}

/// Whether standard input is the connection with the manager that has started this process.
fn has_connection() -> bool {
    says(MARK, stdin_mark())
}

/// Whether the environment has a variable of this name with this value.
pub(crate) fn says(name: &str, value: Option<String>) -> bool {
    env::var_os(name).is_some_and(|said| value.is_some_and(|value| said.to_str() == Some(&*value)))
}

/// What the mark of a process with this standard input would be, if that is a socket.
pub(crate) fn stdin_mark() -> Option<String> {
    // An error means that there is no standard input: then this is no worker.
    mark_of(stdin()).ok().flatten()
}

/// The mark of a process whose standard input is `socket`; none if it is no socket.
pub(crate) fn mark_of(socket: impl AsFd) -> std_io::Result<Option<String>> {
    let stat = fstat(socket).naming("fstat of a socket")?;
    let is_socket = FileType::from_raw_mode(stat.st_mode) == FileType::Socket;
    Ok(is_socket.then(|| format!("{}:{}", stat.st_dev, stat.st_ino)))
}

/// Gives a test binary the entry by which managers in its tests start their workers.
///
/// Put it once into the test binary, with the registry that its managers use. It makes a test of the name
/// `workfleet_worker`, which does nothing when it is run as a test. A worker process of a test binary runs that test and no
/// other, by the arguments `workfleet_worker --exact --nocapture`, whatever the test run was given. Without it, a worker
/// process runs no test at all and is reported as a start that failed.
///
/// In which module it stands, the first manager asks the test binary by `--list`, which takes milliseconds. Do not call
/// [`init`] in a test besides: a program that does says that its `main` is the way to a worker.
///
/// ```
/// # use workfleet_task_manager as workfleet;
/// use workfleet::Registry;
///
/// fn registry() -> Registry {
///     Registry::new()
/// }
/// workfleet::test_worker!(registry());
/// ```
#[macro_export]
macro_rules! test_worker {
    ($registry:expr) => {
        #[test]
        fn workfleet_worker() {
            $crate::init_test_worker(&$registry, module_path!());
        }
    };
}

/// What the threads of a worker process share.
struct Worker {
    name: String,
    manager: ManagerId,
    priority_levels: u8,
    frame_limit_bytes: u64,
    throttle: ThrottleLimits,
    backtraces: bool,
    registry: Registry,
    index: Index,
    /// In the order of their indices on the wire.
    entries: Vec<Entry>,
    /// Asynchronous tasks share the task thread.
    together: bool,
    /// Until the sessions are made of them.
    session_values: Mutex<SessionValues>,
    sessions: Kept,
    queue: TaskQueue,
    /// Of whoever has the watch.
    decoder: Mutex<Decoder>,
    outbox: Outbox,
    page: crate::sys::page::Page,
    places: Places,
    flushes: Flushes,
    extensions: Extensions,
    way_up: upwards::WayUp,
}

/// Who waits for the manager to have read everything up to some point.
#[derive(Default)]
struct Flushes {
    /// Requests are numbered in the order in which they leave.
    next: AtomicU64,
    answered: Mutex<u64>,
    changed: Condvar,
}

/// A process that was started as a worker could not become one.
#[derive(thiserror::Error)]
#[error(transparent)]
pub struct WorkerError(#[from] GreetError);

impl fmt::Debug for WorkerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if f.alternate() {
            f.debug_tuple("WorkerError").field(&self.0).finish()
        } else {
            f.write_str(&with_sources(self))
        }
    }
}

impl WorkerError {
    fn session(reason: String) -> Self {
        Self(GreetError::Session(reason))
    }
}

#[derive(Debug, thiserror::Error)]
enum GreetError {
    #[error(transparent)]
    Refused(#[from] crate::registry::RegistryError),
    #[error("its terminal could not be given up: {0}")]
    Terminal(#[source] std_io::Error),
    #[error("its standard input could not be replaced: {0}")]
    Stdin(#[source] std_io::Error),
    #[error("its signals could not be set: {0}")]
    Signals(#[source] std_io::Error),
    #[error("a thread could not be started: {0}")]
    Thread(#[source] std_io::Error),
    #[error("the memory that it shares with its manager could not be had: {0}")]
    Memory(#[source] std_io::Error),
    #[error("its connection failed: {0}")]
    Connection(#[from] std_io::Error),
    #[error("the manager violated the protocol: {0}")]
    Violation(#[from] protocol::Violation),
    #[error("the manager speaks protocol version {theirs}, this program {}", protocol::VERSION)]
    Version { theirs: u16 },
    #[error(
        "this program's registry has not the tasks that the manager's has: the manager says which differ"
    )]
    Registry,
    #[error("the manager ended the connection")]
    Ended,
    #[error("the manager's page did not come")]
    NoPage,
    #[error("its greeting could not be encoded: {0}")]
    Encode(#[from] EncodeError),
    #[error("{0}")]
    Session(String),
}

impl Worker {
    /// Shakes hands with the manager and starts the I/O thread. `together` allows asynchronous tasks to share the
    /// thread that runs tasks.
    fn start(registry: &Registry, together: bool) -> Result<Arc<Self>, WorkerError> {
        IS_WORKER.store(true, Ordering::Relaxed);
        let worker = Self::greet(registry, together)?;
        fork::mark_copies();
        upwards::WayUp::open(&worker);
        exit::flush_at_exit(&worker);
        let io = Arc::clone(&worker);
        let started = thread::Builder::new().name("workfleet-io".into()).spawn(move || {
            let _end = EndWithThread;
            io::run(&io);
        });
        started.map_err(GreetError::Thread)?;
        Ok(worker)
    }

    /// Takes the socket from standard input and shakes hands with the manager.
    fn greet(registry: &Registry, together: bool) -> Result<Arc<Self>, GreetError> {
        registry.check()?;
        let socket = leave_stdin().map_err(GreetError::Stdin)?;
        crate::sys::socket::refuse_sigpipe(&socket)?;
        crate::sys::signals::take_afresh().map_err(GreetError::Signals)?;
        crate::sys::terminal::give_up().map_err(GreetError::Terminal)?;
        let mut decoder = Decoder::default();
        let (welcome, descriptors) = io::receive_welcome(&socket, &mut decoder)?;

        let digest = registry.digest();
        let agrees = welcome.as_ref().is_ok_and(|welcome| welcome.registry_digest == digest);
        let names = if agrees { Names::default() } else { Names::of(registry) };
        let mut hello = Vec::new();
        protocol::push_greeting(
            kinds::HELLO,
            protocol::VERSION,
            &protocol::Hello { registry_digest: digest, names },
            &mut hello,
        )?;
        // Also to a manager that will not have us: it then knows why.
        if crate::sys::socket::send_now(&socket, &hello)? < hello.len() {
            return Err(GreetError::Ended);
        }
        let welcome = welcome.map_err(|theirs| GreetError::Version { theirs })?;
        if welcome.registry_digest != digest {
            return Err(GreetError::Registry);
        }
        let mut descriptors = descriptors.into_iter();
        let page = descriptors.next().ok_or(GreetError::NoPage)?;
        let session_values = descriptors.next().map(memory_file::content).transpose();
        let session_values = session_values.map_err(GreetError::Memory)?.unwrap_or_default();
        crate::sys::name::set(&format!("wf:{}", welcome.worker));
        let entries = registry.entries();
        let worker = Arc::new(Self {
            name: welcome.worker,
            manager: welcome.manager,
            priority_levels: welcome.priority_levels,
            frame_limit_bytes: welcome.frame_limit_bytes,
            throttle: welcome.throttle.into(),
            backtraces: welcome.backtraces,
            index: Index::new(&entries, false),
            entries,
            together: together && welcome.async_tasks > 1,
            registry: registry.clone(),
            session_values: Mutex::new(SessionValues::from_bytes(session_values)),
            sessions: Kept::default(),
            queue: TaskQueue::default(),
            // The greeting is all that came: tasks are sent to a worker that is ready.
            decoder: Mutex::new(Decoder::new(protocol::limit_bytes(welcome.frame_limit_bytes))),
            outbox: Outbox::new(socket, welcome.children_limit)?,
            page: crate::sys::page::Page::map(page).map_err(GreetError::Memory)?,
            places: Places::default(),
            flushes: Flushes::default(),
            extensions: Extensions::default(),
            way_up: upwards::WayUp::default(),
        });
        Ok(worker)
    }

    /// Starts the task thread and leaves the calling one to sleep: the process ends through the others.
    fn work(self: Arc<Self>) -> WorkerError {
        let task_thread = thread::Builder::new().name("workfleet-task".into()).stack_size(STACK_BYTES);
        let started = task_thread.spawn(move || {
            let _end = EndWithThread;
            match WorkerLoop::ready(self) {
                Ok(worker) => worker.run(),
                // The manager was told why.
                Err(_) => process::exit(EXIT_CODE),
            }
        });
        match started {
            Ok(_) => loop {
                thread::park();
            },
            Err(error) => GreetError::Thread(error).into(),
        }
    }

    fn send_message(&self, lease: u64, message: &EncodedMessage) -> Result<(), SendError> {
        if fork::is_copy() {
            return Err(SendError::AttemptEnded);
        }
        message.check_len(self.frame_limit_bytes)?;
        let frame = MessageFrame { lease, name: &message.name, payload: &message.payload };
        let pushed = self
            .outbox
            .push_from(lease, kinds::MESSAGE, |out, _| workfleet_wire::message::encode_into(&frame, out));
        pushed.map_err(|error| match error {
            PushError::LeaseEnded | PushError::TooManyChildren => SendError::AttemptEnded,
            PushError::Encode(source) => SendError::Encode(source),
        })
    }

    fn schedule_child(
        &self,
        lease: u64,
        task: &EncodedTask,
        priority: Priority,
    ) -> Result<(), ScheduleErrorKind> {
        if fork::is_copy() {
            return Err(ScheduleErrorKind::AttemptEnded);
        }
        let levels = self.priority_levels;
        let kind = (priority.0 < levels)
            .then(|| kinds::schedule(priority.0))
            .flatten()
            .ok_or(ScheduleErrorKind::Priority { priority, levels })?;
        let task_type = self.index.of(task).ok_or(ScheduleErrorKind::Unregistered { name: task.name() })?;
        let (len_bytes, limit_bytes) = (task.payload.len() as u64, self.frame_limit_bytes);
        if len_bytes > limit_bytes {
            return Err(ScheduleErrorKind::TooLarge { len_bytes, limit_bytes });
        }
        let pushed = self.outbox.push_from(lease, kind, |out, index| {
            let frame = ScheduleFrame { lease, index, task_type, payload: &task.payload };
            workfleet_wire::message::encode_into(&frame, out)
        });
        pushed.map_err(|error| match error {
            PushError::LeaseEnded => ScheduleErrorKind::AttemptEnded,
            PushError::TooManyChildren => {
                ScheduleErrorKind::TooManyChildren { limit: self.outbox.children_limit() }
            }
            PushError::Encode(source) => ScheduleErrorKind::Encode(source),
        })
    }

    /// Somebody may wait for what comes back, so the I/O thread should not take its time.
    fn watch_for_answer(&self) {
        if self.queue.want_answer() {
            self.outbox.wake();
        }
    }

    /// Sends all that is left to be said, however long the manager takes to read it.
    fn flush_at_end(&self) {
        self.way_up.flush();
        self.outbox.flush_fully();
    }

    fn flushed(&self, id: u64) {
        let mut answered = self.flushes.answered.lock().unwrap_or_else(PoisonError::into_inner);
        *answered = (*answered).max(id);
        drop(answered);
        self.flushes.changed.notify_all();
    }
}

impl Host for Worker {
    fn name(&self) -> &str {
        &self.name
    }

    fn manager(&self) -> ManagerId {
        self.manager
    }

    fn priority_levels(&self) -> u8 {
        self.priority_levels
    }

    fn entry(&self, name: &str) -> Option<Entry> {
        self.registry.entry(name)
    }

    fn sessions(&self) -> Option<Arc<Sessions>> {
        self.sessions.get()
    }

    fn is_cancelled(&self, lease: u64) -> bool {
        self.queue.is_cancelled(lease)
    }

    fn cancellation_token(&self, lease: u64) -> CancellationToken {
        self.queue.token(lease)
    }

    fn schedule(
        &self,
        attempt: Attempt,
        task: EncodedTask,
        priority: Priority,
    ) -> Result<(), (EncodedTask, ScheduleErrorKind)> {
        self.schedule_child(attempt.lease, &task, priority).map_err(|kind| (task, kind))
    }

    fn send(&self, attempt: Attempt, message: EncodedMessage) -> Result<(), SendError> {
        self.send_message(attempt.lease, &message)
    }

    fn extensions(&self) -> &Extensions {
        &self.extensions
    }

    fn heartbeat(&self, attempt: Attempt, details: Details) -> Result<(), HeartbeatError> {
        let taken = !fork::is_copy() && self.outbox.beat(Instant::now(), attempt.lease, details);
        if taken { Ok(()) } else { Err(HeartbeatError::AttemptEnded) }
    }

    /// Sends everything and waits for the manager to have read it.
    fn flush(&self, attempt: Attempt) -> Result<(), SendError> {
        if fork::is_copy() {
            return Err(SendError::AttemptEnded);
        }
        self.way_up.flush();
        self.watch_for_answer();
        let mut id = 0;
        self.outbox
            .push_behind_beats(attempt.lease, kinds::FLUSH, |out| {
                // Under the outbox's lock, behind the beats: so an answer is one to those who were before, and to no other.
                id = self.flushes.next.fetch_add(1, Ordering::Relaxed) + 1;
                workfleet_wire::message::encode_into(&id, out)
            })
            .map_err(SendError::Encode)?;
        let mut answered = self.flushes.answered.lock().unwrap_or_else(PoisonError::into_inner);
        while *answered < id {
            // Answered, or the manager is gone and the I/O thread ends this process.
            answered = self.flushes.changed.wait(answered).unwrap_or_else(PoisonError::into_inner);
        }
        Ok(())
    }
}

impl SendToManager for Worker {
    fn send_frame(&self, kind: Kind, payload: &[u8]) -> Result<(), SendError> {
        if fork::is_copy() {
            return Err(SendError::AttemptEnded);
        }
        let (len_bytes, limit_bytes) = (payload.len() as u64, self.frame_limit_bytes);
        if len_bytes > limit_bytes {
            return Err(SendError::TooLarge { len_bytes, limit_bytes });
        }
        self.watch_for_answer();
        self.outbox.push_for_service(kind, payload);
        Ok(())
    }
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Ends the process when its thread ends in whatever way: half a worker would be waited for.
struct EndWithThread;

impl Drop for EndWithThread {
    fn drop(&mut self) {
        process::abort();
    }
}

mod exit {
    //! What a task that calls `exit` leaves unsent is sent on the way out.

    use std::sync::{Arc, OnceLock};

    use super::{Worker, fork::is_copy};

    static EXITING: OnceLock<Arc<Worker>> = OnceLock::new();

    pub(super) fn flush_at_exit(worker: &Arc<Worker>) {
        if EXITING.set(Arc::clone(worker)).is_ok() {
            // SAFETY: `flush` neither unwinds nor runs a task's code, and it stays mapped as long as the process.
            let registered = unsafe { libc::atexit(flush) };
            if registered != 0 {
                workfleet_notice::warn!("what a task has not flushed will be lost if it calls exit");
            }
        }
    }

    extern "C" fn flush() {
        if let Some(worker) = EXITING.get()
            && !is_copy()
        {
            worker.flush_at_end();
        }
    }
}
