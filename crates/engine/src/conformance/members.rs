//! Members: joining, living, being gone.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_core::future::BoxFuture;
use workfleet_shared_lock::{
    Mode,
    cores::{LockOp, RequestId},
};

use super::{
    Subject,
    client::{Bench, assert_gone, done, runs},
};
use crate::{
    Call, DeadLetterOp, DeadLetters, Departure, EngineError, FleetTaskId, Held, Join, LockCall, MemberId,
    Payload, TaskRun,
};

/// To join again renews the lease of the same member.
///
/// # Panics
///
/// If the engine does something else.
pub fn a_member_that_joins_again_is_the_same_member(subject: &dyn Subject) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        let bench = Bench::new(subject).await;
        let mut ann = bench.join().await;
        ann.enqueue(bench.task().await).await;
        let task = ann.lease_one().await;
        bench.pass_lease(60).await;
        let again = Join { member: ann.id, name: "a member".into() };
        bench.engine.join(again).await.expect("it is a member");
        bench.pass_lease(60).await;
        ann.settle(&task, done()).await;
    })
}

/// A lease lasts as long as the member beats, and no longer.
///
/// # Panics
///
/// If the engine does something else.
pub fn a_member_that_beats_lives_and_one_that_does_not_is_gone(subject: &dyn Subject) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        let bench = Bench::new(subject).await;
        let (mut ann, mut bob) = (bench.join().await, bench.join().await);
        for _ in 0..4 {
            bench.pass_lease(40).await;
            ann.beat().await;
        }
        assert_gone(bob.try_beat(Vec::new()).await);
        let members = bench.engine.inspect().await.expect("it answers").members;
        let members: Vec<_> = members.iter().map(|member| member.member).collect();
        assert_eq!(members, [ann.id]);
    })
}

/// Every call of a member that is gone fails so, and changes nothing.
///
/// # Panics
///
/// If the engine does something else.
pub fn whatever_a_member_says_when_it_is_gone_is_refused(subject: &dyn Subject) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        // Its own call is the first that the engine hears after the end of the lease.
        let bench = Bench::new(subject).await;
        let mut ann = bench.join().await;
        ann.enqueue(bench.task().await).await;
        let task = ann.lease_one().await;
        bench.pass_lease(110).await;
        assert_gone(ann.try_settle(task.task_run(), done()).await);

        let bench = Bench::new(subject).await;
        let (mut ann, mut bob) = (bench.join().await, bench.join().await);
        bob.enqueue(bench.task().await).await;
        let task = bob.lease_one().await;
        ann.enqueue(bench.task().await).await;
        bench.expire(&mut [&mut ann]).await;
        assert_gone(bob.try_settle(task.task_run(), done()).await);
        assert_gone(bob.try_enqueue(vec![bench.task().await]).await);
        assert_gone(bob.try_lease(bob.ask(1, Duration::ZERO)).await);
        assert_gone(bob.try_beat(Vec::new()).await);
        let call = bob.calls.begin();
        assert_gone(bench.engine.cancel(call, vec![task.task.id]).await);
        let call = bob.calls.begin();
        assert_gone(bench.engine.settle_dead_letters(call, DeadLetterOp::Drop, DeadLetters::First(1)).await);
        if bench.engine.capabilities().locks {
            let op = LockOp::Request { key: "key".into(), mode: Mode::Exclusive, owner: None };
            let ops = vec![(RequestId::new(1), op)];
            let call = LockCall { member: bob.id, ops, since: 0, wait: Duration::ZERO };
            assert_gone(bench.engine.locks(call).await);
            assert!(bench.engine.is_free("key".into(), Mode::Exclusive).await.expect("it answers"));
        }
        assert_eq!(ann.lease(10).await.len(), 2, "its task, and the other");
    })
}

/// A member that has left, or is known to have died, is gone for good. To say so again has no effect.
///
/// # Panics
///
/// If the engine does something else.
pub fn a_member_that_left_cannot_join_again(subject: &dyn Subject) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        let bench = Bench::new(subject).await;
        for departure in [Departure::Goodbye, Departure::Died] {
            let mut ann = bench.join().await;
            ann.leave(departure).await;
            ann.leave(departure).await;
            assert_gone(ann.try_beat(Vec::new()).await);
            let again = Join { member: ann.id, name: "a member".into() };
            assert_gone(bench.engine.join(again).await);
        }
    })
}

/// Ids are made by the engine's clock: others could not be told from old ones.
///
/// # Panics
///
/// If the engine does something else.
pub fn an_id_that_is_not_of_this_time_is_refused(subject: &dyn Subject) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        let bench = Bench::new(subject).await;
        let mut ann = bench.join().await;
        let (time, window) = (bench.engine.time().await.expect("it has one"), bench.options.repeat_window);
        let old = crate::EngineTime::from_unix_ms(time.unix_ms() - window.as_millis() as u64);
        let late = time + window * 2 + bench.options.lease;
        for time in [old, late] {
            let join = Join { member: MemberId::new(time, 7), name: "a member".into() };
            let refused = bench.engine.join(join).await;
            assert!(matches!(refused, Err(EngineError::IdTime { .. })), "{refused:?}");
            let task = crate::NewTask::new(FleetTaskId::new(time, 7), "work", Payload::default());
            let refused = ann.try_enqueue(vec![task]).await;
            assert!(matches!(refused, Err(EngineError::IdTime { .. })), "{refused:?}");
        }
    })
}

/// The answer to a beat is the state: what was said before is said again.
///
/// # Panics
///
/// If the engine does something else.
pub fn beats_say_what_is_cancelled_and_what_is_gone(subject: &dyn Subject) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        let bench = Bench::new(subject).await;
        let (mut ann, mut bob) = (bench.join().await, bench.join().await);
        ann.enqueue(bench.task().await).await;
        ann.enqueue(bench.task().await).await;
        let tasks = ann.lease(2).await;
        bob.cancel(&[tasks[0].task.id]).await;
        let never = TaskRun { task: bench.id().await, run: 1 };
        let next = TaskRun { run: 2, ..tasks[1].task_run() };
        let holding = || {
            let all = runs(&tasks).into_iter().chain([never, next]);
            all.map(|run| Held { run, details: None }).collect::<Vec<_>>()
        };
        for _ in 0..2 {
            let beaten = ann.try_beat(holding()).await.expect("it lives");
            assert_eq!((beaten.cancelled, beaten.gone), (vec![tasks[0].task_run()], vec![never, next]));
        }
        ann.settle(&tasks[0], done()).await;
        let beaten = ann.try_beat(holding()).await.expect("it lives");
        assert_eq!((beaten.cancelled, beaten.gone), (vec![], vec![tasks[0].task_run(), never, next]));
    })
}

/// What exceeds a bound is refused, and changes nothing.
///
/// # Panics
///
/// If the engine does something else.
pub fn bounds_are_named(subject: &dyn Subject) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        let bench = Bench::with(subject, |options| {
            options.tasks = 2;
            options.batch = 3;
            options.payload_bytes = 8;
            options.details_bytes = 8;
            options.text_bytes = 16;
        })
        .await;
        let mut ann = bench.join().await;
        let mut long = bench.task().await;
        long.payload = Payload::postcard(vec![0; 9]);
        let refused = ann.try_enqueue(vec![bench.task().await, long]).await;
        assert!(
            matches!(refused, Err(EngineError::TooLong { len_bytes: 9, limit_bytes: 8, .. })),
            "{refused:?}"
        );
        let mut long = bench.task().await;
        long.name = Arc::from("a".repeat(17));
        let refused = ann.try_enqueue(vec![long]).await;
        assert!(
            matches!(refused, Err(EngineError::TooLong { len_bytes: 17, limit_bytes: 16, .. })),
            "{refused:?}"
        );
        let mut nameless = bench.task().await;
        nameless.name = "".into();
        let refused = ann.try_enqueue(vec![nameless]).await;
        assert!(matches!(refused, Err(EngineError::Zero { .. })), "{refused:?}");
        let tasks = vec![bench.task().await, bench.task().await, bench.task().await];
        let refused = ann.try_enqueue(tasks.clone()).await;
        assert!(matches!(refused, Err(EngineError::TooMany { count: 3, limit: 2, .. })), "{refused:?}");
        let refused = ann.try_enqueue([tasks.clone(), tasks.clone()].concat()).await;
        assert!(matches!(refused, Err(EngineError::TooMany { count: 6, limit: 3, .. })), "{refused:?}");
        assert_eq!(ann.lease(3).await, [], "nothing of it was taken");
        ann.enqueue(tasks[0].clone()).await;
        let task = ann.lease_one().await;
        let details = Some(Bytes::from_static(b"123456789"));
        let refused = ann.try_beat(vec![Held { run: task.task_run(), details }]).await;
        assert!(
            matches!(refused, Err(EngineError::TooLong { len_bytes: 9, limit_bytes: 8, .. })),
            "{refused:?}"
        );
        let call = Call { member: ann.id, number: 99, confirmed: 98 };
        let refused = bench.engine.cancel(call, vec![task.task.id; 4]).await;
        assert!(matches!(refused, Err(EngineError::TooMany { count: 4, limit: 3, .. })), "{refused:?}");
    })
}
