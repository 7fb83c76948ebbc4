//! What can go wrong with a task's heartbeat, where the task sends it.

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
