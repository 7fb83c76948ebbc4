//! P2: from submitting one task to its result, nothing else running: the median of many, one after another.
//!
//! Bound to one processor, this is the cost of the code and of two switches between processes; over two
//! processors it is mostly the wake-up of a sleeping core, which nobody can help who does not spin.

use std::time::Instant;

use crate::benchmark::{Benchmark, Measurement};
use crate::command::Placement;
use crate::error::Error;
use crate::figure::{Unit, median_micros};
use crate::floors::socket;
use crate::ours;
use crate::python;
use crate::race::{Contender, Race};
use crate::versions;

pub(crate) const BENCHMARK: Benchmark =
    Benchmark { id: "P2", plan, measurements: &[OURS, PING_PONG, PROCSPAWN] };

const WORKERS: usize = 2;
const TASKS: u64 = 20_000;

const OURS: Measurement =
    Measurement { name: "P2/ours", unit: Unit::Micros, run: || ours::noop::latency(TASKS) };

const PING_PONG: Measurement =
    Measurement { name: "P2/ping-pong", unit: Unit::Micros, run: || socket::ping_pong(20_000) };

const PROCSPAWN: Measurement = Measurement { name: "P2/procspawn", unit: Unit::Micros, run: procspawn };

fn plan() -> Result<Vec<Race>, Error> {
    Ok(vec![
        race("P2", "latency of one task, all on one processor", Placement::OneCpu)?,
        race("P2 unpinned", "latency of one task, any processor", Placement::Anywhere)?,
    ])
}

fn race(id: &'static str, what: &'static str, placement: Placement) -> Result<Race, Error> {
    let ours = format!("{}, {WORKERS} workers, submit and wait, p50", versions::of_crate("workfleet"));
    let limit = "a frame of 64 bytes to another process and back over a Unix socket, p50";
    let procspawn = format!("{}, Pool::new({WORKERS}), spawn and join, p50", versions::of_crate("procspawn"));
    Ok(Race {
        id,
        what,
        unit: Unit::Micros,
        ours: Contender::own("workfleet", ours, &OURS, placement)?,
        limit: Some(Contender::own("limit", limit, &PING_PONG, placement)?),
        rivals: vec![
            Contender::own("procspawn", procspawn, &PROCSPAWN, placement)?,
            python::contender("undr", "undr_latency.py", None, Unit::Micros, placement)?,
        ],
    })
}

fn procspawn() -> Result<f64, Error> {
    const PROCSPAWN_TASKS: u64 = 5_000;
    const WARM_UP_TASKS: u64 = 500;
    let pool = procspawn::Pool::new(WORKERS).map_err(Error::contender)?;
    let mut samples = Vec::new();
    for number in 0..WARM_UP_TASKS + PROCSPAWN_TASKS {
        let started = Instant::now();
        let result = pool.spawn(number, |number: u64| number + 1).join().map_err(Error::contender)?;
        if number >= WARM_UP_TASKS {
            samples.push(started.elapsed());
        }
        if result != number + 1 {
            return Err(Error::Wrong(format!("task {number} returned {result}")));
        }
    }
    median_micros(&samples).ok_or_else(|| Error::Wrong("no task was measured".to_owned()))
}
