//! An engine that repeats calls whose answers are lost, so that its caller sees no outage but its length.

use std::{future::Future, sync::Arc, time::Duration};

use futures_core::stream::BoxStream;
use workfleet_shared_lock::Mode;

use crate::{
    Beat, Beaten, Call, Cancelled, Capabilities, DeadLetter, DeadLetterAnswer, DeadLetterOp, DeadLetters,
    Departure, Engine, EngineError, EngineTime, Enqueued, FleetTaskId, Hint, Inspection, Join, Joined,
    LeaseCall, LeasedTask, LockAnswer, LockCall, LockView, MemberId, NewTask, Reply, Settled, Settlement,
    TaskState,
};

/// The first pause before a call is repeated.
const FIRST_PAUSE: Duration = Duration::from_millis(10);

/// No pause is longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// An engine whose calls are repeated as long as they fail by [`EngineError::Unavailable`].
///
/// A call is repeated until it has an answer or its future is dropped: bound the time with a timeout. The pauses between grow from 10 ms to
/// 1 s. It needs a tokio runtime with time.
///
/// What is repeated is the whole call, with its ids and numbers. So it has happened once, whichever of the answers arrives.
#[derive(Clone, Debug)]
pub struct Repeating(Arc<dyn Engine>);

impl Repeating {
    /// Repeats the calls of this engine.
    #[must_use]
    pub fn new(engine: Arc<dyn Engine>) -> Self {
        Self(engine)
    }
}

async fn repeat<T, F>(mut call: impl FnMut() -> F) -> Result<T, EngineError>
where
    F: Future<Output = Result<T, EngineError>>,
{
    let mut pause = FIRST_PAUSE;
    loop {
        match call().await {
            Err(error) if error.is_transient() => {}
            answer => return answer,
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

impl Engine for Repeating {
    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }

    fn time(&self) -> Reply<'_, EngineTime> {
        Box::pin(repeat(move || self.0.time()))
    }

    fn join(&self, join: Join) -> Reply<'_, Joined> {
        Box::pin(repeat(move || self.0.join(join.clone())))
    }

    fn beat(&self, beat: Beat) -> Reply<'_, Beaten> {
        Box::pin(repeat(move || self.0.beat(beat.clone())))
    }

    fn leave(&self, member: MemberId, departure: Departure) -> Reply<'_, ()> {
        Box::pin(repeat(move || self.0.leave(member, departure)))
    }

    fn enqueue(&self, call: Call, tasks: Vec<NewTask>) -> Reply<'_, Vec<Enqueued>> {
        Box::pin(repeat(move || self.0.enqueue(call, tasks.clone())))
    }

    fn lease(&self, call: LeaseCall) -> Reply<'_, Vec<LeasedTask>> {
        Box::pin(repeat(move || self.0.lease(call.clone())))
    }

    fn settle(&self, call: Call, settlements: Vec<Settlement>) -> Reply<'_, Vec<Settled>> {
        Box::pin(repeat(move || self.0.settle(call, settlements.clone())))
    }

    fn outcomes(&self, tasks: Vec<FleetTaskId>, wait: Duration) -> Reply<'_, Vec<TaskState>> {
        Box::pin(repeat(move || self.0.outcomes(tasks.clone(), wait)))
    }

    fn cancel(&self, call: Call, tasks: Vec<FleetTaskId>) -> Reply<'_, Vec<Cancelled>> {
        Box::pin(repeat(move || self.0.cancel(call, tasks.clone())))
    }

    fn dead_letters(&self, after: Option<FleetTaskId>, limit: usize) -> Reply<'_, Vec<DeadLetter>> {
        Box::pin(repeat(move || self.0.dead_letters(after, limit)))
    }

    fn settle_dead_letters(
        &self,
        call: Call,
        op: DeadLetterOp,
        which: DeadLetters,
    ) -> Reply<'_, Vec<DeadLetterAnswer>> {
        Box::pin(repeat(move || self.0.settle_dead_letters(call, op, which.clone())))
    }

    fn inspect(&self) -> Reply<'_, Inspection> {
        Box::pin(repeat(move || self.0.inspect()))
    }

    fn locks(&self, call: LockCall) -> Reply<'_, LockAnswer> {
        Box::pin(repeat(move || self.0.locks(call.clone())))
    }

    fn is_free(&self, key: Arc<str>, mode: Mode) -> Reply<'_, bool> {
        Box::pin(repeat(move || self.0.is_free(key.clone(), mode)))
    }

    fn lock_snapshot(&self, after: Option<Arc<str>>, limit: usize) -> Reply<'_, Vec<LockView>> {
        Box::pin(repeat(move || self.0.lock_snapshot(after.clone(), limit)))
    }

    fn hints(&self) -> BoxStream<'static, Hint> {
        self.0.hints()
    }
}
