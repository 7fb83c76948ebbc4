//! W3: from asking an idle worker to stop to its outcome; and what idle workers cost in processor time.

use crate::benchmark::{Benchmark, Measurement};
use crate::command::Placement;
use crate::error::Error;
use crate::figure::Unit;
use crate::floors::tokio;
use crate::python;
use crate::race::{Contender, Race};
use crate::{versions, workers};

pub(crate) const BENCHMARK: Benchmark =
    Benchmark { id: "W3", plan, measurements: &[STOP, CANCEL, IDLE, IDLE_TASKS] };

const SAMPLES: usize = 500;
const WORKERS: usize = 1_000;

const STOP: Measurement =
    Measurement { name: "W3/stop", unit: Unit::Micros, run: || workers::stop_latency(SAMPLES) };

const CANCEL: Measurement =
    Measurement { name: "W3/tokio", unit: Unit::Micros, run: || tokio::cancel_latency(SAMPLES) };

const IDLE: Measurement =
    Measurement { name: "W3/idle", unit: Unit::Micros, run: || workers::idle_cpu(WORKERS) };

const IDLE_TASKS: Measurement =
    Measurement { name: "W3/idle-tokio", unit: Unit::Micros, run: || tokio::idle_cpu(WORKERS) };

fn plan() -> Result<Vec<Race>, Error> {
    let ours = versions::of_crate("workfleet");
    let bare = versions::of_crate("tokio");
    let fluid =
        |what| python::contender("aio-fluid", "fluid_idle.py", Some(what), Unit::Micros, Placement::Anywhere);
    Ok(vec![
        Race {
            id: "W3",
            what: "an idle worker's stop, from the request to its outcome",
            unit: Unit::Micros,
            ours: Contender::own(
                "workfleet",
                format!("{ours}, shutdown of a worker that waits, p50"),
                &STOP,
                Placement::Anywhere,
            )?,
            limit: Some(Contender::own(
                "limit",
                format!("{bare}, a task that waits is cancelled and joined, p50"),
                &CANCEL,
                Placement::Anywhere,
            )?),
            rivals: vec![fluid("stop")?],
        },
        Race {
            id: "W3 idle",
            what: "processor time of 1,000 idle consumers in a second",
            unit: Unit::Micros,
            ours: Contender::own(
                "workfleet",
                format!("{ours}, QueueConsumerWorkers"),
                &IDLE,
                Placement::Anywhere,
            )?,
            limit: Some(Contender::own(
                "limit",
                format!("{bare}, tasks that wait; the timer that ends the second is in it"),
                &IDLE_TASKS,
                Placement::Anywhere,
            )?),
            rivals: vec![fluid("cpu")?],
        },
    ])
}
