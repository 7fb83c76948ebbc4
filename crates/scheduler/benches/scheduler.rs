//! What the core costs for one task: it is scheduled, dispatched, and done. There is no clock in it, so what time it is and how
//! long a task took are given.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use criterion::{Criterion, criterion_group, criterion_main};
use workfleet_scheduler::{Class, Lease, Limits, PrefetchBudget, Scheduler};

const TOOK: Duration = Duration::from_micros(50);

fn scheduler(now: Instant, slots: usize, prefetch: bool) -> Scheduler<u64> {
    let mut scheduler = Scheduler::new(Limits {
        levels: 2,
        crash_limit: 3,
        silence_limit: Some(Duration::from_secs(10)),
        heartbeat_grace: Duration::from_secs(10),
        prefetch_budget: PrefetchBudget { prefetch, concurrent: 1 },
        tasks_per_worker: u64::MAX,
    });
    (0..slots).for_each(|slot| scheduler.worker_ready(now, slot));
    scheduler
}

/// Tasks that come one by one, as from a caller that waits for each.
fn alone(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("a task alone");
    for slots in [1, 8, 64, 256] {
        group.bench_function(format!("{slots} workers"), |bencher| {
            let now = Instant::now();
            let (mut scheduler, mut sequence) = (scheduler(now, slots, true), 0);
            bencher.iter(|| {
                sequence += 1;
                scheduler.schedule(sequence, 1, Class::default(), sequence);
                let dispatch = scheduler.next_dispatch(now).expect("a worker is free");
                let (slot, lease) = (dispatch.slot, dispatch.lease);
                settle(&mut scheduler, now);
                let ended = scheduler.done(now, slot, lease, TOOK).expect("the lease stands");
                settle(&mut scheduler, now);
                ended
            });
        });
    }
    group.finish();
}

/// What the driver asks after each change, and here comes to nothing.
fn settle(scheduler: &mut Scheduler<u64>, now: Instant) {
    assert!(scheduler.next_dispatch(now).is_none() && scheduler.poll_effect().is_none());
    black_box((scheduler.demand(), scheduler.poll_timeout()));
}

/// Tasks that wait while a thousand others do; each worker gets its next when it is done with one.
fn flood(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("a task of a thousand that wait");
    for (name, prefetch) in [("with prefetching", true), ("without", false)] {
        group.bench_function(format!("8 workers, {name}"), |bencher| {
            let now = Instant::now();
            let (mut scheduler, mut sequence) = (scheduler(now, 8, prefetch), 0);
            let mut in_hand = std::collections::VecDeque::<(usize, Lease)>::new();
            let mut schedule = |scheduler: &mut Scheduler<u64>| {
                sequence += 1;
                scheduler.schedule(sequence, u8::from(sequence % 8 != 0), Class::default(), sequence);
            };
            (0..1000).for_each(|_| schedule(&mut scheduler));
            bencher.iter(|| {
                schedule(&mut scheduler);
                while let Some(dispatch) = scheduler.next_dispatch(now) {
                    in_hand.push_back((dispatch.slot, dispatch.lease));
                }
                let (slot, lease) = in_hand.pop_front().expect("somebody has a task");
                scheduler.done(now, slot, lease, TOOK).expect("the lease stands")
            });
        });
    }
    group.finish();
}

criterion_group!(benches, alone, flood);
criterion_main!(benches);
