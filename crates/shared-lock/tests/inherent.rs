//! A program calls the methods of states and guards without importing a trait. No test here may import one.

mod support;

use std::{sync::Arc, time::Duration};

use support::Polled;
use workfleet_shared_lock::{DynSharedState, LocalState, LockFailed, Mode};

use Mode::{Exclusive, Shared};

/// Every method of a state. All of them answer at the first poll, because nobody waits here.
macro_rules! call_all {
    ($state:expr) => {
        let state = $state;
        let guard = Polled::new(state.lock("k", Exclusive)).assert_ready().unwrap();
        assert_eq!((guard.key(), guard.mode()), ("k", Exclusive));
        assert!(Polled::new(state.try_lock("k", Shared)).assert_ready().unwrap().is_none());
        assert!(!Polled::new(state.is_free("k", Shared)).assert_ready().unwrap());
        assert_eq!(Polled::new(state.snapshot()).assert_ready().unwrap().keys.len(), 1);
        drop(guard);
        #[cfg(feature = "tokio")]
        drop(Polled::new(state.lock_timeout("k", Shared, Duration::ZERO)).assert_ready().unwrap());
        let many = Polled::new(state.lock_many([("k", Shared), ("l", Exclusive)])).assert_ready().unwrap();
        assert_eq!(many.len(), 2);
        many.release();
        assert!(Polled::new(state.try_lock_many([("k", Shared)])).assert_ready().unwrap().is_some());
        #[cfg(feature = "tokio")]
        drop(Polled::new(state.lock_many_timeout([("k", Shared)], Duration::ZERO)).assert_ready().unwrap());

        let guard = state.blocking_lock("k", Shared).unwrap();
        assert!(state.blocking_try_lock("k", Exclusive).unwrap().is_none());
        assert!(!state.blocking_is_free("k", Exclusive).unwrap());
        assert_eq!(state.blocking_snapshot().unwrap().keys.len(), 1);
        assert!(state.blocking_lock_timeout("k", Exclusive, Duration::ZERO).is_err());
        drop(guard);
        drop(state.blocking_lock_many([("k", Exclusive)]).unwrap());
        assert!(state.blocking_try_lock_many([("k", Exclusive)]).unwrap().is_some());
        drop(state.blocking_lock_many_timeout([("k", Exclusive)], Duration::ZERO).unwrap());
        assert_eq!(state.key_limit_bytes(), 4096);
        state.close();
        assert_eq!(state.blocking_lock("k", Shared).unwrap_err(), LockFailed::Closed);
    };
}

#[test]
fn a_local_state_has_its_methods_itself() {
    call_all!(LocalState::new());
}

#[test]
fn an_owner_has_its_methods_itself() {
    call_all!(LocalState::new().owner("ann"));
}

#[test]
fn a_shared_state_has_the_methods_of_what_is_shared() {
    call_all!(Arc::new(LocalState::new()));
}

#[test]
fn a_state_behind_dyn_has_its_methods_itself() {
    call_all!(Arc::new(LocalState::new()) as Arc<dyn DynSharedState>);
    call_all!(Box::new(LocalState::new()) as Box<dyn DynSharedState>);
}

#[test]
fn a_guard_has_its_methods_itself() {
    let state = LocalState::new();
    let mut guard = state.blocking_lock("k", Exclusive).unwrap();
    let fence = guard.fence();
    Polled::new(guard.lost()).assert_waits();
    guard.downgrade();
    assert_eq!((guard.key(), guard.mode(), guard.fence()), ("k", Shared, fence));
    guard.release();
    assert_eq!(state.blocking_is_free("k", Exclusive), Ok(true));
}
