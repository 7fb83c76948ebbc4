//! Tasks whose worker is killed in the middle: what they said and scheduled stays and is not doubled, what they flushed
//! has arrived, and who was cancelled is not tried again.

mod support;

use std::{
    fs::{read_to_string, write},
    path::PathBuf,
    sync::Mutex,
    thread,
};

use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use support::{
    alone, assert_balanced, builder,
    process::signal,
    tasks::{self, Mark, Text, next_text},
};
use workfleet_task_manager::{
    ClosePolicy, FailureCause, ManagerExt, Priority, ProcessManager, Registry, Task, TaskContext, TaskError,
    TaskMessage, TaskSpec,
};

const NORMAL: Priority = Priority(1);

/// A message that counts.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Count(u32);

impl TaskMessage for Count {
    const NAME: &'static str = "count";
}

/// Says its attempt, schedules three marks, flushes, and on its first attempts kills its worker.
#[derive(Debug, Serialize, Deserialize)]
struct DieAfterFlush {
    deaths: u32,
    file: PathBuf,
}

impl TaskSpec for DieAfterFlush {
    const NAME: &'static str = "die-after-flush";
    type Output = u32;
}

impl Task for DieAfterFlush {
    fn run(self, cx: &TaskContext) -> Result<u32, TaskError> {
        cx.send_message(&Count(cx.attempt()))?;
        for n in 0..3 {
            cx.schedule_with(Mark { file: self.file.clone(), line: n.to_string() }, NORMAL)?;
        }
        if cx.attempt() <= self.deaths {
            cx.flush()?;
            signal(std::process::id(), Signal::KILL);
        }
        Ok(cx.attempt())
    }
}

/// Several threads send and flush; the first whose flush returns kills the worker, having written down what it was.
#[derive(Debug, Serialize, Deserialize)]
struct FlushRace {
    file: PathBuf,
}

impl TaskSpec for FlushRace {
    const NAME: &'static str = "flush-race";
    type Output = ();
}

impl Task for FlushRace {
    fn run(self, cx: &TaskContext) -> Result<(), TaskError> {
        if cx.attempt() > 1 {
            return Ok(());
        }
        let returned = Mutex::new(());
        let begin = std::sync::Barrier::new(4);
        thread::scope(|scope| {
            for n in 0..4 {
                let (proxy, file, returned, begin) = (cx.proxy(), &self.file, &returned, &begin);
                scope.spawn(move || -> Result<(), TaskError> {
                    begin.wait();
                    proxy.send_message(&Count(n))?;
                    proxy.flush()?;
                    let _first = returned.lock().map_err(|error| error.to_string())?;
                    write(file, n.to_string())?;
                    signal(std::process::id(), Signal::KILL);
                    Ok(())
                });
            }
        });
        Ok(())
    }
}

/// Waits to be cancelled, then kills its worker.
#[derive(Debug, Serialize, Deserialize)]
struct DieWhenCancelled;

impl TaskSpec for DieWhenCancelled {
    const NAME: &'static str = "die-when-cancelled";
    type Output = ();
}

impl Task for DieWhenCancelled {
    fn run(self, cx: &TaskContext) -> Result<(), TaskError> {
        cx.send_message(&Text("begun".into()))?;
        tasks::wait_for_cancellation(cx)?;
        signal(std::process::id(), Signal::KILL);
        Ok(())
    }
}

fn registry() -> Registry {
    tasks::registry().task::<DieAfterFlush>().task::<FlushRace>().task::<DieWhenCancelled>()
}
workfleet_task_manager::test_worker!(registry());

fn start(workers: usize) -> ProcessManager {
    builder(registry(), workers).start().expect("it starts")
}

fn join(manager: &ProcessManager) {
    assert_balanced(&manager.close(ClosePolicy::Join).expect("it closes"));
}

/// All the counts that are in the inbox until every task has ended.
fn counts(manager: &ProcessManager) -> Vec<u32> {
    manager.messages::<Count>().map(|message| message.expect("it is a message").content.0).collect()
}

#[test]
fn what_a_dead_attempt_said_and_scheduled_stays_and_is_not_doubled_by_the_next() {
    let _alone = alone();
    let directory = tempfile::tempdir().expect("a directory");
    let manager = start(2);
    for deaths in 1..=2 {
        let file = directory.path().join(deaths.to_string());
        let task = manager.submit(DieAfterFlush { deaths, file: file.clone() }).expect("it is taken");
        assert_eq!(counts(&manager), (1..=deaths + 1).collect::<Vec<_>>());
        assert_eq!(task.wait().expect("it is done in the end"), deaths + 1);
        let mut marks: Vec<_> = read_to_string(&file).expect("marks").lines().map(str::to_owned).collect();
        marks.sort_unstable();
        assert_eq!(marks, ["0", "1", "2"]);
    }
    // Three deaths are the limit: the children stay all the same.
    let file = directory.path().join("3");
    let task = manager.submit(DieAfterFlush { deaths: 3, file: file.clone() }).expect("it is taken");
    assert_eq!(counts(&manager), [1, 2, 3]);
    let failure = task.wait().expect_err("it is given up");
    assert_eq!((&failure.cause, failure.attempt, failure.deaths.len()), (&FailureCause::WorkerDied, 3, 3));
    assert_eq!(read_to_string(&file).expect("marks").lines().count(), 3);
    join(&manager);
}

#[test]
fn what_was_flushed_survives_a_sigkill() {
    let _alone = alone();
    let directory = tempfile::tempdir().expect("a directory");
    let manager = start(2);
    for round in 0..60 {
        let file = directory.path().join(round.to_string());
        let task = manager.submit(DieAfterFlush { deaths: 1, file: file.clone() }).expect("it is taken");
        assert_eq!(counts(&manager), [1, 2]);
        task.wait().expect("it is done in the end");
        assert_eq!(read_to_string(&file).expect("marks").lines().count(), 3);
    }
    join(&manager);
}

#[test]
fn a_flush_waits_for_the_messages_of_its_own_thread_while_others_flush() {
    let _alone = alone();
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("returned");
    let manager = start(1);
    for _ in 0..60 {
        let task = manager.submit(FlushRace { file: file.clone() }).expect("it is taken");
        let arrived = counts(&manager);
        task.wait().expect("its second attempt does nothing");
        let returned: u32 = read_to_string(&file).expect("a flush returned").parse().expect("a number");
        assert!(arrived.contains(&returned), "{returned} was flushed, but only {arrived:?} arrived");
    }
    join(&manager);
}

#[test]
fn a_cancelled_task_that_dies_is_not_tried_again() {
    let _alone = alone();
    let manager = start(1);
    let dies = manager.submit(DieWhenCancelled).expect("it is taken");
    assert_eq!(next_text(&manager), "begun");
    dies.cancel();
    let failure = dies.wait().expect_err("it dies");
    assert_eq!((&failure.cause, failure.deaths.len()), (&FailureCause::Cancelled, 1));
    join(&manager);
}
