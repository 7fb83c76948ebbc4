//! The pool in its ordinary life: outputs, books, ids, many callers at once.

use std::{sync::Barrier, thread};

use serde::{Deserialize, Serialize};
use workfleet_task_manager::{
    ClosePolicy, FailureCause, NoMessage, Priority, Registry, Task, TaskContext, TaskError, TaskSpec,
};

use crate::{Manager, builder, support::alone};

/// Squares a number, or says that it is too large.
#[derive(Debug, Serialize, Deserialize)]
struct Square(u64);
impl TaskSpec for Square {
    const NAME: &'static str = "square";
    type Output = u64;
}
impl Task for Square {
    fn run(self, _cx: &TaskContext) -> Result<u64, TaskError> {
        Ok(self.0.checked_mul(self.0).ok_or("the square does not fit 64 bits")?)
    }
}

/// Tells where it runs: the worker's name, the attempt, and the number that its worker's session holds.
#[derive(Debug, Serialize, Deserialize)]
struct WhereAmI;
impl TaskSpec for WhereAmI {
    const NAME: &'static str = "where-am-i";
    type Output = (String, u32, u64);
}
impl Task for WhereAmI {
    fn run(self, cx: &TaskContext) -> Result<Self::Output, TaskError> {
        assert!(cx.session::<String>().is_err(), "no session of this type is registered");
        Ok((cx.worker().to_owned(), cx.attempt(), cx.session::<Session>()?.0))
    }
}

struct Session(u64);

/// Returns as many bytes as it is asked for.
#[derive(Debug, Serialize, Deserialize)]
struct Bytes(usize);
impl TaskSpec for Bytes {
    const NAME: &'static str = "bytes";
    type Output = Vec<u8>;
}
impl Task for Bytes {
    fn run(self, _cx: &TaskContext) -> Result<Vec<u8>, TaskError> {
        Ok((0..self.0).map(|n| n as u8).collect())
    }
}

pub(super) fn register(registry: Registry) -> Registry {
    registry.task::<Square>().task::<WhereAmI>().task::<Bytes>().session(|| Ok(Session(42)))
}

fn start(workers: usize) -> Manager {
    builder(workers).start().expect("it starts")
}

#[test]
fn outputs_come_through_their_handles() {
    let _alone = alone();
    let manager = start(2);
    let handles: Vec<_> = (0..1000).map(|n| manager.submit(Square(n)).expect("it is taken")).collect();
    for (n, handle) in (0..).zip(handles) {
        assert_eq!(handle.wait().expect("it is done"), n * n);
    }
    let report = manager.close(ClosePolicy::Join).expect("it closes");
    assert_eq!((report.tasks.scheduled, report.tasks.done, report.tasks.pending), (1000, 1000, 0));
}

#[test]
fn a_failure_names_its_task_and_comes_where_its_output_would_have() {
    let _alone = alone();
    let manager = start(1);
    let failure = manager.submit(Square(u64::MAX)).expect("it is taken").wait().expect_err("it fails");
    assert_eq!((failure.name.as_str(), failure.attempt), ("square", 1));
    assert_eq!(failure.debug, format!("Square({})", u64::MAX));
    assert_eq!(failure.worker.as_deref(), Some("worker-0"));
    assert!(
        matches!(&failure.cause, FailureCause::Error { chain, .. } if chain == &["the square does not fit 64 bits"])
    );
    assert!(failure.to_string().contains("the square does not fit 64 bits"), "{failure}");
    assert_eq!(manager.messages::<NoMessage>().count(), 0, "it comes through the handle only");
    assert_eq!(manager.stats().tasks.failed, 1);
}

#[test]
fn a_worker_lends_its_session_to_every_task() {
    let _alone = alone();
    let manager = start(2);
    for _ in 0..10 {
        let (worker, attempt, session) =
            manager.submit(WhereAmI).expect("it is taken").wait().expect("it is done");
        assert!(worker == "worker-0" || worker == "worker-1", "{worker}");
        assert_eq!((attempt, session), (1, 42));
    }
}

#[test]
fn an_output_larger_than_every_buffer_arrives_whole() {
    let _alone = alone();
    let manager = start(2);
    let lengths = [0, 1, 100_000, 3 << 20, 20 << 20];
    let handles: Vec<_> =
        lengths.iter().map(|&len| manager.submit(Bytes(len)).expect("it is taken")).collect();
    for (len, handle) in lengths.into_iter().zip(handles) {
        let bytes = handle.wait().expect("it is done");
        assert!(bytes.len() == len && bytes.iter().enumerate().all(|(n, &byte)| byte == n as u8));
    }
}

/// Whoever pushes a task either finds that some event will come that dispatches it, or dispatches it: were there a gap
/// between the two, one of these callers would wait forever.
#[test]
fn no_task_is_stranded_however_many_threads_schedule() {
    let _alone = alone();
    const CALLERS: u64 = 6;
    const ROUNDS: u64 = 1500;
    let manager = start(2);
    let together = Barrier::new(CALLERS as usize);
    thread::scope(|scope| {
        for caller in 0..CALLERS {
            let (manager, together) = (&manager, &together);
            scope.spawn(move || {
                together.wait();
                for round in 0..ROUNDS {
                    let priority = Priority((caller % 2) as u8);
                    let handle = manager.submit_with(Square(round), priority).expect("it is taken");
                    if caller == 0 && round % 7 == 0 {
                        handle.cancel();
                        // Cancelled or done: it ends.
                        let _ = handle.wait();
                    } else {
                        assert_eq!(handle.wait().expect("it is done"), round * round);
                    }
                }
            });
        }
    });
    let tasks = manager.stats().tasks;
    assert_eq!((tasks.scheduled, tasks.pending, tasks.failed), (CALLERS * ROUNDS, 0, 0));
    assert_eq!(tasks.done + tasks.cancelled, tasks.scheduled);
}

#[test]
fn ids_are_unique_across_managers_and_sort_by_arrival() {
    let _alone = alone();
    let managers = [start(1), start(1)];
    let ids: Vec<Vec<_>> = managers
        .iter()
        .map(|manager| (0..50).map(|n| manager.submit(Square(n)).expect("it is taken").id()).collect())
        .collect();
    assert!(ids.iter().all(|ids| ids.is_sorted_by(|a, b| a < b)));
    assert!(ids[0].iter().all(|id| !ids[1].contains(id)));
}

#[test]
fn the_roster_shows_every_worker() {
    let _alone = alone();
    let manager = start(3);
    for _ in 0..100 {
        manager.schedule_with(Square(1), Priority(0)).expect("it is taken");
    }
    assert_eq!(manager.messages::<NoMessage>().count(), 0);
    let stats = manager.stats();
    assert_eq!((stats.tasks.done, stats.queued, stats.inbox), (100, 0, 0));
    let names: Vec<_> = stats.workers.iter().map(|worker| worker.name.as_str()).collect();
    assert_eq!(names, ["worker-0", "worker-1", "worker-2"]);
    assert!(stats.workers.iter().all(|worker| worker.in_flight == 0));
}
