//! Faults that published locks have or had, each shown not to be here. The tests are named for what went wrong there.

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, RawWaker, RawWakerVTable, Wake, Waker},
    thread,
};

use support::Polled;
use workfleet_shared_lock::{LocalState, LockFailed, LockGuard, Mode};

use Mode::{Exclusive, Shared};

fn exclusive(state: &LocalState, key: &str) -> impl LockGuard {
    state.blocking_lock(key, Exclusive).expect("it is free")
}

fn is_idle(state: &LocalState) -> bool {
    state.blocking_snapshot().expect("a snapshot").keys.is_empty()
}

/// key-rwlock 0.1: 93 of 16 million times, two held one key exclusively.
#[test]
fn an_idle_key_is_not_cleaned_up_under_somebody_who_is_about_to_take_it() {
    let state = LocalState::new();
    let taken = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..20_000 {
                    let guard = state.blocking_lock("k", Exclusive).expect("it is granted");
                    assert!(!taken.swap(true, Ordering::Relaxed), "two hold it");
                    taken.store(false, Ordering::Relaxed);
                    drop(guard);
                }
            });
        }
    });
    assert!(is_idle(&state));
}

/// lockable 0.2, keyed-lock 0.2: 100,000 of 100,000 keys stayed.
#[test]
fn a_key_whose_holder_leaves_before_its_only_waiter_is_cancelled_does_not_stay() {
    let state = LocalState::new();
    for mode in Mode::ALL {
        for key in (0..1000).map(|key| key.to_string()) {
            let holder = exclusive(&state, &key);
            let mut waiter = Polled::new(state.lock(&key, mode));
            waiter.assert_waits();
            drop(holder);
            drop(waiter);
        }
    }
    assert!(is_idle(&state));
}

/// tokio #1898, #6450.
#[test]
fn a_grant_that_reaches_a_future_which_is_dropped_unpolled_is_not_lost() {
    let state = LocalState::new();
    for mode in Mode::ALL {
        let holder = exclusive(&state, "k");
        let mut granted = Polled::new(state.lock("k", Exclusive));
        granted.assert_waits();
        let mut next = Polled::new(state.lock("k", mode));
        next.assert_waits();
        drop(holder);
        assert_eq!((granted.wakes.count(), next.wakes.count()), (1, 0));
        drop(granted);
        assert_eq!(next.wakes.count(), 1);
        drop(next.assert_ready().expect("it is granted"));
    }
    assert!(is_idle(&state));
}

/// tokio #1898: the future was polled by another task in between.
#[test]
fn a_future_that_moved_to_another_task_is_woken_there_and_not_where_it_was() {
    let state = LocalState::new();
    let holder = exclusive(&state, "k");
    let mut waiter = Polled::new(state.lock("k", Exclusive));
    waiter.assert_waits();
    let before = std::mem::take(&mut waiter.wakes);
    waiter.assert_waits();
    drop(holder);
    assert_eq!((before.count(), waiter.wakes.count()), (0, 1));
    drop(waiter.assert_ready().expect("it is granted"));
}

/// A waker that comes back for the lock whatever is done with it: when it is cloned, woken and dropped. tokio #5429.
mod comes_back {
    use super::*;

    pub(super) fn waker(state: &LocalState) -> Waker {
        let data = Arc::into_raw(Arc::new(state.clone())).cast();
        // SAFETY: the functions below keep the contract of a waker over an `Arc<LocalState>`, which is Send and Sync.
        unsafe { Waker::from_raw(RawWaker::new(data, &VTABLE)) }
    }

    static VTABLE: RawWakerVTable = RawWakerVTable::new(clone, wake, wake_by_ref, wake);

    fn clone(data: *const ()) -> RawWaker {
        // SAFETY: the waker owns its `data`, and keeps it.
        let state = unsafe { borrow(data) };
        use_all(&state);
        RawWaker::new(Arc::into_raw(Arc::new(state)).cast(), &VTABLE)
    }

    fn wake_by_ref(data: *const ()) {
        // SAFETY: the waker owns its `data`, and keeps it.
        let state = unsafe { borrow(data) };
        use_all(&state);
    }

    /// Or drop: both end the waker.
    fn wake(data: *const ()) {
        // SAFETY: the waker owns its `data`, and ends.
        let state = unsafe { take(data) };
        use_all(&state);
    }

    /// # Safety
    ///
    /// `data` comes from `Arc::<LocalState>::into_raw`, and is still owned.
    unsafe fn borrow(data: *const ()) -> LocalState {
        // SAFETY: as the caller promises.
        unsafe { &*data.cast::<LocalState>() }.clone()
    }

    /// # Safety
    ///
    /// `data` comes from `Arc::<LocalState>::into_raw`, and is not used afterwards.
    unsafe fn take(data: *const ()) -> Arc<LocalState> {
        // SAFETY: as the caller promises.
        unsafe { Arc::from_raw(data.cast::<LocalState>()) }
    }

    /// Needs the lock of every shard, and of the key's in particular.
    fn use_all(state: &LocalState) {
        drop(state.blocking_try_lock("k", Shared));
        assert!(state.blocking_snapshot().is_ok());
    }
}

#[test]
fn a_waker_may_use_the_lock_when_it_is_cloned_woken_replaced_and_dropped() {
    let state = LocalState::new();
    let holder = exclusive(&state, "k");
    let owner = state.owner("known");
    let mut waiters = [Box::pin(state.lock("k", Exclusive)), Box::pin(owner.lock("k", Exclusive))];
    for _ in 0..2 {
        for waiter in &mut waiters {
            let waker = comes_back::waker(&state);
            assert!(waiter.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        }
    }
    let [granted, cancelled] = waiters;
    drop(cancelled); // with its waker
    drop(holder); // wakes
    drop(granted);
    let holder = exclusive(&state, "k");
    let mut waiter = Box::pin(state.lock("k", Shared));
    let waker = comes_back::waker(&state);
    assert!(waiter.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    state.close(); // wakes
    drop((waiter, waker, holder));
    assert!(is_idle(&state));
}

/// tokio #2957.
#[test]
fn a_downgrade_does_not_let_a_writer_or_those_behind_it_in() {
    let state = LocalState::new();
    let mut holder = exclusive(&state, "k");
    let mut readers = [(); 3].map(|()| Polled::new(state.lock("k", Shared)));
    readers.iter_mut().for_each(Polled::assert_waits);
    let mut writer = Polled::new(state.lock("k", Exclusive));
    writer.assert_waits();
    let mut behind = Polled::new(state.lock("k", Shared));
    behind.assert_waits();

    holder.downgrade();
    assert!(readers.iter().all(|reader| reader.wakes.count() == 1));
    assert_eq!((writer.wakes.count(), behind.wakes.count()), (0, 0));
    let readers = readers.map(|mut reader| reader.assert_ready().expect("it is granted"));
    drop(holder);
    writer.assert_waits();
    drop(readers);
    let writer = writer.assert_ready().expect("it is granted");
    behind.assert_waits();
    drop(writer);
    drop(behind.assert_ready().expect("it is granted"));
}

/// momotor.shared 2.1: cancelling the only waiting writer stranded the readers behind it.
#[test]
fn a_cancelled_writer_does_not_strand_the_readers_behind_it() {
    let state = LocalState::new();
    let reader = state.blocking_lock("k", Shared).expect("it is free");
    let mut writer = Polled::new(state.lock("k", Exclusive));
    writer.assert_waits();
    let mut behind = [(); 2].map(|()| Polled::new(state.lock("k", Shared)));
    behind.iter_mut().for_each(Polled::assert_waits);
    drop(writer);
    for mut reader in behind {
        assert_eq!(reader.wakes.count(), 1);
        drop(reader.assert_ready().expect("it is granted"));
    }
    drop(reader);
    assert!(is_idle(&state));
}

/// momotor.shared 2.1: readers starved behind writers who came again and again.
#[test]
fn neither_side_starves_behind_others_who_come_again_and_again() {
    for (crowd, odd) in [(Exclusive, Shared), (Shared, Exclusive)] {
        let state = LocalState::new();
        let mut holder = state.blocking_lock("k", crowd).expect("it is free");
        let mut next = Polled::new(state.lock("k", odd));
        next.assert_waits();
        // The crowd always has somebody waiting before the holder lets go.
        let mut crowd_waits = Polled::new(state.lock("k", crowd));
        crowd_waits.assert_waits();
        drop(holder);
        drop(next.assert_ready().expect("it was first"));
        holder = crowd_waits.assert_ready().expect("it is granted");
        drop(holder);
    }
}

/// momotor.shared 2.1: `test_lock` answered the opposite of what is documented.
#[test]
fn is_free_means_that_the_lock_could_be_taken() {
    let state = LocalState::new();
    assert_eq!(state.blocking_is_free("k", Exclusive), Ok(true));
    let guard = state.blocking_lock("k", Shared).expect("it is free");
    assert_eq!(state.blocking_is_free("k", Exclusive), Ok(false));
    assert_eq!(state.blocking_is_free("k", Shared), Ok(true));
    drop(guard);
}

struct Panics;

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        std::panic::resume_unwind(Box::new("on purpose"));
    }
}

/// A panic in a waker must leave neither the state unusable nor the other waiters asleep.
#[test]
fn a_waker_that_panics_spoils_nothing() {
    let state = LocalState::new();
    let holder = exclusive(&state, "k");
    let mut first = Box::pin(state.lock("k", Shared));
    let waker = Waker::from(Arc::new(Panics));
    assert!(first.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    let mut second = Polled::new(state.lock("k", Shared));
    second.assert_waits();
    let payload = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(holder))).unwrap_err();
    assert_eq!(payload.downcast_ref::<&str>(), Some(&"on purpose"));
    assert_eq!(second.wakes.count(), 1);
    drop(second.assert_ready().expect("it is granted"));
    match first.as_mut().poll(&mut Context::from_waker(&waker)) {
        Poll::Ready(guard) => drop(guard.expect("it is granted")),
        Poll::Pending => panic!("it was granted"),
    }
    assert!(is_idle(&state));
}

/// Nor may it leave a part of the keys open, and those who wait for them asleep.
#[test]
fn a_waker_that_panics_does_not_stop_a_close_half_way() {
    let state = LocalState::new();
    let keys = Vec::from_iter((0..200).map(|key| key.to_string())); // more than are behind one lock
    let holders = Vec::from_iter(keys.iter().map(|key| exclusive(&state, key)));
    let waker = Waker::from(Arc::new(Panics));
    let mut first = Vec::from_iter(keys.iter().map(|key| Box::pin(state.lock(key, Exclusive))));
    for waiter in &mut first {
        assert!(waiter.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    }
    let mut second = Vec::from_iter(keys.iter().map(|key| Polled::new(state.lock(key, Exclusive))));
    second.iter_mut().for_each(Polled::assert_waits);

    let payload = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| state.close())).unwrap_err();
    assert_eq!(payload.downcast_ref::<&str>(), Some(&"on purpose"));
    for (waiter, key) in second.iter_mut().zip(&keys) {
        assert_eq!(waiter.wakes.count(), 1);
        assert_eq!(waiter.assert_ready().expect_err("the state is closed"), LockFailed::Closed);
        assert_eq!(state.blocking_try_lock(key, Shared).unwrap_err(), LockFailed::Closed);
    }
    drop((first, second, holders));
    assert!(is_idle(&state));
}

/// Whoever asks again for what it holds hangs elsewhere, if it is known.
#[test]
fn a_known_owner_who_asks_again_is_told_instead_of_hanging() {
    let state = LocalState::new();
    let owner = state.owner("ann");
    for (held, asked) in [(Exclusive, Exclusive), (Exclusive, Shared), (Shared, Exclusive)] {
        let guard = owner.blocking_lock("k", held).expect("it is free");
        let again = owner.blocking_lock("k", asked).expect_err("it would wait for itself");
        assert_eq!(again.to_string(), "waiting would deadlock: ann waits for \"k\", then for ann");
        drop(guard);
    }
    // Shared twice needs no wait; with a writer in between it does.
    let (first, second) = (owner.blocking_lock("k", Shared), owner.blocking_lock("k", Shared));
    let mut writer = Polled::new(state.lock("k", Exclusive));
    writer.assert_waits();
    let third = owner.blocking_lock("k", Shared).expect_err("the writer waits for it");
    assert!(matches!(third, LockFailed::WouldDeadlock(_)));
    drop((first, second));
    drop(writer.assert_ready().expect("it is granted"));
    assert_eq!(state.counters().deadlocks, 4);
}
