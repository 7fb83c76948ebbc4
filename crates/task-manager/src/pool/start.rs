//! Why a manager or a worker does not start, what of that may pass, and how long a worker may take.
//!
//! Invariant: what may pass is said in two places only, [`StartFailure::prospect`] for workers and [`may_pass`] for what
//! the system refuses.

use std::{
    future::poll_fn,
    io::{self, ErrorKind},
    sync::{Arc, Mutex, PoisonError},
    task::Poll,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tokio::sync::mpsc;
use workfleet_scheduler::{BACKOFF, Prospect};
use workfleet_wire::EncodeError;

use super::shared::jitter;
use workfleet_causes::readable;

use crate::{
    failure::{DeathCertificate, ExitStatus, Signal},
    mismatch::named,
    protocol::EXIT_CODE,
    registry::RegistryError,
    session_values::SessionFailed,
    sys::naming::{Naming, errno_of},
    worker::entry::{self, Entry},
};

/// How long a worker may take for what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// To reach [`init`](crate::init).
    pub(crate) init: Duration,
    /// To make its sessions.
    pub(crate) session: Duration,
    /// To exit when nothing is left to do, and the tasks that run to end when they are cancelled.
    pub(crate) exit: Duration,
}

/// A manager could not be started.
#[doc(alias = "StartError")]
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum ManagerStartError {
    /// This process is itself a worker that has not called [`init`](crate::init): starting workers from here would
    /// breed processes without end.
    #[error(
        "this process was started as a worker: call init first in main, before anything starts a manager"
    )]
    InitNotReached,
    /// The registry is at odds with itself.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The call would block a thread on which an async runtime polls futures: use
    /// [`start_async`](crate::ProcessManagerBuilder::start_async) there.
    #[error("starting would block a thread on which an async runtime polls futures: use start_async there")]
    InsideRuntime,
    /// A setting is beyond its limits.
    #[error("{setting} is {value}, but has to be from {least} to {most}")]
    #[non_exhaustive]
    Setting {
        /// The builder's method.
        setting: &'static str,
        /// What it was given.
        value: u64,
        /// The smallest value that is accepted.
        least: u64,
        /// The largest.
        most: u64,
    },
    /// A service's range of frame kinds is empty, not for services, or taken.
    #[error("a service claims the frame kinds {first:#04x}..={last:#04x}, which are not free for it")]
    #[non_exhaustive]
    ServiceKinds {
        /// The first kind of the range.
        first: u8,
        /// The last.
        last: u8,
    },
    /// The log directory could not be made.
    #[error("the log directory could not be made")]
    LogDirectory(#[source] io::Error),
    /// The value for a [session](crate::Registry::session_with) cannot be sent to workers.
    #[error("the value for the session {session} cannot be sent to workers")]
    #[non_exhaustive]
    SessionValue {
        /// The type of the session.
        session: &'static str,
        /// Why.
        source: EncodeError,
    },
    /// The values for [sessions](crate::Registry::session_with) could not be stored for the workers: they take memory.
    #[error("the values for sessions could not be stored for the workers")]
    SessionValues(#[source] io::Error),
    /// A thread or the runtime of the manager could not be started, for as long as the manager waits for its first worker.
    #[error("the manager's own threads could not be started")]
    Runtime(#[source] io::Error),
    /// Not one worker started, and what kept them from it cannot pass, or did not pass within the
    /// [patience](crate::ProcessManagerBuilder::outage_patience). This is what became of the last that failed.
    #[error("no worker starts")]
    Workers(#[source] StartFailure),
}

readable!(ManagerStartError {
    InitNotReached,
    Registry(error),
    InsideRuntime,
    Setting { setting, value, least, most },
    ServiceKinds { first, last },
    LogDirectory(error),
    SessionValue { session, source },
    SessionValues(error),
    Runtime(error),
    Workers(failure),
});

/// A worker did not start.
#[derive(Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StartFailure {
    /// The process could not be started, or not be connected with.
    #[error("the process could not be started")]
    #[non_exhaustive]
    Spawn {
        /// What the system refused and why: no permission, no descriptors left, no such program… The text names the call or
        /// the file, and the kind is that of the system's error.
        source: Arc<io::Error>,
    },
    /// The program ran, but did not call [`init`](crate::init).
    #[error(
        "the process did not reach init within {after:?}{}{}{}", stop(*stopped_by), advice(false), words(stderr_tail)
    )]
    #[non_exhaustive]
    InitNotReached {
        /// How long it was given.
        after: Duration,
        /// The signal that had stopped it by then, say that of a terminal which it touched.
        stopped_by: Option<i32>,
        /// The last lines of its standard error.
        stderr_tail: String,
    },
    /// The process ended before it was ready; for a program that does not call [`init`](crate::init), that is its
    /// own end.
    #[error("the process ended before it was ready{}: {certificate}", advice(*reached_init))]
    #[non_exhaustive]
    Died {
        /// Whether it had called [`init`](crate::init), as far as that showed: it had greeted, or ended with the exit code
        /// of a worker that cannot start.
        reached_init: bool,
        /// How.
        certificate: Box<DeathCertificate>,
    },
    /// The program was built with another version of the protocol.
    #[error("the worker speaks protocol version {theirs}, this manager {ours}")]
    #[non_exhaustive]
    Version {
        /// The manager's.
        ours: u16,
        /// The worker's.
        theirs: u16,
    },
    /// The worker called [`init`](crate::init) with a registry of other names.
    #[error("the worker's registry differs from the manager's{}", named(only_ours, only_theirs))]
    #[non_exhaustive]
    Registry {
        /// The digest of the worker's registry.
        theirs: u64,
        /// The tasks that only the manager's registry has. If the worker's names are more than 32 KiB, tasks are missing
        /// here and in the other list.
        only_ours: Vec<String>,
        /// The tasks that only the worker's registry has.
        only_theirs: Vec<String>,
    },
    /// A session could not be made.
    #[error("{reason}")]
    #[non_exhaustive]
    Session {
        /// What the worker said.
        reason: String,
    },
    /// The manager's value for a [session](crate::Registry::session_with) is not what the worker's registry takes: the
    /// manager and the worker are different programs.
    #[error("{reason}")]
    #[non_exhaustive]
    SessionValue {
        /// What the worker said. It names the session and the types.
        reason: String,
    },
    /// The sessions were not made in time.
    #[error("the worker did not make its sessions within {after:?}{}", stop(*stopped_by))]
    #[non_exhaustive]
    SessionTimeout {
        /// How long it was given.
        after: Duration,
        /// The signal that had stopped it by then.
        stopped_by: Option<i32>,
    },
    /// The worker sent what it must not.
    #[error("the worker violated the protocol: {reason}")]
    #[non_exhaustive]
    Violation {
        /// What.
        reason: String,
    },
    /// The manager was closed meanwhile.
    #[error("the manager was closed before the worker was ready")]
    Closing,
}

readable!(StartFailure {
    Spawn { source },
    InitNotReached { after, stopped_by, stderr_tail },
    Died { reached_init, certificate },
    Version { ours, theirs },
    Registry { theirs, only_ours, only_theirs },
    Session { reason },
    SessionValue { reason },
    SessionTimeout { after, stopped_by },
    Violation { reason },
    Closing,
});

impl From<SessionFailed> for StartFailure {
    fn from(failed: SessionFailed) -> Self {
        match failed {
            SessionFailed::Value(reason) => Self::SessionValue { reason },
            SessionFailed::Made(reason) => Self::Session { reason },
        }
    }
}

impl StartFailure {
    /// What it says about the next start.
    ///
    /// | failure | before any worker has come up | after |
    /// |---|---|---|
    /// | [`Spawn`](Self::Spawn), the program is missing or cannot be run | certain | certain |
    /// | [`Spawn`](Self::Spawn), everything else: no descriptor, no memory, no process, no time… | may pass | may pass |
    /// | [`InitNotReached`](Self::InitNotReached) | certain | may pass: the program does call `init`, so it was slow |
    /// | [`InitNotReached`](Self::InitNotReached), stopped by a signal | may pass | may pass |
    /// | [`Died`](Self::Died) by a signal: somebody killed it, or there was no memory | may pass | may pass |
    /// | [`Died`](Self::Died) in or behind `init` | may pass | may pass |
    /// | [`Died`](Self::Died) by an exit that `init` has no part in | certain | may pass |
    /// | [`Version`](Self::Version), [`Registry`](Self::Registry), [`SessionValue`](Self::SessionValue), [`Violation`](Self::Violation) | certain | certain |
    /// | [`Session`](Self::Session), [`SessionTimeout`](Self::SessionTimeout) | may pass | may pass |
    ///
    /// [`Closing`](Self::Closing) says nothing: nothing is started behind it.
    pub(super) fn prospect(&self, has_come_up: bool) -> Prospect {
        let certain = match self {
            Self::Spawn { source } => !may_pass(source),
            Self::InitNotReached { stopped_by, .. } => !has_come_up && stopped_by.is_none(),
            Self::Died { reached_init, certificate } => {
                let killed = matches!(certificate.status, ExitStatus::Signaled(_))
                    && certificate.killed_because.is_none();
                !has_come_up && !reached_init && !killed
            }
            Self::Version { .. }
            | Self::Registry { .. }
            | Self::SessionValue { .. }
            | Self::Violation { .. } => true,
            Self::Session { .. } | Self::SessionTimeout { .. } | Self::Closing => false,
        };
        if certain { Prospect::Certain } else { Prospect::MayPass }
    }

    /// The process ended before it was ready; `greeted` tells whether it had sent its greeting.
    pub(crate) fn died(certificate: DeathCertificate, greeted: bool) -> Self {
        let reached_init = greeted || certificate.status == ExitStatus::Exited(EXIT_CODE);
        Self::Died { reached_init, certificate: Box::new(certificate) }
    }

    /// Waits until the first worker is ready. If there will be none, this is why.
    pub(crate) async fn unless_one_starts(
        first_tries: &mut mpsc::Receiver<Result<(), Self>>,
    ) -> Result<(), Self> {
        // None means that the manager's thread has failed.
        first_tries.recv().await.unwrap_or(Err(Self::Closing))
    }

    pub(crate) fn spawn(error: io::Error) -> Self {
        Self::Spawn { source: Arc::new(error) }
    }
}

fn stop(stopped_by: Option<i32>) -> String {
    stopped_by.map_or_else(String::new, |signal| format!("; it was stopped by {}", Signal(signal)))
}

/// Whether what the system refused with this error it may grant later: certain is only what a retry cannot mend.
pub(crate) fn may_pass(error: &io::Error) -> bool {
    use rustix::io::Errno;

    let without_number = matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported);
    let certain = match errno_of(error) {
        None => without_number,
        Some(errno) => matches!(
            errno,
            Errno::NOENT
                | Errno::ACCESS
                | Errno::PERM
                | Errno::NOEXEC
                | Errno::NOTDIR
                | Errno::ISDIR
                | Errno::LOOP
                | Errno::NAMETOOLONG
                | Errno::TOOBIG
                | Errno::INVAL
                | Errno::NOSYS
                | Errno::EXIST
                | Errno::ROFS
        ),
    };
    !certain
}

/// Tries until `deadline` to do what the system refuses for now, with growing pauses. Blocks the thread.
pub(crate) fn patiently<T>(deadline: Instant, mut attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let mut failures = 0;
    loop {
        match attempt() {
            Err(error) if may_pass(&error) && Instant::now() < deadline => {
                if failures == 0 {
                    tracing::warn!(%error, "the manager's own threads could not be started and are tried again");
                }
                #[expect(clippy::disallowed_methods, reason = "nobody tells when the system has room again")]
                thread::sleep(BACKOFF.delay(failures, jitter()));
                failures += 1;
            }
            result => return result,
        }
    }
}

/// The same without blocking the thread for longer than a moment at a time: a program that gets no thread for now gets no timer
/// either.
pub(crate) async fn start_patiently<T>(
    deadline: Instant,
    mut attempt: impl FnMut() -> Result<T, ManagerStartError>,
) -> Result<T, ManagerStartError> {
    const MOMENT: Duration = Duration::from_millis(1);
    let mut failures = 0;
    loop {
        match attempt() {
            Err(ManagerStartError::Runtime(error)) if may_pass(&error) && Instant::now() < deadline => {
                if failures == 0 {
                    tracing::warn!(%error, "the manager's own threads could not be started and are tried again");
                }
                let again = Instant::now() + BACKOFF.delay(failures, jitter());
                failures += 1;
                while Instant::now() < again {
                    #[expect(
                        clippy::disallowed_methods,
                        reason = "rather than spin; others go on in between"
                    )]
                    thread::sleep(MOMENT);
                    give_way().await;
                }
            }
            result => return result,
        }
    }
}

/// Lets the other futures of this thread go on, in any executor.
async fn give_way() {
    let mut given = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut given, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Starts a thread, [patiently].
pub(crate) fn spawn_patiently(
    deadline: Instant,
    name: &'static str,
    run: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    // What a thread that did not start was to run must not be lost with it.
    let run = Arc::new(Mutex::new(Some(run)));
    patiently(deadline, || {
        let run = Arc::clone(&run);
        let thread = thread::Builder::new().name(name.into()).spawn(move || {
            let run = run.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(run) = run {
                run();
            }
        });
        thread.naming(format!("starting the thread {name}"))
    })
}

/// What to do about a process that has not reached `init`.
fn advice(reached_init: bool) -> &'static str {
    match entry::of_this_program() {
        _ if reached_init => "",
        Entry::Unknown => {
            " (this program has not called init: in a program, call workfleet::init(&registry) first in main; in a test \
             binary, put workfleet::test_worker!(registry) once beside its tests)"
        }
        Entry::Test(_) => " (is test_worker! in this test binary, and in a module that it compiles?)",
        Entry::Main => " (is init called first in main?)",
    }
}

fn words(stderr_tail: &str) -> String {
    if stderr_tail.is_empty() { String::new() } else { format!("; it said: {stderr_tail}") }
}

#[cfg(all(test, not(workfleet_loom)))]
mod tests {
    use super::*;
    use crate::failure::KillReason;

    fn died(status: ExitStatus, killed_because: Option<KillReason>, greeted: bool) -> StartFailure {
        let certificate = DeathCertificate {
            worker: "worker-0".into(),
            pid: 1,
            status,
            killed_because,
            stderr_tail: String::new(),
            charged: None,
        };
        StartFailure::died(certificate, greeted)
    }

    #[test]
    fn what_the_system_refuses_for_now_may_pass_and_what_is_missing_does_not() {
        let passes = |number| may_pass(&io::Error::from_raw_os_error(number));
        for number in
            [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::EAGAIN, libc::ENOSPC, libc::EDQUOT, libc::EIO]
        {
            assert!(passes(number), "{}", io::Error::from_raw_os_error(number));
        }
        for number in
            [libc::ENOENT, libc::EACCES, libc::EPERM, libc::ENOEXEC, libc::ENOTDIR, libc::ENOSYS, libc::E2BIG]
        {
            assert!(!passes(number), "{}", io::Error::from_raw_os_error(number));
        }
        assert!(may_pass(&io::Error::new(ErrorKind::TimedOut, "it was slow")));
        assert!(!may_pass(&io::Error::new(ErrorKind::InvalidInput, "an argument with a zero byte")));
    }

    /// The table of [`StartFailure::prospect`], line by line.
    #[test]
    fn each_failure_has_its_prospect() {
        use Prospect::{Certain, MayPass};
        let spawn = |number| StartFailure::spawn(io::Error::from_raw_os_error(number));
        let after = Duration::from_secs(1);
        let not_reached =
            |stopped_by| StartFailure::InitNotReached { after, stopped_by, stderr_tail: String::new() };
        let table = [
            (spawn(libc::ENOENT), Certain, Certain),
            (spawn(libc::EMFILE), MayPass, MayPass),
            (not_reached(None), Certain, MayPass),
            (not_reached(Some(libc::SIGSTOP)), MayPass, MayPass),
            (died(ExitStatus::Signaled(libc::SIGKILL), None, false), MayPass, MayPass),
            (
                died(ExitStatus::Signaled(libc::SIGKILL), Some(KillReason::ConnectionEnded), false),
                Certain,
                MayPass,
            ),
            (died(ExitStatus::Exited(9), None, true), MayPass, MayPass),
            (died(ExitStatus::Exited(EXIT_CODE), None, false), MayPass, MayPass),
            (died(ExitStatus::Exited(0), None, false), Certain, MayPass),
            (StartFailure::Version { ours: 1, theirs: 2 }, Certain, Certain),
            (
                StartFailure::Registry { theirs: 1, only_ours: Vec::new(), only_theirs: Vec::new() },
                Certain,
                Certain,
            ),
            (StartFailure::Violation { reason: String::new() }, Certain, Certain),
            (StartFailure::Session { reason: String::new() }, MayPass, MayPass),
            (StartFailure::SessionTimeout { after, stopped_by: None }, MayPass, MayPass),
        ];
        for (failure, before, after) in table {
            assert_eq!((failure.prospect(false), failure.prospect(true)), (before, after), "{failure}");
        }
    }
}
