//! Events within a process: set, cleared, and waited for, with a limit and without.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    thread,
    time::Duration,
};

use workfleet_heartbeat::{Event, WaitError};

#[test]
fn a_wait_with_a_limit_ends_when_the_time_is_over_or_the_event_is_set() {
    let (event, short, long) = (Event::new(), Duration::from_millis(1), Duration::from_secs(3600));
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build().expect("a runtime");
    for _ in 0..2 {
        assert!(!event.is_set());
        assert_eq!(event.blocking_wait_timeout(short), Err(WaitError::TimedOut(short)));
        assert_eq!(runtime.block_on(event.wait_timeout(long)), Err(WaitError::TimedOut(long)));
        event.set().expect("it is at home");
        assert!(event.is_set());
        assert_eq!(event.blocking_wait_timeout(long), Ok(()));
        assert_eq!(runtime.block_on(event.wait_timeout(short)), Ok(()));
        event.clear().expect("it is at home");
    }
}

/// Counts how often it is woken.
#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_set_wakes_futures_and_threads_that_wait() {
    let event = Event::new();
    let count = Arc::new(Count::default());
    let waker = Waker::from(Arc::clone(&count));
    let mut wait = pin!(event.wait());
    assert!(wait.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let event = event.clone();
            thread::spawn(move || event.blocking_wait())
        })
        .collect();
    assert_eq!(count.0.load(Ordering::Relaxed), 0);
    event.set().expect("it is at home");
    assert_eq!(count.0.load(Ordering::Relaxed), 1);
    assert_eq!(wait.poll(&mut Context::from_waker(&waker)), Poll::Ready(Ok(())));
    for thread in threads {
        assert_eq!(thread.join().expect("it does not panic"), Ok(()));
    }
}
