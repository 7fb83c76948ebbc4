//! P7: messages per second from two worker processes to the inbox, typed on both sides.
//!
//! Target: at least 2,000,000 a second.

use crate::benchmark::{Benchmark, Measurement};
use crate::command::Placement;
use crate::error::Error;
use crate::figure::Unit;
use crate::floors::frames;
use crate::ours;
use crate::python;
use crate::race::{Contender, Race};
use crate::versions;

pub(crate) const BENCHMARK: Benchmark = Benchmark { id: "P7", plan, measurements: &[OURS, FRAMES] };

const MESSAGES_PER_SECOND: Unit = Unit::Rate("messages/s");
const WORKERS: usize = 2;
const MESSAGES_EACH: u64 = 1_000_000;

const OURS: Measurement = Measurement {
    name: "P7/ours",
    unit: MESSAGES_PER_SECOND,
    run: || ours::messages::throughput(MESSAGES_EACH),
};
const FRAMES: Measurement = Measurement {
    name: "P7/frames",
    unit: MESSAGES_PER_SECOND,
    run: || frames::throughput(MESSAGES_EACH as usize, WORKERS),
};

fn plan() -> Result<Vec<Race>, Error> {
    let ours = format!(
        "{}, {WORKERS} tasks that send {MESSAGES_EACH} numbers each, messages() read to its end",
        versions::of_crate("workfleet")
    );
    let limit = "frames of the same content written in batches by 2 processes, decoded by one thread";
    let python =
        |name, script, arg| python::contender(name, script, arg, MESSAGES_PER_SECOND, Placement::Anywhere);
    Ok(vec![Race {
        id: "P7",
        what: "messages from 2 worker processes, typed",
        unit: MESSAGES_PER_SECOND,
        ours: Contender::own("workfleet", ours, &OURS, Placement::Anywhere)?,
        limit: Some(Contender::own("limit", limit, &FRAMES, Placement::Anywhere)?),
        rivals: vec![
            python("undr", "undr_messages.py", None)?,
            python("multiprocessing.Queue", "mp_queue_messages.py", Some("Queue"))?,
            python("multiprocessing.SimpleQueue", "mp_queue_messages.py", Some("SimpleQueue"))?,
        ],
    }])
}
