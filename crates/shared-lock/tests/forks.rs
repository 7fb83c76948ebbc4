//! Real forks of a process that has locks: every call fails at once, and none waits for a lock of a thread that is not there.

#[path = "../../fork/tests/support/mod.rs"]
mod support;

use std::{
    sync::mpsc,
    task::{Context, Poll, Waker},
    thread,
};

use support::in_a_fork;
use workfleet_shared_lock::{Counters, LocalState, LockFailed, Mode};

#[test]
fn in_a_fork_every_call_fails_at_once_and_a_state_of_its_own_works() {
    let state = LocalState::new();
    let (tell, told) = mpsc::channel();
    let (go_on, wait) = mpsc::channel::<()>();
    let holder = thread::spawn({
        let state = state.clone();
        move || {
            let guard = state.blocking_lock("held", Mode::Exclusive).expect("it is free");
            tell.send(()).expect("the test listens");
            wait.recv().unwrap_or(());
            drop(guard);
        }
    });
    told.recv().expect("it is held");
    let mut held = Some(state.blocking_lock("own", Mode::Exclusive).expect("it is free"));
    let mut waits = Box::pin(state.lock("held", Mode::Shared));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(waits.as_mut().poll(&mut cx).is_pending());
    in_a_fork(|| {
        let forked = Some(LockFailed::Forked);
        assert_eq!(waits.as_mut().poll(&mut cx).map(Result::err), Poll::Ready(forked.clone()));
        assert_eq!(state.blocking_lock("held", Mode::Exclusive).err(), forked);
        assert_eq!(state.blocking_lock("free", Mode::Exclusive).err(), forked);
        assert_eq!(state.blocking_try_lock("held", Mode::Shared).err(), forked);
        assert_eq!(state.owner("me").blocking_lock("held", Mode::Shared).err(), forked);
        let mut free = Box::pin(state.is_free("free", Mode::Shared));
        assert_eq!(free.as_mut().poll(&mut cx).map(Result::err), Poll::Ready(forked.clone()));
        let mut snapshot = Box::pin(state.snapshot());
        assert_eq!(snapshot.as_mut().poll(&mut cx).map(Result::err), Poll::Ready(forked));
        assert_eq!(state.counters(), Counters::default());
        let mut own = held.take().expect("it is copied along");
        assert!(own.lost().as_mut().poll(&mut cx).is_ready());
        own.downgrade();
        own.release();
        state.close();
        let mine = LocalState::new();
        drop(mine.blocking_lock("held", Mode::Exclusive).expect("it is another state"));
    });
    // Nothing of that has changed anything here.
    go_on.send(()).expect("it waits");
    holder.join().expect("it does not panic");
    assert!(waits.as_mut().poll(&mut cx).is_ready());
    assert!(held.is_some() && state.blocking_try_lock("own", Mode::Shared).expect("it is open").is_none());
}
