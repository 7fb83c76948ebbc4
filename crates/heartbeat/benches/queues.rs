//! What the queues of beats cost within a process, beside channels and tables that do less: crossbeam's, and dashmap's.
//!
//! They are not public: their files are part of this program as they stand, with the standard library's locks.

#[expect(dead_code, reason = "its tests are its crate's, and this program has no harness for them")]
#[path = "../src/registry/callback_runners.rs"]
mod callback_runners;
#[expect(dead_code, reason = "the tree uses more of it than is measured")]
#[path = "../src/tree/waiting.rs"]
mod waiting;
mod sync {
    pub(crate) use std::sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    };
}

use std::{collections::VecDeque, hint::black_box};

use callback_runners::{CallbackRunners, Work};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use dashmap::DashMap;
use waiting::Waiting;
use workfleet_heartbeat::Details;

/// How many tokens beat before the sender of frames looks once.
const TOKENS: u64 = 64;

struct Calls(VecDeque<u64>);

impl Work for Calls {
    fn has_ready(&self) -> bool {
        !self.0.is_empty()
    }
}

/// A call becomes ready while the runner is in another, and the runner takes it.
fn runners(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("a call made ready and taken");
    let runners = CallbackRunners::new(Calls(VecDeque::new()));
    let ready = |call| runners.change(|calls| calls.0.push_back(call));
    let take = |me| runners.next(me, |_| (), |calls| calls.0.pop_front()).0;
    let ((), needs) = ready(7);
    let me = needs.runner.expect("there is none yet");
    assert_eq!(take(me), Some(7));
    group.bench_function("CallbackRunners", |bencher| {
        bencher.iter(|| {
            let ((), needs) = ready(black_box(7));
            // It is in a call: nobody else is started.
            assert!(needs.runner.is_none());
            assert_eq!(take(me), Some(7));
        });
    });
    let (sender, receiver) = crossbeam_channel::unbounded();
    group.bench_function("crossbeam-channel", |bencher| {
        bencher.iter(|| {
            sender.send(black_box(7_u64)).expect("it is open");
            assert_eq!(receiver.try_recv(), Ok(7));
        });
    });
    group.finish();
}

/// Which tokens' beats are to leave the process, and whether somebody has to be woken for it.
fn leaving(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group(format!("{TOKENS} tokens wait, and are taken to be sent"));
    group.throughput(Throughput::Elements(TOKENS));
    let waiting = Waiting::new();
    group.bench_function("Waiting", |bencher| {
        bencher.iter(|| {
            for token in 0..TOKENS {
                black_box(waiting.needs_wake(waiting.add(black_box(token))));
            }
            assert_eq!(waiting.turn().len() as u64, TOKENS);
        });
    });
    let (sender, receiver) = crossbeam_channel::unbounded();
    group.bench_function("crossbeam-channel", |bencher| {
        bencher.iter(|| {
            for token in 0..TOKENS {
                black_box(receiver.is_empty());
                sender.send(black_box(token)).expect("it is open");
            }
            assert_eq!(Vec::from_iter(receiver.try_iter()).len() as u64, TOKENS);
        });
    });
    // The latest details of each, as a table that the sender of frames empties.
    let latest = DashMap::new();
    let details = Details::encode(&7_u64).expect("it encodes");
    group.bench_function("DashMap of the latest", |bencher| {
        bencher.iter(|| {
            for token in 0..TOKENS {
                black_box(latest.insert(black_box(token), details.clone()));
            }
            let mut sent = 0;
            latest.retain(|_, details| {
                black_box(details);
                sent += 1;
                false
            });
            assert_eq!(sent, TOKENS);
        });
    });
    group.finish();
}

criterion_group!(benches, runners, leaving);
criterion_main!(benches);
