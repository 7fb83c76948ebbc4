//! What the two ends of a connection make of a frame's kind.
//!
//! Each place where frames are taken matches one of these enums, without a wildcard. So a new kind does not compile before each of
//! them has an answer to it. A test compares the enums with the [table](super::TABLE).

use workfleet_wire::Kind;

use super::{
    CANCEL, FAILURE, FLUSH, FLUSHED, HEARTBEAT, HELLO, IDLE, MESSAGE, PING, PONG, RECALL, RESULT, RETURNED,
    SERVICE_KINDS, START_FAILED, TASK, WELCOME,
};

/// A kind, as the manager receives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FromWorker {
    Hello,
    StartFailed,
    Result,
    Failure,
    Returned,
    Flush,
    Pong,
    Heartbeat,
    Message,
    Idle,
    /// A task schedules another at this priority.
    Schedule(u8),
    /// For the service that owns it.
    Service,
    /// The pool takes no such frame from a worker.
    Foreign,
}

impl FromWorker {
    #[inline]
    pub(crate) fn of(kind: Kind) -> Self {
        match kind {
            HELLO => Self::Hello,
            START_FAILED => Self::StartFailed,
            RESULT => Self::Result,
            FAILURE => Self::Failure,
            RETURNED => Self::Returned,
            FLUSH => Self::Flush,
            PONG => Self::Pong,
            HEARTBEAT => Self::Heartbeat,
            MESSAGE => Self::Message,
            IDLE => Self::Idle,
            _ if SERVICE_KINDS.contains(&kind.0) => Self::Service,
            _ => kind.schedule_priority().map_or(Self::Foreign, Self::Schedule),
        }
    }
}

/// A kind, as a worker receives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FromManager {
    Welcome,
    Cancel,
    Recall,
    Ping,
    Flushed,
    Task,
    /// For the service or the extension that owns it.
    Service,
    /// The pool takes no such frame from a manager.
    Foreign,
}

impl FromManager {
    #[inline]
    pub(crate) fn of(kind: Kind) -> Self {
        match kind {
            WELCOME => Self::Welcome,
            CANCEL => Self::Cancel,
            RECALL => Self::Recall,
            PING => Self::Ping,
            FLUSHED => Self::Flushed,
            TASK => Self::Task,
            _ if SERVICE_KINDS.contains(&kind.0) => Self::Service,
            _ => Self::Foreign,
        }
    }
}

#[cfg(all(test, not(workfleet_loom)))]
mod tests {
    use super::{super::*, *};

    /// The table has these for undr alone. The pool says the same by kinds of its own.
    const OF_UNDR: [(Kind, Direction); 3] =
        [(DONE_NEXT, Direction::ToManager), (MESSAGE, Direction::ToWorker), (SCHEDULED, Direction::ToWorker)];

    #[test]
    fn each_kind_that_may_come_is_taken() {
        for kind in (0..=u8::MAX).map(Kind) {
            for (direction, is_taken) in [
                (Direction::ToManager, FromWorker::of(kind) != FromWorker::Foreign),
                (Direction::ToWorker, FromManager::of(kind) != FromManager::Foreign),
            ] {
                let may_come = [0, 1].iter().any(|len_bytes| check(kind, direction, *len_bytes).is_ok());
                let is_of_undr = OF_UNDR.contains(&(kind, direction));
                assert_eq!(may_come && !is_of_undr, is_taken, "{} {direction:?}", TABLE.named(kind));
            }
        }
    }
}
