//! Tasks: order, limits, ends.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_core::future::BoxFuture;

use super::{
    Subject,
    client::{Bench, done, failure, ids},
};
use crate::{
    Beat, Cancelled, Concurrency, DeadCause, DeadLetterAnswer, DeadLetterOp, DeadLetters, Departure,
    EngineError, Enqueued, Held, LeaseCall, NewTask, Parent, Payload, Rate, Retry, Settled, TaskOutcome,
    TaskState, Unique, UniqueFor, Verdict,
};

/// The most urgent first, then the first to arrive. One that comes back has its old place.
///
/// # Panics
///
/// If the engine does something else.
pub fn tasks_come_by_priority_then_as_they_arrived(subject: &dyn Subject) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        let bench = Bench::new(subject).await;
        let mut ann = bench.join().await;
        let mut expected = Vec::new();
        for priority in [2, 1, 0, 1, 0, 255] {
            let mut task = bench.task().await;
            task.priority = priority;
            expected.push((priority, task.id));
            ann.enqueue(task).await;
        }
        expected.sort_by_key(|(priority, _)| *priority);
        let expected: Vec<_> = expected.into_iter().map(|(_, id)| id).collect();
        let first = ann.lease(3).await;
        assert_eq!(ids(&first), expected[..3]);
        ann.settle(&first[1], Verdict::Returned).await;
        let rest = ann.lease(10).await;
        assert_eq!(ids(&rest), [&expected[1..2], &expected[3..]].concat());
    })
}

/// Each series has its own order, and a member says how much it wants of each.
///
/// # Panics
///
/// If the engine does something else.
pub fn series_do_not_wait_for_one_another(subject: &dyn Subject) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        let bench = Bench::new(subject).await;
        let mut ann = bench.join().await;
        for series in ["a", "b", "a", "b", "c", "a"] {
            let mut task = bench.task().await;
            task.series = series.into();
            ann.enqueue(task).await;
        }
        let series = vec![("b".into(), 1), ("a".into(), 2), ("d".into(), 5), ("c".into(), 0)];
        let call = LeaseCall { series, ..ann.ask(0, Duration::ZERO) };
        let tasks = ann.try_lease(call).await.expect("it lives");
        let series: Vec<_> = tasks.iter().map(|task| &*task.task.series).collect();
        assert_eq!(series, ["b", "a", "a"]);
    })
}

/// What a member does not know is left to others, and holds up nothing.
///
/// # Panics
///
/// If the engine does something else.
pub fn a_member_gets_only_names_that_it_knows(subject: &dyn Subject) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        let bench = Bench::new(subject).await;
        let (mut ann, mut bob) = (bench.join().await, bench.join().await);
        let mut stranger = bench.task().await;
        stranger.name = "stranger".into();
        stranger.priority = 0;
        ann.enqueue(stranger.clone()).await;
        let task = bench.task().await;
        ann.enqueue(task.clone()).await;
        assert_eq!(ids(&ann.lease(5).await), [task.id]);
        let backlog = bench.engine.inspect().await.expect("it answers").backlog;
        let of = |name: &str| backlog.iter().find(|backlog| &*backlog.name == name).expect("it is there");
        assert!(of("stranger").is_stalled && !of("work").is_stalled);
        let call = LeaseCall { names: vec!["work".into(), "stranger".into()], ..bob.ask(5, Duration::ZERO) };
        assert_eq!(ids(&bob.try_lease(call).await.expect("it lives")), [stranger.id]);
    })
}

/// Nothing of a task is changed or lost on its way.
///
/// # Panics
///
/// If the engine does something else.
pub fn a_task_comes_as_it_was_enqueued(subject: &dyn Subject) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        let bench = Bench::new(subject).await;
        let mut ann = bench.join().await;
        ann.enqueue(bench.task().await).await;
        let parent = ann.lease_one().await;
        let mut task = NewTask::new(bench.id().await, "work", Payload::json(r#"{"path":"ü\u0000"}"#));
        task.version = u32::MAX;
        task.priority = 7;
        task.retry =
            Retry { attempts: 3, backoff: Duration::from_millis(1500), max_backoff: Duration::from_secs(9) };
        task.deadline = Some(bench.options.lease * 4);
        task.unique = Some(Unique { key: "unique".into(), until: UniqueFor::Task });
        task.concurrency = Some(Concurrency { key: "key".into(), limit: 2 });
        task.rate = Some(Rate { count: 3, per: Duration::from_secs(1) });
        task.parent = Some(Parent { member: ann.id, run: parent.task_run() });
        task.traceparent = Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into());
        task.keep_outcome = Duration::from_millis(700_001);
        ann.enqueue(task.clone()).await;
        let leased = ann.lease_one().await;
        assert_eq!(*leased.task, task);
        let remaining = leased.remaining.expect("it has a deadline");
        assert!(remaining <= bench.options.lease * 4 && remaining > bench.options.lease * 2, "{remaining:?}");
        assert_eq!((leased.run, leased.alone, leased.details), (1, false, None));
        let bytes: Vec<u8> = (0..=255).collect();
        let mut other = bench.task().await;
        other.payload = Payload::postcard(bytes);
        ann.enqueue(other.clone()).await;
        assert_eq!(ann.lease_one().await.task.payload, other.payload);
    })
}

/// If one of them is refused, none is taken.
///
/// # Panics
///
/// If the engine does something else.
pub fn all_tasks_of_a_call_are_taken_or_none(subject: &dyn Subject) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        let bench = Bench::new(subject).await;
        let mut ann = bench.join().await;
        let (good, mut bad) = (bench.task().await, bench.task().await);
        bad.concurrency = Some(Concurrency { key: "key".into(), limit: 0 });
        let refused = ann.try_enqueue(vec![good.clone(), bad]).await;
        assert!(matches!(refused, Err(EngineError::Zero { .. })), "{refused:?}");
        assert_eq!(bench.state(good.id).await, TaskState::Unknown);
        let twice = ann.try_enqueue(vec![good.clone(), good.clone()]).await.expect("they are good");
        assert_eq!(twice, [Enqueued::New(good.id), Enqueued::Existing(good.id)]);
        assert_eq!(ann.enqueue(good.clone()).await, Enqueued::Existing(good.id));
        assert_eq!(ids(&ann.lease(5).await), [good.id]);
    })
}

/// As long as the task with a key has not ended, another is dropped, and its client learns of the first.
///
/// # Panics
///
/// If the engine does something else.
pub fn a_unique_key_gives_back_the_first_task(subject: &dyn Subject) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        let bench = Bench::new(subject).await;
        let mut ann = bench.join().await;
        let mut tasks = Vec::new();
        for _ in 0..4 {
            let mut task = bench.task().await;
            task.unique = Some(Unique { key: "key".into(), until: UniqueFor::Task });
            tasks.push(task);
        }
        let both = ann.try_enqueue(tasks[..2].to_vec()).await.expect("they are good");
        assert_eq!(both, [Enqueued::New(tasks[0].id), Enqueued::Existing(tasks[0].id)]);
        let leased = ann.lease_one().await;
        assert_eq!(ann.enqueue(tasks[2].clone()).await, Enqueued::Existing(tasks[0].id));
        assert_eq!(bench.state(tasks[2].id).await, TaskState::Unknown);
        ann.settle(&leased, Verdict::Retry { after: Duration::ZERO, failure: failure() }).await;
        assert_eq!(ann.enqueue(tasks[2].clone()).await, Enqueued::Existing(tasks[0].id));
        let leased = ann.lease_one().await;
        ann.settle(&leased, done()).await;
        assert_eq!(ann.enqueue(tasks[3].clone()).await, Enqueued::New(tasks[3].id));
    })
}

/// A key for a time is the tick of a schedule: many members enqueue it, and it happens once.
///
/// # Panics
///
/// If the engine does something else.
pub fn a_unique_key_for_a_time_outlives_its_task(subject: &dyn Subject) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        let bench = Bench::new(subject).await;
        let mut ann = bench.join().await;
        let mut tasks = Vec::new();
        for _ in 0..3 {
            let mut task = bench.task().await;
            task.unique = Some(Unique { key: "tick".into(), until: UniqueFor::Time(bench.options.lease) });
            tasks.push(task);
        }
        ann.enqueue(tasks[0].clone()).await;
        let leased = ann.lease_one().await;
        ann.settle(&leased, done()).await;
        bench.pass_lease(40).await;
        assert_eq!(ann.enqueue(tasks[1].clone()).await, Enqueued::Existing(tasks[0].id));
        ann.beat().await;
        bench.pass_lease(70).await;
        assert_eq!(ann.enqueue(tasks[2].clone()).await, Enqueued::New(tasks[2].id));
    })
}

/// A lease occupies a slot, and those without one hold up nobody.
///
/// # Panics
///
/// If the engine does something else.
pub fn no_more_tasks_run_at_once_than_their_key_allows(subject: &dyn Subject) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        let bench = Bench::new(subject).await;
        let (mut ann, mut bob) = (bench.join().await, bench.join().await);
        let mut limited = Vec::new();
        for _ in 0..4 {
            let mut task = bench.task().await;
            task.concurrency = Some(Concurrency { key: "key".into(), limit: 2 });
            limited.push(task.id);
            ann.enqueue(task).await;
        }
        let free = bench.task().await;
        ann.enqueue(free.clone()).await;
        let tasks = ann.lease(10).await;
        assert_eq!(ids(&tasks), [limited[0], limited[1], free.id]);
        assert_eq!(bob.lease(10).await, []);
        ann.settle(&tasks[0], Verdict::Retry { after: Duration::ZERO, failure: failure() }).await;
        let again = bob.lease(10).await;
        assert_eq!(ids(&again), [limited[0]], "it has its old place");
        ann.leave(Departure::Died).await;
        let next = bob.lease(10).await;
        assert_eq!(ids(&next), [limited[1], free.id], "the slot of the dead is free");
    })
}

/// A bucket that is full at first, and fills up in its time.
///
/// # Panics
///
/// If the engine does something else.
pub fn a_series_has_its_rate(subject: &dyn Subject) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        let bench = Bench::new(subject).await;
        let mut ann = bench.join().await;
        let per = bench.options.lease;
        for _ in 0..7 {
            let mut task = bench.task().await;
            task.rate = Some(Rate { count: 2, per });
            ann.enqueue(task).await;
        }
        let mut other = bench.task().await;
        other.series = "other".into();
        ann.enqueue(other).await;
        assert_eq!(ann.lease(10).await.len(), 2);
        let call =
            LeaseCall { series: vec![("".into(), 9), ("other".into(), 9)], ..ann.ask(0, Duration::ZERO) };
        assert_eq!(ann.try_lease(call).await.expect("it lives").len(), 1, "the other series has no rate");
        bench.pass_lease(55).await;
        ann.beat().await;
        assert_eq!(ann.lease(10).await.len(), 1);
        bench.pass_lease(90).await;
        ann.beat().await;
        bench.pass_lease(90).await;
        assert_eq!(ann.lease(10).await.len(), 2, "no more than all of it");
    })
}

/// Neither before its time, nor before the time of its retry.
///
/// # Panics
///
/// If the engine does something else.
pub fn a_task_waits_for_its_time(subject: &dyn Subject) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        let bench = Bench::new(subject).await;
        let mut ann = bench.join().await;
        let mut task = bench.task().await;
        task.not_before = bench.options.lease / 2;
        ann.enqueue(task).await;
        assert_eq!(ann.lease(1).await, []);
        bench.pass_lease(55).await;
        let leased = ann.lease_one().await;
        let after = bench.options.lease / 2;
        ann.settle(&leased, Verdict::Retry { after, failure: failure() }).await;
        ann.beat().await;
        assert_eq!(ann.lease(1).await, []);
        bench.pass_lease(55).await;
        let again = ann.lease_one().await;
        assert_eq!((again.run, again.tally.attempts), (2, 1));
    })
}

/// One that waits is dead at once; of one that is leased, its member is told, and what it settles then counts.
///
/// # Panics
///
/// If the engine does something else.
pub fn a_task_past_its_deadline_is_dead(subject: &dyn Subject) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        let bench = Bench::new(subject).await;
        let mut ann = bench.join().await;
        let mut tasks = Vec::new();
        for _ in 0..4 {
            let mut task = bench.task().await;
            task.deadline = Some(bench.options.lease / 2);
            tasks.push(task.id);
            ann.enqueue(task).await;
        }
        let leased = ann.lease(3).await;
        bench.pass_lease(55).await;
        assert_eq!(bench.outcome(tasks[3]).await, TaskOutcome::Dead(DeadCause::Deadline));
        let mut cancelled: Vec<_> = ann.beat().await.cancelled.iter().map(|run| run.task).collect();
        cancelled.sort_by_key(|id| tasks.iter().position(|task| task == id));
        assert_eq!(cancelled, tasks[..3]);
        ann.settle(&leased[0], done()).await;
        ann.settle(&leased[1], Verdict::Retry { after: Duration::ZERO, failure: failure() }).await;
        ann.leave(Departure::Goodbye).await;
        assert!(matches!(bench.outcome(tasks[0]).await, TaskOutcome::Done(_)));
        assert_eq!(bench.outcome(tasks[1]).await, TaskOutcome::Dead(DeadCause::Deadline));
        assert_eq!(bench.outcome(tasks[2]).await, TaskOutcome::Dead(DeadCause::Deadline));
    })
}

/// Each verdict, and what is fenced: a run that has ended, and one of another member.
///
/// # Panics
///
/// If the engine does something else.
pub fn what_is_settled_has_ended_and_what_is_not_comes_again(subject: &dyn Subject) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        let bench = Bench::new(subject).await;
        let (mut ann, mut bob) = (bench.join().await, bench.join().await);
        for _ in 0..4 {
            ann.enqueue(bench.task().await).await;
        }
        let tasks = ann.lease(4).await;
        ann.settle(&tasks[0], done()).await;
        ann.settle(&tasks[1], Verdict::Dead { failure: failure() }).await;
        ann.settle(&tasks[2], Verdict::Returned).await;
        assert_eq!(bench.outcome(tasks[0].task.id).await, TaskOutcome::Done(Payload::postcard("output")));
        assert_eq!(bench.outcome(tasks[1].task.id).await, TaskOutcome::Dead(DeadCause::Failed(failure())));
        assert_eq!(bench.state(tasks[2].task.id).await, TaskState::Waiting);
        let leased = TaskState::Leased { member: ann.id, run: 1 };
        assert_eq!(bench.state(tasks[3].task.id).await, leased);
        for task in &tasks[..3] {
            let settled = ann.try_settle(task.task_run(), done()).await.expect("it lives");
            assert_eq!(settled, Settled::Fenced, "that run is over");
        }
        let settled = bob.try_settle(tasks[3].task_run(), done()).await.expect("it lives");
        assert_eq!(settled, Settled::Fenced, "that run is another member's");
        assert_eq!(bench.state(tasks[3].task.id).await, leased);
        let again = bob.lease_one().await;
        assert_eq!((again.task.id, again.run, again.tally.lost), (tasks[2].task.id, 2, 0));
        let settled = ann.try_settle(again.task_run(), done()).await.expect("it lives");
        assert_eq!(settled, Settled::Fenced, "that run is another member's");
    })
}

/// One fence: what expires is leased to others, and nothing that the lost member says is taken.
///
/// # Panics
///
/// If the engine does something else.
pub fn the_tasks_of_a_lost_member_come_again_with_a_larger_run(subject: &dyn Subject) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        let bench = Bench::new(subject).await;
        let (mut ann, mut bob) = (bench.join().await, bench.join().await);
        ann.enqueue(bench.task().await).await;
        let first = ann.lease_one().await;
        bench.expire(&mut [&mut bob]).await;
        assert!(ann.try_settle(first.task_run(), done()).await.is_err());
        let second = bob.lease_one().await;
        assert_eq!((second.task.id, second.run, second.tally.lost), (first.task.id, 2, 1));
        // The same program as another member: the run is not its own.
        let mut ann = bench.join().await;
        let settled = ann.try_settle(first.task_run(), done()).await.expect("it lives");
        assert_eq!(settled, Settled::Fenced);
        bob.settle(&second, done()).await;
        let settled = bob.try_settle(second.task_run(), done()).await.expect("it lives");
        assert_eq!(settled, Settled::Fenced, "a task ends once");
    })
}

/// A task that may be what kills its members is given to one that holds nothing else, and if that is lost too, to nobody.
///
/// # Panics
///
/// If the engine does something else.
pub fn a_task_that_members_are_lost_with_runs_alone(subject: &dyn Subject) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        let bench = Bench::with(subject, |options| options.lost_limit = 2).await;
        let mut first = bench.join().await;
        let suspect = bench.task().await;
        first.enqueue(suspect.clone()).await;
        for _ in 0..2 {
            let mut member = bench.join().await;
            assert!(!member.lease_one().await.alone);
            member.leave(Departure::Died).await;
        }
        let mut bob = bench.join().await;
        for _ in 0..3 {
            first.enqueue(bench.task().await).await;
        }
        let alone = bob.lease_one().await;
        assert!(alone.alone && alone.task.id == suspect.id && alone.tally.lost == 2, "{alone:?}");
        assert_eq!(bob.lease(5).await, [], "it runs alone");
        let mut carl = bench.join().await;
        let others = carl.lease(2).await;
        assert_eq!(others.len(), 2);
        bob.settle(&alone, Verdict::Returned).await;
        assert_eq!(carl.lease(5).await, [], "it is to run the suspect, as soon as it has nothing else");
        for task in &others {
            carl.settle(task, done()).await;
        }
        let alone = carl.lease_one().await;
        assert!(alone.alone && alone.task.id == suspect.id);
        carl.leave(Departure::Died).await;
        assert_eq!(bench.outcome(suspect.id).await, TaskOutcome::Dead(DeadCause::Lost));
        assert_eq!(bob.lease(5).await.len(), 1, "the others are not held up");
    })
}

/// What a run enqueues that is over is refused, whole.
///
/// # Panics
///
/// If the engine does something else.
pub fn a_fenced_run_has_no_children(subject: &dyn Subject) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        let bench = Bench::new(subject).await;
        let (mut ann, mut bob) = (bench.join().await, bench.join().await);
        ann.enqueue(bench.task().await).await;
        let parent = ann.lease_one().await;
        let mut child = bench.task().await;
        child.parent = Some(parent.as_parent(ann.id));
        bob.enqueue(child.clone()).await;
        let mut wrong = bench.task().await;
        wrong.parent = Some(parent.as_parent(bob.id));
        let refused = ann.try_enqueue(vec![bench.task().await, wrong]).await;
        assert!(matches!(refused, Err(EngineError::ParentFenced { .. })), "{refused:?}");
        ann.settle(&parent, Verdict::Returned).await;
        child.id = bench.id().await;
        let refused = ann.try_enqueue(vec![child]).await;
        assert!(matches!(refused, Err(EngineError::ParentFenced { .. })), "{refused:?}");
        assert_eq!(ann.lease(5).await.len(), 2, "the parent, and the first child");
    })
}

/// One that waits at once, one that is leased when its member says so, and one that is done stays done.
///
/// # Panics
///
/// If the engine does something else.
pub fn cancelled_tasks_end(subject: &dyn Subject) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        let bench = Bench::new(subject).await;
        let mut ann = bench.join().await;
        let mut tasks = Vec::new();
        for _ in 0..5 {
            let task = bench.task().await;
            tasks.push(task.id);
            ann.enqueue(task).await;
        }
        let leased = ann.lease(4).await;
        ann.settle(&leased[0], done()).await;
        tasks.push(bench.id().await);
        let (late, asked, ended, unknown) =
            (Cancelled::Late, Cancelled::Asked, Cancelled::Ended, Cancelled::Unknown);
        assert_eq!(ann.cancel(&tasks).await, [late, asked, asked, asked, ended, unknown]);
        assert_eq!(ann.cancel(&tasks).await, [late, asked, asked, asked, ended, unknown]);
        ann.settle(&leased[1], Verdict::Dead { failure: failure() }).await;
        ann.settle(&leased[2], Verdict::Retry { after: Duration::ZERO, failure: failure() }).await;
        ann.leave(Departure::Died).await;
        for task in &tasks[1..5] {
            assert_eq!(bench.outcome(*task).await, TaskOutcome::Cancelled);
        }
        let mut bob = bench.join().await;
        assert_eq!(bob.lease(5).await, []);
        assert_eq!(bob.cancel(&tasks).await, [late, ended, ended, ended, ended, unknown]);
    })
}

/// Page by page, retried with nothing charged, unless their keys are taken, and dropped.
///
/// # Panics
///
/// If the engine does something else.
pub fn dead_letters_are_listed_retried_and_dropped(subject: &dyn Subject) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        let bench = Bench::new(subject).await;
        let mut ann = bench.join().await;
        let mut tasks = Vec::new();
        for number in 0..4 {
            let mut task = bench.task().await;
            task.unique = Some(Unique { key: number.to_string().into(), until: UniqueFor::Task });
            tasks.push(task.clone());
            ann.enqueue(task).await;
        }
        tasks.sort_by_key(|task| task.id);
        for task in ann.lease(4).await {
            ann.settle(&task, Verdict::Dead { failure: failure() }).await;
        }
        let first = bench.engine.dead_letters(None, 3).await.expect("they are few");
        let listed: Vec<_> = first.iter().map(|letter| (*letter.task).clone()).collect();
        assert_eq!(listed, tasks[..3], "as they were enqueued, in the order of their ids");
        assert_eq!(first[0].cause, DeadCause::Failed(failure()));
        let rest = bench.engine.dead_letters(Some(tasks[2].id), 3).await.expect("they are few");
        assert_eq!(rest.iter().map(|letter| letter.task.id).collect::<Vec<_>>(), [tasks[3].id]);
        let mut other = bench.task().await;
        other.unique.clone_from(&tasks[1].unique);
        ann.enqueue(other.clone()).await;
        let all: Vec<_> = tasks.iter().map(|task| task.id).chain([other.id]).collect();
        let retried = ann.dead_letters(DeadLetterOp::Retry, DeadLetters::Ids(all[..2].to_vec())).await;
        let taken = DeadLetterAnswer::KeyTaken { task: all[1], by: other.id };
        assert_eq!(retried, [DeadLetterAnswer::Ok(all[0]), taken]);
        let dropped = ann.dead_letters(DeadLetterOp::Drop, DeadLetters::Ids(all.clone())).await;
        let (ok, unknown) = (DeadLetterAnswer::Ok, DeadLetterAnswer::Unknown);
        assert_eq!(dropped, [unknown(all[0]), ok(all[1]), ok(all[2]), ok(all[3]), unknown(all[4])]);
        assert_eq!(bench.engine.dead_letters(None, 3).await.expect("they are few"), []);
        let again = ann.lease(5).await;
        assert_eq!(ids(&again), [other.id, all[0]], "a retried one is the last");
        assert_eq!((again[1].run, again[1].tally.attempts), (2, 0));
        assert_eq!(*again[1].task, tasks[0]);
        ann.settle(&again[1], Verdict::Dead { failure: failure() }).await;
        let named = DeadLetters::Named("other".into(), 5);
        assert_eq!(ann.dead_letters(DeadLetterOp::Retry, named).await, []);
        let named = DeadLetters::Named("work".into(), 5);
        assert_eq!(ann.dead_letters(DeadLetterOp::Retry, named).await, [ok(all[0])]);
    })
}

/// For the time that was asked for, and for the repeat window at least.
///
/// # Panics
///
/// If the engine does something else.
pub fn outcomes_are_kept_for_their_time(subject: &dyn Subject) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        let bench = Bench::new(subject).await;
        let mut ann = bench.join().await;
        let (mut short, mut long) = (bench.task().await, bench.task().await);
        short.keep_outcome = Duration::ZERO;
        long.keep_outcome = bench.options.repeat_window * 2;
        ann.enqueue(short.clone()).await;
        ann.enqueue(long.clone()).await;
        for task in ann.lease(2).await {
            ann.settle(&task, done()).await;
        }
        bench.pass(bench.options.repeat_window / 2).await;
        assert_eq!(bench.outcome(short.id).await, TaskOutcome::Done(Payload::postcard("output")));
        bench.pass(bench.options.repeat_window).await;
        assert_eq!(bench.state(short.id).await, TaskState::Unknown);
        assert_eq!(bench.outcome(long.id).await, TaskOutcome::Done(Payload::postcard("output")));
        bench.pass(bench.options.repeat_window).await;
        assert_eq!(bench.state(long.id).await, TaskState::Unknown);
    })
}

/// What a beat said of a run that stands, and nothing else.
///
/// # Panics
///
/// If the engine does something else.
pub fn details_of_heartbeats_reach_the_next_run(subject: &dyn Subject) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        let bench = Bench::new(subject).await;
        let (mut ann, mut bob) = (bench.join().await, bench.join().await);
        ann.enqueue(bench.task().await).await;
        let first = ann.lease_one().await;
        let held = |details: &'static str| {
            vec![Held { run: first.task_run(), details: Some(Bytes::from_static(details.as_bytes())) }]
        };
        ann.try_beat(held("half")).await.expect("it lives");
        ann.try_beat(vec![Held { run: first.task_run(), details: None }]).await.expect("it lives");
        bob.try_beat(held("stranger")).await.expect("it lives");
        let overtaken = Beat { member: ann.id, number: 1, holding: held("overtaken") };
        bench.engine.beat(overtaken).await.expect("it lives");
        ann.leave(Departure::Died).await;
        bob.try_beat(held("late")).await.expect("it lives");
        let second = bob.lease_one().await;
        assert_eq!(second.details.as_deref(), Some(&b"half"[..]));
    })
}

/// The books balance, and every task is counted where it is.
///
/// # Panics
///
/// If the engine does something else.
pub fn an_operator_sees_what_there_is(subject: &dyn Subject) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        let bench = Bench::new(subject).await;
        let mut ann = bench.join().await;
        for (series, delay) in [("", 0), ("", 0), ("", 1), ("", 0), ("b", 0)] {
            let mut task = bench.task().await;
            task.series = Arc::from(series);
            task.not_before = bench.options.lease * delay * 2;
            ann.enqueue(task).await;
        }
        let tasks = ann.lease(2).await;
        ann.settle(&tasks[0], Verdict::Dead { failure: failure() }).await;
        let inspection = bench.engine.inspect().await.expect("it answers");
        let backlog = &inspection.backlog;
        assert_eq!(backlog.iter().map(|one| &*one.series).collect::<Vec<_>>(), ["", "b"]);
        let first = &backlog[0];
        assert_eq!((first.delayed, first.ready, first.leased, first.dead), (1, 1, 1, 1));
        assert!(first.oldest_ready.is_some() && !first.is_stalled && backlog[1].ready == 1);
        let books = inspection.books;
        assert_eq!((books.enqueued, books.dead, books.pending), (5, 1, 4));
        assert_eq!(inspection.members[0].leased, [tasks[1].task_run()]);
        assert!(inspection.members[0].lease_left <= bench.options.lease);
    })
}
