//! W1: 1,000 workers are started and stopped: as one group, and each by itself.

use crate::benchmark::{Benchmark, Measurement};
use crate::command::Placement;
use crate::error::Error;
use crate::figure::Unit;
use crate::floors::tokio;
use crate::python;
use crate::race::{Contender, Race};
use crate::{versions, workers};

pub(crate) const BENCHMARK: Benchmark = Benchmark { id: "W1", plan, measurements: &[GROUP, EACH, TASKS] };

const WORKERS: usize = 1_000;

const GROUP: Measurement =
    Measurement { name: "W1/group", unit: Unit::Micros, run: || workers::start_and_stop_group(WORKERS) };

const EACH: Measurement =
    Measurement { name: "W1/each", unit: Unit::Micros, run: || workers::start_and_stop_each(WORKERS) };

const TASKS: Measurement =
    Measurement { name: "W1/tokio", unit: Unit::Micros, run: || tokio::spawn_and_join(WORKERS) };

fn plan() -> Result<Vec<Race>, Error> {
    Ok(vec![
        race("W1", "start and stop of 1,000 workers, each by itself", &EACH, "each")?,
        race("W1 group", "start and stop of 1,000 workers in one group", &GROUP, "group")?,
    ])
}

fn race(
    id: &'static str,
    what: &'static str,
    ours: &'static Measurement,
    rival: &'static str,
) -> Result<Race, Error> {
    let how = format!("{}, idle QueueConsumerWorkers, the median of 50", versions::of_crate("workfleet"));
    let limit = format!(
        "{}, tasks that wait for a token and a channel each, spawned, cancelled and joined",
        versions::of_crate("tokio")
    );
    Ok(Race {
        id,
        what,
        unit: Unit::Micros,
        ours: Contender::own("workfleet", how, ours, Placement::Anywhere)?,
        limit: Some(Contender::own("limit", limit, &TASKS, Placement::Anywhere)?),
        rivals: vec![python::contender(
            "aio-fluid",
            "fluid_startstop.py",
            Some(rival),
            Unit::Micros,
            Placement::Anywhere,
        )?],
    })
}
