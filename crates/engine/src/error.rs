//! Why an engine refuses, or cannot answer.
//!
//! Each text is lowercase and names the value and the limit.

use std::{error::Error, time::Duration};

use workfleet_causes::readable;

use crate::{EngineTime, MemberId, RandomError, TaskRun};

/// Why a call to an engine failed.
///
/// After [`Unavailable`](Self::Unavailable), the call may have been carried out or not: it is to be repeated, with the same
/// number. After every other error, nothing has changed.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The engine has not answered. The call may have been carried out.
    #[error("the engine did not answer: {reason}")]
    Unavailable {
        /// What has happened.
        reason: &'static str,
        /// The cause, if there is one.
        source: Option<Box<dyn Error + Send + Sync>>,
    },
    /// The member has left, its lease has run out, or it never joined: it is fenced.
    #[error("the member {member} is gone")]
    MemberGone {
        /// The member.
        member: MemberId,
    },
    /// The answer to this call is no longer kept: the member has confirmed it, or the repeat window is over.
    #[error("call {number} is outdated: answers up to call {forgotten} are forgotten")]
    Outdated {
        /// The number of the call.
        number: u64,
        /// The last one that is forgotten.
        forgotten: u64,
    },
    /// Another kind of call has had this number.
    #[error("call {number} was of another kind before")]
    NumberReused {
        /// The number of the call.
        number: u64,
    },
    /// The id of a member or a task is older than the repeat window, or as far in the future. Ids are made by the engine's clock.
    #[error("an id has the time {id} ms, and the engine {engine} ms: they may differ by {window:?}", id = id.unix_ms(), engine = engine.unix_ms())]
    IdTime {
        /// The time in the id.
        id: EngineTime,
        /// The engine's time.
        engine: EngineTime,
        /// How much they may differ.
        window: Duration,
    },
    /// The run that was to be the parent of a task is over.
    #[error("run {run} of the parent task {task} is over", run = parent.run, task = parent.task)]
    ParentFenced {
        /// The run.
        parent: TaskRun,
    },
    /// Something is longer than it may be.
    #[error("{what} has {len_bytes} bytes, and the limit is {limit_bytes} bytes")]
    TooLong {
        /// What it is.
        what: &'static str,
        /// How long it is.
        len_bytes: usize,
        /// How long it may be.
        limit_bytes: usize,
    },
    /// There are more of something than there may be.
    #[error("there would be {count} {what}, and the limit is {limit}")]
    TooMany {
        /// What there are too many of.
        what: &'static str,
        /// How many there would be.
        count: usize,
        /// How many there may be.
        limit: usize,
    },
    /// Something is zero or empty, and must not be.
    #[error("{what} is 0, and must be at least 1")]
    Zero {
        /// What it is.
        what: &'static str,
    },
    /// This engine cannot do that: see its [capabilities](crate::Capabilities).
    #[error("this engine has no {what}")]
    Unsupported {
        /// What it cannot do.
        what: &'static str,
    },
    /// The operating system has no random bits for a new id.
    #[error(transparent)]
    RandomError(#[from] RandomError),
    /// The engine's store has failed in a way that repeating does not mend.
    #[error("the engine's store has failed")]
    Failed {
        /// What the store says.
        source: Box<dyn Error + Send + Sync>,
    },
}

readable!(EngineError {
    Unavailable { reason, source },
    MemberGone { member },
    Outdated { number, forgotten },
    NumberReused { number },
    IdTime { id, engine, window },
    ParentFenced { parent },
    TooLong { what, len_bytes, limit_bytes },
    TooMany { what, count, limit },
    Zero { what },
    Unsupported { what },
    RandomError(error),
    Failed { source },
});

impl EngineError {
    /// Whether the call is to be repeated, with the same number: it may have been carried out or not.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use workfleet_causes::check_variants;

    use super::*;
    use crate::FleetTaskId;

    #[test]
    fn errors_follow_the_convention() {
        let source = || io::Error::from(io::ErrorKind::NotFound).into();
        check_variants!(EngineError {
            EngineError::Unavailable { .. } => {
                EngineError::Unavailable { reason: "it restarts", source: Some(source()) }
            },
            EngineError::MemberGone { .. } => EngineError::MemberGone { member: MemberId::from_u128(7) },
            EngineError::Outdated { .. } => EngineError::Outdated { number: 1, forgotten: 2 },
            EngineError::NumberReused { .. } => EngineError::NumberReused { number: 1 },
            EngineError::IdTime { .. } => EngineError::IdTime {
                id: EngineTime::from_unix_ms(1),
                engine: EngineTime::from_unix_ms(2),
                window: Duration::from_secs(600),
            },
            EngineError::ParentFenced { .. } => {
                EngineError::ParentFenced { parent: TaskRun { task: FleetTaskId::from_u128(7), run: 1 } }
            },
            EngineError::TooLong { .. } => EngineError::TooLong { what: "a name", len_bytes: 2, limit_bytes: 1 },
            EngineError::TooMany { .. } => EngineError::TooMany { what: "tasks", count: 2, limit: 1 },
            EngineError::Zero { .. } => EngineError::Zero { what: "a concurrency limit" },
            EngineError::Unsupported { .. } => EngineError::Unsupported { what: "locks" },
            EngineError::RandomError(_) => EngineError::RandomError(RandomError::for_tests()),
            EngineError::Failed { .. } => EngineError::Failed { source: source() },
        });
        assert!(EngineError::Unavailable { reason: "it restarts", source: None }.is_transient());
        assert!(!EngineError::Outdated { number: 1, forgotten: 2 }.is_transient());
    }
}
