//! Calls that are repeated.

use std::time::Duration;

use futures_core::future::BoxFuture;

use super::{
    Subject,
    client::{Bench, done, ids, runs},
};
use crate::{
    Call, Cancelled, DeadLetterAnswer, DeadLetterOp, DeadLetters, EngineError, Enqueued, Settled, Settlement,
    Verdict,
};

/// A repeated call has no further effect, and gets the answer of the first, also when others came between.
///
/// # Panics
///
/// If the engine does something else.
pub fn a_repeated_call_gets_the_first_answer(subject: &dyn Subject) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        let bench = Bench::new(subject).await;
        let (mut ann, engine) = (bench.join().await, bench.engine.clone());
        let tasks = vec![bench.task().await, bench.task().await];
        let call = |number| Call { member: ann.id, number, confirmed: 0 };
        let (first, second, third, fourth) = (call(1), call(2), call(3), call(4));
        let expected: Vec<_> = tasks.iter().map(|task| Enqueued::New(task.id)).collect();
        for _ in 0..2 {
            assert_eq!(engine.enqueue(first, tasks.clone()).await.expect("it is taken"), expected);
        }
        let leased = ann.lease(2).await;
        assert_eq!(ids(&leased), tasks.iter().map(|task| task.id).collect::<Vec<_>>());
        let settle = |run, verdict| Settlement { run, attempts: 1, crashes: 0, verdict };
        let dead = Verdict::Dead { failure: Default::default() };
        let settlements = vec![settle(leased[0].task_run(), done()), settle(leased[1].task_run(), dead)];
        for _ in 0..2 {
            let settled = engine.settle(second, settlements.clone()).await.expect("it lives");
            assert_eq!(settled, [Settled::Ok, Settled::Ok]);
        }
        let id = leased[1].task.id;
        for _ in 0..2 {
            let which = DeadLetters::First(5);
            let answer =
                engine.settle_dead_letters(third, DeadLetterOp::Retry, which).await.expect("it lives");
            assert_eq!(answer, [DeadLetterAnswer::Ok(id)]);
        }
        for _ in 0..2 {
            assert_eq!(engine.cancel(fourth, vec![id]).await.expect("it lives"), [Cancelled::Ended]);
        }
        assert_eq!(engine.enqueue(first, tasks).await.expect("it was taken"), expected);
        let reused = engine.settle(first, settlements).await;
        assert!(matches!(reused, Err(EngineError::NumberReused { number: 1 })), "{reused:?}");
        let books = engine.inspect().await.expect("it answers").books;
        assert_eq!((books.enqueued, books.retried, books.done, books.dead, books.cancelled), (2, 1, 1, 1, 1));
    })
}

/// The same number gives the same tasks, as far as they are held; the next one confirms them.
///
/// # Panics
///
/// If the engine does something else.
pub fn a_repeated_batch_is_the_same_batch(subject: &dyn Subject) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        let bench = Bench::new(subject).await;
        let mut ann = bench.join().await;
        for _ in 0..4 {
            ann.enqueue(bench.task().await).await;
        }
        let ask = ann.ask(2, Duration::ZERO);
        let first = ann.lease(2).await;
        let again = bench.engine.lease(ask.clone()).await.expect("it lives");
        assert_eq!(runs(&again), runs(&first));
        ann.settle(&first[0], done()).await;
        let again = bench.engine.lease(ask.clone()).await.expect("it lives");
        assert_eq!(runs(&again), runs(&first[1..]));
        let next = ann.lease(2).await;
        assert_eq!(next.len(), 2);
        assert!(!runs(&next).contains(&first[1].task_run()));
        let outdated = bench.engine.lease(ask).await;
        assert!(matches!(outdated, Err(EngineError::Outdated { .. })), "{outdated:?}");
    })
}

/// What a member has confirmed, it cannot repeat: it would be carried out anew.
///
/// # Panics
///
/// If the engine does something else.
pub fn a_confirmed_call_is_outdated(subject: &dyn Subject) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        let bench = Bench::new(subject).await;
        let ann = bench.join().await;
        let tasks = vec![bench.task().await];
        let first = Call { member: ann.id, number: 1, confirmed: 0 };
        bench.engine.enqueue(first, tasks.clone()).await.expect("it is taken");
        let second = Call { member: ann.id, number: 2, confirmed: 1 };
        bench.engine.cancel(second, Vec::new()).await.expect("it lives");
        let outdated = bench.engine.enqueue(first, tasks).await;
        assert!(matches!(outdated, Err(EngineError::Outdated { number: 1, .. })), "{outdated:?}");
    })
}

/// After the repeat window, every repetition is refused: nothing happens twice.
///
/// # Panics
///
/// If the engine does something else.
pub fn a_call_is_forgotten_after_the_window(subject: &dyn Subject) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        let bench = Bench::new(subject).await;
        let mut ann = bench.join().await;
        let mut task = bench.task().await;
        task.keep_outcome = Duration::ZERO;
        let call = Call { member: ann.id, number: 1, confirmed: 0 };
        let enqueued = bench.engine.enqueue(call, vec![task.clone()]).await.expect("it is taken");
        assert_eq!(enqueued, [Enqueued::New(task.id)]);
        let leased = ann.lease_one().await;
        let settle = Settlement { run: leased.task_run(), attempts: 1, crashes: 0, verdict: done() };
        let second = Call { number: 2, ..call };
        bench.engine.settle(second, vec![settle]).await.expect("it lives");
        let leases = bench.options.repeat_window.as_millis() / bench.options.lease.as_millis() + 1;
        for _ in 0..leases * 2 {
            bench.pass_lease(60).await;
            ann.beat().await;
        }
        let outdated = bench.engine.enqueue(call, vec![task.clone()]).await;
        assert!(matches!(outdated, Err(EngineError::Outdated { number: 1, .. })), "{outdated:?}");
        let anew = Call { number: 3, ..call };
        let outdated = bench.engine.enqueue(anew, vec![task]).await;
        assert!(matches!(outdated, Err(EngineError::IdTime { .. })), "{outdated:?}");
        assert_eq!(ann.lease(1).await, []);
    })
}
