//! tokio without anything around it: tasks that are spawned, cancelled and joined, and its channel.

use std::fs;
use std::time::{Duration, Instant};

use ::tokio::runtime::{Builder, Runtime};
use ::tokio::sync::mpsc;
use ::tokio::task::JoinHandle;
use rustix::time::{ClockId, clock_gettime};
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::figure::{median, median_micros};

/// How many messages are sent.
pub(crate) const MESSAGES: u64 = 2_000_000;
/// How often what is short is repeated in one process.
pub(crate) const LAPS: usize = 50;

/// A runtime as `#[tokio::main]` makes it.
pub(crate) fn runtime() -> Result<Runtime, Error> {
    Builder::new_multi_thread().enable_all().build().map_err(Error::io("start a runtime"))
}

/// The median of many laps, in microseconds, after some that do not count.
pub(crate) async fn warm_median(
    laps: usize,
    mut lap: impl AsyncFnMut() -> Result<Duration, Error>,
) -> Result<f64, Error> {
    let mut samples = Vec::with_capacity(laps);
    for number in 0..laps + laps / 5 {
        let took = lap().await?;
        if number >= laps / 5 {
            samples.push(took);
        }
    }
    median_micros(&samples).ok_or_else(|| Error::Wrong("nothing was measured".to_owned()))
}

fn on_runtime<T: Send + 'static>(
    work: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Result<T, Error> {
    runtime()?.block_on(async { ::tokio::spawn(work).await.map_err(Error::contender)? })
}

/// A task that waits for a token of its own, and for messages.
fn idle() -> (CancellationToken, mpsc::UnboundedSender<u64>, JoinHandle<()>) {
    let token = CancellationToken::new();
    let waited = token.clone();
    let (sender, mut receiver) = mpsc::unbounded_channel();
    let task = ::tokio::spawn(async move {
        ::tokio::select! {
            () = waited.cancelled() => {}
            () = async { while receiver.recv().await.is_some() {} } => {}
        }
    });
    (token, sender, task)
}

/// So many tasks, each with a token and a channel, spawned, cancelled and joined, in microseconds.
pub(crate) fn spawn_and_join(tasks: usize) -> Result<f64, Error> {
    on_runtime(async move {
        warm_median(LAPS, async move || {
            let started = Instant::now();
            let spawned: Vec<_> = (0..tasks).map(|_| idle()).collect();
            spawned.iter().for_each(|(token, ..)| token.cancel());
            for (_, _, task) in spawned {
                task.await.map_err(Error::contender)?;
            }
            Ok(started.elapsed())
        })
        .await
    })
}

/// Messages per second through an unbounded channel, all sent before the receiving task is spawned.
pub(crate) fn messages_before_the_start() -> Result<f64, Error> {
    on_runtime(async {
        let (sender, receiver) = mpsc::unbounded_channel();
        for number in 0..MESSAGES {
            sender.send(number).map_err(Error::contender)?;
        }
        let started = Instant::now();
        ::tokio::spawn(count(receiver)).await.map_err(Error::contender)??;
        Ok(MESSAGES as f64 / started.elapsed().as_secs_f64())
    })
}

/// The same, sent by another thread meanwhile.
pub(crate) fn messages_while_running() -> Result<f64, Error> {
    on_runtime(async {
        let (sender, receiver) = mpsc::unbounded_channel();
        let task = ::tokio::spawn(count(receiver));
        let started = Instant::now();
        let producer = std::thread::spawn(move || (0..MESSAGES).try_for_each(|number| sender.send(number)));
        task.await.map_err(Error::contender)??;
        let took = started.elapsed();
        match producer.join() {
            Ok(sent) => sent.map_err(Error::contender)?,
            Err(_) => return Err(Error::Wrong("the sender panicked".to_owned())),
        }
        Ok(MESSAGES as f64 / took.as_secs_f64())
    })
}

/// Receives all messages, which have to come in order.
async fn count(mut receiver: mpsc::UnboundedReceiver<u64>) -> Result<(), Error> {
    for expected in 0..MESSAGES {
        match receiver.recv().await {
            Some(number) if number == expected => {}
            other => return Err(Error::Wrong(format!("message {expected} was {other:?}"))),
        }
    }
    Ok(())
}

/// The median time from cancelling an idle task to having joined it, in microseconds.
pub(crate) fn cancel_latency(samples: usize) -> Result<f64, Error> {
    on_runtime(async move {
        let mut took = Vec::with_capacity(samples);
        for _ in 0..samples {
            let (token, _sender, task) = idle();
            ::tokio::time::sleep(Duration::from_millis(2)).await;
            let started = Instant::now();
            token.cancel();
            task.await.map_err(Error::contender)?;
            took.push(started.elapsed());
        }
        median_micros(&took).ok_or_else(|| Error::Wrong("nothing was measured".to_owned()))
    })
}

/// The processor time that so many idle tasks take in a second, in microseconds.
pub(crate) fn idle_cpu(tasks: usize) -> Result<f64, Error> {
    on_runtime(async move {
        let _tasks: Vec<_> = (0..tasks).map(|_| idle()).collect();
        cpu_time(Duration::from_secs(1)).await
    })
}

/// What an idle task takes, with its token, its channel and its handle, in bytes of resident memory.
pub(crate) fn memory(tasks: usize) -> Result<f64, Error> {
    on_runtime(async move {
        let mut spawned = Vec::with_capacity(tasks);
        spawned.push(idle());
        let before = resident_bytes()?;
        spawned.extend((0..tasks).map(|_| idle()));
        Ok((resident_bytes()?.saturating_sub(before)) as f64 / tasks as f64)
    })
}

/// The processor time that this process takes while `period` passes, as microseconds per second: the median of a few.
pub(crate) async fn cpu_time(period: Duration) -> Result<f64, Error> {
    let mut samples = Vec::new();
    for _ in 0..3 {
        let before = process_cpu_time();
        ::tokio::time::sleep(period).await;
        let used = process_cpu_time().saturating_sub(before);
        samples.push(used.as_secs_f64() * 1e6 / period.as_secs_f64());
    }
    median(&samples).ok_or_else(|| Error::Wrong("nothing was measured".to_owned()))
}

fn process_cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// How much memory of this process is resident.
pub(crate) fn resident_bytes() -> Result<u64, Error> {
    let text = fs::read_to_string("/proc/self/status").map_err(Error::io("read /proc/self/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes: Option<u64> = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse().ok());
    kibibytes.map(|kibibytes| kibibytes * 1024).ok_or_else(|| Error::Wrong("there is no VmRSS".to_owned()))
}
