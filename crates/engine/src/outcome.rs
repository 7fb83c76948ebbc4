//! What became of tasks, dead letters, and what an operator sees.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use crate::{FleetTaskId, MemberId, NewTask, Payload, Tally, TaskRun};

/// How a task stands.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TaskState {
    /// The engine does not know it: it was never enqueued, or its outcome is no longer kept.
    Unknown,
    /// It waits: for its time, a slot, a bucket, or a member.
    Waiting,
    /// A member has leased it.
    Leased {
        /// The member.
        member: MemberId,
        /// The run.
        run: u64,
    },
    /// It has ended.
    Ended(TaskOutcome),
}

/// How a task has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TaskOutcome {
    /// It is done, with this output.
    Done(Payload),
    /// It was cancelled.
    Cancelled,
    /// It is a dead letter.
    Dead(DeadCause),
}

/// Why a task is a dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeadCause {
    /// A member has settled it so, and says what went wrong.
    Failed(Bytes),
    /// Its deadline has passed.
    Deadline,
    /// Members were lost with it too often, the last one while it ran alone.
    Lost,
}

/// A task that has failed for good. It is kept until somebody retries or drops it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeadLetter {
    /// The task as it was enqueued.
    pub task: Arc<NewTask>,
    /// Why it is dead.
    pub cause: DeadCause,
    /// What has happened to it.
    pub tally: Tally,
    /// How long it has been dead.
    pub age: Duration,
    /// The last details of its heartbeat.
    pub details: Option<Bytes>,
    /// What went wrong when it was last to be retried.
    pub failure: Option<Bytes>,
}

/// Which dead letters are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeadLetters {
    /// These.
    Ids(Vec<FleetTaskId>),
    /// The first so many with this name, in the order of their ids.
    Named(Arc<str>, usize),
    /// The first so many, in the order of their ids.
    First(usize),
}

/// What to do with dead letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DeadLetterOp {
    /// Enqueues them again, behind all that wait: with a new deadline, and with nothing charged.
    Retry,
    /// Drops them. Their outcome stays known for the repeat window.
    Drop,
}

/// What was done with a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DeadLetterAnswer {
    /// What was asked for.
    Ok(FleetTaskId),
    /// There is no such dead letter.
    Unknown(FleetTaskId),
    /// It is not retried, because its unique key belongs to another task now.
    KeyTaken {
        /// The dead letter.
        task: FleetTaskId,
        /// The task that has its key.
        by: FleetTaskId,
    },
}

/// What cancelling a task did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cancelled {
    /// It waited, and has ended.
    Ended,
    /// It is leased. Its member learns of it with its next beat.
    Asked,
    /// It had ended before.
    Late,
    /// There is no such task.
    Unknown,
}

/// What happened to all tasks. At any time, enqueued + retried = done + cancelled + dead + pending.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EngineBooks {
    /// Tasks that were taken.
    pub enqueued: u64,
    /// Dead letters that were enqueued again.
    pub retried: u64,
    /// Tasks that ended with an output.
    pub done: u64,
    /// Tasks that ended as cancelled.
    pub cancelled: u64,
    /// Tasks that became dead letters, each time that they did.
    pub dead: u64,
    /// Tasks that have not ended.
    pub pending: u64,
}

/// What an operator sees of one name in one series.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Backlog {
    /// The series.
    pub series: Arc<str>,
    /// The name.
    pub name: Arc<str>,
    /// How many wait for their time.
    pub delayed: usize,
    /// How many wait for anything else.
    pub ready: usize,
    /// How many are leased.
    pub leased: usize,
    /// How many are dead letters.
    pub dead: usize,
    /// How long the oldest of those that are ready has been known.
    pub oldest_ready: Option<Duration>,
    /// Whether some are ready and no member knows the name, as far as members have asked for work.
    pub is_stalled: bool,
}

/// What an operator sees of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemberView {
    /// The member.
    pub member: MemberId,
    /// Its name.
    pub name: Arc<str>,
    /// How much of its lease is left.
    pub lease_left: Duration,
    /// What it has leased.
    pub leased: Vec<TaskRun>,
}

/// What an operator sees.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Inspection {
    /// What happened so far.
    pub books: EngineBooks,
    /// What there is, by series and name.
    pub backlog: Vec<Backlog>,
    /// The members, by their ids.
    pub members: Vec<MemberView>,
}
