//! H1: heartbeats from worker processes: what sending one costs there, and how many reach their callbacks.
//!
//! Target: at most 200 ns for each of many sent in a row, at least 1,000,000 a second delivered.
//!
//! Of beats that come faster than they can be delivered the latest wins: each of workfleet's that reached a callback
//! was the latest of its token then, and `H1 superseded` says how many were not, and so never reached one. The rival
//! delivers each, and its sender waits for that.

use crate::benchmark::{Benchmark, Measurement};
use crate::command::Placement;
use crate::error::Error;
use crate::figure::Unit;
use crate::floors::{frames, hop, local};
use crate::ours::heartbeats;
use crate::python;
use crate::race::{Contender, Race};
use crate::versions;

pub(crate) const BENCHMARK: Benchmark = Benchmark {
    id: "H1",
    plan,
    measurements: &[
        SEND,
        TASK,
        LEAVE,
        ALONE_P50,
        ALONE_P99,
        WAKE_UP_P50,
        WAKE_UP_P99,
        DELIVERED,
        FRAMES,
        SUPERSEDED,
    ],
};

const SENDS: u64 = 5_000_000;
const SENDS_ALONE: usize = 1_000;
const P50: f64 = 0.5;
const P99: f64 = 0.99;

const SEND: Measurement = nanos("H1/send", || heartbeats::send(SENDS));
const TASK: Measurement = nanos("H1/task", || heartbeats::of_task(SENDS));
const LEAVE: Measurement = nanos("H1/leave", || local::leave(50_000_000));
const ALONE_P50: Measurement = nanos("H1/alone-p50", || heartbeats::send_alone(SENDS_ALONE, P50));
const ALONE_P99: Measurement = nanos("H1/alone-p99", || heartbeats::send_alone(SENDS_ALONE, P99));
const WAKE_UP_P50: Measurement = nanos("H1/wake-up-p50", || hop::wake_up(SENDS_ALONE, P50));
const WAKE_UP_P99: Measurement = nanos("H1/wake-up-p99", || hop::wake_up(SENDS_ALONE, P99));

const WORKERS: usize = 2;
const TOKENS: usize = 1_000;
const SENDS_EACH: u64 = 5_000_000;
const BEATS_PER_SECOND: Unit = Unit::Rate("beats/s");
const PERCENT_OF_BEATS: Unit = Unit::Cost("%");

const DELIVERED: Measurement = Measurement {
    name: "H1/delivered",
    unit: BEATS_PER_SECOND,
    run: || heartbeats::delivered(TOKENS, WORKERS, SENDS_EACH).map(|seen| seen.per_second),
};
const SUPERSEDED: Measurement = Measurement {
    name: "H1/superseded",
    unit: PERCENT_OF_BEATS,
    run: || heartbeats::delivered(TOKENS, WORKERS, SENDS_EACH).map(|seen| seen.superseded_percent),
};
const FRAMES: Measurement =
    Measurement { name: "H1/frames", unit: BEATS_PER_SECOND, run: || frames::throughput(1_000_000, WORKERS) };

const fn nanos(name: &'static str, run: fn() -> Result<f64, Error>) -> Measurement {
    Measurement { name, unit: Unit::Nanos, run }
}

fn plan() -> Result<Vec<Race>, Error> {
    let many = "5,000,000 in a row, mean";
    let left = "a number encoded and left behind a mutex that nobody else wants, mean";
    let woken = |quantile| format!("a byte written to a socket that another thread polls, {quantile}");
    let alone = |quantile| format!("2 ms after the one before, {quantile}");
    Ok(vec![
        Race {
            id: "H1",
            what: "one send of many in a worker process",
            unit: Unit::Nanos,
            ours: ours(&format!("HeartbeatSender::send, {many}"), &SEND)?,
            limit: Some(own("limit", left, &LEAVE)?),
            rivals: vec![rival("send", Unit::Nanos)?],
        },
        Race {
            id: "H1 task",
            what: "one heartbeat of many of a task",
            unit: Unit::Nanos,
            ours: ours(&format!("TaskContext::heartbeat, {many}"), &TASK)?,
            limit: Some(own("limit", left, &LEAVE)?),
            rivals: vec![rival("send", Unit::Nanos)?],
        },
        Race {
            id: "H1 alone p50",
            what: "one send in a worker process, nothing else under way",
            unit: Unit::Nanos,
            ours: ours(&alone("p50"), &ALONE_P50)?,
            limit: Some(own("limit", &woken("p50"), &WAKE_UP_P50)?),
            rivals: vec![rival("alone-p50", Unit::Nanos)?],
        },
        Race {
            id: "H1 alone p99",
            what: "one send in a worker process, nothing else under way",
            unit: Unit::Nanos,
            ours: ours(&alone("p99"), &ALONE_P99)?,
            limit: Some(own("limit", &woken("p99"), &WAKE_UP_P99)?),
            rivals: vec![rival("alone-p99", Unit::Nanos)?],
        },
        Race {
            id: "H1 delivered",
            what: "beats that reach their callbacks, of 1,000 tokens from 2 processes",
            unit: BEATS_PER_SECOND,
            ours: ours("until every token is unregistered", &DELIVERED)?,
            limit: Some(own(
                "limit",
                "frames of numbers written in batches by 2 processes, decoded by one thread",
                &FRAMES,
            )?),
            rivals: vec![rival("delivered", BEATS_PER_SECOND)?],
        },
        Race {
            id: "H1 superseded",
            what: "of these, sent and superseded by later ones before they were delivered",
            unit: PERCENT_OF_BEATS,
            ours: ours("latest wins, nobody waits", &SUPERSEDED)?,
            limit: None,
            rivals: Vec::new(),
        },
    ])
}

fn own(name: &str, how: &str, measurement: &'static Measurement) -> Result<Contender, Error> {
    Contender::own(name, how, measurement, Placement::Anywhere)
}

fn ours(how: &str, measurement: &'static Measurement) -> Result<Contender, Error> {
    own("workfleet", &format!("{}, {how}", versions::of_crate("workfleet")), measurement)
}

fn rival(what: &str, unit: Unit) -> Result<Contender, Error> {
    python::contender("temporalio", "temporal_heartbeats.py", Some(what), unit, Placement::Anywhere)
}
