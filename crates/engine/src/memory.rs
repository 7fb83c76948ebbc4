//! The engine in memory: the core behind a mutex, with tokio's timers.
//!
//! Invariants:
//! - No future is polled, and nobody is woken, while the mutex is held.
//! - A call that waits is woken by each hint, and when a timer is set that is due before all others. So nothing runs in the background:
//!   time passes for each call, and for the calls that wait.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fmt,
    pin::Pin,
    sync::{Arc, Weak},
    task::{Context, Poll},
    time::{Duration, Instant, SystemTime},
};

use futures_core::{
    future::BoxFuture,
    stream::{BoxStream, Stream},
};
use parking_lot::Mutex;
use tokio::{
    sync::broadcast::{self, error::RecvError},
    time::timeout_at,
};
use workfleet_shared_lock::Mode;

use crate::{
    Beat, Beaten, Call, Cancelled, Capabilities, DeadLetter, DeadLetterAnswer, DeadLetterOp, DeadLetters,
    Departure, Engine, EngineError, EngineOptions, EngineTime, Enqueued, FleetTaskId, Hint, Inspection, Join,
    Joined, LeaseCall, LeasedTask, LockAnswer, LockCall, LockView, MemberId, NewTask, Reply, Settled,
    Settlement, TaskState, cores::EngineCore,
};

/// How many hints may be kept for a call that waits. A call that misses some looks at the state itself.
const HINTS: usize = 256;

/// Nobody waits longer at a time: a day, after which a wait looks at the state and goes on.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 3600);

/// If a call that waits looks so much later than it was to, the program was stopped meanwhile.
const AWAY: Duration = Duration::from_secs(1);

/// An engine in this process, which ends with it. A clone is the same engine.
///
/// It is the reference: what it does is [`EngineCore`], and its calls that wait need a tokio runtime with time. It keeps nothing
/// anywhere else, and begins empty.
///
/// If the program was stopped and continued, nobody's lease runs out by the time in which it did not run.
///
/// ```
/// use std::{sync::Arc, time::Duration};
///
/// use workfleet_engine::{
///     Calls, Engine, EngineError, EngineOptions, Join, LeaseCall, MemberId, NewTask, Payload, Settlement, FleetTaskId, Verdict,
///     memory::Memory,
/// };
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), EngineError> {
/// let engine: Arc<dyn Engine> = Arc::new(Memory::new(EngineOptions::default()));
/// let time = engine.time().await?;
/// let member = MemberId::generate(time)?;
/// engine.join(Join { member, name: "a program".into() }).await?;
/// let mut calls = Calls::new(member);
///
/// let id = FleetTaskId::generate(time)?;
/// let call = calls.begin();
/// engine.enqueue(call, vec![NewTask::new(id, "digest", Payload::json("{}"))]).await?;
/// calls.answered(call.number);
///
/// let series = vec![("".into(), 10)];
/// let ask = LeaseCall { member, batch: 1, series, names: vec!["digest".into()], wait: Duration::from_secs(5) };
/// for task in engine.lease(ask).await? {
///     let verdict = Verdict::Done(Payload::json("42"));
///     let settlement = Settlement { run: task.task_run(), attempts: 1, crashes: 0, verdict };
///     let call = calls.begin();
///     engine.settle(call, vec![settlement]).await?;
///     calls.answered(call.number);
/// }
/// assert_eq!(engine.inspect().await?.books.done, 1);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Memory(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Hints, and `None` when a timer is set that is due before all others.
    news: broadcast::Sender<Option<Hint>>,
}

#[derive(Debug)]
struct State {
    core: EngineCore,
    /// By when calls that wait are going to look, and how many of them by then.
    promised: BTreeMap<Instant, usize>,
    /// When a call looked last.
    seen: Instant,
}

/// A call that waits, and is going to look by a time. Dropping it ends that.
struct Promise {
    engine: Weak<Shared>,
    until: Instant,
}

impl Drop for Promise {
    fn drop(&mut self) {
        let Some(engine) = self.engine.upgrade() else { return };
        let mut state = engine.state.lock();
        if let Entry::Occupied(mut count) = state.promised.entry(self.until) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

impl Memory {
    /// An engine without members and tasks.
    #[must_use]
    pub fn new(options: EngineOptions) -> Self {
        let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let time = EngineTime::default() + unix;
        let core = EngineCore::new(options, now(), time);
        let state = State { core, promised: BTreeMap::new(), seen: now() };
        Self(Arc::new(Shared { state: Mutex::new(state), news: broadcast::Sender::new(HINTS) }))
    }

    /// Answers at once.
    fn answer<'a, T: Send + 'a>(
        &'a self,
        ask: impl FnOnce(&mut EngineCore, Instant) -> Result<T, EngineError> + Send + 'a,
    ) -> Reply<'a, T> {
        Box::pin(async move { self.0.with(ask) })
    }

    /// Answers when there is an answer, or what there is after a time.
    fn answer_later<'a, T: Send + 'a>(
        &'a self,
        wait: Duration,
        mut ask: impl FnMut(&mut EngineCore, Instant) -> Result<T, EngineError> + Send + 'a,
        is_answer: impl Fn(&T) -> bool + Send + Sync + 'a,
    ) -> Reply<'a, T> {
        Box::pin(async move {
            // Before the first look, so that nothing is missed.
            let mut news = self.0.news.subscribe();
            let end = now().checked_add(wait);
            loop {
                let answer = self.0.with(&mut ask)?;
                if is_answer(&answer) || end.is_some_and(|end| end <= now()) {
                    return Ok(answer);
                }
                self.0.wait(&mut news, end).await;
            }
        })
    }
}

impl Shared {
    fn with<T>(&self, ask: impl FnOnce(&mut EngineCore, Instant) -> T) -> T {
        let now = now();
        let mut news = Vec::new();
        let answer = {
            let State { core, promised, seen } = &mut *self.state.lock();
            if let Some((by, _)) = promised.first_key_value() {
                let late = now.saturating_duration_since((*seen).max(*by));
                if late > AWAY {
                    // Nothing shows that the program has run since somebody looked last.
                    core.extend_leases(now.saturating_duration_since(*seen));
                }
            }
            *seen = now;
            let next = core.poll_timeout();
            let answer = ask(core, now);
            while let Some(hint) = core.poll_hint() {
                news.push(Some(hint));
            }
            let is_earlier = match (core.poll_timeout(), next) {
                (Some(due), Some(next)) => due < next,
                (due, _) => due.is_some(),
            };
            if news.is_empty() && is_earlier {
                news.push(None);
            }
            answer
        };
        for hint in news {
            // An error means that no call waits.
            let _ = self.news.send(hint);
        }
        answer
    }

    /// Waits for something new, for the next timer, or for the end of the wait. It may return early.
    async fn wait(self: &Arc<Self>, news: &mut broadcast::Receiver<Option<Hint>>, end: Option<Instant>) {
        let promise = self.promise(end);
        match timeout_at(promise.until.into(), news.recv()).await {
            // What was missed is in the state.
            Ok(Ok(_) | Err(RecvError::Lagged(_)) | Err(RecvError::Closed)) | Err(_) => {}
        }
    }

    /// When to look again: when the next timer is due, or at the end of a wait.
    fn promise(self: &Arc<Self>, end: Option<Instant>) -> Promise {
        let State { core, promised, .. } = &mut *self.state.lock();
        let latest = now() + LONGEST_WAIT;
        let until = [core.poll_timeout(), end].into_iter().flatten().fold(latest, Instant::min);
        *promised.entry(until).or_default() += 1;
        Promise { engine: Arc::downgrade(self), until }
    }
}

/// The time of tokio's clock, which tests may pause.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

impl Engine for Memory {
    fn capabilities(&self) -> Capabilities {
        Capabilities { durable: false, locks: true, fenced_transactions: false, hints: true }
    }

    fn time(&self) -> Reply<'_, EngineTime> {
        self.answer(|core, now| Ok(core.time(now)))
    }

    fn join(&self, join: Join) -> Reply<'_, Joined> {
        self.answer(|core, now| core.join(now, join))
    }

    fn beat(&self, beat: Beat) -> Reply<'_, Beaten> {
        self.answer(|core, now| core.beat(now, beat))
    }

    fn leave(&self, member: MemberId, departure: Departure) -> Reply<'_, ()> {
        self.answer(move |core, now| {
            core.leave(now, member, departure);
            Ok(())
        })
    }

    fn enqueue(&self, call: Call, tasks: Vec<NewTask>) -> Reply<'_, Vec<Enqueued>> {
        self.answer(move |core, now| core.enqueue(now, call, tasks))
    }

    fn lease(&self, call: LeaseCall) -> Reply<'_, Vec<LeasedTask>> {
        self.answer_later(call.wait, move |core, now| core.lease(now, &call), |tasks| !tasks.is_empty())
    }

    fn settle(&self, call: Call, settlements: Vec<Settlement>) -> Reply<'_, Vec<Settled>> {
        self.answer(move |core, now| core.settle(now, call, settlements))
    }

    fn outcomes(&self, tasks: Vec<FleetTaskId>, wait: Duration) -> Reply<'_, Vec<TaskState>> {
        let has_ended = |state: &TaskState| matches!(state, TaskState::Unknown | TaskState::Ended(_));
        self.answer_later(
            wait,
            move |core, now| core.outcomes(now, &tasks),
            move |states| states.is_empty() || states.iter().any(has_ended),
        )
    }

    fn cancel(&self, call: Call, tasks: Vec<FleetTaskId>) -> Reply<'_, Vec<Cancelled>> {
        self.answer(move |core, now| core.cancel(now, call, &tasks))
    }

    fn dead_letters(&self, after: Option<FleetTaskId>, limit: usize) -> Reply<'_, Vec<DeadLetter>> {
        self.answer(move |core, now| core.dead_letters(now, after, limit))
    }

    fn settle_dead_letters(
        &self,
        call: Call,
        op: DeadLetterOp,
        which: DeadLetters,
    ) -> Reply<'_, Vec<DeadLetterAnswer>> {
        self.answer(move |core, now| core.settle_dead_letters(now, call, op, which))
    }

    fn inspect(&self) -> Reply<'_, Inspection> {
        self.answer(|core, now| Ok(core.inspect(now)))
    }

    fn locks(&self, mut call: LockCall) -> Reply<'_, LockAnswer> {
        let wait = call.wait;
        self.answer_later(
            wait,
            move |core, now| {
                let again = LockCall { ops: Vec::new(), ..call };
                core.locks(now, std::mem::replace(&mut call, again))
            },
            |answer| !answer.changes.requests.is_empty() || !answer.refused.is_empty(),
        )
    }

    fn is_free(&self, key: Arc<str>, mode: Mode) -> Reply<'_, bool> {
        self.answer(move |core, now| Ok(core.is_free(now, &key, mode)))
    }

    fn lock_snapshot(&self, after: Option<Arc<str>>, limit: usize) -> Reply<'_, Vec<LockView>> {
        self.answer(move |core, now| core.lock_snapshot(now, after.as_ref(), limit))
    }

    fn hints(&self) -> BoxStream<'static, Hint> {
        let engine = Arc::downgrade(&self.0);
        let next = next_hint(engine.clone(), self.0.news.subscribe());
        Box::pin(Hints { next: Some(Box::pin(next)), engine })
    }
}

type NextHint = BoxFuture<'static, Option<(Hint, broadcast::Receiver<Option<Hint>>)>>;

/// The next hint, and where those after it come from. None once the engine is dropped.
async fn next_hint(
    engine: Weak<Shared>,
    mut news: broadcast::Receiver<Option<Hint>>,
) -> Option<(Hint, broadcast::Receiver<Option<Hint>>)> {
    loop {
        // Not kept while waiting: a stream does not keep its engine.
        let promise = {
            let engine = engine.upgrade()?;
            engine.with(|core, now| core.handle_timeout(now));
            engine.promise(None)
        };
        match timeout_at(promise.until.into(), news.recv()).await {
            Ok(Ok(Some(hint))) => return Some((hint, news)),
            Ok(Err(RecvError::Closed)) => return None,
            Ok(Ok(None) | Err(RecvError::Lagged(_))) | Err(_) => {}
        }
    }
}

/// The stream of hints.
struct Hints {
    /// None once it has ended.
    next: Option<NextHint>,
    engine: Weak<Shared>,
}

impl fmt::Debug for Hints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hints").finish_non_exhaustive()
    }
}

impl Stream for Hints {
    type Item = Hint;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Hint>> {
        let Some(next) = &mut self.next else { return Poll::Ready(None) };
        let Poll::Ready(found) = next.as_mut().poll(cx) else { return Poll::Pending };
        self.next = None;
        let Some((hint, news)) = found else { return Poll::Ready(None) };
        self.next = Some(Box::pin(next_hint(self.engine.clone(), news)));
        Poll::Ready(Some(hint))
    }
}
