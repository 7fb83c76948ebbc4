//! The port: what every engine does.

use std::{fmt::Debug, sync::Arc, time::Duration};

use futures_core::{future::BoxFuture, stream::BoxStream};
use workfleet_shared_lock::Mode;

use crate::{
    Beat, Beaten, Call, Cancelled, DeadLetter, DeadLetterAnswer, DeadLetterOp, DeadLetters, Departure,
    EngineError, EngineTime, Enqueued, FleetTaskId, Inspection, Join, Joined, LeasedTask, LockAnswer,
    LockCall, LockView, MemberId, NewTask, Settled, Settlement, TaskState,
};

/// What an answer is: a future that borrows the engine.
pub type Reply<'a, T> = BoxFuture<'a, Result<T, EngineError>>;

/// What an engine can do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Capabilities {
    /// What it has acknowledged outlives it, and is there when it starts again.
    pub durable: bool,
    /// It has locks.
    pub locks: bool,
    /// A user's own transaction can depend on a member, a run and a lock.
    pub fenced_transactions: bool,
    /// [`Engine::hints`] says something.
    pub hints: bool,
}

/// A request for work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseCall {
    /// The member.
    pub member: MemberId,
    /// The number of the batch, from 1 on. It stays the same until tasks have come, and is then one more, which says that they have.
    /// Otherwise a repetition that is under way could lease tasks of which nobody learns. A member asks for one batch at a time.
    pub batch: u64,
    /// From which series, in this order, and how many of each at most.
    pub series: Vec<(Arc<str>, u32)>,
    /// The names that the member knows.
    pub names: Vec<Arc<str>>,
    /// If there is no work, the answer waits for some, for this long at most.
    pub wait: Duration,
}

/// Something has happened for which it may be worth to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Hint {
    /// There may be work to lease.
    Work,
    /// Tasks have ended.
    Ended,
    /// Requests of this member for locks have changed.
    Locks(MemberId),
    /// Tasks of this member are cancelled.
    Cancelled(MemberId),
    /// This member is gone, and with it what it reported.
    Gone(MemberId),
}

/// Where a fleet's tasks, members and locks are kept.
///
/// What holds for all engines:
///
/// - *Every call may be repeated.* A call that failed with an [`EngineError::Unavailable`], or whose future was dropped, may have been
///   carried out. Repeated with the same ids and numbers, it has no further effect, and gives the first one's answer.
/// - *One fence.* A member whose lease has run out or that has left is gone: its tasks go to others, its locks end, and all its calls
///   fail by [`EngineError::MemberGone`]. What it says of a task is never taken once another may have that task.
/// - *Runs and fences increase*, and none is used twice. A task ends once (unless it is a dead letter that is retried).
/// - *Order.* Tasks are leased by priority, then as they arrived; a task that comes back has its old place. Series do not wait for
///   one another.
/// - *Time is counted by the engine's clock alone.* Requests have durations.
/// - *Everything has a bound*, and what would exceed it is refused by an error that names it.
///
/// # Cancel safety
///
/// A future of any method that is dropped may have had its effect: repeat the call to learn that. What is waited for is not lost.
pub trait Engine: Debug + Send + Sync {
    /// What this engine can do.
    fn capabilities(&self) -> Capabilities;

    /// The engine's time, from which ids are made.
    ///
    /// # Errors
    ///
    /// [`EngineError::Unavailable`].
    fn time(&self) -> Reply<'_, EngineTime>;

    /// Makes a member of a client. A member that has joined before gets the same answer, and a renewed lease.
    ///
    /// # Errors
    ///
    /// - [`EngineError::MemberGone`] if this member has been and is gone;
    /// - [`EngineError::IdTime`] for an id that is not new by the engine's clock;
    /// - [`EngineError::TooMany`] members, [`EngineError::TooLong`] for the name.
    fn join(&self, join: Join) -> Reply<'_, Joined>;

    /// Renews a member's lease.
    ///
    /// # Errors
    ///
    /// - [`EngineError::MemberGone`];
    /// - [`EngineError::TooMany`] tasks, [`EngineError::TooLong`] for the details. The lease is renewed nevertheless.
    fn beat(&self, beat: Beat) -> Reply<'_, Beaten>;

    /// Ends a member. Of one that is gone already, nothing more happens.
    ///
    /// # Errors
    ///
    /// [`EngineError::Unavailable`].
    fn leave(&self, member: MemberId, departure: Departure) -> Reply<'_, ()>;

    /// Takes all of these tasks or, if it fails, none.
    ///
    /// # Errors
    ///
    /// - [`EngineError::ParentFenced`] if the run that enqueues one of them is over;
    /// - [`EngineError::TooMany`] if the engine has as many tasks as it may know, or for the batch;
    /// - [`EngineError::IdTime`], [`EngineError::TooLong`], [`EngineError::Zero`] for what one of them says;
    /// - those of every [`Call`]: [`EngineError::MemberGone`], [`EngineError::Outdated`], [`EngineError::NumberReused`], and
    ///   [`EngineError::TooMany`] unconfirmed answers.
    fn enqueue(&self, call: Call, tasks: Vec<NewTask>) -> Reply<'_, Vec<Enqueued>>;

    /// Leases tasks, or waits for some. An empty answer means that there were none.
    ///
    /// A repeated call gets those tasks of its batch that the member still holds. A task that is to run alone comes in a batch of its
    /// own, to a member that holds none, which gets no more until that task is settled.
    ///
    /// # Errors
    ///
    /// - [`EngineError::MemberGone`], also if that happens while it waits;
    /// - [`EngineError::Outdated`] for a batch before the last;
    /// - [`EngineError::TooMany`] names or series, [`EngineError::TooLong`] for one of them.
    fn lease(&self, call: LeaseCall) -> Reply<'_, Vec<LeasedTask>>;

    /// Ends runs. The answers are in the order of the settlements.
    ///
    /// # Errors
    ///
    /// Those of every [`Call`]; [`EngineError::TooMany`] settlements, [`EngineError::TooLong`] for an output or a failure. Then none of
    /// them has been recorded.
    fn settle(&self, call: Call, settlements: Vec<Settlement>) -> Reply<'_, Vec<Settled>>;

    /// How these tasks stand, in their order. As long as each of them waits or is leased, the answer waits for one to end, for `wait` at
    /// most.
    ///
    /// # Errors
    ///
    /// [`EngineError::TooMany`] tasks.
    fn outcomes(&self, tasks: Vec<FleetTaskId>, wait: Duration) -> Reply<'_, Vec<TaskState>>;

    /// Cancels tasks. The answers are in their order.
    ///
    /// # Errors
    ///
    /// Those of every [`Call`]; [`EngineError::TooMany`] tasks.
    fn cancel(&self, call: Call, tasks: Vec<FleetTaskId>) -> Reply<'_, Vec<Cancelled>>;

    /// The dead letters after this id, `limit` of them at most, in the order of their ids.
    ///
    /// # Errors
    ///
    /// [`EngineError::TooMany`] if the limit is more than one call may have.
    fn dead_letters(&self, after: Option<FleetTaskId>, limit: usize) -> Reply<'_, Vec<DeadLetter>>;

    /// Retries or drops dead letters. The answers are in the order of the tasks.
    ///
    /// # Errors
    ///
    /// Those of every [`Call`]; [`EngineError::TooMany`] tasks.
    fn settle_dead_letters(
        &self,
        call: Call,
        op: DeadLetterOp,
        which: DeadLetters,
    ) -> Reply<'_, Vec<DeadLetterAnswer>>;

    /// What an operator wants to see.
    ///
    /// # Errors
    ///
    /// [`EngineError::Unavailable`].
    fn inspect(&self) -> Reply<'_, Inspection>;

    /// Carries out operations on locks, and says which of the member's requests have changed.
    ///
    /// # Errors
    ///
    /// - [`EngineError::MemberGone`], also if that happens while it waits;
    /// - [`EngineError::TooMany`] operations, [`EngineError::TooLong`] for a key or label, [`EngineError::Zero`] for an empty key;
    /// - [`EngineError::Unsupported`] if the engine has no locks.
    ///
    /// What concerns one operation alone is in the answer.
    fn locks(&self, call: LockCall) -> Reply<'_, LockAnswer>;

    /// Whether a request of this mode would be granted at once: nobody holds the key, or it is shared as asked for and nobody
    /// waits. The answer may be outdated before it arrives.
    ///
    /// # Errors
    ///
    /// [`EngineError::Unsupported`] if the engine has no locks.
    fn is_free(&self, key: Arc<str>, mode: Mode) -> Reply<'_, bool>;

    /// The keys that are held, with their holders and waiters: those after this key, `limit` of them at most, in order.
    ///
    /// # Errors
    ///
    /// [`EngineError::Unsupported`] if the engine has no locks.
    fn lock_snapshot(&self, after: Option<Arc<str>>, limit: usize) -> Reply<'_, Vec<LockView>>;

    /// What has happened, as far as the engine tells: a hint may be lost, and the stream may end. Nothing relies on them.
    fn hints(&self) -> BoxStream<'static, Hint>;
}
