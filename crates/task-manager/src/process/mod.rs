//! Tasks in worker processes.
//!
//! The manager's thread starts workers, reads their connections and reaps them: [`worker_slot`] starts and serves one
//! worker after the other. What it shares with every other kind of pool is in [`pool`](crate::pool).

mod arguments;
mod builder;
mod held_stdout;
mod logs;
mod program;
pub(crate) mod reap;
mod sinks;
mod spawn;
mod turns;
mod worker_slot;

pub use builder::ProcessManagerBuilder;
use logs::Reopener;
pub(crate) use program::Program;

use crate::pool::{Pool, delegate::manages_by_its_pool};

/// A [`Pool`] of worker processes.
///
/// Every worker is this program, run again up to [`init`](crate::init). If a worker dies, it is replaced. Its running
/// task is tried again up to the crash limit; the tasks that waited behind it go to other workers, and the death does
/// not count for them. No death, malformed frame or failed start makes anything wait forever.
///
/// On Linux, the program's first such pool also starts a *guardian*: one more process of the workers' program, run up to
/// [`init`](crate::init), with about 0.4 MiB of private memory. It sleeps until this process is dead. Then it kills each
/// worker and its process group, also if the worker is stopped or was killed at the same moment.
///
/// The guardian is listed as `workfleet-guard`. It ignores SIGTERM, SIGINT and SIGHUP, which are often sent to whole
/// groups. It ends when the last pool is closed. If it is killed or stopped, another takes its place. All pools whose
/// workers run the same program share it.
///
/// It needs Linux 5.4 or later, with the calls `pidfd_open`, `pidfd_send_signal` and `memfd_create`, and `/proc` unless a
/// [program](ProcessManagerBuilder::program) is named; or macOS, where it is not tested. If one of these is missing or
/// refused, `start` fails with an error that names it. A [`ThreadManager`](crate::ThreadManager) needs none of them.
///
/// Its methods are those of [`Pool`]. Dropping it closes it by [`ClosePolicy::Cancel`](crate::ClosePolicy::Cancel), or
/// by [`ClosePolicy::Kill`](crate::ClosePolicy::Kill) while panicking.
///
/// ```no_run
/// use serde::{Deserialize, Serialize};
/// use workfleet_task_manager::{
///     ClosePolicy, ProcessManager, Registry, Task, TaskContext, TaskError, TaskSpec,
/// };
///
/// #[derive(Debug, Serialize, Deserialize)]
/// struct Square(u64);
/// impl TaskSpec for Square {
///     const NAME: &'static str = "square";
///     type Output = u64;
/// }
/// impl Task for Square {
///     fn run(self, _cx: &TaskContext) -> Result<u64, TaskError> {
///         Ok(self.0 * self.0)
///     }
/// }
///
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     let registry = Registry::new().task::<Square>();
///     workfleet_task_manager::init(&registry); // in a worker process this never returns
///     let manager = ProcessManager::builder(registry).workers(2).start()?;
///     let handles: Vec<_> = (0..10).map(|n| manager.submit(Square(n))).collect::<Result<_, _>>()?;
///     for handle in handles {
///         println!("{}", handle.wait()?);
///     }
///     println!("{}", manager.close(ClosePolicy::Join)?);
///     Ok(())
/// }
/// ```
pub struct ProcessManager {
    pool: Pool,
    logs: Reopener,
}

impl ProcessManager {
    /// Opens every worker's [log](ProcessManagerBuilder::log_directory) again by its name, before its next line is
    /// written.
    ///
    /// A log that was renamed or removed is opened again without this call. Call it if logs are rotated by other means,
    /// for example on SIGHUP. It never waits, so it can be called anywhere. Without logs it does nothing.
    pub fn reopen_logs(&self) {
        self.logs.reopen();
    }
}

manages_by_its_pool!(ProcessManager);
