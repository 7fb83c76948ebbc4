//! Locks: what shared-lock promises, between members.

use std::time::Duration;

use futures_core::future::BoxFuture;
use workfleet_shared_lock::{
    Mode,
    cores::{LockOp, LockOpError, RequestEnd, RequestState},
};

use super::{Subject, client::Bench};
use crate::{Departure, LockCall};

/// A bench with locks, or the end of the test.
macro_rules! bench {
    ($subject:ident) => {{
        let bench = Bench::new($subject).await;
        if !bench.engine.capabilities().locks {
            return;
        }
        bench
    }};
}

/// Many share a key; one has it exclusively; other keys are others.
///
/// # Panics
///
/// If the engine does something else.
pub fn readers_share_and_writers_do_not(subject: &dyn Subject) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        let bench = bench!(subject);
        let (mut ann, mut bob) = (bench.join().await, bench.join().await);
        assert!(bench.is_free("key", Mode::Exclusive).await);
        let first = ann.request("key", Mode::Shared, None).await;
        let second = bob.request("key", Mode::Shared, None).await;
        ann.granted(first).await;
        bob.granted(second).await;
        assert!(!bench.is_free("key", Mode::Exclusive).await && bench.is_free("key", Mode::Shared).await);
        let writer = ann.request("key", Mode::Exclusive, None).await;
        ann.assert_waits(writer).await;
        assert!(!bench.is_free("key", Mode::Shared).await, "somebody waits");
        let other = bob.request("other", Mode::Exclusive, None).await;
        bob.granted(other).await;
        ann.lock_op(first, LockOp::Leave).await;
        ann.assert_waits(writer).await;
        bob.lock_op(second, LockOp::Leave).await;
        ann.granted(writer).await;
        assert!(!bench.is_free("key", Mode::Shared).await);
        ann.lock_op(writer, LockOp::Leave).await;
        assert!(bench.is_free("key", Mode::Exclusive).await);
    })
}

/// Requests are granted as they arrived, a run of readers together.
///
/// # Panics
///
/// If the engine does something else.
pub fn nobody_is_overtaken(subject: &dyn Subject) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        let bench = bench!(subject);
        let (mut ann, mut bob) = (bench.join().await, bench.join().await);
        let writer = ann.request("key", Mode::Exclusive, None).await;
        let readers =
            [bob.request("key", Mode::Shared, None).await, bob.request("key", Mode::Shared, None).await];
        let second = ann.request("key", Mode::Exclusive, None).await;
        let late = bob.request("key", Mode::Shared, None).await;
        ann.lock_op(writer, LockOp::Leave).await;
        for reader in readers {
            bob.granted(reader).await;
        }
        ann.assert_waits(second).await;
        bob.assert_waits(late).await;
        bob.lock_op(readers[0], LockOp::Leave).await;
        ann.assert_waits(second).await;
        bob.lock_op(readers[1], LockOp::Leave).await;
        ann.granted(second).await;
        bob.assert_waits(late).await;
        ann.lock_op(second, LockOp::Downgrade).await;
        bob.granted(late).await;
        let state = ann.lock_state(second).await;
        assert!(matches!(state, RequestState::Granted { mode: Mode::Shared, .. }), "{state:?}");
    })
}

/// Each grant has a larger fence than those before, also of another member, and also if the key was idle in between.
///
/// # Panics
///
/// If the engine does something else.
pub fn fences_increase(subject: &dyn Subject) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        let bench = bench!(subject);
        let mut last = None;
        for round in 0..3 {
            let mut member = bench.join().await;
            for _ in 0..3 {
                let request = member.request("key", Mode::Exclusive, None).await;
                let fence = member.granted(request).await;
                assert!(last < Some(fence), "round {round}: {last:?}, then {fence:?}");
                last = Some(fence);
                member.lock_op(request, LockOp::Downgrade).await;
                assert_eq!(Some(member.granted(request).await), last, "it is the same grant");
                member.lock_op(request, LockOp::Leave).await;
            }
            member.leave(Departure::Goodbye).await;
        }
    })
}

/// It has the key at once, or not at all.
///
/// # Panics
///
/// If the engine does something else.
pub fn a_try_does_not_wait(subject: &dyn Subject) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        let bench = bench!(subject);
        let (mut ann, mut bob) = (bench.join().await, bench.join().await);
        let attempt = || LockOp::Try { key: "key".into(), mode: Mode::Exclusive, owner: None };
        let first = ann.new_request(attempt()).await;
        ann.granted(first).await;
        let second = bob.new_request(attempt()).await;
        bob.assert_ended(second, RequestEnd::Taken).await;
        ann.lock_op(first, LockOp::Leave).await;
        let third = bob.new_request(attempt()).await;
        bob.granted(third).await;
    })
}

/// It loses its place, and those behind it do not wait for it.
///
/// # Panics
///
/// If the engine does something else.
pub fn a_wait_is_given_up(subject: &dyn Subject) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        let bench = bench!(subject);
        let (mut ann, mut bob) = (bench.join().await, bench.join().await);
        let reader = ann.request("key", Mode::Shared, None).await;
        let writer = bob.request("key", Mode::Exclusive, None).await;
        let behind = ann.request("key", Mode::Shared, None).await;
        ann.assert_waits(behind).await;
        bob.lock_op(writer, LockOp::Leave).await;
        bob.assert_ended(writer, RequestEnd::Cancelled).await;
        ann.granted(behind).await;
        ann.lock_op(reader, LockOp::Leave).await;
        ann.assert_ended(reader, RequestEnd::Released).await;
    })
}

/// Each operation twice, and a request that comes after its end.
///
/// # Panics
///
/// If the engine does something else.
pub fn a_repeated_lock_operation_changes_nothing(subject: &dyn Subject) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        let bench = bench!(subject);
        let (mut ann, mut bob) = (bench.join().await, bench.join().await);
        let ask = || LockOp::Request { key: "key".into(), mode: Mode::Exclusive, owner: None };
        let first = ann.new_request(ask()).await;
        let fence = ann.granted(first).await;
        ann.lock_op(first, ask()).await;
        assert_eq!(ann.granted(first).await, fence);
        let second = bob.new_request(ask()).await;
        bob.lock_op(second, ask()).await;
        bob.assert_waits(second).await;
        ann.lock_op(first, LockOp::Leave).await;
        ann.lock_op(first, LockOp::Leave).await;
        ann.lock_op(first, ask()).await;
        ann.assert_ended(first, RequestEnd::Released).await;
        bob.granted(second).await;
        // To ask for what has changed since confirms what was told before.
        let call = |ops, since| LockCall { member: ann.id, ops, since, wait: Duration::ZERO };
        let told = bench.engine.locks(call(Vec::new(), 0)).await.expect("it lives").changes;
        let after = bench.engine.locks(call(Vec::new(), told.version)).await.expect("it lives").changes;
        assert_eq!(after.requests, []);
        let late = bench.engine.locks(call(vec![(first, ask())], told.version)).await.expect("it lives");
        let outdated = LockOpError::Outdated { request: first, last: first };
        assert_eq!(late.refused, [(first, outdated)]);
    })
}

/// For a while after its lease, the lost member may believe that it holds its locks.
///
/// # Panics
///
/// If the engine does something else.
pub fn an_expired_members_locks_end_after_the_delay(subject: &dyn Subject) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        let bench = bench!(subject);
        let (mut ann, mut bob) = (bench.join().await, bench.join().await);
        let held = ann.request("key", Mode::Exclusive, None).await;
        let fence = ann.granted(held).await;
        let waits = ann.request("other", Mode::Exclusive, None).await;
        ann.granted(waits).await;
        let request = bob.request("key", Mode::Exclusive, None).await;
        bench.expire(&mut [&mut bob]).await;
        assert!(ann.try_beat(Vec::new()).await.is_err());
        bob.assert_waits(request).await;
        bench.pass(bench.options.lock_delay).await;
        bob.beat().await;
        assert!(bob.granted(request).await > fence);
    })
}

/// A member that says goodbye, or is known to be dead, holds nothing any more.
///
/// # Panics
///
/// If the engine does something else.
pub fn the_locks_of_a_member_that_leaves_end_at_once(subject: &dyn Subject) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        let bench = bench!(subject);
        let mut bob = bench.join().await;
        for departure in [Departure::Goodbye, Departure::Died] {
            let mut ann = bench.join().await;
            let held = ann.request("key", Mode::Shared, None).await;
            ann.granted(held).await;
            let waits = ann.request("key", Mode::Exclusive, None).await;
            ann.assert_waits(waits).await;
            let request = bob.request("key", Mode::Exclusive, None).await;
            bob.assert_waits(request).await;
            ann.leave(departure).await;
            bob.granted(request).await;
            bob.lock_op(request, LockOp::Leave).await;
        }
    })
}

/// The youngest in a cycle of owners is refused, also across members; the others wait on.
///
/// # Panics
///
/// If the engine does something else.
pub fn a_cycle_of_owners_is_refused(subject: &dyn Subject) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        let bench = bench!(subject);
        let (mut ann, mut bob) = (bench.join().await, bench.join().await);
        ann.request("a", Mode::Exclusive, Some("task")).await;
        let second = bob.request("b", Mode::Exclusive, Some("task")).await;
        let waits = ann.request("b", Mode::Exclusive, Some("task")).await;
        let closes = bob.request("a", Mode::Exclusive, Some("task")).await;
        let state = bob.lock_state(closes).await;
        let RequestState::Ended(RequestEnd::WouldDeadlock(cycle)) = state else {
            panic!("no deadlock: {state:?}")
        };
        let links: Vec<_> = cycle.iter().map(|link| (link.owner.member, &*link.key)).collect();
        assert_eq!(links, [(bob.id, "a"), (ann.id, "b")]);
        ann.assert_waits(waits).await;
        bob.lock_op(second, LockOp::Leave).await;
        ann.granted(waits).await;
    })
}

/// Page by page: the holders and the waiters of each key.
///
/// # Panics
///
/// If the engine does something else.
pub fn locks_are_shown(subject: &dyn Subject) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        let bench = bench!(subject);
        let (mut ann, mut bob) = (bench.join().await, bench.join().await);
        for key in ["c", "a", "b"] {
            ann.request(key, Mode::Shared, Some("owner")).await;
        }
        bob.request("b", Mode::Exclusive, None).await;
        let first = bench.engine.lock_snapshot(None, 2).await.expect("they are few");
        assert_eq!(first.iter().map(|view| &*view.key).collect::<Vec<_>>(), ["a", "b"]);
        let (holder, waiter) = (&first[1].holders[0], &first[1].waiters[0]);
        assert_eq!(
            (first[1].mode, holder.member, holder.owner.as_deref()),
            (Mode::Shared, ann.id, Some("owner"))
        );
        assert_eq!((waiter.member, waiter.mode, &waiter.owner), (bob.id, Mode::Exclusive, &None));
        assert!(holder.fence < waiter.fence && first[0].waiters.is_empty());
        let rest = bench.engine.lock_snapshot(Some("b".into()), 2).await.expect("they are few");
        assert_eq!(rest.iter().map(|view| &*view.key).collect::<Vec<_>>(), ["c"]);
    })
}
