//! Every public error of this crate follows the convention: one line, no text twice, and readable where `main` prints it.

use std::time::Duration;

use workfleet_causes::check_variants;

use crate::{
    Cycle, CycleLink, LockFailed, LockRequestError,
    cores::{LockOpError, RequestId},
};

#[test]
fn errors_of_locks() {
    check_variants!(LockFailed {
        LockFailed::Closed => LockFailed::Closed,
        LockFailed::TimedOut { .. } => LockFailed::TimedOut { after: Duration::from_secs(1) },
        LockFailed::NoTimer => LockFailed::NoTimer,
        LockFailed::LeaseLost => LockFailed::LeaseLost,
        LockFailed::WouldDeadlock(_) => {
            LockFailed::WouldDeadlock(Cycle::new([CycleLink { owner: "ann".into(), key: "x".into() }]))
        },
        LockFailed::Forked => LockFailed::Forked,
        LockFailed::Refused(_) => LockFailed::Refused(LockRequestError::KeyEmpty),
    });
    check_variants!(LockRequestError {
        LockRequestError::KeyEmpty => LockRequestError::KeyEmpty,
        LockRequestError::KeyTooLong { .. } => LockRequestError::KeyTooLong { len_bytes: 5, limit_bytes: 4 },
    });
}

#[test]
fn errors_of_tables() {
    check_variants!(LockOpError {
        LockOpError::Outdated { .. } => LockOpError::Outdated { request: RequestId::new(1), last: RequestId::new(2) },
        LockOpError::TooMany { .. } => LockOpError::TooMany { limit: 64 },
        LockOpError::NoFences => LockOpError::NoFences,
    });
}
