//! What the queues between the manager's threads cost, beside channels that do less: crossbeam's, and tokio's.
//!
//! They are not public: their files are part of this program as they stand, with the standard library's locks.

#[expect(dead_code, reason = "its tests are its crate's, and this program has no harness for them")]
#[path = "../src/pool/mailbox.rs"]
mod mailbox;
#[expect(dead_code, reason = "the manager uses more of it than is measured")]
#[path = "../src/pool/submission_queue.rs"]
mod submission_queue;
mod sync {
    pub(crate) use std::sync::{Mutex, MutexGuard};
}

use std::{
    hint::black_box,
    pin::pin,
    sync::atomic::{AtomicU64, Ordering},
    task::{Context, Poll, Waker},
};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use mailbox::Mailbox;
use submission_queue::{Submission, SubmissionQueue};
use tokio::sync::mpsc;

/// How many commands are taken at a time.
const COMMANDS: u64 = 256;

/// As large as the manager's own: a task with its payload's address.
#[derive(Debug)]
struct Submit([u64; 8]);

impl Submission for Submit {
    type Demand = Option<u8>;

    fn is_urgent(&self, demand: Option<u8>) -> bool {
        demand.is_some_and(|priority| self.0[1] <= u64::from(priority))
    }
}

/// What a submission queue has to do: each command is numbered in the order in which it is taken, and its caller learns
/// whether the core is to be run.
fn submission(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group(format!("{COMMANDS} commands pushed, then taken"));
    group.throughput(Throughput::Elements(COMMANDS));
    let (submissions, mut taken) = (SubmissionQueue::new(), Vec::new());
    group.bench_function("SubmissionQueue", |bencher| {
        bencher.iter(|| {
            for priority in 0..COMMANDS {
                black_box(push(&submissions, priority));
            }
            submissions.take(&mut taken);
            black_box(&taken).iter().for_each(|command| assert!(command.0[1] < COMMANDS));
            taken.clear();
        });
    });
    // A number of its own, which need not be the channel's order, and nobody is told to run the core.
    let ((sender, receiver), next) = (crossbeam_channel::unbounded(), AtomicU64::new(0));
    group.bench_function("crossbeam-channel", |bencher| {
        bencher.iter(|| {
            for priority in 0..COMMANDS {
                let number = next.fetch_add(1, Ordering::Relaxed);
                sender.send(black_box(Submit([number, priority, 0, 0, 0, 0, 0, 0]))).expect("it is open");
            }
            taken.extend(receiver.try_iter());
            black_box(&taken).iter().for_each(|command| assert!(command.0[1] < COMMANDS));
            taken.clear();
        });
    });
    group.finish();
}

fn push(submissions: &SubmissionQueue<Submit>, priority: u64) -> submission_queue::Pushed {
    let submit = |number, priority| Submit([number, priority, 0, 0, 0, 0, 0, 0]);
    submissions.push_new(priority, submit).expect("it is open")
}

/// What a worker's loop is told: it says each thing once, however often it is put.
fn mail(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("a letter put and taken");
    let mut cx = Context::from_waker(Waker::noop());
    let mailbox = Mailbox::default();
    group.bench_function("Mailbox", |bencher| {
        bencher.iter(|| {
            mailbox.put(black_box(7_u8));
            assert_eq!(pin!(mailbox.next()).poll(&mut cx), Poll::Ready(7));
        });
    });
    let (sender, mut receiver) = mpsc::channel(4);
    group.bench_function("tokio mpsc", |bencher| {
        bencher.iter(|| {
            sender.try_send(black_box(7_u8)).expect("there is room");
            assert_eq!(receiver.poll_recv(&mut cx), Poll::Ready(Some(7)));
        });
    });
    group.finish();
}

criterion_group!(benches, submission, mail);
criterion_main!(benches);
