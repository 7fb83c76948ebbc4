//! Ctrl-C and SIGTERM: the first closes a pool, the next ends the process.
//!
//! Invariants:
//! - A signal never does nothing. The first one closes the pool. It also arms the handler, which ends the process at the second.
//! - The handler does nothing but that. Closing is asked for on a thread of its own, which no task and no caller can block.
//! - A pool is not kept by its watch.

use std::{
    fmt, io,
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicBool, AtomicI32, Ordering},
    },
    thread::{self, JoinHandle},
};

use signal_hook::{
    consts::{SIGINT, SIGTERM},
    flag,
    iterator::{Handle, Signals},
};
use workfleet_fork::Home;

use super::{ClosePolicy, Pool, Shared};

const SIGNALS: [i32; 2] = [SIGINT, SIGTERM];

/// What a shell adds to the number of the signal that ended a program.
const SIGNAL_CODE: i32 = 128;

impl Pool {
    /// Closes the manager by `policy` at the first SIGINT (Ctrl-C) or SIGTERM. The second ends the process at once, with
    /// the exit code 128 plus the signal's number.
    ///
    /// The first signal ends only the pool's work, as the [table](ClosePolicy) says. Then each wait for a handle ends,
    /// and the program goes on after its last wait: so it can end in its own order, and say how far it came. The program
    /// still has to [close](Self::close) the pool, which waits for the workers and returns the report. At the second
    /// signal, the workers end as if the program had been killed.
    ///
    /// Signals belong to the whole process. So use this for one pool at a time, and drop one [`SignalWatch`] before you
    /// make the next. Do not combine it with other code that catches these signals for the rest of the process, such as
    /// `run_until_signal` of `workfleet-worker-lifecycle`. After the watch is dropped, a signal ends the process at
    /// once, with the same exit code. After the pool has closed, the first signal is only kept for
    /// [`SignalWatch::signal`].
    ///
    /// ```no_run
    /// # use serde::{Deserialize, Serialize};
    /// # use workfleet_task_manager::*;
    /// # #[derive(Debug, Serialize, Deserialize)]
    /// # struct Digest(u32);
    /// # impl TaskSpec for Digest {
    /// #     const NAME: &'static str = "digest";
    /// #     type Output = u64;
    /// # }
    /// # impl Task for Digest {
    /// #     fn run(self, _: &TaskContext) -> Result<u64, TaskError> {
    /// #         Ok(0)
    /// #     }
    /// # }
    /// fn main() -> Result<(), Box<dyn std::error::Error>> {
    ///     let registry = Registry::new().task::<Digest>();
    ///     init(&registry);
    ///
    ///     let manager = ProcessManager::builder(registry).start()?;
    ///     let interrupted = manager.close_on_signal(ClosePolicy::Cancel)?;
    ///     let digests = (0..1000).map(|n| manager.submit(Digest(n))).collect::<Result<Vec<_>, _>>()?;
    ///     let digests: Vec<_> = digests.into_iter().map_while(|digest| digest.wait().ok()).collect();
    ///     println!("{} of 1000 files; {}", digests.len(), manager.close(ClosePolicy::Join)?);
    ///     std::process::exit(interrupted.exit_code().unwrap_or(0).into())
    /// }
    /// ```
    ///
    /// # Errors
    /// The signals cannot be caught, or a thread cannot be started.
    pub fn close_on_signal(&self, policy: ClosePolicy) -> io::Result<SignalWatch> {
        SignalWatch::begin(Arc::downgrade(&self.shared), policy)
    }
}

/// Waits for the signals that close a pool, until it is dropped: see [`Pool::close_on_signal`].
#[must_use = "dropping it ends the watch"]
pub struct SignalWatch {
    /// The number of the first signal; 0 before.
    first: Arc<AtomicI32>,
    ends_process: Arc<AtomicBool>,
    signals: Handle,
    thread: Option<JoinHandle<()>>,
    /// A fork has no such thread.
    home: Home,
}

impl SignalWatch {
    fn begin(pool: Weak<Shared>, policy: ClosePolicy) -> io::Result<Self> {
        let ends_process = ends_process()?;
        let mut signals = Signals::new(SIGNALS)?;
        // In this order: no signal is left to its default, and none ends the process that is for the pool.
        ends_process.store(false, Ordering::SeqCst);
        let (handle, first) = (signals.handle(), Arc::new(AtomicI32::new(0)));
        let came = Arc::clone(&first);
        let listen = move || {
            // None once the watch has ended.
            let Some(signal) = signals.forever().next() else { return };
            came.store(signal, Ordering::Release);
            if let Some(shared) = pool.upgrade() {
                shared.ask_to_close(policy);
            }
        };
        let spawned = thread::Builder::new().name("workfleet-signals".into()).spawn(listen);
        let thread = spawned.inspect_err(|_| ends_process.store(true, Ordering::SeqCst))?;
        Ok(Self { first, ends_process, signals: handle, thread: Some(thread), home: Home::here() })
    }

    /// The signal that has closed the pool, by its number; none if there was none yet.
    pub fn signal(&self) -> Option<i32> {
        // Pairs with the release by the thread that hears signals.
        match self.first.load(Ordering::Acquire) {
            0 => None,
            signal => Some(signal),
        }
    }

    /// What a program that was interrupted exits with, as shells expect it: 128 and the signal's number. None if it was not.
    pub fn exit_code(&self) -> Option<u8> {
        self.signal().map(|signal| u8::try_from(SIGNAL_CODE + signal).unwrap_or(u8::MAX))
    }
}

impl Drop for SignalWatch {
    fn drop(&mut self) {
        self.ends_process.store(true, Ordering::SeqCst);
        if !self.home.is_here() {
            return;
        }
        self.signals.close();
        // A waker that closing has woken may be what drops this, on that very thread.
        let is_own = |thread: &JoinHandle<()>| thread.thread().id() == thread::current().id();
        if let Some(thread) = self.thread.take().filter(|thread| !is_own(thread))
            && let Err(panic) = thread.join()
        {
            workfleet_panics::discard(panic);
        }
    }
}

impl fmt::Debug for SignalWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignalWatch").field("signal", &self.signal()).finish_non_exhaustive()
    }
}

/// Whether a signal ends the process in its handler: while no watch listens, and from a watch's first signal on. Registered for
/// good when first needed: what catches a signal cannot give it back its default.
fn ends_process() -> io::Result<Arc<AtomicBool>> {
    static REGISTERED: OnceLock<Result<Arc<AtomicBool>, io::ErrorKind>> = OnceLock::new();
    let register = || {
        let ends_process = Arc::new(AtomicBool::new(true));
        for signal in SIGNALS {
            // In this order: the first signal of a watch finds the flag unset, and sets it. Until a watch has begun, it is set.
            flag::register_conditional_shutdown(signal, SIGNAL_CODE + signal, Arc::clone(&ends_process))?;
            flag::register(signal, Arc::clone(&ends_process))?;
        }
        Ok(ends_process)
    };
    let registered = REGISTERED.get_or_init(|| register().map_err(|error: io::Error| error.kind()));
    registered.clone().map_err(io::Error::from)
}
