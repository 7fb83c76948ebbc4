//! What every [`SharedState`] promises, whatever keeps the locks. Each test asks for a new state, in which nothing is held,
//! and drives its futures on tokio; it never waits for a time to pass.
//!
//! `conformance::tests!(make)` makes a module's worth of tests, for `async fn make() -> impl SharedState`.

use std::{
    fmt::Debug,
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use tokio::task::JoinHandle;
use workfleet_shared_lock::{Fence, KeySnapshot, LockFailed, LockGuard, LockRequestError, Mode, SharedState};

use Mode::{Exclusive, Shared};

/// A state that tasks can share.
pub(crate) trait State: SharedState<Guard: Debug> + Sized + 'static {}

impl<S: SharedState<Guard: Debug> + 'static> State for S {}

/// One test for each function of this module.
macro_rules! tests {
    ($make:expr) => {
        $crate::conformance::tests!($make;
            a_key_is_held_by_one_writer_or_by_many_readers
            nobody_is_overtaken
            a_release_lets_in_the_whole_run_of_readers_and_nobody_behind
            fences_increase_also_when_the_key_was_idle_in_between
            a_downgrade_lets_in_the_readers_at_the_head_and_nobody_else
            a_downgraded_lock_keeps_its_fence_and_others_may_join
            a_dropped_waiter_loses_its_place_and_nothing_else
            a_grant_that_was_not_noticed_is_passed_on
            a_cancelled_writer_lets_the_readers_behind_it_in
            try_lock_takes_what_is_free_and_nothing_else
            is_free_says_what_try_lock_would_do
            a_timeout_ends_the_wait_and_not_the_lock
            many_locks_are_taken_in_the_stronger_mode_and_let_go_together
            many_locks_are_all_or_nothing
            a_try_for_many_takes_all_or_none_and_waits_for_nobody
            a_timeout_for_many_ends_the_wait_and_lets_go_what_was_taken
            bad_keys_are_refused_with_their_length_and_the_limit
            a_closed_state_sends_waiters_and_newcomers_away_and_lets_holders_finish
            a_snapshot_shows_holders_and_waiters_in_order
            idle_keys_are_gone
            guards_are_let_go_on_any_thread_and_while_unwinding
            blocking_twins_do_the_same
            nothing_is_lost_locally_or_while_the_lease_lasts
        );
    };
    ($make:expr; $($name:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                $crate::conformance::$name($make().await).await;
            }
        )*
    };
}
pub(crate) use tests;

/// A request in a task of its own.
fn ask<S: State>(state: &Arc<S>, key: &'static str, mode: Mode) -> JoinHandle<Result<S::Guard, LockFailed>> {
    let state = Arc::clone(state);
    tokio::spawn(async move { state.lock(key, mode).await })
}

/// A request in a task of its own, which waits by now, behind `before` others.
async fn wait_behind<S: State>(
    state: &Arc<S>,
    key: &'static str,
    mode: Mode,
    before: usize,
) -> JoinHandle<Result<S::Guard, LockFailed>> {
    let task = ask(state, key, mode);
    until(|| async { waiters(&**state, key).await == before + 1 }).await;
    task
}

/// Lets others run until it is so.
async fn until<F: Future<Output = bool>>(is_so: impl Fn() -> F) {
    while !is_so().await {
        tokio::task::yield_now().await;
    }
}

/// Polls it once.
async fn is_pending<F: Future + ?Sized>(mut future: Pin<&mut F>) -> bool {
    poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_pending())).await
}

async fn entry(state: &impl SharedState, key: &str) -> Option<KeySnapshot> {
    state.snapshot().await.expect("a snapshot").key(key).cloned()
}

async fn waiters(state: &impl SharedState, key: &str) -> usize {
    entry(state, key).await.map_or(0, |entry| entry.waiters.len())
}

async fn lock<S: SharedState>(state: &S, key: &str, mode: Mode) -> S::Guard {
    state.lock(key, mode).await.expect("it is granted")
}

async fn granted<G>(task: JoinHandle<Result<G, LockFailed>>) -> G {
    task.await.expect("no panic").expect("it is granted")
}

async fn is_taken(state: &impl SharedState, key: &str, mode: Mode) -> bool {
    state.try_lock(key, mode).await.expect("an answer").is_none()
}

async fn cancel<T: Debug>(task: JoinHandle<T>) {
    task.abort();
    assert!(task.await.expect_err("it still waits").is_cancelled());
}

pub(crate) async fn a_key_is_held_by_one_writer_or_by_many_readers(state: impl State) {
    let writer = lock(&state, "k", Exclusive).await;
    assert_eq!((writer.key(), writer.mode()), ("k", Exclusive));
    assert!(is_taken(&state, "k", Exclusive).await && is_taken(&state, "k", Shared).await);
    drop(lock(&state, "another", Exclusive).await);
    drop(writer);
    let readers = [lock(&state, "k", Shared).await, lock(&state, "k", Shared).await];
    assert_eq!((readers[0].key(), readers[0].mode()), ("k", Shared));
    assert!(is_taken(&state, "k", Exclusive).await);
    drop(readers);
    drop(lock(&state, "k", Exclusive).await);
}

pub(crate) async fn nobody_is_overtaken(state: impl State) {
    let state = Arc::new(state);
    let reader = lock(&*state, "k", Shared).await;
    let writer = wait_behind(&state, "k", Exclusive, 0).await;
    let late_reader = wait_behind(&state, "k", Shared, 1).await;
    assert!(is_taken(&*state, "k", Shared).await, "it would overtake the writer");
    drop(reader);
    let writer = granted(writer).await;
    assert_eq!(waiters(&*state, "k").await, 1);
    drop(writer);
    drop(granted(late_reader).await);
}

pub(crate) async fn a_release_lets_in_the_whole_run_of_readers_and_nobody_behind(state: impl State) {
    let state = Arc::new(state);
    let writer = lock(&*state, "k", Exclusive).await;
    let first = wait_behind(&state, "k", Shared, 0).await;
    let second = wait_behind(&state, "k", Shared, 1).await;
    let next_writer = wait_behind(&state, "k", Exclusive, 2).await;
    let third = wait_behind(&state, "k", Shared, 3).await;
    drop(writer);
    let (first, second) = (granted(first).await, granted(second).await);
    let entry = entry(&*state, "k").await.expect("it is held");
    assert_eq!((entry.holders.len(), entry.waiters.len()), (2, 2));
    drop((first, second));
    drop(granted(next_writer).await);
    drop(granted(third).await);
}

pub(crate) async fn fences_increase_also_when_the_key_was_idle_in_between(state: impl State) {
    let mut last: Option<Fence> = None;
    for round in 0..20 {
        if round % 3 == 0 {
            let reader = lock(&state, "k", Shared).await.fence();
            assert!(last.is_none_or(|last| last < reader));
        }
        let fence = lock(&state, "k", Exclusive).await.fence();
        assert!(last.is_none_or(|last| last < fence), "{last:?} {fence}");
        last = Some(fence);
    }
    let state = Arc::new(state);
    let holder = lock(&*state, "k", Exclusive).await;
    let next = wait_behind(&state, "k", Exclusive, 0).await;
    let fence = holder.fence();
    drop(holder);
    assert!(fence < granted(next).await.fence());
}

pub(crate) async fn a_downgrade_lets_in_the_readers_at_the_head_and_nobody_else(state: impl State) {
    let state = Arc::new(state);
    let mut holder = lock(&*state, "k", Exclusive).await;
    let first = wait_behind(&state, "k", Shared, 0).await;
    let second = wait_behind(&state, "k", Shared, 1).await;
    let writer = wait_behind(&state, "k", Exclusive, 2).await;
    let behind = wait_behind(&state, "k", Shared, 3).await;
    holder.downgrade();
    let readers = (granted(first).await, granted(second).await);
    let entry = entry(&*state, "k").await.expect("it is held");
    assert_eq!((entry.mode, entry.holders.len(), entry.waiters.len()), (Shared, 3, 2));
    drop(readers);
    assert!(is_taken(&*state, "k", Shared).await, "the writer comes first");
    drop(holder);
    drop(granted(writer).await);
    drop(granted(behind).await);
}

pub(crate) async fn a_downgraded_lock_keeps_its_fence_and_others_may_join(state: impl State) {
    let mut guard = lock(&state, "k", Exclusive).await;
    let fence = guard.fence();
    guard.downgrade();
    guard.downgrade(); // a shared lock stays as it is
    assert_eq!((guard.mode(), guard.fence()), (Shared, fence));
    let other = lock(&state, "k", Shared).await;
    assert!(other.fence() > fence);
    assert!(is_taken(&state, "k", Exclusive).await);
    drop(guard);
    assert!(is_taken(&state, "k", Exclusive).await);
    drop(other);
    assert!(!is_taken(&state, "k", Exclusive).await);
}

pub(crate) async fn a_dropped_waiter_loses_its_place_and_nothing_else(state: impl State) {
    let state = Arc::new(state);
    let holder = lock(&*state, "k", Exclusive).await;
    let first = wait_behind(&state, "k", Exclusive, 0).await;
    let second = wait_behind(&state, "k", Exclusive, 1).await;
    cancel(first).await;
    until(|| async { waiters(&*state, "k").await == 1 }).await;
    drop(holder);
    drop(granted(second).await);
}

pub(crate) async fn a_grant_that_was_not_noticed_is_passed_on(state: impl State) {
    let state = Arc::new(state);
    let holder = lock(&*state, "k", Exclusive).await;
    let mut unnoticed = Box::pin(state.lock("k", Exclusive));
    assert!(is_pending(unnoticed.as_mut()).await);
    until(|| async { waiters(&*state, "k").await == 1 }).await;
    let next = wait_behind(&state, "k", Exclusive, 1).await;
    drop(holder);
    until(|| async { waiters(&*state, "k").await == 1 }).await;
    drop(unnoticed);
    drop(granted(next).await);
}

pub(crate) async fn a_cancelled_writer_lets_the_readers_behind_it_in(state: impl State) {
    let state = Arc::new(state);
    let reader = lock(&*state, "k", Shared).await;
    let writer = wait_behind(&state, "k", Exclusive, 0).await;
    let behind = wait_behind(&state, "k", Shared, 1).await;
    cancel(writer).await;
    let behind = granted(behind).await;
    drop((reader, behind));
}

pub(crate) async fn try_lock_takes_what_is_free_and_nothing_else(state: impl State) {
    let guard = state.try_lock("k", Shared).await.expect("an answer").expect("it is free");
    assert_eq!((guard.key(), guard.mode()), ("k", Shared));
    assert!(!is_taken(&state, "k", Shared).await);
    assert!(is_taken(&state, "k", Exclusive).await);
    assert_eq!(waiters(&state, "k").await, 0, "who tries does not wait");
    drop(guard);
    drop(state.try_lock("k", Exclusive).await.expect("an answer").expect("it is free"));
}

pub(crate) async fn is_free_says_what_try_lock_would_do(state: impl State) {
    let state = Arc::new(state);
    let free = async || {
        let shared = state.is_free("k", Shared).await.expect("an answer");
        (shared, state.is_free("k", Exclusive).await.expect("an answer"))
    };
    assert_eq!(free().await, (true, true), "nobody knows the key");
    let writer = lock(&*state, "k", Exclusive).await;
    assert_eq!(free().await, (false, false));
    drop(writer);
    let reader = lock(&*state, "k", Shared).await;
    assert_eq!(free().await, (true, false));
    let waiter = wait_behind(&state, "k", Exclusive, 0).await;
    assert_eq!(free().await, (false, false), "somebody waits");
    drop(reader);
    drop(granted(waiter).await);
    until(|| async { entry(&*state, "k").await.is_none() }).await;
    assert_eq!(free().await, (true, true));
}

pub(crate) async fn a_timeout_ends_the_wait_and_not_the_lock(state: impl State) {
    let short = Duration::from_millis(1);
    let holder = state.blocking_lock_timeout("k", Exclusive, Duration::ZERO).expect("it is free");
    let late = tokio::task::block_in_place(|| state.blocking_lock_timeout("k", Shared, short));
    assert_eq!(late.expect_err("it is held"), LockFailed::TimedOut { after: short });
    #[cfg(feature = "tokio")]
    {
        let late = state.lock_timeout("k", Shared, short).await;
        assert_eq!(late.expect_err("it is held"), LockFailed::TimedOut { after: short });
    }
    until(|| async { waiters(&state, "k").await == 0 }).await;
    drop(holder);
    #[cfg(feature = "tokio")]
    drop(state.lock_timeout("k", Exclusive, Duration::ZERO).await.expect("it is free"));
    let forever = state.blocking_lock_timeout("k", Exclusive, Duration::MAX);
    drop(forever.expect("it is free"));
}

pub(crate) async fn many_locks_are_taken_in_the_stronger_mode_and_let_go_together(state: impl State) {
    let keys = [("b", Shared), ("a", Shared), ("b", Exclusive), ("a", Shared)];
    let guards = state.lock_many(keys).await.expect("they are free");
    assert_eq!(
        Vec::from_iter(guards.iter().map(|guard| (guard.key(), guard.mode()))),
        [("a", Shared), ("b", Exclusive)]
    );
    assert_eq!(guards.get("b").map(LockGuard::mode), Some(Exclusive));
    assert!(guards.get("c").is_none());
    assert!(is_taken(&state, "a", Exclusive).await && is_taken(&state, "b", Shared).await);
    guards.release();
    assert!(!is_taken(&state, "a", Exclusive).await && !is_taken(&state, "b", Exclusive).await);

    let none = state.lock_many([] as [(&str, Mode); 0]).await.expect("nothing is free");
    assert!(none.is_empty());
    let [a, b]: [_; 2] =
        state.lock_many(keys).await.expect("they are free").into_vec().try_into().expect("two");
    drop(a);
    assert!(!is_taken(&state, "a", Exclusive).await && is_taken(&state, "b", Exclusive).await);
    drop(b);
}

pub(crate) async fn many_locks_are_all_or_nothing(state: impl State) {
    let state = Arc::new(state);
    // Refused: nothing is taken, though the bad key comes last.
    let refused = state.lock_many([("a", Exclusive), ("", Exclusive)]).await.expect_err("a bad key");
    assert_eq!(refused, LockFailed::Refused(LockRequestError::KeyEmpty));
    // Cancelled while it waits for the second of three: the first is let go, and the third was never taken.
    let holder = lock(&*state, "b", Exclusive).await;
    let many = tokio::spawn({
        let state = Arc::clone(&state);
        async move { state.lock_many([("c", Exclusive), ("b", Exclusive), ("a", Exclusive)]).await }
    });
    until(|| async { waiters(&*state, "b").await == 1 }).await;
    assert!(is_taken(&*state, "a", Shared).await && !is_taken(&*state, "c", Exclusive).await);
    cancel(many).await;
    until(|| async { waiters(&*state, "b").await == 0 }).await;
    assert!(!is_taken(&*state, "a", Exclusive).await);
    // Failed while it waits.
    let many = tokio::spawn({
        let state = Arc::clone(&state);
        async move { state.lock_many([("a", Exclusive), ("b", Exclusive)]).await }
    });
    until(|| async { waiters(&*state, "b").await == 1 }).await;
    state.close();
    assert_eq!(many.await.expect("no panic").expect_err("it is closed"), LockFailed::Closed);
    drop(holder);
    until(|| async { state.snapshot().await.expect("a snapshot").keys.is_empty() }).await;
}

pub(crate) async fn a_try_for_many_takes_all_or_none_and_waits_for_nobody(state: impl State) {
    let keys = [("b", Shared), ("a", Exclusive), ("c", Exclusive), ("b", Exclusive)];
    let guards = state.try_lock_many(keys).await.expect("an answer").expect("they are free");
    let taken = Vec::from_iter(guards.iter().map(|guard| (guard.key(), guard.mode())));
    assert_eq!(taken, [("a", Exclusive), ("b", Exclusive), ("c", Exclusive)]);
    drop(guards);
    // Whichever of the keys is not free, the others are let go.
    for held in ["a", "b", "c"] {
        let holder = lock(&state, held, Shared).await;
        assert!(state.try_lock_many(keys).await.expect("an answer").is_none());
        assert!(state.blocking_try_lock_many(keys).expect("an answer").is_none());
        assert_eq!(waiters(&state, held).await, 0, "who tries does not wait");
        for other in ["a", "b", "c"].into_iter().filter(|other| *other != held) {
            until(|| async { state.is_free(other, Exclusive).await.expect("an answer") }).await;
        }
        drop(holder);
    }
    assert!(state.blocking_try_lock_many(keys).expect("an answer").is_some());
    state.close();
    assert_eq!(state.try_lock_many(keys).await.expect_err("it is closed"), LockFailed::Closed);
}

pub(crate) async fn a_timeout_for_many_ends_the_wait_and_lets_go_what_was_taken(state: impl State) {
    let short = Duration::from_millis(1);
    let keys = [("a", Exclusive), ("b", Exclusive)];
    let late = LockFailed::TimedOut { after: short };
    let holder = lock(&state, "b", Shared).await;
    let failed = tokio::task::block_in_place(|| state.blocking_lock_many_timeout(keys, short));
    assert_eq!(failed.expect_err("one is held"), late);
    #[cfg(feature = "tokio")]
    assert_eq!(state.lock_many_timeout(keys, short).await.expect_err("one is held"), late);
    until(|| async { waiters(&state, "b").await == 0 }).await;
    until(|| async { state.is_free("a", Exclusive).await.expect("an answer") }).await;
    drop(holder);
    until(|| async { state.is_free("b", Exclusive).await.expect("an answer") }).await;
    #[cfg(feature = "tokio")]
    drop(state.lock_many_timeout(keys, Duration::ZERO).await.expect("they are free"));
    until(|| async { state.is_free("b", Exclusive).await.expect("an answer") }).await;
    drop(state.blocking_lock_many_timeout(keys, Duration::ZERO).expect("they are free"));
}

pub(crate) async fn bad_keys_are_refused_with_their_length_and_the_limit(state: impl State) {
    let limit_bytes = state.key_limit_bytes();
    let (longest, too_long) = ("x".repeat(limit_bytes), "x".repeat(limit_bytes + 1));
    drop(lock(&state, &longest, Exclusive).await);
    let refusal = LockRequestError::KeyTooLong { len_bytes: limit_bytes + 1, limit_bytes };
    assert_eq!(
        refusal.to_string(),
        format!("a key has {} bytes, and the limit is {limit_bytes} bytes", limit_bytes + 1)
    );
    for (key, refusal) in [("", LockRequestError::KeyEmpty), (&too_long, refusal)] {
        let failed = LockFailed::Refused(refusal);
        assert_eq!(state.lock(key, Shared).await.expect_err("a bad key"), failed);
        assert_eq!(state.try_lock(key, Shared).await.expect_err("a bad key"), failed);
        assert_eq!(state.is_free(key, Shared).await.expect_err("a bad key"), failed);
        assert_eq!(state.lock_many([(key, Shared)]).await.expect_err("a bad key"), failed);
        assert_eq!(state.try_lock_many([("k", Shared), (key, Shared)]).await.expect_err("a bad key"), failed);
    }
}

pub(crate) async fn a_closed_state_sends_waiters_and_newcomers_away_and_lets_holders_finish(
    state: impl State,
) {
    let state = Arc::new(state);
    let mut holder = lock(&*state, "k", Exclusive).await;
    let waiters = [
        wait_behind(&state, "k", Shared, 0).await,
        wait_behind(&state, "k", Exclusive, 1).await,
        wait_behind(&state, "k", Shared, 2).await,
    ];
    state.close();
    state.close(); // again, without effect
    for waiter in waiters {
        assert_eq!(waiter.await.expect("no panic").expect_err("it is closed"), LockFailed::Closed);
    }
    for key in ["k", "another"] {
        assert_eq!(state.lock(key, Shared).await.expect_err("it is closed"), LockFailed::Closed);
        assert_eq!(state.try_lock(key, Shared).await.expect_err("it is closed"), LockFailed::Closed);
    }
    // The holder goes on, and can be seen.
    assert_eq!(entry(&*state, "k").await.expect("it is held").holders.len(), 1);
    assert!(!state.is_free("k", Shared).await.expect("an answer"));
    holder.downgrade();
    assert_eq!(entry(&*state, "k").await.expect("it is held").mode, Shared);
    holder.release();
    until(|| async { entry(&*state, "k").await.is_none() }).await;
}

pub(crate) async fn a_snapshot_shows_holders_and_waiters_in_order(state: impl State) {
    let state = Arc::new(state);
    let readers = [lock(&*state, "k", Shared).await, lock(&*state, "k", Shared).await];
    let other = lock(&*state, "a", Exclusive).await;
    let writer = wait_behind(&state, "k", Exclusive, 0).await;
    let reader = wait_behind(&state, "k", Shared, 1).await;
    let snapshot = state.snapshot().await.expect("a snapshot");
    let keys = Vec::from_iter(snapshot.keys.iter().map(|entry| (&*entry.key, entry.mode)));
    assert_eq!(keys, [("a", Exclusive), ("k", Shared)]);
    let entry = snapshot.key("k").expect("it is held");
    let holders = Vec::from_iter(entry.holders.iter().map(|party| (party.mode, party.fence)));
    assert_eq!(holders, [(Shared, readers[0].fence()), (Shared, readers[1].fence())]);
    assert_eq!(Vec::from_iter(entry.waiters.iter().map(|party| party.mode)), [Exclusive, Shared]);
    assert!(snapshot.key("b").is_none());
    drop((readers, other));
    drop(granted(writer).await);
    drop(granted(reader).await);
}

pub(crate) async fn idle_keys_are_gone(state: impl State) {
    for key in 0..100 {
        drop(lock(&state, &key.to_string(), Exclusive).await);
        let mut waiter = lock(&state, &key.to_string(), Exclusive).await;
        waiter.downgrade();
    }
    until(|| async { state.snapshot().await.expect("a snapshot").keys.is_empty() }).await;
}

pub(crate) async fn guards_are_let_go_on_any_thread_and_while_unwinding(state: impl State) {
    let state = Arc::new(state);
    let guard = lock(&*state, "k", Exclusive).await;
    let waiter = wait_behind(&state, "k", Exclusive, 0).await;
    std::thread::spawn(move || drop(guard)).join().expect("no panic");
    let guard = granted(waiter).await;
    let waiter = wait_behind(&state, "k", Exclusive, 0).await;
    let panicking = std::thread::spawn(move || {
        let _guard = guard;
        std::panic::resume_unwind(Box::new("on purpose"));
    });
    panicking.join().expect_err("it panics");
    drop(granted(waiter).await);
    // Also when the state's last handle is gone.
    let guard = lock(&*state, "k", Exclusive).await;
    drop(state);
    drop(guard);
}

pub(crate) async fn blocking_twins_do_the_same(state: impl State) {
    let state = Arc::new(state);
    let other = Arc::clone(&state);
    let thread = std::thread::spawn(move || {
        let held = other.blocking_lock("k", Exclusive).expect("it is free");
        assert!(other.blocking_try_lock("k", Shared).expect("an answer").is_none());
        assert!(!other.blocking_is_free("k", Shared).expect("an answer"));
        assert!(other.blocking_snapshot().expect("a snapshot").key("k").is_some());
        drop(held);
        let many = other.blocking_lock_many([("k", Shared), ("l", Exclusive)]).expect("they are free");
        assert_eq!(many.len(), 2);
        drop(many);
        other.blocking_lock("k", Exclusive).expect("it is free")
    });
    let guard = tokio::task::block_in_place(|| thread.join()).expect("no panic");
    // A thread that blocks is woken.
    let other = Arc::clone(&state);
    let thread = std::thread::spawn(move || other.blocking_lock("k", Exclusive).map(LockGuard::release));
    until(|| async { waiters(&*state, "k").await == 1 }).await;
    drop(guard);
    tokio::task::block_in_place(|| thread.join()).expect("no panic").expect("it is granted");
    // In time, too.
    let guard = lock(&*state, "k", Shared).await;
    let other = Arc::clone(&state);
    let thread = std::thread::spawn(move || {
        other.blocking_lock_timeout("k", Exclusive, Duration::MAX).map(LockGuard::release)
    });
    until(|| async { waiters(&*state, "k").await == 1 }).await;
    drop(guard);
    tokio::task::block_in_place(|| thread.join()).expect("no panic").expect("it is granted");
}

pub(crate) async fn nothing_is_lost_locally_or_while_the_lease_lasts(state: impl State) {
    let guard = lock(&state, "k", Exclusive).await;
    assert!(is_pending(guard.lost().as_mut()).await);
}
