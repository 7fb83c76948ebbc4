//! Ctrl-C and SIGTERM: the first closes a pool, the next ends the process.
//!
//! Invariants:
//! - Closing is asked for on the watch's own thread, which no task and no caller can block.
//! - A pool is not kept by its watch.

use std::{
    fmt, io,
    sync::{
        Arc, Weak,
        atomic::{AtomicI32, Ordering},
    },
};

use workfleet_signals::{Heard, SIGNAL_CODE, Second, Watch};

use super::{ClosePolicy, Pool, Shared};

impl Pool {
    /// Closes the manager by `policy` at the first SIGINT (Ctrl-C) or SIGTERM. The second ends the process at once, with
    /// the exit code 128 plus the signal's number.
    ///
    /// The first signal ends only the pool's work, as the [table](ClosePolicy) says. Then each wait for a handle ends,
    /// and the program goes on after its last wait: so it can end in its own order, and say how far it came. The program
    /// still has to [close](Self::close) the pool, which waits for the workers and returns the report. At the second
    /// signal, the workers end as if the program had been killed.
    ///
    /// Signals belong to the whole process, and so does the count of them. All pools that are watched get the same first
    /// signal, and so does a worker that `run_until_signal` of `workfleet-worker-lifecycle` runs in the same program. A watch
    /// that begins after the first signal gets it at once, and its pool closes. The second signal ends the process at once,
    /// also while such a worker stops. After the last watch is dropped and `run_until_signal` has returned, a signal ends the
    /// process, with the same exit code. After the pool has closed, the first signal is only kept for
    /// [`SignalWatch::signal`].
    ///
    /// Do not combine this with other code that catches these signals for the rest of the process, such as `ctrlc` or
    /// `tokio::signal`.
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
    _watch: Watch,
}

impl SignalWatch {
    fn begin(pool: Weak<Shared>, policy: ClosePolicy) -> io::Result<Self> {
        let first = Arc::new(AtomicI32::new(0));
        let came = Arc::clone(&first);
        let listen = move |mut heard: Heard| {
            // None once the watch has ended.
            let Some(signal) = heard.first() else { return };
            came.store(signal, Ordering::Release);
            if let Some(shared) = pool.upgrade() {
                shared.ask_to_close(policy);
            }
        };
        let watch = Watch::begin("workfleet-signals", Second::EndsProcess, listen)?;
        Ok(Self { first, _watch: watch })
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

impl fmt::Debug for SignalWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignalWatch").field("signal", &self.signal()).finish_non_exhaustive()
    }
}
