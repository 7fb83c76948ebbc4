//! Why a process that was started as a worker could not become one.

use std::{fmt, io};

use workfleet_wire::EncodeError;

use workfleet_causes::{readable, with_sources};

use crate::{
    protocol::{self, Violation},
    registry::RegistryError,
};

/// A process that was started as a worker could not become one.
#[doc(alias = "WorkerError")]
#[derive(thiserror::Error)]
#[error(transparent)]
pub struct WorkerLoopError(#[from] GreetError);

impl fmt::Debug for WorkerLoopError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if f.alternate() {
            f.debug_tuple("WorkerLoopError").field(&self.0).finish()
        } else {
            f.write_str(&with_sources(self))
        }
    }
}

impl WorkerLoopError {
    pub(super) fn session(reason: String) -> Self {
        Self(GreetError::Session(reason))
    }
}

#[derive(thiserror::Error)]
pub(crate) enum GreetError {
    #[error(transparent)]
    Refused(#[from] RegistryError),
    #[error("its terminal could not be given up")]
    Terminal(#[source] io::Error),
    #[error("its standard input could not be replaced")]
    Stdin(#[source] io::Error),
    #[error("its signals could not be set")]
    Signals(#[source] io::Error),
    #[error("a thread could not be started")]
    Thread(#[source] io::Error),
    #[error("the memory that it shares with its manager could not be had")]
    Memory(#[source] io::Error),
    #[error("its connection failed")]
    Connection(#[from] io::Error),
    #[error("the manager violated the protocol")]
    Violation(#[from] Violation),
    #[error("the manager speaks protocol version {theirs}, this program {}", protocol::VERSION)]
    Version { theirs: u16 },
    #[error(
        "this program's registry has not the tasks that the manager's has: the manager says which differ"
    )]
    Registry,
    #[error("the manager ended the connection")]
    Ended,
    #[error("the manager's status page did not come")]
    NoStatusPage,
    #[error("the standard output that was held back did not come")]
    NoStdout,
    #[error("standard output could not be taken")]
    Stdout(#[source] io::Error),
    #[error("its greeting could not be encoded")]
    Encode(#[from] EncodeError),
    #[error("{0}")]
    Session(String),
}

readable!(GreetError {
    Refused(error),
    Terminal(error),
    Stdin(error),
    Signals(error),
    Thread(error),
    Memory(error),
    Connection(error),
    Violation(violation),
    Version { theirs },
    Registry,
    Ended,
    NoStatusPage,
    NoStdout,
    Stdout(error),
    Encode(error),
    Session(reason),
});
