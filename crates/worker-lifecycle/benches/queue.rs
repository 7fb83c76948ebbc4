//! What a message costs on its way through a queue consumer, on one thread. Beside it stands tokio's mpsc, which knows neither
//! how many wait nor what is left over when it closes.
//!
//! Comparisons of a whole worker, and from thread to thread, are W2 of the workspace's own benchmarks.

use std::{hint::black_box, num::NonZeroUsize};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tokio::{runtime, sync::mpsc};
use workfleet_worker_lifecycle::QueueConsumer;

/// How many messages wait at once.
const MESSAGES: usize = 1000;

fn bounds() -> [(&'static str, Option<NonZeroUsize>); 2] {
    [("unbounded", None), ("bounded", NonZeroUsize::new(MESSAGES))]
}

fn queue(bound: Option<NonZeroUsize>) -> QueueConsumer<u64> {
    bound.map_or_else(QueueConsumer::unbounded, QueueConsumer::bounded)
}

/// All are sent, then all are taken.
fn without_waiting(criterion: &mut Criterion) {
    for (name, bound) in bounds() {
        let mut group = criterion.benchmark_group(format!("{MESSAGES} sent, then taken/{name}"));
        group.throughput(Throughput::Elements(MESSAGES as u64));
        let mut consumer = queue(bound);
        let sender = consumer.sender();
        group.bench_function("QueueConsumer", |bencher| {
            bencher.iter(|| {
                (0..MESSAGES as u64).for_each(|message| sender.send(message).expect("it is open"));
                (0..MESSAGES).for_each(|_| {
                    black_box(consumer.try_next().expect("one is there"));
                });
            });
        });
        match bound {
            None => {
                let (sender, mut receiver) = mpsc::unbounded_channel();
                group.bench_function("tokio mpsc", |bencher| {
                    bencher.iter(|| {
                        (0..MESSAGES as u64).for_each(|message| sender.send(message).expect("it is open"));
                        (0..MESSAGES).for_each(|_| {
                            black_box(receiver.try_recv().expect("one is there"));
                        });
                    });
                });
            }
            Some(bound) => {
                let (sender, mut receiver) = mpsc::channel(bound.get());
                group.bench_function("tokio mpsc", |bencher| {
                    bencher.iter(|| {
                        (0..MESSAGES as u64)
                            .for_each(|message| sender.try_send(message).expect("there is room"));
                        (0..MESSAGES).for_each(|_| {
                            black_box(receiver.try_recv().expect("one is there"));
                        });
                    });
                });
            }
        }
        group.finish();
    }
}

/// One task sends and another receives, in turn.
async fn in_turn(send: impl Fn(u64), mut receive: impl AsyncFnMut() -> u64) {
    let send = async {
        for message in 0..MESSAGES as u64 {
            send(message);
            tokio::task::yield_now().await;
        }
    };
    let receive = async {
        for _ in 0..MESSAGES {
            black_box(receive().await);
        }
    };
    tokio::join!(send, receive);
}

/// A task sends, another receives, on one thread: each finds the queue empty and waits for the other.
fn with_waiting(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group(format!("{MESSAGES} from task to task"));
    group.throughput(Throughput::Elements(MESSAGES as u64));
    let runtime = runtime::Builder::new_current_thread().build().expect("it starts");
    let mut consumer = QueueConsumer::unbounded();
    let sender = consumer.sender();
    group.bench_function("QueueConsumer", |bencher| {
        bencher.iter(|| {
            runtime.block_on(in_turn(
                |message| sender.send(message).expect("it is open"),
                async || consumer.next().await.expect("it is open"),
            ));
        });
    });
    let (sender, mut receiver) = mpsc::unbounded_channel();
    group.bench_function("tokio mpsc", |bencher| {
        bencher.iter(|| {
            runtime.block_on(in_turn(
                |message| sender.send(message).expect("it is open"),
                async || receiver.recv().await.expect("it is open"),
            ));
        });
    });
    group.finish();
}

criterion_group!(benches, without_waiting, with_waiting);
criterion_main!(benches);
