//! Every future, dropped at every point of its life; and what is let go when nobody looks.

mod support;

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::Pin,
};

use support::Polled;
use workfleet_shared_lock::{LocalState, LockFailed, Mode};

use Mode::{Exclusive, Shared};

/// How far a future gets before it is dropped.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Dropped {
    NeverPolled,
    Waiting,
    WaitingAndPolledAgain,
    GrantedAndUnpolled,
    Closed,
    Ready,
}

type Ask = fn(&LocalState) -> Pin<Box<dyn Future<Output = Result<Box<dyn Send>, LockFailed>> + '_>>;

/// Each asks for the key `k`, and nothing else that is taken.
const FUTURES: [(&str, Ask); 4] = [
    ("lock", |state| Box::pin(async { Ok(Box::new(state.lock("k", Exclusive).await?) as _) })),
    ("lock shared", |state| Box::pin(async { Ok(Box::new(state.lock("k", Shared).await?) as _) })),
    ("lock_many", |state| {
        Box::pin(async {
            let keys = [("a", Shared), ("k", Exclusive), ("z", Exclusive)];
            Ok(Box::new(state.lock_many(keys).await?) as _)
        })
    }),
    ("lock of an owner", |state| {
        Box::pin(async { Ok(Box::new(state.owner("ann").lock("k", Exclusive).await?) as _) })
    }),
];

#[test]
fn a_future_that_is_dropped_takes_nothing_with_it() {
    for (name, ask) in FUTURES {
        for dropped in [
            Dropped::NeverPolled,
            Dropped::Waiting,
            Dropped::WaitingAndPolledAgain,
            Dropped::GrantedAndUnpolled,
            Dropped::Closed,
            Dropped::Ready,
        ] {
            drop_at(name, ask, dropped);
        }
    }
}

fn drop_at(name: &str, ask: Ask, dropped: Dropped) {
    let state = LocalState::new();
    let holder = state.blocking_lock("k", Exclusive).unwrap();
    let mut future = Polled::new(ask(&state));
    if dropped != Dropped::NeverPolled {
        future.assert_waits();
    }
    if dropped == Dropped::WaitingAndPolledAgain {
        future.assert_waits();
    }
    let mut behind = Polled::new(state.lock("k", Exclusive));
    behind.assert_waits();
    let is_behind = dropped != Dropped::NeverPolled;

    match dropped {
        Dropped::NeverPolled | Dropped::Waiting | Dropped::WaitingAndPolledAgain => {
            drop(future);
            assert_eq!(behind.wakes.count(), 0, "{name} {dropped:?}");
            drop(holder);
        }
        Dropped::GrantedAndUnpolled => {
            drop(holder);
            assert_eq!((future.wakes.count(), behind.wakes.count()), (1, 0), "{name}");
            drop(future);
        }
        Dropped::Ready => {
            drop(holder);
            let guards = future.assert_ready().unwrap();
            drop(future);
            assert_eq!(behind.wakes.count(), 0, "{name}: the lock is held");
            drop(guards);
        }
        Dropped::Closed => {
            state.close();
            assert_eq!((future.wakes.count(), behind.wakes.count()), (1, 1), "{name}");
            drop(future);
            drop(holder);
        }
    }
    assert_eq!(behind.wakes.count(), 1, "{name} {dropped:?} {is_behind}");
    match behind.assert_ready() {
        Ok(guard) => drop(guard),
        Err(failed) => assert_eq!((failed, dropped), (LockFailed::Closed, Dropped::Closed)),
    }
    assert_eq!(state.blocking_snapshot().unwrap().keys, [], "{name} {dropped:?}");
    let counters = state.counters();
    assert_eq!(counters.exclusive_grants + counters.shared_grants, counters.releases);
    let ended = counters.waits_granted + counters.waits_cancelled + counters.waits_closed;
    assert_eq!(counters.waits, ended);
}

#[test]
fn a_future_does_nothing_before_it_is_polled() {
    let state = LocalState::new();
    let unpolled = state.lock("k", Exclusive);
    drop(state.blocking_lock("k", Exclusive).unwrap());
    drop(unpolled);
    assert_eq!(state.counters().exclusive_grants, 1);
}

#[test]
fn a_future_that_was_ready_is_not_polled_again() {
    let state = LocalState::new();
    let mut lock = Box::pin(state.lock("k", Exclusive));
    let mut poll = || lock.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop()));
    assert!(poll().is_ready());
    let payload = catch_unwind(AssertUnwindSafe(|| poll().is_ready())).unwrap_err();
    assert_eq!(payload.downcast_ref::<&str>(), Some(&"a lock's future was polled after it was ready"));
}

#[test]
fn guards_are_let_go_by_unwinding_also_after_a_close() {
    let state = LocalState::new();
    for closed in [false, true] {
        let guards = state.blocking_lock_many([("a", Exclusive), ("b", Shared)]);
        let guards = guards.unwrap();
        if closed {
            state.close();
            state.close();
        }
        let unwound = catch_unwind(AssertUnwindSafe(|| {
            let _guards = guards;
            resume_unwind(Box::new("on purpose"));
        }));
        assert!(unwound.is_err());
        assert_eq!(state.blocking_snapshot().unwrap().keys, []);
    }
}

#[test]
fn what_was_held_when_the_state_was_closed_is_released_and_downgraded_as_ever() {
    let state = LocalState::new();
    let mut first = state.blocking_lock("k", Exclusive).unwrap();
    let second = state.blocking_lock("l", Shared).unwrap();
    state.close();
    first.downgrade();
    assert_eq!(first.mode(), Shared);
    first.release();
    drop(second);
    assert_eq!(state.blocking_snapshot().unwrap().keys, []);
    assert_eq!(state.blocking_is_free("k", Exclusive), Ok(true), "nobody holds it, and nobody will");
    assert_eq!(state.blocking_lock("k", Exclusive).unwrap_err(), LockFailed::Closed);
}

#[test]
fn guards_and_futures_can_go_where_tasks_go() {
    fn is_send<T: Send>(value: T) -> T {
        value
    }
    fn is_static<T: Send + Sync + 'static>(value: T) -> T {
        value
    }
    let state = is_static(LocalState::new());
    drop(is_send(state.lock("k", Exclusive)));
    drop(is_send(state.lock_many([("k", Exclusive)])));
    drop(is_static(state.blocking_lock("k", Exclusive).unwrap()));
}

#[cfg(feature = "tokio")]
#[tokio::test(start_paused = true)]
async fn a_timeout_counts_from_when_it_begins_to_wait_and_leaves_the_queue() {
    use std::time::Duration;

    let state = LocalState::new();
    let holder = state.lock("k", Exclusive).await.unwrap();
    let before = tokio::time::Instant::now();
    let hour = Duration::from_secs(3600);
    let failed = state.lock_timeout("k", Shared, hour).await.unwrap_err();
    assert_eq!(failed, LockFailed::TimedOut { after: hour });
    assert_eq!(failed.to_string(), "the lock was not granted within 3600s");
    assert!(before.elapsed() >= hour);
    assert_eq!(state.snapshot().await.unwrap().key("k").unwrap().waiters, []);
    assert_eq!(state.counters().waits_cancelled, 1);
    drop(holder);
}

#[cfg(feature = "tokio")]
#[test]
fn without_a_timer_a_wait_with_a_limit_is_an_error_and_a_free_lock_needs_none() {
    let hour = std::time::Duration::from_secs(3600);
    let state = LocalState::new();
    let timeless = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let guard = timeless.block_on(state.lock_timeout("key", Mode::Exclusive, hour)).expect("it is free");
    let failed = timeless.block_on(state.lock_timeout("key", Mode::Exclusive, hour)).expect_err("it is held");
    assert_eq!(failed, LockFailed::NoTimer);
    {
        let mut outside = std::pin::pin!(state.lock_timeout("key", Mode::Exclusive, hour));
        let polled = outside.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop()));
        assert!(matches!(polled, std::task::Poll::Ready(Err(LockFailed::NoTimer))));
    }
    drop(guard);
    // Nobody waits any more.
    drop(timeless.block_on(state.lock_timeout("key", Mode::Exclusive, hour)).expect("it is free"));
}
