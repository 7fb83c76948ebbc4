//! H3: an event that processes share: what looking at it costs, and how soon its setting wakes another process.
//!
//! Target: at most 5 ns for a look, at most 1.5 times the hop of a byte for a wake-up.
//!
//! Wake-ups end where the wait returns, by the clock that both processes share. Before each, everybody has fallen
//! asleep.

use crate::benchmark::{Benchmark, Measurement};
use crate::command::Placement;
use crate::error::Error;
use crate::figure::Unit;
use crate::floors::{hop, local};
use crate::ours::events;
use crate::python;
use crate::race::{Contender, Race};
use crate::versions;

pub(crate) const BENCHMARK: Benchmark =
    Benchmark { id: "H3", plan, measurements: &[IS_SET, LOAD, WAKE, WAKE_BACK, HOP] };

const LOOKS: u64 = 100_000_000;
const WAKES: usize = 500;

const IS_SET: Measurement =
    Measurement { name: "H3/is-set", unit: Unit::Nanos, run: || events::is_set(LOOKS) };
const LOAD: Measurement = Measurement { name: "H3/load", unit: Unit::Nanos, run: || local::load(LOOKS) };
const WAKE: Measurement = Measurement { name: "H3/wake", unit: Unit::Micros, run: || events::wake(WAKES) };
const WAKE_BACK: Measurement =
    Measurement { name: "H3/wake-back", unit: Unit::Micros, run: || events::wake_back(WAKES) };
const HOP: Measurement = Measurement { name: "H3/hop", unit: Unit::Micros, run: || hop::one_way(WAKES) };

fn plan() -> Result<Vec<Race>, Error> {
    let workfleet = versions::of_crate("workfleet");
    Ok(vec![
        Race {
            id: "H3",
            what: "whether an event of another process is set, asked in a worker",
            unit: Unit::Nanos,
            ours: own("workfleet", &format!("{workfleet}, Event::is_set, mean"), &IS_SET)?,
            limit: Some(own("limit", "the load of an atomic, mean", &LOAD)?),
            rivals: vec![rival("is-set", Unit::Nanos)?],
        },
        wake("H3 wake", "an event set here until the wait in a worker process returns", &WAKE)?,
        wake("H3 wake back", "an event set in a worker process until the wait here returns", &WAKE_BACK)?,
    ])
}

fn wake(id: &'static str, what: &'static str, ours: &'static Measurement) -> Result<Race, Error> {
    let how = format!("{}, set and blocking_wait, p50", versions::of_crate("workfleet"));
    Ok(Race {
        id,
        what,
        unit: Unit::Micros,
        ours: own("workfleet", &how, ours)?,
        limit: Some(own("limit", "a byte over a Unix socket to a process that waits for it, p50", &HOP)?),
        rivals: vec![rival(if id == "H3 wake" { "wake" } else { "wake-back" }, Unit::Micros)?],
    })
}

fn own(name: &str, how: &str, measurement: &'static Measurement) -> Result<Contender, Error> {
    Contender::own(name, how, measurement, Placement::Anywhere)
}

fn rival(what: &str, unit: Unit) -> Result<Contender, Error> {
    python::contender("temporalio", "temporal_event.py", Some(what), unit, Placement::Anywhere)
}
