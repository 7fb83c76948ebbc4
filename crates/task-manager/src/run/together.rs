//! Many asynchronous tasks at once on one thread.
//!
//! Invariants:
//! - What comes while they run begins at once: beside them if it is asynchronous too, before they go on otherwise.
//! - Each ends by itself, whatever becomes of the others: a panic is caught in the poll that it came from.

use std::{
    future::{Future, poll_fn},
    panic::{self, AssertUnwindSafe},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use tokio::{
    runtime::Runtime,
    task::{JoinSet, LocalSet},
};

use super::{panicked, panics, queued::Queued};
use crate::{context::TaskContext, failure::Failed, registry::entry::AsyncRunFn};

/// A worker's thread, as far as running many tasks at once goes.
pub(crate) trait Desk: Send + Sync + 'static {
    /// The next task; `None` once nothing comes any more.
    fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Option<Queued>>;
    /// Runs a task that wants the thread to itself, up to its report.
    fn run_single(self: &Arc<Self>, task: Queued);
    /// A task begins that shares the thread; its code, if there is any.
    fn begin(self: &Arc<Self>, task: &Queued) -> (TaskContext, Option<AsyncRunFn>);
    /// It has ended.
    fn end(&self, task: Queued, ended: Result<Vec<u8>, Box<Failed>>, took: Duration);
}

/// Runs `first` and whatever comes while anything runs; returns when nothing does.
pub(crate) fn run<D: Desk>(desk: &Arc<D>, runtime: &Runtime, first: Queued) {
    let local = LocalSet::new();
    let mut running = JoinSet::new();
    let mut more = true;
    begin(desk, first, &mut running, &local);
    let mut until_single = || {
        local.block_on(runtime, async {
            while !running.is_empty() {
                tokio::select! {
                    biased;
                    next = poll_fn(|cx| desk.poll_next(cx)), if more => match next {
                        Some(task) if task.concurrent => begin(desk, task, &mut running, &local),
                        Some(task) => return Some(task),
                        None => more = false,
                    },
                    _ = running.join_next() => {}
                }
            }
            None
        })
    };
    // Outside the runtime, as if it were alone: it may block the thread on a runtime of its own, or on this one.
    while let Some(task) = until_single() {
        desk.run_single(task);
    }
}

fn begin<D: Desk>(desk: &Arc<D>, task: Queued, running: &mut JoinSet<()>, local: &LocalSet) {
    let desk = Arc::clone(desk);
    let run = async move {
        let began = Instant::now();
        let (cx, run) = desk.begin(&task);
        let ended = match run {
            Some(run) => Caught { run: Some(run(&task.payload, &cx, task.wants_output)) }.await,
            None => Err(task.unknown().into()),
        };
        desk.end(task, ended, began.elapsed());
    };
    running.spawn_local_on(run, local);
}

/// A future whose panic is its failure. It is dropped as soon as it has ended.
struct Caught<F> {
    run: Option<F>,
}

impl<F: Future<Output = Result<Vec<u8>, Box<Failed>>> + Unpin> Future for Caught<F> {
    type Output = Result<Vec<u8>, Box<Failed>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let run = &mut self.run;
        panics::forget();
        let polled = panic::catch_unwind(AssertUnwindSafe(|| {
            let polled = run.as_mut().map_or(Poll::Pending, |future| Pin::new(future).poll(cx));
            if polled.is_ready() {
                *run = None;
            }
            polled
        }));
        polled.unwrap_or_else(|payload| {
            // What is left of it is not polled again, and its destructors have panicked already, if they do.
            std::mem::forget(self.run.take());
            Poll::Ready(Err(panicked(payload).into()))
        })
    }
}
