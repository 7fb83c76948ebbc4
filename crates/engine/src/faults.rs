//! An engine whose calls go wrong, by a seed: for tests of engines and of what stands on them.
//!
//! Invariants:
//! - A call that fails here fails by [`EngineError::Unavailable`], before or after it was carried out.
//! - One seed and one sequence of calls give one sequence of faults.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use futures_core::stream::BoxStream;
use parking_lot::Mutex;
use tokio::sync::watch;
use workfleet_shared_lock::Mode;

use crate::{
    Beat, Beaten, Call, Cancelled, Capabilities, DeadLetter, DeadLetterAnswer, DeadLetterOp, DeadLetters,
    Departure, Engine, EngineError, EngineTime, Enqueued, FleetTaskId, Hint, Inspection, Join, Joined,
    LeaseCall, LeasedTask, LockAnswer, LockCall, LockView, MemberId, NewTask, Reply, Settled, Settlement,
    TaskState,
};

/// How many old calls may wait to be delivered once more.
const COPIES: usize = 16;

/// How often things go wrong, each in a thousand calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FaultRates {
    /// The call does not arrive.
    pub lost: u32,
    /// The call is carried out, and its answer is lost.
    pub answer_lost: u32,
    /// The call is carried out twice, one right after the other.
    pub repeated: u32,
    /// A copy of the call arrives later, behind others.
    pub copied: u32,
    /// The call, or its answer, takes up to 3 ms.
    pub delayed: u32,
    /// The engine restarts: each call that is under way is carried out or not, and fails.
    pub restarts: u32,
}

impl Default for FaultRates {
    /// Most calls go wrong in some way.
    fn default() -> Self {
        Self { lost: 100, answer_lost: 150, repeated: 150, copied: 150, delayed: 200, restarts: 20 }
    }
}

/// An engine that does what another does, with faults by a seed.
///
/// Around it belongs what repeats calls: [`Repeating`](crate::repeat::Repeating). It needs a tokio runtime with time.
#[derive(Debug)]
pub struct Faulty {
    engine: Arc<dyn Engine>,
    rates: FaultRates,
    state: Mutex<State>,
    restarts: watch::Sender<u64>,
}

#[derive(Debug)]
struct State {
    random: u64,
    copies: VecDeque<Copy>,
    /// The last batch that each member has asked for.
    batches: BTreeMap<MemberId, u64>,
    counts: FaultCounts,
}

/// How many faults there were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FaultCounts {
    /// Calls that did not arrive.
    pub lost: u64,
    /// Answers that did not.
    pub answers_lost: u64,
    /// Calls that were carried out twice.
    pub repeated: u64,
    /// Copies that were carried out behind other calls.
    pub copied: u64,
    /// Delays.
    pub delayed: u64,
    /// Restarts.
    pub restarts: u64,
}

/// A call that may arrive once more, whenever that is: those that have a number.
#[derive(Clone, Debug)]
enum Copy {
    Enqueue(Call, Vec<NewTask>),
    Lease(LeaseCall),
    Settle(Call, Vec<Settlement>),
    Cancel(Call, Vec<FleetTaskId>),
    DeadLetters(Call, DeadLetterOp, DeadLetters),
    Locks(LockCall),
    Leave(MemberId, Departure),
}

/// What goes wrong with one call.
#[derive(Clone, Copy, Debug, Default)]
struct Fate {
    is_lost: bool,
    is_answer_lost: bool,
    is_repeated: bool,
    restarts: bool,
    before: Duration,
    after: Duration,
}

impl State {
    /// SplitMix64, by Steele, Lea and Flood.
    fn next(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn happens(&mut self, in_thousand: u32) -> bool {
        self.next() % 1000 < u64::from(in_thousand)
    }

    fn delay(&mut self, in_thousand: u32) -> Duration {
        let happens = self.happens(in_thousand);
        let ms = self.next() % 4;
        self.counts.delayed += u64::from(happens);
        if happens { Duration::from_millis(ms) } else { Duration::ZERO }
    }
}

impl Faulty {
    /// This engine, with faults at these rates, by this seed.
    #[must_use]
    pub fn new(engine: Arc<dyn Engine>, rates: FaultRates, seed: u64) -> Self {
        let state = State {
            random: seed,
            copies: VecDeque::new(),
            batches: BTreeMap::new(),
            counts: FaultCounts::default(),
        };
        Self { engine, rates, state: Mutex::new(state), restarts: watch::Sender::new(0) }
    }

    /// How many faults there were.
    #[must_use]
    pub fn counts(&self) -> FaultCounts {
        self.state.lock().counts
    }

    /// Restarts the engine: all calls that are under way fail.
    pub fn restart(&self) {
        self.state.lock().counts.restarts += 1;
        self.restarts.send_modify(|restarts| *restarts += 1);
    }

    fn fate(&self) -> Fate {
        let rates = self.rates;
        let mut state = self.state.lock();
        let fate = Fate {
            is_lost: state.happens(rates.lost),
            is_answer_lost: state.happens(rates.answer_lost),
            is_repeated: state.happens(rates.repeated),
            restarts: state.happens(rates.restarts),
            before: state.delay(rates.delayed),
            after: state.delay(rates.delayed),
        };
        state.counts.lost += u64::from(fate.is_lost);
        state.counts.answers_lost += u64::from(!fate.is_lost && fate.is_answer_lost);
        state.counts.repeated += u64::from(!fate.is_lost && fate.is_repeated);
        fate
    }

    /// Keeps a copy of a call, or not, and takes out one that is to arrive now.
    fn exchange(&self, copy: Option<Copy>) -> Option<Copy> {
        let mut state = self.state.lock();
        if let Some(Copy::Lease(call)) = &copy {
            let last = state.batches.entry(call.member).or_default();
            *last = call.batch.max(*last);
        }
        if let Some(copy) = copy.filter(|_| state.happens(self.rates.copied))
            && state.copies.len() < COPIES
        {
            state.copies.push_back(copy);
        }
        let arrives = state.happens(300).then(|| state.copies.pop_front()).flatten();
        // As long as a batch is empty, its member asks for it again: a copy is then no other question than the member's own.
        let batches = &state.batches;
        let is_other = |copy: &Copy| match copy {
            Copy::Lease(call) => batches.get(&call.member).is_some_and(|last| call.batch < *last),
            _ => true,
        };
        let arrives = arrives.filter(is_other);
        state.counts.copied += u64::from(arrives.is_some());
        arrives
    }

    /// Lets a copy arrive. Nobody waits for its answer.
    async fn deliver(&self, copy: Copy) {
        let engine = &self.engine;
        match copy {
            Copy::Enqueue(call, tasks) => drop(engine.enqueue(call, tasks).await),
            Copy::Lease(call) => drop(engine.lease(LeaseCall { wait: Duration::ZERO, ..call }).await),
            Copy::Settle(call, settlements) => drop(engine.settle(call, settlements).await),
            Copy::Cancel(call, tasks) => drop(engine.cancel(call, tasks).await),
            Copy::DeadLetters(call, op, which) => drop(engine.settle_dead_letters(call, op, which).await),
            // What it confirms was confirmed when it was sent.
            Copy::Locks(call) => drop(engine.locks(LockCall { wait: Duration::ZERO, ..call }).await),
            Copy::Leave(member, departure) => drop(engine.leave(member, departure).await),
        }
    }

    /// Carries out a call with what goes wrong with it.
    fn call<'a, T: Send + 'a>(
        &'a self,
        copy: Option<Copy>,
        call: impl Fn() -> Reply<'a, T> + Send + Sync + 'a,
    ) -> Reply<'a, T> {
        Box::pin(async move {
            if let Some(copy) = self.exchange(copy) {
                self.deliver(copy).await;
            }
            let fate = self.fate();
            pause(fate.before).await;
            if fate.restarts {
                self.restart();
            }
            if fate.is_lost {
                return Err(unavailable("the call was lost"));
            }
            let mut restarts = self.restarts.subscribe();
            let answer = until_restart(&mut restarts, call()).await?;
            let answer = if fate.is_repeated { until_restart(&mut restarts, call()).await? } else { answer };
            pause(fate.after).await;
            if fate.is_answer_lost {
                return Err(unavailable("the answer was lost"));
            }
            answer
        })
    }
}

fn unavailable(reason: &'static str) -> EngineError {
    EngineError::Unavailable { reason, source: None }
}

async fn pause(time: Duration) {
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
}

/// The answer, unless the engine restarts before.
async fn until_restart<T>(
    restarts: &mut watch::Receiver<u64>,
    mut answer: Reply<'_, T>,
) -> Result<Result<T, EngineError>, EngineError> {
    let mut restart = std::pin::pin!(restarts.changed());
    std::future::poll_fn(|cx| {
        if let std::task::Poll::Ready(answer) = answer.as_mut().poll(cx) {
            return std::task::Poll::Ready(Ok(answer));
        }
        restart.as_mut().poll(cx).map(|_| Err(unavailable("the engine restarted")))
    })
    .await
}

impl Engine for Faulty {
    fn capabilities(&self) -> Capabilities {
        self.engine.capabilities()
    }

    fn time(&self) -> Reply<'_, EngineTime> {
        self.call(None, move || self.engine.time())
    }

    fn join(&self, join: Join) -> Reply<'_, Joined> {
        self.call(None, move || self.engine.join(join.clone()))
    }

    fn beat(&self, beat: Beat) -> Reply<'_, Beaten> {
        self.call(None, move || self.engine.beat(beat.clone()))
    }

    fn leave(&self, member: MemberId, departure: Departure) -> Reply<'_, ()> {
        self.call(Some(Copy::Leave(member, departure)), move || self.engine.leave(member, departure))
    }

    fn enqueue(&self, call: Call, tasks: Vec<NewTask>) -> Reply<'_, Vec<Enqueued>> {
        let copy = Copy::Enqueue(call, tasks.clone());
        self.call(Some(copy), move || self.engine.enqueue(call, tasks.clone()))
    }

    fn lease(&self, call: LeaseCall) -> Reply<'_, Vec<LeasedTask>> {
        self.call(Some(Copy::Lease(call.clone())), move || self.engine.lease(call.clone()))
    }

    fn settle(&self, call: Call, settlements: Vec<Settlement>) -> Reply<'_, Vec<Settled>> {
        let copy = Copy::Settle(call, settlements.clone());
        self.call(Some(copy), move || self.engine.settle(call, settlements.clone()))
    }

    fn outcomes(&self, tasks: Vec<FleetTaskId>, wait: Duration) -> Reply<'_, Vec<TaskState>> {
        self.call(None, move || self.engine.outcomes(tasks.clone(), wait))
    }

    fn cancel(&self, call: Call, tasks: Vec<FleetTaskId>) -> Reply<'_, Vec<Cancelled>> {
        let copy = Copy::Cancel(call, tasks.clone());
        self.call(Some(copy), move || self.engine.cancel(call, tasks.clone()))
    }

    fn dead_letters(&self, after: Option<FleetTaskId>, limit: usize) -> Reply<'_, Vec<DeadLetter>> {
        self.call(None, move || self.engine.dead_letters(after, limit))
    }

    fn settle_dead_letters(
        &self,
        call: Call,
        op: DeadLetterOp,
        which: DeadLetters,
    ) -> Reply<'_, Vec<DeadLetterAnswer>> {
        let copy = Copy::DeadLetters(call, op, which.clone());
        self.call(Some(copy), move || self.engine.settle_dead_letters(call, op, which.clone()))
    }

    fn inspect(&self) -> Reply<'_, Inspection> {
        self.call(None, move || self.engine.inspect())
    }

    fn locks(&self, call: LockCall) -> Reply<'_, LockAnswer> {
        self.call(Some(Copy::Locks(call.clone())), move || self.engine.locks(call.clone()))
    }

    fn is_free(&self, key: Arc<str>, mode: Mode) -> Reply<'_, bool> {
        self.call(None, move || self.engine.is_free(key.clone(), mode))
    }

    fn lock_snapshot(&self, after: Option<Arc<str>>, limit: usize) -> Reply<'_, Vec<LockView>> {
        self.call(None, move || self.engine.lock_snapshot(after.clone(), limit))
    }

    fn hints(&self) -> BoxStream<'static, Hint> {
        self.engine.hints()
    }
}
