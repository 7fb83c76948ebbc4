//! What one lock costs, on one thread: free, shared, and handed over in a queue. Beside each stands what a lock without keys
//! costs: tokio's, which also waits in the order of arrival, and parking_lot's as a limit; and what dashmap costs, a table without
//! locks to wait for.
//!
//! Comparisons with rivals, on several threads, are L1 to L3 of the workspace's own benchmarks.

use std::{
    future::Future,
    hint::black_box,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Instant,
};

use criterion::{Bencher, BenchmarkGroup, Criterion, criterion_group, criterion_main, measurement::WallTime};
use dashmap::DashMap;
use tokio::sync::RwLock;
use workfleet_shared_lock::{
    LocalState, Mode,
    cores::{LockOp, LockTable, RequestId},
};

const KEY: &str = "task/00000000/state";

/// How many wait in a queue.
const WAITERS: usize = 8;

type Locking<'a> = Pin<Box<dyn Future<Output = Box<dyn Send>> + 'a>>;

fn poll<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[track_caller]
fn ready<F: Future>(future: F) -> F::Output {
    match poll(pin!(future)) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("it has nobody to wait for"),
    }
}

/// Taken and let go, with nobody else there.
fn free(criterion: &mut Criterion) {
    for mode in Mode::ALL {
        let mut group = criterion.benchmark_group(format!("free/{mode}"));
        let state = LocalState::new();
        group.bench_function("LocalState", |bencher| {
            bencher.iter(|| drop(ready(state.lock(black_box(KEY), mode)).expect("it is free")));
        });
        let owner = state.owner("ann");
        group.bench_function("LocalState of an owner", |bencher| {
            bencher.iter(|| drop(ready(owner.lock(black_box(KEY), mode)).expect("it is free")));
        });
        group.bench_function("LockTable", |bencher| table(bencher, mode));
        // Neither modes nor a queue: the entry alone that says who holds the key. It needs a key of its own before it looks.
        let held = DashMap::<Box<str>, u64>::new();
        group.bench_function("dashmap, an entry made and removed", |bencher| {
            bencher.iter(|| {
                let dashmap::Entry::Vacant(free) = held.entry(black_box(KEY).into()) else {
                    unreachable!("it is free");
                };
                drop(free.insert(7));
                held.remove(black_box(KEY)).expect("it was held")
            });
        });
        let lock = RwLock::new(());
        group.bench_function("tokio, no keys", |bencher| match mode {
            Mode::Exclusive => bencher.iter(|| drop(ready(lock.write()))),
            Mode::Shared => bencher.iter(|| drop(ready(lock.read()))),
        });
        let lock = parking_lot::RwLock::new(());
        group.bench_function("parking_lot, no keys", |bencher| match mode {
            Mode::Exclusive => bencher.iter(|| drop(lock.write())),
            Mode::Shared => bencher.iter(|| drop(lock.read())),
        });
        group.finish();
    }
}

/// One member's request and its end, which it reads and confirms.
fn table(bencher: &mut Bencher<'_>, mode: Mode) {
    let mut table = LockTable::<Arc<str>, u64, u64>::new(1..u64::MAX, 10);
    let (key, now, mut number, mut version) = (Arc::<str>::from(KEY), Instant::now(), 0, 0);
    bencher.iter(|| {
        number += 1;
        let request = RequestId::new(number);
        let ask = LockOp::Request { key: Arc::clone(&key), mode, owner: None };
        table.apply(now, &7, request, ask).expect("there is room");
        table.apply(now, &7, request, LockOp::Leave).expect("it is known");
        version = table.changes(&7, version).version;
    });
}

/// A queue of waiters, served one after the other: each is polled when it joins and when it is granted.
fn handed_over(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group(format!("handed over to {WAITERS} in turn"));
    let state = LocalState::new();
    queue(&mut group, "LocalState", || {
        Box::pin(async { Box::new(state.lock(KEY, Mode::Exclusive).await.expect("it is open")) as _ })
    });
    let owners = Vec::from_iter((0..=WAITERS).map(|number| state.owner(&number.to_string())));
    let mut next = owners.iter().cycle();
    queue(&mut group, "LocalState of owners", || {
        let owner = next.next().expect("there are some");
        Box::pin(async { Box::new(owner.lock(KEY, Mode::Exclusive).await.expect("it is open")) as _ })
    });
    let lock = Arc::new(RwLock::new(()));
    queue(&mut group, "tokio, no keys", || {
        let lock = Arc::clone(&lock);
        Box::pin(async { Box::new(lock.write_owned().await) as _ })
    });
    group.finish();
}

fn queue<'a>(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, mut ask: impl FnMut() -> Locking<'a>) {
    group.bench_function(name, |bencher| {
        bencher.iter(|| {
            let holder = ready(ask());
            let mut waiters = [(); WAITERS].map(|()| ask());
            assert!(waiters.iter_mut().all(|waiter| poll(waiter.as_mut()).is_pending()));
            drop(holder);
            waiters.into_iter().for_each(|waiter| drop(ready(waiter)));
        });
    });
}

criterion_group!(benches, free, handed_over);
criterion_main!(benches);
