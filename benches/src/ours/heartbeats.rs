//! Heartbeats of worker processes: tasks that carry senders to there, and callbacks here.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use serde::{Deserialize, Serialize};
use workfleet::heartbeat::{Event, HeartbeatSender, Heartbeaters, Report};
use workfleet::prelude::*;

use crate::clock::{mean_ns, now_ns, rest};
use crate::error::Error;
use crate::figure::{median, quantile};
use crate::floors::tokio::runtime;
use crate::ours;

/// Sends so many beats in a row; returns how long one takes on average, in nanoseconds.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SendMany {
    sender: HeartbeatSender,
    sends: u64,
}

impl TaskSpec for SendMany {
    const NAME: &'static str = "send-many";
    type Output = f64;
}

impl Task for SendMany {
    fn run(self, _cx: &TaskContext) -> Result<f64, TaskError> {
        let mut outcome = Ok(());
        let mean = mean_ns(self.sends, |number| keep_error(&mut outcome, self.sender.send(&number)));
        outcome?;
        Ok(mean)
    }
}

/// The same with the task's own heartbeats.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct BeatMany {
    beats: u64,
}

impl TaskSpec for BeatMany {
    const NAME: &'static str = "beat-many";
    type Output = f64;
}

impl Task for BeatMany {
    fn run(self, cx: &TaskContext) -> Result<f64, TaskError> {
        let mut outcome = Ok(());
        let mean = mean_ns(self.beats, |number| keep_error(&mut outcome, cx.heartbeat(&number)));
        outcome?;
        Ok(mean)
    }
}

/// Keeps the first error.
fn keep_error<E>(kept: &mut Result<(), E>, result: Result<(), E>) {
    if kept.is_ok() {
        *kept = result;
    }
}

/// Sends beats with pauses between them; returns how long each took, in nanoseconds.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SendAlone {
    sender: HeartbeatSender,
    sends: u64,
}

impl TaskSpec for SendAlone {
    const NAME: &'static str = "send-alone";
    type Output = Vec<u64>;
}

impl Task for SendAlone {
    fn run(self, _cx: &TaskContext) -> Result<Vec<u64>, TaskError> {
        let send = |number: u64| {
            rest();
            let started_ns = now_ns();
            self.sender.send(&number)?;
            Ok(now_ns().saturating_sub(started_ns))
        };
        (0..self.sends).map(send).collect()
    }
}

/// Sends so many beats over all tokens in turn: their numbers.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SendInTurn {
    senders: Vec<HeartbeatSender>,
    sends: u64,
}

impl TaskSpec for SendInTurn {
    const NAME: &'static str = "send-in-turn";
    type Output = ();
}

impl Task for SendInTurn {
    fn run(self, _cx: &TaskContext) -> Result<(), TaskError> {
        for (number, sender) in (0..self.sends).zip(self.senders.iter().cycle()) {
            sender.send(&number)?;
        }
        Ok(())
    }
}

/// For each token: sends one beat, says so, and holds the senders until it may go on.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct BeatOnceEach {
    lanes: Vec<(HeartbeatSender, Event)>,
}

impl TaskSpec for BeatOnceEach {
    const NAME: &'static str = "beat-once-each";
    type Output = ();
}

impl Task for BeatOnceEach {
    fn run(self, cx: &TaskContext) -> Result<(), TaskError> {
        for (number, (sender, go_on)) in (0_u64..).zip(&self.lanes) {
            sender.send(&number)?;
            cx.send_message(&Beaten)?;
            cx.flush()?;
            go_on.blocking_wait()?;
        }
        Ok(())
    }
}

/// Sends beats over all tokens in turn until it is cancelled.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Flood {
    senders: Vec<HeartbeatSender>,
}

impl TaskSpec for Flood {
    const NAME: &'static str = "flood";
    type Output = ();
}

impl Task for Flood {
    fn run(self, cx: &TaskContext) -> Result<(), TaskError> {
        let mut said = false;
        loop {
            for (number, sender) in (0_u64..).zip(&self.senders) {
                sender.send(&number)?;
            }
            if !said {
                cx.send_message(&Beaten)?;
                cx.flush()?;
                said = true;
            }
            cx.check_cancelled()?;
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Beaten;

impl TaskMessage for Beaten {
    const NAME: &'static str = "beaten";
}

/// One send of many in a row in a worker process, in nanoseconds: the mean.
pub(crate) fn send(sends: u64) -> Result<f64, Error> {
    with_sender(|sender| SendMany { sender, sends })
}

/// One heartbeat of a task, of many in a row, in nanoseconds: the mean.
pub(crate) fn of_task(beats: u64) -> Result<f64, Error> {
    in_worker(BeatMany { beats })
}

/// One send in a worker process after a pause, in nanoseconds: the quantile.
pub(crate) fn send_alone(sends: usize, share: f64) -> Result<f64, Error> {
    let samples = with_sender(|sender| SendAlone { sender, sends: sends as u64 })?;
    let samples: Vec<f64> = samples.into_iter().map(|nanos| nanos as f64).collect();
    quantile(&samples, share).ok_or_else(nothing_measured)
}

/// The output of one task in a worker process, which carries a sender.
fn with_sender<T: Task + Sync>(task: impl FnOnce(HeartbeatSender) -> T) -> Result<T::Output, Error> {
    let heartbeaters = Heartbeaters::new().map_err(Error::contender)?;
    let last = Arc::new(Last::default());
    let sender = last.register(&heartbeaters, "token")?;
    let output = in_worker(task(sender))?;
    heartbeaters.blocking_unregister("token").map_err(Error::contender)?;
    if last.seen.load(Ordering::Relaxed) == 0 {
        return Err(Error::Wrong("no beat has reached its callback".to_owned()));
    }
    Ok(output)
}

fn in_worker<T: Task + Sync>(task: T) -> Result<T::Output, Error> {
    let manager = ours::start(1)?;
    ours::wait_until_all_are_up(&manager)?;
    let output = manager.submit(task).map_err(Error::contender)?.wait().map_err(Error::contender)?;
    ours::close(&manager, ClosePolicy::Join)?;
    Ok(output)
}

/// What came of many beats.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Delivered {
    /// Callbacks, from the start of the tasks until every token was unregistered.
    pub(crate) per_second: f64,
    /// Of the beats that were sent, those that gave way to a later one.
    pub(crate) superseded_percent: f64,
}

/// Each of the workers sends so many beats over all tokens in turn, as fast as it can.
pub(crate) fn delivered(tokens: usize, workers: usize, sends_each: u64) -> Result<Delivered, Error> {
    let heartbeaters = Heartbeaters::new().map_err(Error::contender)?;
    let names: Vec<String> = (0..tokens).map(|number| format!("token/{number}")).collect();
    let lasts: Vec<Arc<Last>> = names.iter().map(|_| Arc::default()).collect();
    let senders = names.iter().zip(&lasts).map(|(name, last)| last.register(&heartbeaters, name));
    let senders = senders.collect::<Result<Vec<_>, _>>()?;
    let manager = ours::start(workers)?;
    ours::wait_until_all_are_up(&manager)?;
    let runtime = runtime()?;

    let started = Instant::now();
    let tasks = (0..workers)
        .map(|_| manager.submit(SendInTurn { senders: senders.clone(), sends: sends_each }))
        .collect::<Result<Vec<_>, _>>()
        .map_err(Error::contender)?;
    for task in tasks {
        task.wait().map_err(Error::contender)?;
    }
    let ends: Vec<_> = names.iter().map(|name| heartbeaters.unregister(name)).collect();
    for end in ends {
        runtime.block_on(end).map_err(Error::contender)?;
    }
    let took = started.elapsed();

    let seen: u64 = lasts.iter().map(|last| last.seen.load(Ordering::Relaxed)).sum();
    let stats = heartbeaters.stats();
    let sent = workers as u64 * sends_each;
    if stats.reported != seen || seen + stats.superseded != sent {
        return Err(Error::Wrong(format!("{sent} beats were sent and {seen} reported: {stats:?}")));
    }
    // Whoever came last, it was this.
    let expected = |place: usize| sends_each - tokens as u64 + place as u64;
    let wrong = lasts.iter().enumerate().find(|(place, last)| last.get() != Some(expected(*place)));
    if let Some((place, last)) = wrong {
        return Err(Error::Wrong(format!("the last beat of token {place} was {:?}", last.get())));
    }
    ours::close(&manager, ClosePolicy::Join)?;
    Ok(Delivered {
        per_second: seen as f64 / took.as_secs_f64(),
        superseded_percent: 100.0 * stats.superseded as f64 / sent as f64,
    })
}

/// From asking to unregister a token whose worker process has just beaten until it is done, in microseconds: the
/// median.
pub(crate) fn unregister(samples: usize) -> Result<f64, Error> {
    let heartbeaters = Heartbeaters::new().map_err(Error::contender)?;
    let names: Vec<String> = (0..samples).map(|number| format!("token/{number}")).collect();
    let lasts: Vec<Arc<Last>> = names.iter().map(|_| Arc::default()).collect();
    let lanes = names.iter().zip(&lasts).map(|(name, last)| {
        let sender = last.register(&heartbeaters, name)?;
        Ok((sender, Event::new()))
    });
    let lanes = lanes.collect::<Result<Vec<_>, Error>>()?;
    let manager = ours::start(1)?;
    let task = manager.submit(BeatOnceEach { lanes: lanes.clone() }).map_err(Error::contender)?;
    let mut took = Vec::with_capacity(samples);
    for (number, ((name, last), (_, go_on))) in (0_u64..).zip(names.iter().zip(&lasts).zip(&lanes)) {
        next_message(&manager)?;
        took.push(timed_unregister(&heartbeaters, name)?);
        if last.get() != Some(number) {
            return Err(Error::Wrong(format!("of token {number}, {:?} was reported", last.get())));
        }
        rest();
        go_on.set().map_err(Error::contender)?;
    }
    task.wait().map_err(Error::contender)?;
    ours::close(&manager, ClosePolicy::Join)?;
    median(&took).ok_or_else(nothing_measured)
}

/// The same for tokens that so many workers flood, all in turn.
pub(crate) fn unregister_flooded(samples: usize, workers: usize) -> Result<f64, Error> {
    let heartbeaters = Heartbeaters::new().map_err(Error::contender)?;
    let names: Vec<String> = (0..samples).map(|number| format!("token/{number}")).collect();
    let lasts: Vec<Arc<Last>> = names.iter().map(|_| Arc::default()).collect();
    let senders = names.iter().zip(&lasts).map(|(name, last)| last.register(&heartbeaters, name));
    let senders = senders.collect::<Result<Vec<_>, _>>()?;
    let manager = ours::start(workers)?;
    ours::wait_until_all_are_up(&manager)?;
    for _ in 0..workers {
        manager.schedule(Flood { senders: senders.clone() }).map_err(Error::contender)?;
    }
    for _ in 0..workers {
        next_message(&manager)?;
    }
    let mut took = Vec::with_capacity(samples);
    for (name, last) in names.iter().zip(&lasts) {
        took.push(timed_unregister(&heartbeaters, name)?);
        if last.get().is_none() {
            return Err(Error::Wrong(format!("nothing of {name} was reported")));
        }
    }
    ours::close(&manager, ClosePolicy::Cancel)?;
    median(&took).ok_or_else(nothing_measured)
}

fn next_message(manager: &ProcessManager) -> Result<(), Error> {
    match manager.messages::<Beaten>().next() {
        Some(message) => message.map(drop).map_err(Error::contender),
        None => Err(Error::Wrong("the task ended without having beaten".to_owned())),
    }
}

fn timed_unregister(heartbeaters: &Heartbeaters, token: &str) -> Result<f64, Error> {
    let started = Instant::now();
    heartbeaters.blocking_unregister(token).map_err(Error::contender)?;
    Ok(started.elapsed().as_secs_f64() * 1e6)
}

fn nothing_measured() -> Error {
    Error::Wrong("nothing was measured".to_owned())
}

/// What a callback has seen.
#[derive(Debug, Default)]
struct Last {
    /// How many beats.
    seen: AtomicU64,
    /// The number in the last of them.
    number: AtomicU64,
}

impl Last {
    /// Registers a token whose callback keeps count here. What does not decode is not counted.
    fn register(
        self: &Arc<Self>,
        heartbeaters: &Heartbeaters,
        token: &str,
    ) -> Result<HeartbeatSender, Error> {
        let last = Arc::clone(self);
        let count = move |report: Report| {
            if let Report::Beat(details) = report
                && let Ok(number) = details.decode()
            {
                // Read only after the token is unregistered, which orders it behind this.
                last.number.store(number, Ordering::Relaxed);
                last.seen.fetch_add(1, Ordering::Relaxed);
            }
        };
        heartbeaters.register(token, count).map_err(Error::contender)
    }

    /// The number in the last beat, if there was one.
    fn get(&self) -> Option<u64> {
        (self.seen.load(Ordering::Relaxed) > 0).then(|| self.number.load(Ordering::Relaxed))
    }
}
