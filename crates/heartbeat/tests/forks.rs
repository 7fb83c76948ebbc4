//! Real forks of a process that has heartbeaters and events: every call that needs a thread of the original fails at once.

#[path = "../../fork/tests/support/mod.rs"]
mod support;

use std::{
    pin::pin,
    sync::mpsc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use support::in_a_fork;
use workfleet_heartbeat::{
    Event, HeartbeatError, HeartbeatStats, Heartbeaters, RegisterError, Report, UnregisterError, WaitError,
};

#[test]
fn in_a_fork_heartbeaters_fail_at_once_and_others_work() {
    let heartbeaters = Heartbeaters::new().expect("a thread");
    let (tell, told) = mpsc::channel();
    let callback = move |report: Report| tell.send(report).unwrap_or(());
    let sender = heartbeaters.register("token", callback).expect("it is free");
    let ending = heartbeaters.register("ending", |_| ()).expect("it is free");
    in_a_fork(|| {
        assert_eq!(sender.send(&1), Err(HeartbeatError::Forked));
        assert_eq!(heartbeaters.register("other", |_| ()).err(), Some(RegisterError::Forked));
        assert_eq!(heartbeaters.blocking_unregister("token"), Err(UnregisterError::Forked));
        assert_eq!(heartbeaters.discard("token").err(), Some(UnregisterError::Forked));
        assert_eq!(heartbeaters.stats(), HeartbeatStats::default());
        drop((sender.clone(), heartbeaters.clone()));

        let own = Heartbeaters::new().expect("a thread");
        let (tell, told) = mpsc::channel();
        let beats =
            own.register("token", move |report: Report| tell.send(report).unwrap_or(())).expect("it is free");
        beats.send(&2).expect("they are here");
        own.blocking_unregister("token").expect("it is flushed");
        assert_eq!(told.iter().count(), 1);
    });
    // An end that was begun before.
    let mut unregister = pin!(heartbeaters.unregister("ending"));
    in_a_fork(|| {
        let polled = unregister.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert_eq!(polled, Poll::Ready(Err(UnregisterError::Forked)));
    });
    drop(ending);
    sender.send(&3).expect("they are here");
    heartbeaters.blocking_unregister("token").expect("nothing of that has changed anything here");
    assert_eq!(told.iter().count(), 1);
}

#[test]
fn in_a_fork_events_are_lost_and_new_ones_work() {
    let (clear, set) = (Event::new(), Event::new());
    set.set().expect("it is here");
    let mut wait = pin!(clear.wait());
    let mut cx = Context::from_waker(Waker::noop());
    assert!(wait.as_mut().poll(&mut cx).is_pending());
    in_a_fork(|| {
        assert!(matches!(wait.as_mut().poll(&mut cx), Poll::Ready(Err(_))));
        for event in [&clear, &set] {
            assert!(event.set().is_err());
            assert!(event.clear().is_err());
            assert!(event.blocking_wait().is_err());
            let waited = event.blocking_wait_timeout(Duration::from_secs(3600));
            assert!(matches!(waited, Err(WaitError::Lost(_))));
        }
        assert!(!clear.is_set() && set.is_set(), "as they were");
        let own = Event::new();
        own.set().expect("it is here");
        own.blocking_wait().expect("it is set");
    });
    clear.set().expect("it is here");
    assert!(wait.as_mut().poll(&mut cx).is_ready());
}
