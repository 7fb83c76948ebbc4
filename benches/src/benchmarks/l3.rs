//! L3: many who want one key: what a lock costs then, and how long the odd one waits among many of the other kind.

use super::l1::{no_keys, of_crate, table};
use crate::benchmark::{Benchmark, Measurement, micros};
use crate::command::Placement;
use crate::error::Error;
use crate::figure::Unit;
use crate::locks::{KeyedLock, Lockable, Mode, NoKeys, NoModes, Ours, Table, contended, odd_one, one_hold};
use crate::race::{Contender, Race};
use crate::versions;

pub(crate) const BENCHMARK: Benchmark = Benchmark {
    id: "L3",
    plan,
    measurements: &[
        OURS,
        OURS_SHARED,
        MUTEX,
        LOCKABLE,
        KEYED_LOCK,
        TABLE,
        TABLE_SHARED,
        TOKIO,
        TOKIO_SHARED,
        OURS_READER,
        OURS_WRITER,
        HOLD,
        TOKIO_READER,
        TOKIO_WRITER,
    ],
};

const OURS: Measurement = micros("L3/ours", || contended::<Ours>(Mode::Exclusive));
const OURS_SHARED: Measurement = micros("L3/ours-shared", || contended::<Ours>(Mode::Shared));
const MUTEX: Measurement = micros("L3/mutex", || contended::<NoModes>(Mode::Exclusive));
const LOCKABLE: Measurement = micros("L3/lockable", || contended::<Lockable>(Mode::Exclusive));
const KEYED_LOCK: Measurement = micros("L3/keyed-lock", || contended::<KeyedLock>(Mode::Exclusive));
const TABLE: Measurement = micros("L3/table", || contended::<Table>(Mode::Exclusive));
const TABLE_SHARED: Measurement = micros("L3/table-shared", || contended::<Table>(Mode::Shared));
const TOKIO: Measurement = micros("L3/tokio", || contended::<NoKeys>(Mode::Exclusive));
const TOKIO_SHARED: Measurement = micros("L3/tokio-shared", || contended::<NoKeys>(Mode::Shared));

const OURS_READER: Measurement = micros("L3/ours-reader", || odd_one::<Ours>(Mode::Shared));
const OURS_WRITER: Measurement = micros("L3/ours-writer", || odd_one::<Ours>(Mode::Exclusive));
const HOLD: Measurement = micros("L3/hold", one_hold);
const TOKIO_READER: Measurement = micros("L3/tokio-reader", || odd_one::<NoKeys>(Mode::Shared));
const TOKIO_WRITER: Measurement = micros("L3/tokio-writer", || odd_one::<NoKeys>(Mode::Exclusive));

fn plan() -> Result<Vec<Race>, Error> {
    Ok(vec![
        Race {
            id: "L3",
            what: "8 tasks contend for one key, exclusive: each lock",
            unit: Unit::Micros,
            ours: of_crate("workfleet", &OURS)?,
            limit: Some(mutex()?),
            rivals: vec![
                of_crate("lockable", &LOCKABLE)?,
                of_crate("keyed-lock", &KEYED_LOCK)?,
                table(&TABLE)?,
                no_keys(&TOKIO)?,
            ],
        },
        Race {
            id: "L3 shared",
            what: "8 tasks share one key: each lock",
            unit: Unit::Micros,
            ours: of_crate("workfleet", &OURS_SHARED)?,
            limit: Some(mutex()?),
            rivals: vec![table(&TABLE_SHARED)?, no_keys(&TOKIO_SHARED)?],
        },
        Race {
            id: "L3 reader",
            what: "1 reader among 7 writers who hold it for 1 ms each: its wait",
            unit: Unit::Micros,
            ours: of_crate("workfleet", &OURS_READER)?,
            limit: Some(hold()?),
            rivals: vec![no_keys(&TOKIO_READER)?],
        },
        Race {
            id: "L3 writer",
            what: "1 writer among 7 readers who hold it for 1 ms each: its wait",
            unit: Unit::Micros,
            ours: of_crate("workfleet", &OURS_WRITER)?,
            limit: Some(hold()?),
            rivals: vec![no_keys(&TOKIO_WRITER)?],
        },
    ])
}

fn mutex() -> Result<Contender, Error> {
    let how = format!("{} Mutex: one lock, no keys, no modes", versions::of_crate("tokio"));
    Contender::own("limit", how, &MUTEX, Placement::Anywhere)
}

fn hold() -> Result<Contender, Error> {
    Contender::own("limit", "one hold of 1 ms, as tokio's timer keeps it", &HOLD, Placement::Anywhere)
}
