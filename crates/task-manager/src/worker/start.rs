//! How a process becomes a worker: it takes the connection from standard input, shakes hands with its manager, and starts the I/O
//! thread.

use std::{
    fs::File,
    io::{self as std_io, Write},
    os::fd::OwnedFd,
    process,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use rustix::stdio::{dup2_stdin, dup2_stdout, stdin};
use workfleet_wire::Decoder;

use super::{
    error::{GreetError, WorkerLoopError},
    fork, io,
    outbox::Outbox,
    parent::ParentEnd,
    parent_connection,
    places::Places,
    shared::{Flushes, Worker},
};
use crate::{
    extension::Extensions,
    kinds, markers,
    mismatch::Names,
    protocol,
    registry::{Registry, index::Index},
    run::{kept::Kept, queue::TaskQueue},
    session_values::SessionValues,
    sys::{memory_file, name, naming::Naming, signals, socket, status_page::StatusPage, terminal},
};

/// This process has reached [`init`](crate::init) as a worker: its tasks may have managers of their own.
static IS_WORKER: AtomicBool = AtomicBool::new(false);

/// Whether this process was started as a worker and has not reached [`init`](crate::init).
pub(crate) fn has_marker() -> bool {
    !IS_WORKER.load(Ordering::Relaxed) && (markers::has_connection() || markers::origin::has_marker())
}

impl Worker {
    /// Shakes hands with the manager and starts the I/O thread. `together` allows asynchronous tasks to share the
    /// thread that runs tasks.
    pub(super) fn start(registry: &Registry, together: bool) -> Result<Arc<Self>, WorkerLoopError> {
        IS_WORKER.store(true, Ordering::Relaxed);
        let worker = Self::greet(registry, together)?;
        fork::mark_copies();
        parent_connection::open(&worker);
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
        socket::refuse_sigpipe(&socket)?;
        signals::take_afresh().map_err(GreetError::Signals)?;
        terminal::give_up().map_err(GreetError::Terminal)?;
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
        if socket::send_now(&socket, &hello)? < hello.len() {
            return Err(GreetError::Ended);
        }
        let welcome = welcome.map_err(|theirs| GreetError::Version { theirs })?;
        if welcome.registry_digest != digest {
            return Err(GreetError::Registry);
        }
        let mut descriptors = descriptors.into_iter();
        let page = descriptors.next().ok_or(GreetError::NoStatusPage)?;
        if welcome.holds_stdout {
            let stdout = descriptors.next().ok_or(GreetError::NoStdout)?;
            take_stdout(stdout).map_err(GreetError::Stdout)?;
        }
        let session_values = descriptors.next().map(memory_file::content).transpose();
        let session_values = session_values.map_err(GreetError::Memory)?.unwrap_or_default();
        name::set(&format!("wf:{}", welcome.worker));
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
            status_page: StatusPage::map(page).map_err(GreetError::Memory)?,
            places: Places::default(),
            flushes: Flushes::default(),
            extensions: Extensions::default(),
            parent_end: ParentEnd::default(),
        });
        Ok(worker)
    }
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

/// Prints where a worker's output goes, and nothing of what the test harness has printed.
fn take_stdout(stdout: OwnedFd) -> std_io::Result<()> {
    // What it has not written yet goes to `/dev/null`, too.
    std_io::stdout().flush()?;
    dup2_stdout(stdout).naming("dup2")
}

/// Ends the process when its thread ends in whatever way: half a worker would be waited for.
pub(super) struct EndWithThread;

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
