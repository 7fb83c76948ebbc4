//! The hand-made synchronisation in every order of events: a wake-up that is lost leaves a thread waiting forever, and a
//! lock that is taken twice blocks it, both of which loom reports.

use std::{
    future::Future,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
};

use loom::{
    sync::atomic::{AtomicUsize, Ordering},
    thread::{self, JoinHandle, Thread},
};

use super::*;

const KEY: &str = "key";

fn state() -> LocalState {
    LocalState::builder().shards(1).build()
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        thread::park();
    }
}

fn poll_once<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Waits for the lock, as a thread.
fn locks(state: &LocalState, mode: Mode) -> impl FnOnce() -> Result<LocalGuard, LockFailed> + use<> {
    let state = state.clone();
    move || block_on(state.lock(KEY, mode))
}

fn finish<T>(thread: JoinHandle<T>) -> T {
    thread.join().expect("the thread ends")
}

/// What holders use. It notices who is in there together and must not be.
#[derive(Clone)]
struct Protected(Arc<AtomicUsize>);

const WRITER: usize = 1000;

impl Protected {
    fn new() -> Self {
        Self(Arc::new(AtomicUsize::new(0)))
    }

    fn write(&self) {
        assert_eq!(self.0.swap(WRITER, Ordering::Relaxed), 0, "a writer is alone");
        thread::yield_now();
        assert_eq!(self.0.swap(0, Ordering::Relaxed), WRITER, "a writer stays alone");
    }

    fn read(&self) {
        assert!(self.0.fetch_add(1, Ordering::Relaxed) < WRITER, "a reader is not with a writer");
        thread::yield_now();
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[test]
fn a_release_races_a_request_on_an_idle_key() {
    loom::model(|| {
        let (state, protected) = (state(), Protected::new());
        let threads = [(); 2].map(|()| {
            let (lock, protected) = (locks(&state, Mode::Exclusive), protected.clone());
            thread::spawn(move || {
                let guard = lock().expect("it is granted");
                protected.write();
                guard.release();
            })
        });
        threads.into_iter().for_each(finish);
        assert_eq!(state.shards.snapshot().expect("this is no fork").keys, []);
    });
}

#[test]
fn a_reader_a_writer_and_nobody_at_the_same_time() {
    loom::model(|| {
        let (state, protected) = (state(), Protected::new());
        let reader = thread::spawn({
            let (lock, protected) = (locks(&state, Mode::Shared), protected.clone());
            move || {
                let _guard = lock().expect("it is granted");
                protected.read();
            }
        });
        let writer = locks(&state, Mode::Exclusive)().expect("it is granted");
        protected.write();
        drop(writer);
        finish(reader);
        assert_eq!(state.shards.snapshot().expect("this is no fork").keys, []);
    });
}

#[test]
fn a_grant_races_the_cancellation_of_the_one_it_is_for() {
    loom::model(|| {
        let state = state();
        let holder = block_on(state.lock(KEY, Mode::Exclusive)).expect("it is free");
        let first = {
            let state = state.clone();
            let mut first = Box::pin(async move { state.lock(KEY, Mode::Exclusive).await });
            assert!(poll_once(first.as_mut()).is_pending());
            first
        };
        let mut second = Box::pin(state.lock(KEY, Mode::Exclusive));
        assert!(poll_once(second.as_mut()).is_pending());
        let threads = [thread::spawn(move || drop(holder)), thread::spawn(move || drop(first))];
        drop(block_on(second).expect("it is granted to the one behind"));
        threads.into_iter().for_each(finish);
        assert_eq!(state.shards.snapshot().expect("this is no fork").keys, []);
    });
}

#[test]
fn a_grant_races_the_change_of_the_waker() {
    loom::model(|| {
        let state = state();
        let holder = block_on(state.lock(KEY, Mode::Exclusive)).expect("it is free");
        let mut waiter = Box::pin(state.lock(KEY, Mode::Exclusive));
        assert!(poll_once(waiter.as_mut()).is_pending());
        let releaser = thread::spawn(move || drop(holder));
        drop(block_on(waiter).expect("it is granted"));
        finish(releaser);
    });
}

#[test]
fn a_downgrade_races_a_reader_and_holds_off_a_writer() {
    loom::model(|| {
        let (state, protected) = (state(), Protected::new());
        let mut holder = block_on(state.lock(KEY, Mode::Exclusive)).expect("it is free");
        let reader = thread::spawn({
            let (lock, protected) = (locks(&state, Mode::Shared), protected.clone());
            move || {
                let _guard = lock().expect("it is granted");
                protected.read();
            }
        });
        protected.write();
        holder.downgrade();
        protected.read();
        // The reader gets in beside the holder, who waits for that.
        finish(reader);
        assert!(!state.shards.is_free(KEY, Mode::Exclusive).expect("a good key"));
        drop(holder);
        assert_eq!(state.shards.snapshot().expect("this is no fork").keys, []);
    });
}

/// A waker that comes back for the lock, when it is woken and when it is dropped: from under the lock of the shard, or of
/// the wait, it would never return.
struct ComesBack(LocalState);

impl Wake for ComesBack {
    fn wake(self: Arc<Self>) {
        let _ = self.0.shards.snapshot();
    }
}

impl Drop for ComesBack {
    fn drop(&mut self) {
        let _ = self.0.shards.snapshot();
    }
}

#[test]
fn wakers_are_woken_and_dropped_outside_of_every_lock() {
    loom::model(|| {
        let state = state();
        let holder = block_on(state.lock(KEY, Mode::Exclusive)).expect("it is free");
        let mut waiter = Box::pin(state.lock(KEY, Mode::Exclusive));
        let releaser = thread::spawn(move || drop(holder));
        let mut poll = Poll::Pending;
        for _ in 0..2 {
            if poll.is_pending() {
                let waker = Waker::from(Arc::new(ComesBack(state.clone())));
                poll = waiter.as_mut().poll(&mut Context::from_waker(&waker));
            }
        }
        drop((poll, waiter));
        finish(releaser);
        assert_eq!(state.shards.snapshot().expect("this is no fork").keys, []);
    });
}

#[test]
fn closing_races_a_request() {
    loom::model(|| {
        let state = state();
        let holder = block_on(state.lock(KEY, Mode::Exclusive)).expect("it is free");
        let waiter = thread::spawn(locks(&state, Mode::Shared));
        state.close();
        assert_eq!(finish(waiter).expect_err("nobody lets go"), LockFailed::Closed);
        drop(holder);
        assert_eq!(state.shards.snapshot().expect("this is no fork").keys, []);
    });
}

#[test]
fn owners_who_lock_crosswise_in_two_shards_do_not_wait_for_ever() {
    loom::model(|| {
        let state = LocalState::builder().shards(2).build();
        let (left, right) = state.shards.keys_of_two_shards();
        let crosswise = |label: &str, first: &'static str, second: &'static str| {
            let owner = state.owner(label);
            move || {
                let _first =
                    block_on(owner.lock(first, Mode::Exclusive)).expect("who holds nothing may wait");
                match block_on(owner.lock(second, Mode::Exclusive)) {
                    Ok(_) => 0,
                    Err(LockFailed::WouldDeadlock(_)) => 1,
                    Err(other) => panic!("{other}"),
                }
            }
        };
        let other = thread::spawn(crosswise("b", right, left));
        let refused = crosswise("a", left, right)();
        assert!(refused + finish(other) <= 1, "one of them can wait");
        assert!(state.shards.graph_is_empty());
        assert_eq!(state.shards.snapshot().expect("this is no fork").keys, []);
    });
}
