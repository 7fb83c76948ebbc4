//! Threads and tasks that do everything at once, and check within the critical section that they are alone in it.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::atomic::{AtomicI64, AtomicU64, Ordering},
    task::Poll,
    time::Duration,
};

use workfleet_shared_lock::{Counters, LocalGuard, LocalState, LockFailed, Mode};

use Mode::{Exclusive, Shared};

const KEYS: [&str; 3] = ["a", "b", "a key that is too long to be copied"];
const WRITER: i64 = -1_000_000;

/// What the locks protect, one for each key.
#[derive(Default)]
struct Protected {
    /// How many readers are in there, or a writer.
    inside: AtomicI64,
    /// The fence of the last writer.
    fence: AtomicU64,
}

impl Protected {
    fn enter(&self, guard: &LocalGuard) {
        let (mode, fence) = (guard.mode(), guard.fence().get());
        match mode {
            Exclusive => {
                assert_eq!(self.inside.fetch_add(WRITER, Ordering::Relaxed), 0, "a writer is alone");
                assert!(self.fence.swap(fence, Ordering::Relaxed) < fence, "fences increase");
            }
            Shared => {
                assert!(self.inside.fetch_add(1, Ordering::Relaxed) >= 0, "a reader is not with a writer");
                assert!(self.fence.load(Ordering::Relaxed) <= fence, "fences increase");
            }
        }
    }

    fn downgrade(&self, guard: &mut LocalGuard) {
        if guard.mode() == Exclusive {
            assert_eq!(self.inside.fetch_add(1 - WRITER, Ordering::Relaxed), WRITER, "a writer stays alone");
        }
        guard.downgrade();
    }

    fn leave(&self, guard: LocalGuard) {
        let inside = if guard.mode() == Exclusive { WRITER } else { 1 };
        self.inside.fetch_sub(inside, Ordering::Relaxed);
        drop(guard);
    }
}

/// A generator of numbers that need not be good, but the same in every run. (Marsaglia's xorshift.)
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    fn mode(&mut self) -> Mode {
        if self.below(3) == 0 { Exclusive } else { Shared }
    }
}

fn check(counters: Counters) {
    assert_eq!(counters.exclusive_grants + counters.shared_grants, counters.releases);
    let ended = counters.waits_granted + counters.waits_cancelled + counters.waits_closed;
    assert_eq!(counters.waits, ended);
    assert!(counters.waits_granted > 0 && counters.waits_cancelled > 0, "{counters:?} is no stress");
}

#[test]
fn threads_that_do_everything_are_alone_in_what_is_theirs() {
    const ROUNDS: usize = 10_000;
    let state = LocalState::new();
    let protected: [Protected; 3] = Default::default();
    std::thread::scope(|scope| {
        for thread in 1..=4 {
            let (state, protected) = (state.owner(&thread.to_string()), &protected);
            scope.spawn(move || {
                let mut numbers = Numbers(thread);
                for _ in 0..ROUNDS {
                    one_thing(&state, protected, &mut numbers);
                }
            });
        }
    });
    assert_eq!(state.blocking_snapshot().unwrap().keys, []);
    check(state.counters());
}

fn one_thing(state: &LocalState, protected: &[Protected; 3], numbers: &mut Numbers) {
    let index = numbers.below(3) as usize;
    let (key, mode) = (KEYS[index], numbers.mode());
    let guard = match numbers.below(8) {
        0 => state.blocking_try_lock(key, mode).unwrap(),
        1 => match state.blocking_lock_timeout(key, mode, Duration::from_nanos(numbers.below(20_000))) {
            Ok(guard) => Some(guard),
            Err(LockFailed::TimedOut { .. }) => None,
            Err(other) => panic!("{other}"),
        },
        2 => {
            let keys = [(key, mode), (KEYS[0], Shared), (KEYS[1], numbers.mode())];
            // It keeps to the safe order, but those who lock crosswise do not.
            let guards = match state.blocking_lock_many(keys) {
                Ok(guards) => guards,
                Err(LockFailed::WouldDeadlock(_)) => return,
                Err(failed) => panic!("{failed}"),
            };
            for guard in guards.iter() {
                protected[KEYS.iter().position(|key| *key == guard.key()).unwrap()].enter(guard);
            }
            for guard in guards {
                protected[KEYS.iter().position(|key| *key == guard.key()).unwrap()].leave(guard);
            }
            None
        }
        // Crosswise: one of those who do this at once is told, and nobody hangs.
        3 => {
            let held = state.blocking_lock(key, Exclusive).unwrap();
            protected[index].enter(&held);
            let other = (index + 1) % 3;
            match state.blocking_lock(KEYS[other], mode) {
                Ok(guard) => {
                    protected[other].enter(&guard);
                    protected[other].leave(guard);
                }
                Err(LockFailed::WouldDeadlock(cycle)) => assert!(cycle.links().len() > 1),
                Err(failed) => panic!("{failed}"),
            }
            protected[index].leave(held);
            None
        }
        _ => Some(state.blocking_lock(key, mode).unwrap()),
    };
    if let Some(mut guard) = guard {
        protected[index].enter(&guard);
        if numbers.below(4) == 0 {
            protected[index].downgrade(&mut guard);
        }
        protected[index].leave(guard);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn tasks_that_give_up_at_any_time_leave_nothing_behind() {
    const ROUNDS: usize = 5_000;
    let state = LocalState::new();
    let protected = std::sync::Arc::new(<[Protected; 3]>::default());
    let tasks = Vec::from_iter((1..=8).map(|task| {
        let (state, protected) = (state.clone(), std::sync::Arc::clone(&protected));
        tokio::spawn(async move {
            let mut numbers = Numbers(task);
            for _ in 0..ROUNDS {
                let index = numbers.below(3) as usize;
                let mode = numbers.mode();
                let patience = numbers.below(6);
                let Some(guard) = for_some_polls(state.lock(KEYS[index], mode), patience).await else {
                    continue;
                };
                let mut guard = guard.unwrap();
                protected[index].enter(&guard);
                if numbers.below(2) == 0 {
                    tokio::task::yield_now().await;
                }
                protected[index].downgrade(&mut guard);
                protected[index].leave(guard);
            }
        })
    }));
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(state.snapshot().await.unwrap().keys, []);
    check(state.counters());
}

/// The future's output, if it is ready within so many polls. From five on it waits for as long as it takes.
async fn for_some_polls<F: Future>(future: F, polls: u64) -> Option<F::Output> {
    let mut future = pin!(future);
    for _ in 0..polls {
        if let Poll::Ready(output) = poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await {
            return Some(output);
        }
        tokio::task::yield_now().await;
    }
    match polls {
        5.. => Some(future.await),
        _ => None,
    }
}
