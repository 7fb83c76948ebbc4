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
//! - A process is a worker only if its standard input is the very socket that its marker names. The marker that a
//!   program started by a task inherits names a socket that the program does not have, so it is nothing there.
//! - The I/O thread never runs a task's code, and nothing but a task's code keeps the task thread from its watch.

mod beats;
pub(crate) mod entry;
mod error;
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

pub use error::WorkerError;
pub(crate) use fork::end_copy_of;
use shared::Worker;
pub(crate) use start::has_marker;
pub use tasks::{CloseRequest, FinishedTask, NextTask, ReceivedTask, WorkerLoop};

use crate::{guardian::become_guardian, markers, protocol::EXIT_CODE, registry::Registry};

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
    if !markers::has_connection() {
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
