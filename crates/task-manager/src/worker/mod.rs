//! The worker's side: what a worker process does.
//!
//! It has two threads. The *task thread* runs one task after the other, and owns the socket while it has no task. The
//! *I/O thread* owns the socket while a task runs: it queues tasks, gives them back, cancels, answers pings, sends what
//! the outbox holds, and kills the process group when the manager is gone. Both are new threads, which [`init`] starts:
//! so a runtime that the program's `main` runs in plays no part.
//!
//! In a [`WorkerLoop`], the task thread is a thread of the program.
//!
//! Invariants:
//! - A process is a worker only if its standard input is the very socket that its marker names. A program that a task
//!   starts inherits the marker, but not that socket: so it is no worker.
//! - The I/O thread never runs a task's code. Only a task's code keeps the task thread from the socket.

mod beats;
pub(crate) mod entry;
pub(crate) mod error;
mod fork;
mod io;
mod leave;
pub(crate) mod outbox;
mod parent;
mod parent_connection;
mod places;
mod shared;
mod start;
mod tasks;

use std::{io as std_io, process};

pub use error::WorkerLoopError;
pub(crate) use fork::end_copy_of;
use shared::Worker;
pub(crate) use start::has_marker;
pub use tasks::{CloseRequest, FinishedTask, NextTask, ReceivedTask, WorkerLoop};
use workfleet_causes::with_sources;

use crate::{guardian::become_guardian, markers, protocol::EXIT_CODE, registry::Registry};

/// The name of the test that [`test_worker!`](crate::test_worker) makes.
pub(crate) const ENTRY: &str = "workfleet_worker";

/// Turns this process into a worker if a manager has started it as one; otherwise returns at once.
///
/// Call it first in `main`, with the manager's registry: a manager starts its workers by running its own program again.
/// In a worker process it never returns. You can call it inside a runtime (`#[tokio::main]`): the worker runs on threads
/// of its own. On Linux, it also never returns in the program's guardian process, which ends the workers if the program
/// was killed: see [`ProcessManager`](crate::ProcessManager).
///
/// ```
/// use workfleet_task_manager::{Registry, init};
///
/// let registry = Registry::new();
/// init(&registry);
/// // From here on, this is the program itself.
/// ```
///
/// The worker has the arguments of the program that started it, unless the [builder set
/// others](crate::ProcessManagerBuilder::arguments). So code before `init` does the same in both.
///
/// If the start fails, the worker says so on standard error and exits with code 70. The manager reports a
/// [`StartFailure`](crate::StartFailure).
pub fn init(registry: &Registry) {
    entry::is_main();
    become_worker(registry);
}

/// The body of the test that [`test_worker!`](crate::test_worker) makes, in the module of this path.
#[doc(hidden)]
pub fn init_test_worker(registry: &Registry, module_path: &str) {
    // The harness leaves out the crate's name.
    let modules = module_path.split_once("::").map(|(_crate, modules)| modules);
    entry::is_test(modules.map_or_else(|| ENTRY.to_owned(), |modules| format!("{modules}::{ENTRY}")));
    become_worker(registry);
}

fn become_worker(registry: &Registry) {
    become_guardian();
    if !markers::has_connection() {
        return;
    }
    let error = match Worker::start(registry, true) {
        Ok(worker) => worker.work(),
        Err(error) => error,
    };
    // Nobody else can report this: the manager sees the exit code and these lines.
    use std_io::Write;
    let _ = writeln!(std_io::stderr(), "workfleet worker: {}", with_sources(&error));
    process::exit(EXIT_CODE);
}

/// Gives a test binary the entry by which managers in its tests start their workers.
///
/// Write it once in the test binary, with the registry that its managers use. It makes a test named `workfleet_worker`,
/// which does nothing when it is run as a test. A worker process of a test binary runs only that test, by the arguments
/// `workfleet_worker --exact --nocapture`; the arguments of the test run do not matter. What the
/// harness prints there before (`running 1 test`) is dropped: a worker's output begins with its own. Without this macro, a
/// worker process runs no test, and its start fails.
///
/// To find the module of that test, the first manager runs the test binary with `--list`, which takes milliseconds. Do
/// not call [`init`] in a test as well: then the manager takes `main` for the entry of its workers.
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
