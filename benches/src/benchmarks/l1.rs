//! L1: one free lock, taken and let go again and again, exclusive and shared.

use crate::benchmark::{Benchmark, Measurement, micros};
use crate::command::Placement;
use crate::error::Error;
use crate::figure::Unit;
use crate::locks::{Floor, KeyRwLock, KeyedLock, Lockable, Mode, NoKeys, Ours, Table, one_key};
use crate::race::{Contender, Race};
use crate::versions;

pub(crate) const BENCHMARK: Benchmark = Benchmark {
    id: "L1",
    plan,
    measurements: &[
        OURS,
        OURS_SHARED,
        FLOOR,
        LOCKABLE,
        KEYED_LOCK,
        KEY_RWLOCK,
        KEY_RWLOCK_SHARED,
        TABLE,
        TABLE_SHARED,
        TOKIO,
        TOKIO_SHARED,
    ],
};

const OURS: Measurement = micros("L1/ours", || one_key::<Ours>(Mode::Exclusive));
const OURS_SHARED: Measurement = micros("L1/ours-shared", || one_key::<Ours>(Mode::Shared));
const FLOOR: Measurement = micros("L1/floor", || one_key::<Floor>(Mode::Exclusive));
const LOCKABLE: Measurement = micros("L1/lockable", || one_key::<Lockable>(Mode::Exclusive));
const KEYED_LOCK: Measurement = micros("L1/keyed-lock", || one_key::<KeyedLock>(Mode::Exclusive));
const KEY_RWLOCK: Measurement = micros("L1/key-rwlock", || one_key::<KeyRwLock>(Mode::Exclusive));
const KEY_RWLOCK_SHARED: Measurement = micros("L1/key-rwlock-shared", || one_key::<KeyRwLock>(Mode::Shared));
const TABLE: Measurement = micros("L1/table", || one_key::<Table>(Mode::Exclusive));
const TABLE_SHARED: Measurement = micros("L1/table-shared", || one_key::<Table>(Mode::Shared));
const TOKIO: Measurement = micros("L1/tokio", || one_key::<NoKeys>(Mode::Exclusive));
const TOKIO_SHARED: Measurement = micros("L1/tokio-shared", || one_key::<NoKeys>(Mode::Shared));

fn plan() -> Result<Vec<Race>, Error> {
    Ok(vec![
        Race {
            id: "L1",
            what: "a free lock, exclusive: taken and let go",
            unit: Unit::Micros,
            ours: of_crate("workfleet", &OURS)?,
            limit: Some(floor(&FLOOR)?),
            rivals: vec![
                of_crate("lockable", &LOCKABLE)?,
                of_crate("keyed-lock", &KEYED_LOCK)?,
                of_crate("key-rwlock", &KEY_RWLOCK)?,
                table(&TABLE)?,
                no_keys(&TOKIO)?,
            ],
        },
        Race {
            id: "L1 shared",
            what: "a free lock, shared: taken and let go",
            unit: Unit::Micros,
            ours: of_crate("workfleet", &OURS_SHARED)?,
            limit: Some(floor(&FLOOR)?),
            rivals: vec![
                of_crate("key-rwlock", &KEY_RWLOCK_SHARED)?,
                table(&TABLE_SHARED)?,
                no_keys(&TOKIO_SHARED)?,
            ],
        },
    ])
}

/// A contender that is a crate of this name.
pub(super) fn of_crate(name: &str, measurement: &'static Measurement) -> Result<Contender, Error> {
    Contender::own(name, versions::of_crate(name), measurement, Placement::Anywhere)
}

pub(super) fn floor(measurement: &'static Measurement) -> Result<Contender, Error> {
    let how = "64 hashbrown tables behind parking_lot mutexes: an insertion and a removal";
    Contender::own("limit", how, measurement, Placement::Anywhere)
}

pub(super) fn table(measurement: &'static Measurement) -> Result<Contender, Error> {
    let how = format!(
        "{} of Arc<{} RwLock>, removed when alone",
        versions::of_crate("dashmap"),
        versions::of_crate("tokio")
    );
    Contender::own("DashMap of RwLocks", how, measurement, Placement::Anywhere)
}

pub(super) fn no_keys(measurement: &'static Measurement) -> Result<Contender, Error> {
    let how = format!("{}: one lock, no keys", versions::of_crate("tokio"));
    Contender::own("tokio RwLock", how, measurement, Placement::Anywhere)
}
