//! What can go wrong with a task's heartbeat, where the task sends it; and where there are no heartbeaters.

use workfleet_heartbeat::DetailsError;

/// A heartbeat was not taken. The task may go on: nothing else has happened.
#[doc(alias = "HeartbeatError")]
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TaskHeartbeatError {
    /// Its details cannot be encoded, or are too large.
    #[error(transparent)]
    Details(#[from] DetailsError),
    /// The attempt that it is of has ended.
    #[error("the attempt that this heartbeat is of has ended")]
    AttemptEnded,
}

workfleet_causes::readable!(TaskHeartbeatError { Details(error), AttemptEnded });

/// There are no heartbeaters to be had here.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum HeartbeatersError {
    /// This is a worker process. The manager's heartbeaters are in its program: register there, and send the sender in the
    /// task's payload.
    #[error("the manager's heartbeaters are in its program: a task gets a sender in its payload")]
    InWorkerProcess,
    /// This manager was given none, and makes none: see [`WithHeartbeaters`](crate::WithHeartbeaters).
    #[error("this manager was given no heartbeaters")]
    NotGiven,
    /// The manager is gone, or this process is a fork of the one that started it.
    #[error("the manager is gone, and its heartbeaters with it")]
    ManagerGone,
    /// The system has no thread left for the manager's own.
    #[error("the manager's heartbeaters could not be started")]
    Start(#[source] std::io::Error),
}

workfleet_causes::readable!(HeartbeatersError { InWorkerProcess, NotGiven, ManagerGone, Start(error) });
