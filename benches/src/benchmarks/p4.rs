//! P4: a worker is killed with SIGKILL: how soon its task runs elsewhere, and how many tasks are lost.
//!
//! Target: at most 5 ms for 99 of 100, no task lost, none run again whose result had been reported.
//!
//! The time ends at the first line of the task's next attempt, by the clock that both processes share.

use std::time::{Duration, Instant};

use crate::benchmark::{Benchmark, Measurement, micros};
use crate::command::Placement;
use crate::error::Error;
use crate::figure::Unit;
use crate::floors::death::{self, Successor};
use crate::ours;
use crate::python;
use crate::race::{Contender, Race};
use crate::spin::spin;
use crate::versions;

pub(crate) const BENCHMARK: Benchmark = Benchmark {
    id: "P4",
    plan,
    measurements: &[OTHER_P50, OTHER_P99, NEW_P99, END_P50, END_P99, END_NEW_P99, LOST, PROCSPAWN],
};

const WORKERS: usize = 2;
const KILLS: usize = 200;
const P50: f64 = 0.5;
const P99: f64 = 0.99;

const OTHER_P50: Measurement = micros("P4/other-p50", || ours::killed::recovery(WORKERS, KILLS, P50));
const OTHER_P99: Measurement = micros("P4/other-p99", || ours::killed::recovery(WORKERS, KILLS, P99));
const NEW_P99: Measurement = micros("P4/new-p99", || ours::killed::recovery(1, KILLS, P99));
const END_P50: Measurement = micros("P4/end-p50", || death::recovery(Successor::Waiting, KILLS, P50));
const END_P99: Measurement = micros("P4/end-p99", || death::recovery(Successor::Waiting, KILLS, P99));
const END_NEW_P99: Measurement = micros("P4/end-new-p99", || death::recovery(Successor::Started, KILLS, P99));

const LOST_TASKS: Unit = Unit::Cost("tasks");
const TASKS: usize = 101;
const TASK: Duration = Duration::from_millis(1);
/// In each round.
const LOST_KILLS: usize = 40;

const LOST: Measurement =
    Measurement { name: "P4/lost", unit: LOST_TASKS, run: || ours::killed::lost(TASKS, TASK, LOST_KILLS) };
const PROCSPAWN: Measurement = Measurement { name: "P4/procspawn", unit: LOST_TASKS, run: procspawn };

fn plan() -> Result<Vec<Race>, Error> {
    Ok(vec![
        recovery("P4 p50", "SIGKILL to the task's start on another worker", &OTHER_P50, &END_P50, true)?,
        recovery("P4 p99", "SIGKILL to the task's start on another worker", &OTHER_P99, &END_P99, true)?,
        recovery("P4 new p99", "SIGKILL to the task's start on a new worker", &NEW_P99, &END_NEW_P99, false)?,
        lost()?,
    ])
}

fn recovery(
    id: &'static str,
    what: &'static str,
    ours: &'static Measurement,
    limit: &'static Measurement,
    with_other_worker: bool,
) -> Result<Race, Error> {
    let workers = if with_other_worker { WORKERS } else { 1 };
    let how = format!("{}, {KILLS} kills, {workers} workers", versions::of_crate("workfleet"));
    let limit_how = if with_other_worker {
        "the end of the killed process's socket, then a frame to another process and back"
    } else {
        "the end of the killed process's socket, a new process, then a frame there and back"
    };
    let python =
        |name, which| python::contender(name, "recovery.py", Some(which), Unit::Micros, Placement::Anywhere);
    Ok(Race {
        id,
        what,
        unit: Unit::Micros,
        ours: Contender::own("workfleet", how, ours, Placement::Anywhere)?,
        limit: Some(Contender::own("limit", limit_how, limit, Placement::Anywhere)?),
        rivals: if with_other_worker {
            vec![python("loky", "loky")?, python("ProcessPoolExecutor", "executor")?, python("Pool", "pool")?]
        } else {
            Vec::new()
        },
    })
}

fn lost() -> Result<Race, Error> {
    let how = format!(
        "{}, the worst of {LOST_KILLS} kills a round; it fails if a reported task runs again",
        versions::of_crate("workfleet")
    );
    let python =
        |name, which| python::contender(name, "killed.py", Some(which), LOST_TASKS, Placement::Anywhere);
    Ok(Race {
        id: "P4 lost",
        what: "of 101 tasks, without a result after a kill in the middle",
        unit: LOST_TASKS,
        ours: Contender::own("workfleet", how, &LOST, Placement::Anywhere)?,
        limit: None,
        rivals: vec![
            Contender::own("procspawn", versions::of_crate("procspawn"), &PROCSPAWN, Placement::Anywhere)?,
            python("loky", "loky")?,
            python("ProcessPoolExecutor", "executor")?,
            python("Pool", "pool")?,
        ],
    })
}

/// Its pool does not tell who its workers are: the task in the middle kills its own.
fn procspawn() -> Result<f64, Error> {
    /// Far beyond what all of them take together: who has not answered by then never will.
    const LIMIT: Duration = Duration::from_secs(3);
    let pool = procspawn::Pool::new(WORKERS).map_err(Error::contender)?;
    let handles: Vec<procspawn::JoinHandle<usize>> = (0..TASKS)
        .map(|number| {
            pool.spawn(number, |number: usize| {
                if number == TASKS / 2 {
                    // It cannot fail for one's own process, and then the result would show it.
                    let _ = rustix::process::kill_process(
                        rustix::process::getpid(),
                        rustix::process::Signal::KILL,
                    );
                }
                spin(TASK);
                number
            })
        })
        .collect();
    let started = Instant::now();
    let results =
        handles.into_iter().map(|mut handle| handle.join_timeout(LIMIT.saturating_sub(started.elapsed())));
    Ok(results.zip(0..).filter(|(result, number)| !matches!(result, Ok(got) if got == number)).count() as f64)
}
