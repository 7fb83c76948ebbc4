//! Every public error of this crate follows the convention: one line, no text twice, and readable where `main` prints it.
//!
//! More lines than one have only the errors that show a worker's last words or a backtrace: these stand behind the first line.

use std::{io, sync::Arc, time::Duration};

use serde::{Serialize, Serializer, ser};
use workfleet_causes::{check_variants, convention::breaches};
use workfleet_heartbeat::{DETAILS_LIMIT_BYTES, Details, DetailsError};
use workfleet_wire::{DecodeError, EncodeError, Kind, message};

use crate::{
    CancelledError, ChainOutputError, CloseError, DeathCertificate, EncodedMessage, ExitStatus, FailureCause,
    FailureReport, KillReason, ManagerStartError, Message, MessageError, MessageSendError, Priority,
    RegistryError, ScheduleError, ScheduleErrorKind, ScopeError, SessionError, StartFailure, TaskError,
    TaskFailure, TaskHeartbeatError, TaskId, WorkerLoopError, protocol::Violation, worker::error::GreetError,
};

const KIND: Kind = Kind(0x58);

/// A value that refuses to be encoded.
struct Refuses;

impl Serialize for Refuses {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(ser::Error::custom("it is told to"))
    }
}

fn refused() -> EncodeError {
    message::encode(&Refuses).expect_err("it refuses")
}

fn malformed() -> DecodeError {
    message::decode::<u64>(&[]).expect_err("there is nothing")
}

fn not_found() -> io::Error {
    io::ErrorKind::NotFound.into()
}

fn text() -> String {
    "as told".to_owned()
}

fn certificate(status: ExitStatus, killed_because: Option<KillReason>) -> DeathCertificate {
    let (worker, stderr_tail) = ("worker-0".to_owned(), String::new());
    DeathCertificate { worker, pid: 7, status, killed_because, stderr_tail, charged: None }
}

fn died(certificate: DeathCertificate) -> StartFailure {
    StartFailure::Died { reached_init: true, certificate: Box::new(certificate) }
}

#[test]
fn errors_of_scheduling() {
    check_variants!(ScheduleErrorKind {
        ScheduleErrorKind::Closed => ScheduleErrorKind::Closed,
        ScheduleErrorKind::Forked => ScheduleErrorKind::Forked,
        ScheduleErrorKind::NoWorkers => ScheduleErrorKind::NoWorkers,
        ScheduleErrorKind::AttemptEnded => ScheduleErrorKind::AttemptEnded,
        ScheduleErrorKind::Priority { .. } => ScheduleErrorKind::Priority { priority: Priority(3), levels: 2 },
        ScheduleErrorKind::Unregistered { .. } => ScheduleErrorKind::Unregistered { name: "digest" },
        ScheduleErrorKind::TooManyChildren { .. } => ScheduleErrorKind::TooManyChildren { limit: 8 },
        ScheduleErrorKind::Encode(_) => ScheduleErrorKind::Encode(refused()),
        ScheduleErrorKind::TooLarge { .. } => ScheduleErrorKind::TooLarge { len_bytes: 9, limit_bytes: 8 },
    });
    check_variants!(ScheduleError<u8> { _ => ScheduleError::new(7, ScheduleErrorKind::Encode(refused())) });
}

#[test]
fn errors_of_messages() {
    check_variants!(MessageSendError {
        MessageSendError::AttemptEnded => MessageSendError::AttemptEnded,
        MessageSendError::WorkerGone => MessageSendError::WorkerGone,
        MessageSendError::Encode(_) => MessageSendError::Encode(refused()),
        MessageSendError::TooLarge { .. } => MessageSendError::TooLarge { len_bytes: 9, limit_bytes: 8 },
        MessageSendError::Full { .. } => MessageSendError::Full { waiting_bytes: 9, limit_bytes: 8 },
        MessageSendError::NoService { .. } => MessageSendError::NoService { kind: KIND },
        MessageSendError::ForeignKind { .. } => MessageSendError::ForeignKind { kind: KIND },
        MessageSendError::Closed => MessageSendError::Closed,
        MessageSendError::Forked => MessageSendError::Forked,
    });
    let came = || {
        let content = EncodedMessage { name: "progress".into(), payload: [1, 2].into() };
        Box::new(Message { content, task: Some(TaskId(1)), attempt: 1 })
    };
    check_variants!(MessageError {
        MessageError::Forked => MessageError::Forked,
        MessageError::Failed(_) => MessageError::Failed(failed_by(FailureCause::WorkerDied)),
        MessageError::InsideRuntime => MessageError::InsideRuntime,
        MessageError::Dropped { .. } => MessageError::Dropped { name: Some("progress"), count: 2 },
        MessageError::Unexpected { .. } => MessageError::Unexpected { message: came(), expected: "total" },
        MessageError::Malformed { .. } => MessageError::Malformed { message: came(), source: malformed() },
    });
}

#[test]
fn errors_of_starts() {
    check_variants!(ManagerStartError {
        ManagerStartError::InitNotReached => ManagerStartError::InitNotReached,
        ManagerStartError::Registry(_) => ManagerStartError::Registry(duplicate_session()),
        ManagerStartError::InsideRuntime => ManagerStartError::InsideRuntime,
        ManagerStartError::Setting { .. } => {
            ManagerStartError::Setting { setting: "workers", value: 0, least: 1, most: 4096 }
        },
        ManagerStartError::ServiceKinds { .. } => ManagerStartError::ServiceKinds { first: 0x60, last: 0x5f },
        ManagerStartError::LogDirectory(_) => ManagerStartError::LogDirectory(not_found()),
        ManagerStartError::SessionValue { .. } => {
            ManagerStartError::SessionValue { session: "Database", source: refused() }
        },
        ManagerStartError::SessionValues(_) => ManagerStartError::SessionValues(not_found()),
        ManagerStartError::Runtime(_) => ManagerStartError::Runtime(not_found()),
        ManagerStartError::Workers(_) => {
            ManagerStartError::Workers(StartFailure::Spawn { source: Arc::new(not_found()) })
        },
    });
    let after = Duration::from_secs(1);
    check_variants!(StartFailure {
        StartFailure::Spawn { .. } => StartFailure::Spawn { source: Arc::new(not_found()) },
        StartFailure::InitNotReached { .. } => {
            StartFailure::InitNotReached { after, stopped_by: Some(libc::SIGTTOU), stderr_tail: text() }
        },
        StartFailure::Died { .. } => died(certificate(ExitStatus::Exited(1), None)),
        StartFailure::Version { .. } => StartFailure::Version { ours: 2, theirs: 1 },
        StartFailure::Registry { .. } => {
            StartFailure::Registry { theirs: 1, only_ours: vec![text()], only_theirs: Vec::new() }
        },
        StartFailure::Session { .. } => StartFailure::Session { reason: text() },
        StartFailure::SessionValue { .. } => StartFailure::SessionValue { reason: text() },
        StartFailure::SessionTimeout { .. } => StartFailure::SessionTimeout { after, stopped_by: None },
        StartFailure::Violation { .. } => StartFailure::Violation { reason: text() },
        StartFailure::Closing => StartFailure::Closing,
    });
}

fn duplicate_session() -> RegistryError {
    RegistryError::DuplicateSession { type_name: "Database" }
}

#[test]
fn errors_of_registries() {
    check_variants!(RegistryError {
        RegistryError::DuplicateName { .. } => {
            RegistryError::DuplicateName { name: "digest", first: "Digest", second: "Other" }
        },
        RegistryError::DuplicateSession { .. } => duplicate_session(),
        RegistryError::ZeroHeartbeatTimeout { .. } => RegistryError::ZeroHeartbeatTimeout { name: "digest" },
    });
}

#[test]
fn errors_of_ends() {
    check_variants!(CloseError {
        CloseError::OwnThread => CloseError::OwnThread,
        CloseError::Forked => CloseError::Forked,
        CloseError::InsideRuntime => CloseError::InsideRuntime,
    });
    check_variants!(ScopeError<CancelledError> {
        ScopeError::Start(_) => ScopeError::Start(ManagerStartError::LogDirectory(not_found())),
        ScopeError::Scope { .. } => ScopeError::Scope { error: CancelledError, report: Box::default() },
    });
}

fn too_large() -> DetailsError {
    Details::encode(&vec![0_u8; DETAILS_LIMIT_BYTES + 1]).expect_err("they are too large")
}

#[test]
fn errors_in_tasks() {
    check_variants!(TaskHeartbeatError {
        TaskHeartbeatError::Details(_) => {
            TaskHeartbeatError::Details(too_large())
        },
        TaskHeartbeatError::AttemptEnded => TaskHeartbeatError::AttemptEnded,
    });
    check_variants!(SessionError { _ => SessionError { type_name: "Database" } });
    check_variants!(CancelledError { CancelledError => CancelledError });
    check_variants!(ChainOutputError {
        ChainOutputError::NoLink { .. } => ChainOutputError::NoLink { index: 2, len: 2 },
        ChainOutputError::Decode { .. } => ChainOutputError::Decode { index: 1, source: malformed() },
    });
}

#[test]
fn errors_of_workers() {
    check_variants!(GreetError as worker_error {
        GreetError::Refused(_) => GreetError::Refused(duplicate_session()),
        GreetError::Terminal(_) => GreetError::Terminal(not_found()),
        GreetError::Stdin(_) => GreetError::Stdin(not_found()),
        GreetError::Signals(_) => GreetError::Signals(not_found()),
        GreetError::Thread(_) => GreetError::Thread(not_found()),
        GreetError::Memory(_) => GreetError::Memory(not_found()),
        GreetError::Connection(_) => GreetError::Connection(not_found()),
        GreetError::Violation(_) => {
            GreetError::Violation(Violation::Payload { kind: KIND, source: malformed() })
        },
        GreetError::Version { .. } => GreetError::Version { theirs: 1 },
        GreetError::Registry => GreetError::Registry,
        GreetError::Ended => GreetError::Ended,
        GreetError::NoStatusPage => GreetError::NoStatusPage,
        GreetError::NoStdout => GreetError::NoStdout,
        GreetError::Stdout(_) => GreetError::Stdout(not_found()),
        GreetError::Encode(_) => GreetError::Encode(refused()),
        GreetError::Session(_) => GreetError::Session(text()),
    });
}

fn worker_error(error: GreetError) -> WorkerLoopError {
    error.into()
}

fn failed_by(cause: FailureCause) -> TaskFailure {
    let report = FailureReport {
        task: TaskId(1),
        name: "digest".to_owned(),
        debug: "Digest(7)".to_owned(),
        attempt: 1,
        worker: Some("worker-0".to_owned()),
        cause,
        links: Vec::new(),
        deaths: Vec::new(),
        last_heartbeat: Details::encode(&1_u8).ok(),
    };
    report.into()
}

#[test]
fn failures_of_tasks() {
    let waited = Some(Duration::from_secs(60));
    check_variants!(FailureCause as failed_by {
        FailureCause::Error { .. } => {
            FailureCause::Error { chain: vec!["outer".to_owned(), text()], backtrace: None }
        },
        FailureCause::Panicked { .. } => {
            FailureCause::Panicked { message: text(), location: Some("a.rs:1:2".to_owned()), backtrace: None }
        },
        FailureCause::WorkerDied => FailureCause::WorkerDied,
        FailureCause::Cancelled => FailureCause::Cancelled,
        FailureCause::HeartbeatTimeout { .. } => {
            FailureCause::HeartbeatTimeout { timeout: Duration::from_secs(5) }
        },
        FailureCause::NeverStarted { .. } => FailureCause::NeverStarted { waited, reason: text() },
        FailureCause::NotStartedAgain { .. } => {
            FailureCause::NotStartedAgain { attempts: 2, waited, reason: text() }
        },
        FailureCause::Rejected { .. } => FailureCause::Rejected { reason: text() },
        FailureCause::Output { .. } => FailureCause::Output { reason: text() },
        FailureCause::OutputTooLarge { .. } => FailureCause::OutputTooLarge { len_bytes: 9, limit_bytes: 8 },
        FailureCause::Returned => FailureCause::Returned,
        FailureCause::Taken => FailureCause::Taken,
        FailureCause::Forked => FailureCause::Forked,
    });
}

fn died_with(status: ExitStatus) -> StartFailure {
    died(certificate(status, None))
}

fn killed_because(reason: KillReason) -> StartFailure {
    died(certificate(ExitStatus::Signaled(libc::SIGKILL), Some(reason)))
}

#[test]
fn deaths_of_workers() {
    check_variants!(ExitStatus as died_with {
        ExitStatus::Exited(_) => ExitStatus::Exited(3),
        ExitStatus::Signaled(_) => ExitStatus::Signaled(libc::SIGSEGV),
        ExitStatus::Unknown => ExitStatus::Unknown,
    });
    let long = Duration::from_secs(30);
    check_variants!(KillReason as killed_because {
        KillReason::ConnectionEnded => KillReason::ConnectionEnded,
        KillReason::ProtocolViolated => KillReason::ProtocolViolated,
        KillReason::Silent(_) => KillReason::Silent(long),
        KillReason::Closing => KillReason::Closing,
        KillReason::HeartbeatMissed(_) => KillReason::HeartbeatMissed(long),
        KillReason::Stopped { .. } => KillReason::Stopped { signal: libc::SIGSTOP, silent_for: long },
        KillReason::NotExited(_) => KillReason::NotExited(long),
    });
}

#[test]
fn a_workers_last_words_stand_behind_the_first_line() {
    let mut spoke = certificate(ExitStatus::Exited(1), None);
    spoke.stderr_tail = "first\nsecond".to_owned();
    let failure = died(spoke);
    assert_eq!(breaches(&failure).len(), 1, "the lines alone: {:?}", breaches(&failure));
    let text = failure.to_string();
    assert!(text.ends_with("exited with code 1\n    | first\n    | second"), "{text}");
}

/// An error whose text has that of its source in it, as many libraries' have.
#[derive(Debug, thiserror::Error)]
#[error("the table cannot be read: {0}")]
struct SaysAll(#[source] io::Error);

#[test]
fn what_a_task_fails_with_says_nothing_twice() {
    let error = TaskError::from(SaysAll(not_found()));
    assert_eq!(format!("{error:?}"), "the table cannot be read: entity not found");
    assert_eq!(error.chain().len(), 2);
    let failure = failed_by(FailureCause::Error { chain: error.chain().to_vec(), backtrace: None });
    assert!(failure.to_string().ends_with(": the table cannot be read: entity not found"), "{failure}");
    assert_eq!(failure.to_string().matches("entity not found").count(), 1, "{failure}");
}
