//! Calls that wait.

use std::time::Duration;

use futures_core::future::BoxFuture;
use workfleet_shared_lock::{
    Mode,
    cores::{LockOp, RequestState},
};

use super::{
    Subject,
    client::{Bench, assert_gone, done, ids},
};
use crate::{LockCall, TaskOutcome, TaskState};

/// Both futures, until both are ready, the first one polled first.
async fn both<A, B>(first: impl Future<Output = A>, second: impl Future<Output = B>) -> (A, B) {
    let (mut first, mut second) = (std::pin::pin!(first), std::pin::pin!(second));
    let (mut a, mut b) = (None, None);
    std::future::poll_fn(move |cx| {
        use std::task::Poll;
        if a.is_none()
            && let Poll::Ready(ready) = first.as_mut().poll(cx)
        {
            a = Some(ready);
        }
        if b.is_none()
            && let Poll::Ready(ready) = second.as_mut().poll(cx)
        {
            b = Some(ready);
        }
        match (a.take(), b.take()) {
            (Some(a), Some(b)) => Poll::Ready((a, b)),
            (first, second) => {
                (a, b) = (first, second);
                Poll::Pending
            }
        }
    })
    .await
}

/// When a task arrives, when its time comes, and when a rate or a slot lets it go; and an empty answer when there is none.
///
/// # Panics
///
/// If the engine does something else.
pub fn a_wait_for_work_ends_when_there_is_some(subject: &dyn Subject) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        let bench = Bench::new(subject).await;
        let (mut ann, mut bob) = (bench.join().await, bench.join().await);
        assert_eq!(bob.try_lease(bob.ask(1, bench.options.lease / 10)).await.expect("it lives"), []);
        let task = bench.task().await;
        let ask = bob.ask(1, bench.options.lease / 2);
        let (tasks, _) = both(bob.try_lease(ask), ann.enqueue(task.clone())).await;
        assert_eq!(ids(&tasks.expect("it lives")), [task.id]);
        bob.beat().await;
        let mut later = bench.task().await;
        later.not_before = bench.options.lease / 20;
        let ask = bob.ask(1, bench.options.lease * 3 / 4);
        let before = bench.engine.time().await.expect("it has a time");
        let (tasks, _) = both(bob.try_lease(ask), ann.enqueue(later.clone())).await;
        assert_eq!(ids(&tasks.expect("it lives")), [later.id]);
        let waited = bench.engine.time().await.expect("it has a time").since(before);
        assert!(waited < bench.options.lease / 2, "it came at the end of the wait, after {waited:?}");
    })
}

/// When a task ends. What has ended before is no reason to wait.
///
/// # Panics
///
/// If the engine does something else.
pub fn a_wait_for_an_outcome_ends_when_there_is_one(subject: &dyn Subject) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        let bench = Bench::new(subject).await;
        let mut ann = bench.join().await;
        let (one, two) = (bench.task().await, bench.task().await);
        ann.enqueue(one.clone()).await;
        ann.enqueue(two.clone()).await;
        let tasks = ann.lease(2).await;
        let wait = bench.options.lease / 20;
        let ids = vec![one.id, two.id];
        let states = bench.engine.outcomes(ids.clone(), wait).await.expect("they are few");
        assert!(states.iter().all(|state| matches!(state, TaskState::Leased { .. })), "{states:?}");
        ann.beat().await;
        let (states, ()) =
            both(bench.engine.outcomes(ids.clone(), bench.options.lease * 9), ann.settle(&tasks[1], done()))
                .await;
        let states = states.expect("they are few");
        assert!(
            matches!(states[..], [TaskState::Leased { .. }, TaskState::Ended(TaskOutcome::Done(_))]),
            "{states:?}"
        );
        let again = bench.engine.outcomes(ids, bench.options.lease * 9).await.expect("they are few");
        assert_eq!(again, states);
        let unknown = bench.engine.outcomes(vec![bench.id().await], bench.options.lease * 9).await;
        assert_eq!(unknown.expect("it is one"), [TaskState::Unknown]);
    })
}

/// When a request is granted.
///
/// # Panics
///
/// If the engine does something else.
pub fn a_wait_for_a_lock_ends_with_the_grant(subject: &dyn Subject) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        let bench = Bench::new(subject).await;
        if !bench.engine.capabilities().locks {
            return;
        }
        let (mut ann, mut bob) = (bench.join().await, bench.join().await);
        let held = ann.request("key", Mode::Exclusive, None).await;
        let waits = bob.request("key", Mode::Exclusive, None).await;
        let call = |since, wait| LockCall { member: bob.id, ops: Vec::new(), since, wait };
        let before = bench.engine.locks(call(0, Duration::ZERO)).await.expect("it lives").changes;
        let nothing =
            bench.engine.locks(call(before.version, bench.options.lease / 10)).await.expect("it lives");
        assert_eq!(nothing.changes.requests, []);
        let wait = bench.options.lease / 2;
        let (answer, ()) =
            both(bench.engine.locks(call(before.version, wait)), ann.lock_op(held, LockOp::Leave)).await;
        let changes = answer.expect("it lives").changes;
        assert!(
            matches!(changes.requests[..], [(id, RequestState::Granted { .. })] if id == waits),
            "{changes:?}"
        );
    })
}

/// A member whose lease runs out while it waits does not wait on.
///
/// # Panics
///
/// If the engine does something else.
pub fn a_wait_ends_when_its_member_is_gone(subject: &dyn Subject) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        let bench = Bench::new(subject).await;
        let (mut ann, bob) = (bench.join().await, bench.join().await);
        let ask = ann.ask(1, bench.options.lease * 3);
        assert_gone(ann.try_lease(ask).await);
        let call = LockCall { member: bob.id, ops: Vec::new(), since: 0, wait: bench.options.lease * 3 };
        if bench.engine.capabilities().locks {
            assert_gone(bench.engine.locks(call).await);
        }
    })
}
