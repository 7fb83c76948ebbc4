//! W2: messages per second through a queue consumer whose callback does nothing but count.

use crate::benchmark::{Benchmark, Measurement};
use crate::command::Placement;
use crate::error::Error;
use crate::figure::Unit;
use crate::floors::tokio;
use crate::python;
use crate::race::{Contender, Race};
use crate::{versions, workers};

pub(crate) const BENCHMARK: Benchmark =
    Benchmark { id: "W2", plan, measurements: &[BEFORE, MEANWHILE, CHANNEL_BEFORE, CHANNEL_MEANWHILE] };

const MESSAGES_PER_SECOND: Unit = Unit::Rate("messages/s");

const BEFORE: Measurement =
    Measurement { name: "W2/before", unit: MESSAGES_PER_SECOND, run: workers::messages_before_the_start };

const MEANWHILE: Measurement =
    Measurement { name: "W2/meanwhile", unit: MESSAGES_PER_SECOND, run: workers::messages_while_running };

const CHANNEL_BEFORE: Measurement = Measurement {
    name: "W2/channel-before",
    unit: MESSAGES_PER_SECOND,
    run: tokio::messages_before_the_start,
};

const CHANNEL_MEANWHILE: Measurement = Measurement {
    name: "W2/channel-meanwhile",
    unit: MESSAGES_PER_SECOND,
    run: tokio::messages_while_running,
};

fn plan() -> Result<Vec<Race>, Error> {
    let fluid = || {
        let python = Placement::Anywhere;
        python::contender("aio-fluid", "fluid_messages.py", None, MESSAGES_PER_SECOND, python)
    };
    Ok(vec![
        Race {
            id: "W2",
            what: "messages through a consumer, all sent before its start",
            unit: MESSAGES_PER_SECOND,
            ours: ours(&BEFORE)?,
            limit: Some(limit(&CHANNEL_BEFORE)?),
            rivals: vec![fluid()?],
        },
        Race {
            id: "W2 live",
            what: "messages through a consumer, sent by another thread meanwhile",
            unit: MESSAGES_PER_SECOND,
            ours: ours(&MEANWHILE)?,
            limit: Some(limit(&CHANNEL_MEANWHILE)?),
            rivals: Vec::new(),
        },
    ])
}

fn ours(measurement: &'static Measurement) -> Result<Contender, Error> {
    let how =
        format!("{}, QueueConsumerWorker, {} messages", versions::of_crate("workfleet"), tokio::MESSAGES);
    Contender::own("workfleet", how, measurement, Placement::Anywhere)
}

fn limit(measurement: &'static Measurement) -> Result<Contender, Error> {
    let how = format!("{}, unbounded mpsc and a task that receives", versions::of_crate("tokio"));
    Contender::own("limit", how, measurement, Placement::Anywhere)
}
