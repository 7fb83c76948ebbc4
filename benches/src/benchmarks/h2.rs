//! H2: unregistering a token whose sender is in a worker process: every beat sent before has reached its callback.
//!
//! Target: at most 1 ms.

use crate::benchmark::{Benchmark, Measurement, micros};
use crate::command::Placement;
use crate::error::Error;
use crate::figure::Unit;
use crate::floors::hop;
use crate::ours::heartbeats;
use crate::python;
use crate::race::{Contender, Race};
use crate::versions;

pub(crate) const BENCHMARK: Benchmark =
    Benchmark { id: "H2", plan, measurements: &[IDLE, FLOODED, ROUND_TRIP, ROUND_TRIP_AMONG_BUSY] };

const SAMPLES: usize = 500;
/// Processes that flood, and threads that never sleep.
const BUSY: usize = 2;

const IDLE: Measurement = micros("H2/beaten", || heartbeats::unregister(SAMPLES));
const FLOODED: Measurement = micros("H2/flooded", || heartbeats::unregister_flooded(SAMPLES, BUSY));
const ROUND_TRIP: Measurement = micros("H2/round-trip", || hop::round_trip(SAMPLES));
const ROUND_TRIP_AMONG_BUSY: Measurement =
    micros("H2/round-trip-among-busy", || hop::round_trip_among_busy(SAMPLES, BUSY));

fn plan() -> Result<Vec<Race>, Error> {
    Ok(vec![
        race(
            "H2",
            "unregister a token whose worker process has just beaten, and idles",
            &IDLE,
            "a frame of 64 bytes to another process and back, nothing else under way, p50",
            &ROUND_TRIP,
            "unregister",
        )?,
        race(
            "H2 flooded",
            "unregister one token of many that 2 worker processes flood",
            &FLOODED,
            "a frame of 64 bytes to another process and back, while 2 threads never sleep, p50",
            &ROUND_TRIP_AMONG_BUSY,
            "unregister-flooded",
        )?,
    ])
}

fn race(
    id: &'static str,
    what: &'static str,
    ours: &'static Measurement,
    limit_how: &str,
    limit: &'static Measurement,
    rival: &str,
) -> Result<Race, Error> {
    let how = format!("{}, blocking_unregister, p50", versions::of_crate("workfleet"));
    Ok(Race {
        id,
        what,
        unit: Unit::Micros,
        ours: Contender::own("workfleet", how, ours, Placement::Anywhere)?,
        limit: Some(Contender::own("limit", limit_how, limit, Placement::Anywhere)?),
        rivals: vec![python::contender(
            "temporalio",
            "temporal_heartbeats.py",
            Some(rival),
            Unit::Micros,
            Placement::Anywhere,
        )?],
    })
}
