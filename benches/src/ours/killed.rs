//! Workers that are killed while they run tasks: how soon the tasks go on elsewhere, and what is lost.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::PathBuf;
use std::process;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use workfleet::prelude::*;

use crate::clock;
use crate::error::Error;
use crate::figure::quantile;
use crate::ours;
use crate::spin::spin;

/// Says where it runs and waits to be killed; on its second attempt returns when that began.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Victim;

impl TaskSpec for Victim {
    const NAME: &'static str = "victim";
    type Output = u64;
}

impl Task for Victim {
    fn run(self, cx: &TaskContext) -> Result<u64, TaskError> {
        let began_ns = clock::now_ns();
        if cx.attempt() > 1 {
            return Ok(began_ns);
        }
        cx.send_message(&Running { pid: process::id() })?;
        cx.flush()?;
        loop {
            thread::park();
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Running {
    pid: u32,
}

impl TaskMessage for Running {
    const NAME: &'static str = "running";
}

/// From SIGKILL to the first line of the killed task's next attempt, in microseconds: the quantile over `kills`
/// of them, one at a time. With one worker, its successor has to start first.
pub(crate) fn recovery(workers: usize, kills: usize, share: f64) -> Result<f64, Error> {
    let manager = ours::start(workers)?;
    let mut samples = Vec::with_capacity(kills);
    for _ in 0..kills {
        ours::wait_until_all_are_up(&manager)?;
        let handle = manager.submit(Victim).map_err(Error::contender)?;
        let pid = match manager.messages::<Running>().next() {
            Some(message) => message.map_err(Error::contender)?.content.pid,
            None => return Err(Error::Wrong("the task ended without having said where it runs".to_owned())),
        };
        let killed_ns = clock::now_ns();
        kill(pid)?;
        let began_ns = handle.wait().map_err(Error::contender)?;
        samples.push(began_ns.saturating_sub(killed_ns) as f64 / 1e3);
    }
    ours::close(&manager, ClosePolicy::Join)?;
    quantile(&samples, share).ok_or_else(|| Error::Wrong("nobody was killed".to_owned()))
}

/// Writes its number and the time into a log, spins, and returns its number.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Logged {
    number: usize,
    time: Duration,
    log: PathBuf,
}

impl TaskSpec for Logged {
    const NAME: &'static str = "logged";
    type Output = usize;
}

impl Task for Logged {
    fn run(self, _cx: &TaskContext) -> Result<usize, TaskError> {
        let line = format!("{} {}\n", self.number, clock::now_ns());
        // One write of a line: those of several processes do not mix.
        OpenOptions::new().append(true).create(true).open(&self.log)?.write_all(line.as_bytes())?;
        spin(self.time);
        Ok(self.number)
    }
}

/// How many of `tasks` gave no result, of those of one worker killed in the middle, for the worst of `kills` times.
/// That a task runs again whose result was there before the kill is an error.
pub(crate) fn lost(tasks: usize, time: Duration, kills: usize) -> Result<f64, Error> {
    const WORKERS: usize = 2;
    let directory = tempfile::tempdir().map_err(Error::io("make a directory"))?;
    let manager = ours::start(WORKERS)?;
    let mut worst = 0;
    for round in 0..kills {
        ours::wait_until_all_are_up(&manager)?;
        let log = directory.path().join(round.to_string());
        worst = worst.max(lost_once(&manager, tasks, time, log, round % WORKERS)?);
    }
    ours::close(&manager, ClosePolicy::Join)?;
    Ok(worst as f64)
}

fn lost_once(
    manager: &ProcessManager,
    tasks: usize,
    time: Duration,
    log: PathBuf,
    worker: usize,
) -> Result<usize, Error> {
    /// Far beyond what all of them take together: who has not answered by then never will.
    const LIMIT: Duration = Duration::from_secs(10);
    let mut handles = Vec::with_capacity(tasks);
    for number in 0..tasks {
        let task = Logged { number, time, log: log.clone() };
        handles.push(manager.submit(task).map_err(Error::contender)?);
    }
    let mut middle = handles.swap_remove(tasks / 2);
    match middle.wait_timeout(LIMIT) {
        Some(result) => result.map_err(Error::contender)?,
        None => return Err(Error::Wrong(format!("no result within {LIMIT:?}, and nobody was killed"))),
    };
    let reported: Vec<usize> = handles
        .iter()
        .enumerate()
        .filter(|(_, handle)| handle.is_finished())
        .map(|(place, _)| place)
        .collect();
    let pid = manager.stats().workers.get(worker).and_then(|worker| worker.pid);
    let pid = pid.ok_or_else(|| Error::Wrong("the worker to be killed is not there".to_owned()))?;
    let killed_ns = clock::now_ns();
    kill(pid)?;
    let killed = Instant::now();
    // `swap_remove` has put the last one in the middle.
    let number_at = |place: usize| if place == tasks / 2 { tasks - 1 } else { place };
    let mut lost = 0;
    for (place, mut handle) in handles.into_iter().enumerate() {
        match handle.wait_timeout(LIMIT.saturating_sub(killed.elapsed())) {
            Some(Ok(number)) if number == number_at(place) => {}
            _ => lost += 1,
        }
    }
    let begun = fs::read_to_string(&log).map_err(Error::io("read the log of the tasks"))?;
    let reported: Vec<usize> = reported.into_iter().map(number_at).chain([tasks / 2]).collect();
    match begun
        .lines()
        .filter_map(parse_begun)
        .find(|(number, at)| *at > killed_ns && reported.contains(number))
    {
        Some((number, _)) => Err(Error::Wrong(format!("task {number} ran again after its result was there"))),
        None => Ok(lost),
    }
}

fn parse_begun(line: &str) -> Option<(usize, u64)> {
    let (number, at_ns) = line.split_once(' ')?;
    Some((number.parse().ok()?, at_ns.parse().ok()?))
}

fn kill(pid: u32) -> Result<(), Error> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| Error::Wrong("a worker without a process id".to_owned()))?;
    kill_process(pid, Signal::KILL).map_err(Error::io("kill a worker"))
}

#[cfg(test)]
mod tests {
    use super::parse_begun;

    #[test]
    fn a_line_of_the_log_is_a_number_and_a_time() {
        assert_eq!(parse_begun("17 1234567890123"), Some((17, 1_234_567_890_123)));
        assert_eq!(parse_begun("17"), None);
        assert_eq!(parse_begun("17 "), None);
    }
}
