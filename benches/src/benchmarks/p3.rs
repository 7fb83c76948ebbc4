//! P3: busy tasks of 1 ms and of 100 µs over two workers: the share of the ideal time that goes to them.
//!
//! Target: at least 97 % with tasks of 1 ms, at least 88 % with tasks of 100 µs.
//!
//! A task spins until its time has passed, in Python too, so that all of them take the same. What its processor
//! spends on somebody else meanwhile is therefore not seen; what lies between two tasks is.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::benchmark::{Benchmark, Measurement};
use crate::command::Placement;
use crate::error::Error;
use crate::figure::Unit;
use crate::floors;
use crate::ours;
use crate::python;
use crate::race::{Contender, Race};
use crate::spin::{share_used, spin};
use crate::versions;

pub(crate) const BENCHMARK: Benchmark = Benchmark {
    id: "P3",
    plan,
    measurements: &[OURS_1MS, THREADS_1MS, PROCSPAWN_1MS, OURS_100US, THREADS_100US, PROCSPAWN_100US],
};

const WORKERS: usize = 2;

const MILLISECOND: Duration = Duration::from_millis(1);
const MILLISECOND_TASKS: u64 = 2_000;
const TENTH: Duration = Duration::from_micros(100);
const TENTH_TASKS: u64 = 20_000;

const OURS_1MS: Measurement = percent("P3/ours-1ms", || ours::busy::share(MILLISECOND, MILLISECOND_TASKS));
const THREADS_1MS: Measurement =
    percent("P3/threads-1ms", || floors::busy::share(MILLISECOND, MILLISECOND_TASKS, WORKERS));
const PROCSPAWN_1MS: Measurement = percent("P3/procspawn-1ms", || procspawn(MILLISECOND, MILLISECOND_TASKS));
const OURS_100US: Measurement = percent("P3/ours-100us", || ours::busy::share(TENTH, TENTH_TASKS));
const THREADS_100US: Measurement =
    percent("P3/threads-100us", || floors::busy::share(TENTH, TENTH_TASKS, WORKERS));
const PROCSPAWN_100US: Measurement = percent("P3/procspawn-100us", || procspawn(TENTH, TENTH_TASKS));

const fn percent(name: &'static str, run: fn() -> Result<f64, Error>) -> Measurement {
    Measurement { name, unit: Unit::Percent, run }
}

fn plan() -> Result<Vec<Race>, Error> {
    Ok(vec![
        race(
            "P3 1 ms",
            "ideal time used by busy tasks of 1 ms",
            "1000",
            [&OURS_1MS, &THREADS_1MS, &PROCSPAWN_1MS],
        )?,
        race(
            "P3 100 µs",
            "ideal time used by busy tasks of 100 µs",
            "100",
            [&OURS_100US, &THREADS_100US, &PROCSPAWN_100US],
        )?,
    ])
}

fn race(
    id: &'static str,
    what: &'static str,
    micros: &str,
    [ours, threads, procspawn]: [&'static Measurement; 3],
) -> Result<Race, Error> {
    let how =
        format!("{}, {WORKERS} workers, submit each, then wait for each", versions::of_crate("workfleet"));
    let procspawn_how =
        format!("{}, Pool::new({WORKERS}), {OUTSTANDING} outstanding", versions::of_crate("procspawn"));
    let python =
        |name, script| python::contender(name, script, Some(micros), Unit::Percent, Placement::Anywhere);
    Ok(Race {
        id,
        what,
        unit: Unit::Percent,
        ours: Contender::own("workfleet", how, ours, Placement::Anywhere)?,
        limit: Some(Contender::own("limit", "2 threads that do nothing else", threads, Placement::Anywhere)?),
        rivals: vec![
            Contender::own("procspawn", procspawn_how, procspawn, Placement::Anywhere)?,
            python("Pool", "mp_pool_busy.py")?,
            python("ProcessPoolExecutor", "executor_busy.py")?,
        ],
    })
}

/// procspawn holds several descriptors for each task that is under way, so not all can be at once.
const OUTSTANDING: usize = 200;

fn procspawn(time: Duration, tasks: u64) -> Result<f64, Error> {
    const WARM_UP_TASKS: u64 = 200;
    let pool = procspawn::Pool::new(WORKERS).map_err(Error::contender)?;
    procspawn_tasks(&pool, time, WARM_UP_TASKS)?;
    let started = Instant::now();
    procspawn_tasks(&pool, time, tasks)?;
    Ok(share_used(time, tasks, WORKERS, started.elapsed()))
}

fn procspawn_tasks(pool: &procspawn::Pool, time: Duration, tasks: u64) -> Result<(), Error> {
    let mut outstanding: VecDeque<procspawn::JoinHandle<u64>> = VecDeque::with_capacity(OUTSTANDING);
    let mut joined = 0;
    for number in 0..tasks + OUTSTANDING as u64 {
        if outstanding.len() == OUTSTANDING || number >= tasks {
            let Some(handle) = outstanding.pop_front() else { break };
            let result = handle.join().map_err(Error::contender)?;
            if result != joined {
                return Err(Error::Wrong(format!("task {joined} returned {result}")));
            }
            joined += 1;
        }
        if number < tasks {
            let task = pool.spawn((number, time), |(number, time): (u64, Duration)| {
                spin(time);
                number
            });
            outstanding.push_back(task);
        }
    }
    Ok(())
}
