//! A test binary that starts a manager and has no `test_worker!`: this file must not get one.

mod support;

use support::{assert_no_child_left, watchdog::watchdog};
use workfleet_task_manager::{ExitStatus, ManagerStartError, ProcessManager, Registry, StartFailure};

/// Each worker process is this binary, which runs no test of the worker's name: it ends, and breeds nothing.
#[test]
fn a_test_binary_without_its_entry_is_told_so() {
    let _watchdog = watchdog();
    match ProcessManager::builder(Registry::new()).workers(2).start() {
        Err(ManagerStartError::Workers(failure @ StartFailure::Died { .. })) => {
            let text = failure.to_string();
            assert!(text.contains("put workfleet::test_worker!(registry) once beside its tests"), "{text}");
            let printed = format!("{:?}", ManagerStartError::Workers(failure.clone()));
            assert!(
                printed.starts_with("no worker starts: the process ended before it was ready (this"),
                "{printed}"
            );
            let StartFailure::Died { certificate, .. } = failure else { unreachable!("it was matched") };
            assert_eq!((certificate.status, certificate.killed_because), (ExitStatus::Exited(0), None));
        }
        other => panic!("{other:?}"),
    }
    // Those that were started are reaped by the manager's thread.
    support::until(|| support::process::children().is_empty());
    assert_no_child_left();
}
