//! W4: the memory of an idle worker.

use crate::benchmark::{Benchmark, Measurement};
use crate::command::Placement;
use crate::error::Error;
use crate::figure::Unit;
use crate::floors::tokio;
use crate::python;
use crate::race::{Contender, Race};
use crate::{versions, workers};

pub(crate) const BENCHMARK: Benchmark = Benchmark { id: "W4", plan, measurements: &[WORKER, TASK] };

const WORKERS: usize = 20_000;

const WORKER: Measurement =
    Measurement { name: "W4/worker", unit: Unit::Cost("B"), run: || workers::memory(WORKERS) };

const TASK: Measurement =
    Measurement { name: "W4/tokio", unit: Unit::Cost("B"), run: || tokio::memory(WORKERS) };

fn plan() -> Result<Vec<Race>, Error> {
    let ours = format!("{}, QueueConsumerWorker with its queue and handle", versions::of_crate("workfleet"));
    let limit = format!("{}, a task with a token, a channel and its handle", versions::of_crate("tokio"));
    Ok(vec![Race {
        id: "W4",
        what: "resident memory of one idle consumer",
        unit: Unit::Cost("B"),
        ours: Contender::own("workfleet", ours, &WORKER, Placement::Anywhere)?,
        limit: Some(Contender::own("limit", limit, &TASK, Placement::Anywhere)?),
        rivals: vec![python::contender(
            "aio-fluid",
            "fluid_idle.py",
            Some("memory"),
            Unit::Cost("B"),
            Placement::Anywhere,
        )?],
    }])
}
