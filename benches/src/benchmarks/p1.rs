//! P1: no-op tasks per second over two worker processes, none chunked by the caller unless the row says so.

use std::collections::VecDeque;
use std::time::Instant;

use crate::benchmark::{Benchmark, Measurement};
use crate::command::Placement;
use crate::error::Error;
use crate::figure::Unit;
use crate::floors::socket;
use crate::ours;
use crate::python;
use crate::race::{Contender, Race};
use crate::versions;

pub(crate) const BENCHMARK: Benchmark =
    Benchmark { id: "P1", plan, measurements: &[SUBMIT, SCHEDULE, PIPELINED, PROCSPAWN] };

const TASKS_PER_SECOND: Unit = Unit::Rate("tasks/s");
const WORKERS: usize = 2;
const TASKS: u64 = 1_000_000;

const SUBMIT: Measurement =
    Measurement { name: "P1/submit", unit: TASKS_PER_SECOND, run: || ours::noop::noop_throughput(TASKS) };

const SCHEDULE: Measurement = Measurement {
    name: "P1/schedule",
    unit: TASKS_PER_SECOND,
    run: || ours::noop::schedule_throughput(TASKS),
};

const PIPELINED: Measurement = Measurement { name: "P1/pipelined", unit: TASKS_PER_SECOND, run: pipelined };

const PROCSPAWN: Measurement = Measurement { name: "P1/procspawn", unit: TASKS_PER_SECOND, run: procspawn };

fn plan() -> Result<Vec<Race>, Error> {
    Ok(vec![
        Race {
            id: "P1",
            what: "no-op tasks through submit, typed results, 2 workers",
            unit: TASKS_PER_SECOND,
            ours: ours(&SUBMIT, "submit each, then wait for each")?,
            limit: Some(limit()?),
            rivals: vec![
                Contender::own(
                    "procspawn",
                    format!("{}, Pool::new(2), {OUTSTANDING} outstanding", versions::of_crate("procspawn")),
                    &PROCSPAWN,
                    Placement::Anywhere,
                )?,
                python("Pool", "mp_pool_noop.py", Some("1"))?,
                python("Pool, chunks of 100", "mp_pool_noop.py", Some("100"))?,
                python("ProcessPoolExecutor", "executor_noop.py", None)?,
                undr()?,
            ],
        },
        Race {
            id: "P1 schedule",
            what: "no-op tasks through schedule, inbox drained, 2 workers",
            unit: TASKS_PER_SECOND,
            ours: ours(&SCHEDULE, "schedule each, then read messages() to its end")?,
            limit: Some(limit()?),
            rivals: vec![undr()?],
        },
    ])
}

fn ours(measurement: &'static Measurement, how: &str) -> Result<Contender, Error> {
    let how = format!("{}, {WORKERS} workers, {TASKS} tasks, {how}", versions::of_crate("workfleet"));
    Contender::own("workfleet", how, measurement, Placement::Anywhere)
}

fn limit() -> Result<Contender, Error> {
    let how = "frames of 64 bytes echoed by 2 processes over Unix sockets, the best of several windows";
    Contender::own("limit", how, &PIPELINED, Placement::Anywhere)
}

fn undr() -> Result<Contender, Error> {
    python("undr", "undr_noop.py", None)
}

fn python(name: &str, script: &str, arg: Option<&str>) -> Result<Contender, Error> {
    python::contender(name, script, arg, TASKS_PER_SECOND, Placement::Anywhere)
}

/// One frame there and back counts as one task. Which window is best depends on the machine.
fn pipelined() -> Result<f64, Error> {
    const FRAMES: usize = 8_000_000;
    let mut best: f64 = 0.0;
    for window in [128, 256, 512] {
        best = best.max(socket::pipelined(FRAMES, window, WORKERS)?);
    }
    Ok(best)
}

/// procspawn holds several descriptors for each task that is under way, so not all can be at once.
const OUTSTANDING: usize = 200;

fn procspawn() -> Result<f64, Error> {
    const PROCSPAWN_TASKS: u64 = 20_000;
    let pool = procspawn::Pool::new(WORKERS).map_err(Error::contender)?;
    procspawn_tasks(&pool, 1_000)?;
    let started = Instant::now();
    procspawn_tasks(&pool, PROCSPAWN_TASKS)?;
    Ok(PROCSPAWN_TASKS as f64 / started.elapsed().as_secs_f64())
}

fn procspawn_tasks(pool: &procspawn::Pool, tasks: u64) -> Result<(), Error> {
    let mut outstanding = VecDeque::with_capacity(OUTSTANDING);
    let join_oldest = |outstanding: &mut VecDeque<(u64, procspawn::JoinHandle<u64>)>| {
        let Some((number, handle)) = outstanding.pop_front() else { return Ok(false) };
        match handle.join().map_err(Error::contender)? {
            result if result == number + 1 => Ok(true),
            result => Err(Error::Wrong(format!("task {number} returned {result}"))),
        }
    };
    for number in 0..tasks {
        if outstanding.len() == OUTSTANDING {
            join_oldest(&mut outstanding)?;
        }
        outstanding.push_back((number, pool.spawn(number, |number: u64| number + 1)));
    }
    while join_oldest(&mut outstanding)? {}
    Ok(())
}
