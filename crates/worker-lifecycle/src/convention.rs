//! Every public error of this crate follows the convention: one line, no text twice, and readable where `main` prints it.

use std::{io, time::Duration};

use workfleet_causes::check_variants;

use crate::{
    AddAllError, AddError, ChildId, ChildSpec, DispatchEvent, DispatchEventError, Ending, GracePeriodError,
    GroupError, Hook, Lifecycle, LifecycleEvent, Outcome, OutcomeError, QueueSendError, QueueSendErrorKind,
    RemoveError, StartError, StopHookFailure, StuckError, TransitionError, WorkerContext, WorkerFailure,
    WorkerFailureCause, WorkerState, WorkerStateError, worker_fn,
};

#[derive(Debug, thiserror::Error)]
#[error("the table cannot be read")]
struct Unreadable(#[source] io::Error);

fn unreadable() -> Unreadable {
    Unreadable(io::ErrorKind::NotFound.into())
}

fn name() -> String {
    "w".to_owned()
}

fn failure() -> WorkerFailure {
    WorkerFailure::new(Hook::OnStartup, WorkerFailureCause::Error(unreadable().into()))
}

fn grace_period() -> GracePeriodError {
    crate::grace::parse("soon").expect_err("it is no number")
}

fn stuck() -> StuckError {
    StuckError { name: name(), overdue: Duration::from_secs(1) }
}

fn child() -> ChildSpec {
    ChildSpec::new(|| worker_fn(|_: WorkerContext| async {}))
}

#[test]
fn errors_of_workers() {
    check_variants!(StartError {
        StartError::AlreadyStarted { .. } => {
            StartError::AlreadyStarted { name: name(), state: WorkerState::Running }
        },
        StartError::NoRuntime { .. } => StartError::NoRuntime { name: name() },
        StartError::NoTimer { .. } => StartError::NoTimer { name: name() },
        StartError::GracePeriod(_) => StartError::GracePeriod(grace_period()),
        StartError::Failed { .. } => StartError::Failed { name: name(), failure: failure() },
        StartError::Forked { .. } => StartError::Forked { name: name() },
        StartError::Stopped { .. } => StartError::Stopped { name: name() },
    });
    check_variants!(StuckError { StuckError { .. } => stuck() });
    check_variants!(GracePeriodError { _ => grace_period() });
    check_variants!(WorkerFailure { _ => failure() });
    check_variants!(WorkerFailure {
        _ => WorkerFailure::new(Hook::Run, WorkerFailureCause::Panic("at the disco".to_owned()))
    });
    let failed = || {
        let failures =
            vec![failure(), WorkerFailure::new(Hook::Drop, WorkerFailureCause::Panic("as told".to_owned()))];
        Outcome::new(WorkerState::Failed, Ending::Failed, false, failures, None)
    };
    check_variants!(OutcomeError { _ => OutcomeError::new(failed()) });
    check_variants!(WorkerStateError { _ => "idle".parse::<WorkerState>().expect_err("it is none") });
    check_variants!(TransitionError {
        _ => Lifecycle::default().handle(LifecycleEvent::Completed).expect_err("it was not started")
    });
}

#[test]
fn a_failure_to_start_keeps_its_failure_as_its_source() {
    let error = StartError::Failed { name: name(), failure: failure() };
    assert_eq!(error.to_string(), "the worker `w` did not start");
    let text = "the worker `w` did not start: on_startup failed: the table cannot be read: entity not found";
    assert_eq!(format!("{error:?}"), text);
}

#[test]
fn errors_of_groups() {
    let reason = || "run failed: as told".to_owned();
    check_variants!(GroupError {
        GroupError::DidNotStart { .. } => GroupError::DidNotStart { child: name(), reason: reason() },
        GroupError::Failed { .. } => GroupError::Failed { child: name(), reason: reason() },
        GroupError::Exhausted { .. } => {
            GroupError::Exhausted { child: name(), reason: reason(), limit: 3, window: Duration::from_secs(5) }
        },
        GroupError::StopHook { .. } => {
            GroupError::StopHook { reason: StopHookFailure::Failed("as told".to_owned()).to_string() }
        },
        GroupError::Stuck { .. } => GroupError::Stuck { child: name() },
    });
    check_variants!(AddError {
        AddError::Stopped(_) => AddError::Stopped(Some(child())),
        AddError::Start(_) => AddError::Start(StartError::Failed { name: name(), failure: failure() }),
        AddError::Forked(_) => AddError::Forked(child()),
    });
    check_variants!(AddAllError {
        AddAllError::Stopped(_) => AddAllError::Stopped(vec![child()]),
        AddAllError::Start(_) => AddAllError::Start(StartError::Failed { name: name(), failure: failure() }),
        AddAllError::Forked(_) => AddAllError::Forked(vec![child()]),
    });
    check_variants!(RemoveError {
        RemoveError::Unknown(_) => RemoveError::Unknown(ChildId(1)),
        RemoveError::Stopped => RemoveError::Stopped,
        RemoveError::Forked => RemoveError::Forked,
        RemoveError::Stuck(_) => RemoveError::Stuck(stuck()),
    });
}

#[test]
fn errors_of_queues_and_events() {
    for kind in [QueueSendErrorKind::Stopped, QueueSendErrorKind::Full, QueueSendErrorKind::Forked] {
        check_variants!(QueueSendError<u8> { _ => QueueSendError { message: 1, kind } });
    }
    check_variants!(DispatchEventError { _ => "".parse::<DispatchEvent>().expect_err("it has no type") });
}

#[cfg(feature = "signal")]
#[test]
fn errors_of_running_until_a_signal() {
    use crate::RunError;

    check_variants!(RunError {
        RunError::Signals(_) => RunError::Signals(io::ErrorKind::PermissionDenied.into()),
        RunError::Start(_) => RunError::Start(StartError::Failed { name: name(), failure: failure() }),
    });
}
