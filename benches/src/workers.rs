//! workfleet's workers, as their users would write them.
//!
//! Each runs on a multi-thread runtime with one thread for each processor, as `#[tokio::main]` makes it.

use std::future::{Future, ready};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio::sync::Notify;
use workfleet::worker::{
    OnStop, QueueConsumerWorker, WorkerContext, WorkerHandle, WorkerRef, WorkerState, Workers, start,
    worker_fn,
};

use crate::error::Error;
use crate::figure::median_micros;
use crate::floors::tokio::{LAPS, MESSAGES, cpu_time, resident_bytes, runtime, warm_median};

/// A consumer that does nothing with its messages.
fn idle() -> QueueConsumerWorker<u64, impl FnMut(u64) -> std::future::Ready<()> + Send + 'static> {
    QueueConsumerWorker::new(|_: u64| ready(())).with_name("idle")
}

/// A handle in a task, as many concurrent starts need it.
async fn start_idle() -> Result<WorkerHandle, Error> {
    start(idle()).await.map_err(Error::contender)
}

fn check(state: WorkerState) -> Result<(), Error> {
    match state {
        WorkerState::Stopped => Ok(()),
        state => Err(Error::Wrong(format!("a worker ended {state}"))),
    }
}

async fn shutdown(worker: &WorkerRef) -> Result<(), Error> {
    check(worker.shutdown().await.map_err(Error::contender)?.state())
}

fn on_runtime<T>(work: impl Future<Output = Result<T, Error>> + Send + 'static) -> Result<T, Error>
where
    T: Send + 'static,
{
    let runtime: Runtime = runtime()?;
    // On a worker thread, as the program's tasks are.
    runtime.block_on(async { tokio::spawn(work).await.map_err(Error::contender)? })
}

/// One group of so many idle consumers: from before its start to after its stop, in microseconds.
pub(crate) fn start_and_stop_group(workers: usize) -> Result<f64, Error> {
    on_runtime(async move {
        warm_median(LAPS, async move || {
            let group = (0..workers).fold(Workers::new("group"), |group, _| group.with_child(idle()));
            let started = Instant::now();
            let group = start(group).await.map_err(Error::contender)?;
            let children = group.workers();
            shutdown(&group).await?;
            let took = started.elapsed();
            children.iter().try_for_each(|child| check(child.state()))?;
            Ok(took)
        })
        .await
    })
}

/// So many idle consumers, each started and stopped by itself, in microseconds.
pub(crate) fn start_and_stop_each(workers: usize) -> Result<f64, Error> {
    on_runtime(async move {
        warm_median(LAPS, async move || {
            let started = Instant::now();
            let mut handles = Vec::with_capacity(workers);
            for _ in 0..workers {
                handles.push(start_idle().await?);
            }
            for handle in &handles {
                handle.gracefully_stop();
            }
            for handle in &handles {
                shutdown(handle).await?;
            }
            Ok(started.elapsed())
        })
        .await
    })
}

/// Messages per second through a consumer that counts them, all sent before the start.
pub(crate) fn messages_before_the_start() -> Result<f64, Error> {
    on_runtime(async {
        let (consumer, done) = counter();
        let sender = consumer.sender();
        for number in 0..MESSAGES {
            sender.send(number).map_err(Error::contender)?;
        }
        let started = Instant::now();
        let worker = start(consumer).await.map_err(Error::contender)?;
        done.notified().await;
        let took = started.elapsed();
        shutdown(&worker).await?;
        Ok(MESSAGES as f64 / took.as_secs_f64())
    })
}

/// Messages per second through a consumer that counts them, sent by another thread meanwhile.
pub(crate) fn messages_while_running() -> Result<f64, Error> {
    on_runtime(async {
        let (consumer, done) = counter();
        let sender = consumer.sender();
        let worker = start(consumer).await.map_err(Error::contender)?;
        let started = Instant::now();
        let producer = std::thread::spawn(move || (0..MESSAGES).try_for_each(|number| sender.send(number)));
        done.notified().await;
        let took = started.elapsed();
        match producer.join() {
            Ok(sent) => sent.map_err(Error::contender)?,
            Err(_) => return Err(Error::Wrong("the sender panicked".to_owned())),
        }
        shutdown(&worker).await?;
        Ok(MESSAGES as f64 / took.as_secs_f64())
    })
}

/// A consumer that tells when it has seen the last message, and that they come in order.
fn counter()
-> (QueueConsumerWorker<u64, impl FnMut(u64) -> std::future::Ready<()> + Send + 'static>, Arc<Notify>) {
    let done = Arc::new(Notify::new());
    let reached = Arc::clone(&done);
    let mut seen = 0;
    let consumer = QueueConsumerWorker::new(move |number: u64| {
        // Out of order it would never be done.
        seen += u64::from(number == seen);
        if seen == MESSAGES {
            reached.notify_one();
        }
        ready(())
    });
    (consumer.with_on_stop(OnStop::Drain), done)
}

/// The median time from asking an idle worker to stop to its outcome, in microseconds.
pub(crate) fn stop_latency(samples: usize) -> Result<f64, Error> {
    on_runtime(async move {
        let mut took = Vec::with_capacity(samples);
        for _ in 0..samples {
            let worker =
                start(worker_fn(|cx: WorkerContext| async move { cx.stopping().await }).with_name("idle"));
            let worker = worker.await.map_err(Error::contender)?;
            // It waits by now, and so does every thread.
            tokio::time::sleep(Duration::from_millis(2)).await;
            let started = Instant::now();
            shutdown(&worker).await?;
            took.push(started.elapsed());
        }
        median_micros(&took).ok_or_else(|| Error::Wrong("nothing was measured".to_owned()))
    })
}

/// The processor time that so many idle workers take in a second, in microseconds.
pub(crate) fn idle_cpu(workers: usize) -> Result<f64, Error> {
    on_runtime(async move {
        let mut handles = Vec::with_capacity(workers);
        for _ in 0..workers {
            handles.push(start_idle().await?);
        }
        cpu_time(Duration::from_secs(1)).await
    })
}

/// What an idle consumer takes, its queue and its handle included, in bytes of resident memory.
pub(crate) fn memory(workers: usize) -> Result<f64, Error> {
    on_runtime(async move {
        let mut handles = Vec::with_capacity(workers);
        handles.push(start_idle().await?);
        let before = resident_bytes()?;
        for _ in 0..workers {
            handles.push(start_idle().await?);
        }
        Ok((resident_bytes()?.saturating_sub(before)) as f64 / workers as f64)
    })
}
