//! What a task costs on its way through a pool of threads, and what it costs to encode one. Beside the pool stands the least
//! that a thread and two channels of the standard library can do.
//!
//! Comparisons with rivals, and everything with processes, are P1 to P7 and M1 of the workspace's own benchmarks.

use std::{hint::black_box, sync::mpsc, thread};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use serde::{Deserialize, Serialize};
use workfleet_task_manager::{
    ClosePolicy, EncodedTask, Registry, Task, TaskContext, TaskError, TaskSpec, ThreadManager,
};
use workfleet_wire::message;

/// How many tasks are under way at once in a flood.
const TASKS: u64 = 1000;

#[derive(Debug, Serialize, Deserialize)]
struct Double(u64);

impl TaskSpec for Double {
    const NAME: &'static str = "double";
    type Output = u64;
}

impl Task for Double {
    fn run(self, _cx: &TaskContext) -> Result<u64, TaskError> {
        Ok(2 * self.0)
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Digest {
    path: String,
    from_bytes: u64,
    seed: [u8; 32],
}

impl TaskSpec for Digest {
    const NAME: &'static str = "digest";
    type Output = [u8; 32];
}

fn pool(criterion: &mut Criterion) {
    let registry = Registry::new().task::<Double>();
    let manager = ThreadManager::builder(registry).workers(1).start().expect("it starts");
    let mut group = criterion.benchmark_group("a task through one thread");
    group.bench_function("ThreadManager", |bencher| {
        bencher
            .iter(|| manager.submit(Double(black_box(7))).expect("it is open").wait().expect("it is done"));
    });
    let (ask, asked) = mpsc::channel::<u64>();
    let (answer, answered) = mpsc::channel();
    let worker = thread::spawn(move || {
        for number in asked {
            answer.send(2 * number).expect("the other end waits");
        }
    });
    group.bench_function("two channels", |bencher| {
        bencher.iter(|| {
            ask.send(black_box(7)).expect("it is open");
            answered.recv().expect("it is answered")
        });
    });
    drop(ask);
    worker.join().expect("no panic");
    group.finish();

    let mut group = criterion.benchmark_group(format!("{TASKS} tasks through one thread"));
    group.throughput(Throughput::Elements(TASKS));
    group.bench_function("ThreadManager", |bencher| {
        bencher.iter(|| {
            let handles = Vec::from_iter((0..TASKS).map(|n| manager.submit(Double(n)).expect("it is open")));
            handles.into_iter().for_each(|handle| {
                black_box(handle.wait().expect("it is done"));
            });
        });
    });
    group.finish();
    manager.close(ClosePolicy::Join).expect("it closes");
}

fn encoding(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("a task's payload");
    let digest = Digest { path: "data/part-00042.parquet".into(), from_bytes: 1 << 33, seed: [7; 32] };
    group.bench_function("EncodedTask::new", |bencher| {
        bencher.iter(|| EncodedTask::new(black_box(&digest)).expect("it encodes"));
    });
    group.bench_function("message::encode", |bencher| {
        bencher.iter(|| message::encode(black_box(&digest)).expect("it encodes"));
    });
    let encoded = EncodedTask::new(&digest).expect("it encodes");
    group.bench_function("message::decode", |bencher| {
        bencher.iter(|| message::decode::<Digest>(black_box(encoded.payload())).expect("it decodes"));
    });
    group.finish();
}

criterion_group!(benches, pool, encoding);
criterion_main!(benches);
