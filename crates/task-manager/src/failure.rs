//! How a task failed, and how a worker died: typed, serialisable, and readable as they print.
//!
//! Invariant: a task fails at most once, and its [`TaskFailure`] carries a certificate for every worker that died
//! while running it.

use std::{fmt, ops::Deref, time::Duration};

use serde::{Deserialize, Serialize};
use workfleet_heartbeat::Details;

use crate::{cut::floor_char_boundary, ids::TaskId};

/// Why a task ended without an output. It dereferences to a [`FailureReport`], which has the fields.
///
/// `Display` prints all of it, over several lines where there is a backtrace or a worker's last words.
#[doc(alias = "WorkerException")]
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TaskFailure {
    /// Boxed, so that a `Result` with it stays small.
    report: Box<FailureReport>,
}

impl TaskFailure {
    /// The fields, to be taken apart.
    pub fn into_report(self) -> FailureReport {
        *self.report
    }
}

impl From<FailureReport> for TaskFailure {
    fn from(report: FailureReport) -> Self {
        Self { report: Box::new(report) }
    }
}

impl Deref for TaskFailure {
    type Target = FailureReport;

    fn deref(&self) -> &FailureReport {
        &self.report
    }
}

/// As `Display`; the fields with `{:#?}`.
impl fmt::Debug for TaskFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if f.alternate() { fmt::Debug::fmt(&self.report, f) } else { fmt::Display::fmt(self, f) }
    }
}

/// Which task failed, where, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FailureReport {
    /// The task.
    pub task: TaskId,
    /// [`TaskSpec::NAME`](crate::TaskSpec::NAME) of its type.
    pub name: String,
    /// Its `Debug` form, made by the worker in which it failed, and cut after 2 KiB. If the task did not begin or its
    /// worker died, no worker made one: then this is the task's name and size, such as `digest (17 bytes)`.
    pub debug: String,
    /// The attempt that failed, from 1; 0 if the task was never handed to a worker.
    pub attempt: u32,
    /// The worker that ran that attempt.
    pub worker: Option<String>,
    /// What went wrong.
    pub cause: FailureCause,
    /// Of a [`Chain`](crate::Chain): the link that failed. If that link is a chain, the link that failed in it follows,
    /// and so on.
    pub links: Vec<FailedLink>,
    /// One certificate for each worker that died while running this task, oldest first.
    pub deaths: Vec<DeathCertificate>,
    /// The details of the task's last [heartbeat](crate::TaskContext::heartbeat). If its worker died, the last that
    /// reached the manager.
    pub last_heartbeat: Option<Details>,
}

/// The link of a [`Chain`](crate::Chain) that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FailedLink {
    /// Which, from 0.
    pub index: u32,
    /// [`TaskSpec::NAME`](crate::TaskSpec::NAME) of its type.
    pub name: String,
    /// Its `Debug` form, as that of a [task](FailureReport::debug).
    pub debug: String,
}

/// How an attempt has failed, where it ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failed {
    pub(crate) cause: FailureCause,
    /// The `Debug` form of the task; empty where the task did not run.
    pub(crate) debug: String,
    /// Outermost first.
    pub(crate) links: Vec<FailedLink>,
}

impl From<FailureCause> for Box<Failed> {
    fn from(cause: FailureCause) -> Self {
        Box::new(Failed { cause, debug: String::new(), links: Vec::new() })
    }
}

impl Failed {
    /// Cuts its texts, so that it travels in a frame of at most `limit_bytes`: it must reach its manager. The `Debug` form
    /// has a bound of its own, for which every frame has room.
    pub(crate) fn shorten(&mut self, limit_bytes: u64) {
        let mut budget = usize::try_from(limit_bytes / 2).unwrap_or(usize::MAX);
        let mut shorten = |text: &mut String| {
            let room = budget > 0;
            let end = floor_char_boundary(text, budget);
            text.truncate(end);
            budget = budget.saturating_sub(end + TEXT_HEAD_BYTES);
            room
        };
        self.cause.shorten(&mut shorten);
        let kept = self.links.iter_mut().map(|link| {
            shorten(&mut link.name);
            shorten(&mut link.debug)
        });
        let kept = kept.take_while(|room| *room).count();
        self.links.truncate(kept);
    }
}

/// What went wrong with a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum FailureCause {
    /// It returned an error.
    #[non_exhaustive]
    Error {
        /// The error's text, then those of its sources.
        chain: Vec<String>,
        /// Where it became a [`TaskError`](crate::TaskError), at most 8 KiB; none if
        /// [backtraces](crate::ProcessManagerBuilder::backtraces) are off.
        backtrace: Option<String>,
    },
    /// It panicked.
    #[non_exhaustive]
    Panicked {
        /// What it panicked with.
        message: String,
        /// `file:line:column` of the panic.
        location: Option<String>,
        /// There under the same condition as an error's, and unless the task has replaced the panic hook.
        backtrace: Option<String>,
    },
    /// Its workers died while running it, as often as the crash limit allows: see [`deaths`](FailureReport::deaths).
    WorkerDied,
    /// It was cancelled, or its manager closed while it ran.
    Cancelled,
    /// It ran, and no [heartbeat](crate::TaskContext::heartbeat) arrived for the
    /// [timeout](crate::TaskSpec::HEARTBEAT_TIMEOUT) of its type.
    #[non_exhaustive]
    HeartbeatTimeout {
        /// That timeout.
        timeout: Duration,
    },
    /// No attempt at it was begun, because no worker was up, and none started. If its manager closed first, it is
    /// [`Returned`](Self::Returned).
    #[non_exhaustive]
    NeverStarted {
        /// How long no worker was up. `None` if the reason could not pass.
        waited: Option<Duration>,
        /// The reason: for an outage, how long no worker was up and why the last start failed.
        reason: String,
    },
    /// It was begun, its worker died or was ended, and no further attempt was begun. What the first attempts have done
    /// is done.
    #[non_exhaustive]
    NotStartedAgain {
        /// How many attempts were begun.
        attempts: u32,
        /// As of [`NeverStarted`](Self::NeverStarted).
        waited: Option<Duration>,
        /// As of [`NeverStarted`](Self::NeverStarted).
        reason: String,
    },
    /// The worker does not know a task of this name, or cannot decode its fields.
    #[non_exhaustive]
    Rejected {
        /// What the worker said.
        reason: String,
    },
    /// It ran to its end, but its output could not be encoded, or does not decode.
    #[non_exhaustive]
    Output {
        /// What was wrong with it.
        reason: String,
    },
    /// It ran to its end, but its output is larger than the manager's
    /// [`frame_limit`](crate::ProcessManagerBuilder::frame_limit).
    #[non_exhaustive]
    OutputTooLarge {
        /// Its length, encoded.
        len_bytes: u64,
        /// The limit.
        limit_bytes: u64,
    },
    /// No attempt at it was begun: its manager closed first.
    Returned,
    /// Its outcome was taken from the handle before.
    Taken,
    /// It may be running, but this process is a fork of the one that waits for it, and will not be told how it ends.
    Forked,
}

/// No more than this comes beside a text.
const TEXT_HEAD_BYTES: usize = 8;

impl FailureReport {
    /// About how much memory it takes.
    pub(crate) fn len_bytes(&self) -> usize {
        let certificates = self.deaths.iter().map(|death| size_of_val(death) + death.stderr_tail.len());
        size_of_val(self)
            + self.name.len()
            + self.debug.len()
            + self.cause.text_bytes()
            + self
                .links
                .iter()
                .map(|link| size_of_val(link) + link.name.len() + link.debug.len())
                .sum::<usize>()
            + certificates.sum::<usize>()
            + self.last_heartbeat.as_ref().map_or(0, |details| details.as_bytes().len())
    }
}

impl FailureCause {
    fn text_bytes(&self) -> usize {
        match self {
            Self::Error { chain, backtrace } => chain.iter().chain(backtrace).map(String::len).sum(),
            Self::Panicked { message, location, backtrace } => {
                message.len() + location.iter().chain(backtrace).map(String::len).sum::<usize>()
            }
            Self::NeverStarted { reason, .. }
            | Self::NotStartedAgain { reason, .. }
            | Self::Rejected { reason }
            | Self::Output { reason } => reason.len(),
            Self::WorkerDied
            | Self::Cancelled
            | Self::HeartbeatTimeout { .. }
            | Self::OutputTooLarge { .. }
            | Self::Returned
            | Self::Taken
            | Self::Forked => 0,
        }
    }

    /// Cuts its texts by `shorten`, which says whether there was room for even a part.
    fn shorten(&mut self, mut shorten: impl FnMut(&mut String) -> bool) {
        match self {
            Self::Error { chain, backtrace } => {
                let kept = chain.iter_mut().map(&mut shorten).take_while(|room| *room).count();
                chain.truncate(kept);
                backtrace.as_mut().map(shorten);
            }
            Self::Panicked { message, location, backtrace } => {
                for text in [Some(message), location.as_mut(), backtrace.as_mut()].into_iter().flatten() {
                    shorten(text);
                }
            }
            Self::NeverStarted { reason, .. }
            | Self::NotStartedAgain { reason, .. }
            | Self::Rejected { reason }
            | Self::Output { reason } => {
                shorten(reason);
            }
            Self::WorkerDied
            | Self::Cancelled
            | Self::HeartbeatTimeout { .. }
            | Self::OutputTooLarge { .. }
            | Self::Returned
            | Self::Taken
            | Self::Forked => {}
        }
    }
}

impl fmt::Display for TaskFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "task {} {}", self.task, self.debug)?;
        if self.attempt > 0 {
            write!(f, ", attempt {}", self.attempt)?;
        }
        if let Some(worker) = &self.worker {
            write!(f, " on {worker}")?;
        }
        for FailedLink { index, debug, .. } in &self.links {
            write!(f, ", link {index} {debug}")?;
        }
        write!(f, ": {}", self.cause)?;
        for death in &self.deaths {
            write!(f, "\n  {death}")?;
        }
        Ok(())
    }
}

impl std::error::Error for TaskFailure {}

impl fmt::Display for FailureCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let backtrace = match self {
            Self::Error { chain, backtrace } => {
                f.write_str(&workfleet_causes::joined(chain))?;
                backtrace
            }
            Self::Panicked { message, location, backtrace } => {
                write!(f, "panicked: {message}")?;
                if let Some(location) = location {
                    write!(f, " ({location})")?;
                }
                backtrace
            }
            Self::WorkerDied => return f.write_str("its worker died"),
            Self::Forked => {
                return f.write_str(
                    "this process is a fork of the one that waits for it: start another manager after the fork, or exec",
                );
            }
            Self::Cancelled => return f.write_str("cancelled"),
            Self::HeartbeatTimeout { timeout } => return write!(f, "no heartbeat for {timeout:?}"),
            Self::NeverStarted { reason, .. } => return write!(f, "never started: {reason}"),
            Self::NotStartedAgain { attempts: 1, reason, .. } => {
                return write!(f, "not started again after its first attempt: {reason}");
            }
            Self::NotStartedAgain { attempts, reason, .. } => {
                return write!(f, "not started again after {attempts} attempts: {reason}");
            }
            Self::Rejected { reason } => return write!(f, "rejected by the worker: {reason}"),
            Self::Output { reason } => return write!(f, "its output was lost: {reason}"),
            Self::OutputTooLarge { len_bytes, limit_bytes } => {
                return write!(
                    f,
                    "its output was lost: it has {len_bytes} bytes, beyond the frame_limit of {limit_bytes}, which the \
                     manager's builder can raise"
                );
            }
            Self::Returned => return f.write_str("never started: the manager closed"),
            Self::Taken => return f.write_str("its outcome was taken from the handle before"),
        };
        match backtrace {
            Some(backtrace) => write!(f, "\n{}", backtrace.trim_end()),
            None => Ok(()),
        }
    }
}

/// How a worker process died.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DeathCertificate {
    /// The worker's name.
    pub worker: String,
    /// Its process id. The process is gone, so another process may have this number by now. (If its status is
    /// [unknown](ExitStatus::Unknown), it may still exist.)
    pub pid: u32,
    /// How it ended.
    pub status: ExitStatus,
    /// Why the manager ended it, if it did.
    pub killed_because: Option<KillReason>,
    /// The last lines of its standard error, at most 4 KiB; of a longer line, its end.
    pub stderr_tail: String,
    /// The attempt that was charged with the death, if one was: the one that ran.
    pub charged: Option<TaskId>,
}

/// How a process ended, as the kernel reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ExitStatus {
    /// It exited, with this code.
    Exited(i32),
    /// This signal ended it.
    Signaled(i32),
    /// Unknown. Either the kernel still holds the process in a call that nothing interrupts, or other code of this
    /// program has reaped it.
    Unknown,
}

/// Why a manager killed one of its workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum KillReason {
    /// Its connection ended while it lived.
    ConnectionEnded,
    /// It sent what the protocol does not allow.
    ProtocolViolated,
    /// It gave no sign of life for this long, and no signal had stopped it.
    Silent(Duration),
    /// The manager was closing.
    Closing,
    /// One of its tasks missed a heartbeat for this long, was cancelled, and did not end within the
    /// [grace](crate::ProcessManagerBuilder::heartbeat_grace).
    HeartbeatMissed(Duration),
    /// It gave no sign of life for the [silence limit](crate::ProcessManagerBuilder::silence_limit), because a signal
    /// had stopped it.
    #[non_exhaustive]
    Stopped {
        /// The signal that stopped it: SIGSTOP, or that of a terminal.
        signal: i32,
        /// The silence limit.
        silent_for: Duration,
    },
    /// It was told to exit, and did not within the [grace](crate::ProcessManagerBuilder::grace). The destructor of a
    /// session, or other code that runs at the end of a worker, took longer.
    NotExited(Duration),
}

impl fmt::Display for DeathCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (pid {}) {}", self.worker, self.pid, self.status)?;
        if let Some(reason) = &self.killed_because {
            write!(f, ", killed by its manager because {reason}")?;
        }
        for line in self.stderr_tail.lines() {
            write!(f, "\n    | {line}")?;
        }
        Ok(())
    }
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "exited with code {code}"),
            Self::Signaled(signal) => write!(f, "was ended by {}", Signal(*signal)),
            Self::Unknown => f.write_str("ended, nobody saw how"),
        }
    }
}

impl fmt::Display for KillReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ConnectionEnded => f.write_str("its connection ended"),
            Self::ProtocolViolated => f.write_str("it violated the protocol"),
            Self::Silent(limit) => write!(f, "nothing was heard of it for {limit:?}"),
            Self::Closing => f.write_str("it was closing"),
            Self::NotExited(grace) => write!(f, "it was to exit, and had not within {grace:?}"),
            Self::HeartbeatMissed(timeout) => {
                write!(f, "a task did not end that had sent no heartbeat for {timeout:?}")
            }
            Self::Stopped { signal, silent_for } => {
                write!(
                    f,
                    "{} had stopped it, and nothing was heard of it for {silent_for:?}",
                    Signal(*signal)
                )
            }
        }
    }
}

/// A signal by its name, or by its number.
pub(crate) struct Signal(pub(crate) i32);

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match signal_name(self.0) {
            Some(name) => f.write_str(name),
            None => write!(f, "signal {}", self.0),
        }
    }
}

fn signal_name(signal: i32) -> Option<&'static str> {
    Some(match signal {
        libc::SIGABRT => "SIGABRT",
        libc::SIGBUS => "SIGBUS",
        libc::SIGFPE => "SIGFPE",
        libc::SIGHUP => "SIGHUP",
        libc::SIGILL => "SIGILL",
        libc::SIGINT => "SIGINT",
        libc::SIGKILL => "SIGKILL",
        libc::SIGPIPE => "SIGPIPE",
        libc::SIGQUIT => "SIGQUIT",
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGSTOP => "SIGSTOP",
        libc::SIGSYS => "SIGSYS",
        libc::SIGTERM => "SIGTERM",
        libc::SIGTRAP => "SIGTRAP",
        libc::SIGTSTP => "SIGTSTP",
        libc::SIGTTIN => "SIGTTIN",
        libc::SIGTTOU => "SIGTTOU",
        libc::SIGXCPU => "SIGXCPU",
        _ => return None,
    })
}
