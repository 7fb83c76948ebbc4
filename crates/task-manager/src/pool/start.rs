//! Why a manager or a worker does not start, and how long a worker may take.

use std::{
    io,
    sync::{Arc, mpsc},
    time::Duration,
};

use crate::{
    failure::{DeathCertificate, ExitStatus, Signal},
    registry::RegistryError,
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
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// This process is itself a worker that has not called [`init`](crate::init): starting workers from here would
    /// breed processes without end.
    #[error(
        "this process was started as a worker: call init first in main, before anything starts a manager"
    )]
    InitNotReached,
    /// The registry is at odds with itself.
    #[error(transparent)]
    Registry(#[from] RegistryError),
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
    /// A thread or the runtime of the manager could not be started.
    #[error("the manager's own threads could not be started")]
    Runtime(#[source] io::Error),
    /// Not one worker started. This is what became of the first that failed.
    #[error("no worker starts")]
    Workers(#[source] StartFailure),
}

/// A worker did not start.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartFailure {
    /// The process could not be started, or not be connected with.
    #[error("the process could not be started")]
    #[non_exhaustive]
    Spawn {
        /// What the system said: no permission, no descriptors left, no such program…
        source: Arc<io::Error>,
    },
    /// The program ran, but did not call [`init`](crate::init).
    #[error("the process did not reach init within {after:?}{}{}", stop(*stopped_by), words(stderr_tail))]
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
    #[error("the process ended before it was ready (is init called first in main?): {certificate}")]
    #[non_exhaustive]
    Died {
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
    #[error("the worker's registry differs from the manager's: its digest is {theirs:016x}")]
    #[non_exhaustive]
    Registry {
        /// The digest of the worker's registry.
        theirs: u64,
    },
    /// A session could not be made.
    #[error("{reason}")]
    #[non_exhaustive]
    Session {
        /// What the worker said.
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

impl StartFailure {
    /// A signal ended the process that we did not send.
    pub(crate) fn was_killed(&self) -> bool {
        let Self::Died { certificate } = self else { return false };
        matches!(certificate.status, ExitStatus::Signaled(_)) && certificate.killed_because.is_none()
    }

    /// Waits until the first worker is ready. If there will be none, this is what became of the first that failed.
    pub(crate) fn unless_one_starts(
        first_tries: mpsc::Receiver<Result<(), Self>>,
        workers: usize,
    ) -> Result<(), Self> {
        let mut first_failure = None;
        for tried in first_tries.iter().take(workers) {
            match tried {
                Ok(()) => return Ok(()),
                Err(failure) => first_failure.get_or_insert(failure),
            };
        }
        Err(first_failure.unwrap_or(Self::Closing))
    }

    pub(crate) fn spawn(error: io::Error) -> Self {
        Self::Spawn { source: Arc::new(error) }
    }
}

fn stop(stopped_by: Option<i32>) -> String {
    stopped_by.map_or_else(String::new, |signal| format!("; it was stopped by {}", Signal(signal)))
}

fn words(stderr_tail: &str) -> String {
    if stderr_tail.is_empty() { String::new() } else { format!("; it said: {stderr_tail}") }
}
