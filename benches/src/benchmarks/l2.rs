//! L2: a million keys. Taken one after the other; held all at once; and what is left of them.

use super::l1::{floor, of_crate, table};
use crate::benchmark::{Benchmark, Measurement, micros};
use crate::error::Error;
use crate::figure::Unit;
use crate::locks::{
    Floor, KeyRwLock, KeyedLock, Lockable, Mode, Ours, Table, bytes_per_held_key, keys_left, many_keys,
};
use crate::race::Race;

pub(crate) const BENCHMARK: Benchmark = Benchmark {
    id: "L2",
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
        OURS_BYTES,
        FLOOR_BYTES,
        LOCKABLE_BYTES,
        TABLE_BYTES,
        OURS_LEFT,
        NONE_LEFT,
        LOCKABLE_LEFT,
        TABLE_LEFT,
    ],
};

const KEYS: Unit = Unit::Cost("keys");

const fn bytes(name: &'static str, run: fn() -> Result<f64, Error>) -> Measurement {
    Measurement { name, unit: Unit::Cost("B"), run }
}

const fn left(name: &'static str, run: fn() -> Result<f64, Error>) -> Measurement {
    Measurement { name, unit: KEYS, run }
}

const OURS: Measurement = micros("L2/ours", || many_keys::<Ours>(Mode::Exclusive));
const OURS_SHARED: Measurement = micros("L2/ours-shared", || many_keys::<Ours>(Mode::Shared));
const FLOOR: Measurement = micros("L2/floor", || many_keys::<Floor>(Mode::Exclusive));
const LOCKABLE: Measurement = micros("L2/lockable", || many_keys::<Lockable>(Mode::Exclusive));
const KEYED_LOCK: Measurement = micros("L2/keyed-lock", || many_keys::<KeyedLock>(Mode::Exclusive));
const KEY_RWLOCK: Measurement = micros("L2/key-rwlock", || many_keys::<KeyRwLock>(Mode::Exclusive));
const KEY_RWLOCK_SHARED: Measurement =
    micros("L2/key-rwlock-shared", || many_keys::<KeyRwLock>(Mode::Shared));
const TABLE: Measurement = micros("L2/table", || many_keys::<Table>(Mode::Exclusive));
const TABLE_SHARED: Measurement = micros("L2/table-shared", || many_keys::<Table>(Mode::Shared));

const OURS_BYTES: Measurement = bytes("L2/ours-bytes", bytes_per_held_key::<Ours>);
const FLOOR_BYTES: Measurement = bytes("L2/floor-bytes", bytes_per_held_key::<Floor>);
const LOCKABLE_BYTES: Measurement = bytes("L2/lockable-bytes", bytes_per_held_key::<Lockable>);
const TABLE_BYTES: Measurement = bytes("L2/table-bytes", bytes_per_held_key::<Table>);

const OURS_LEFT: Measurement = left("L2/ours-left", keys_left::<Ours>);
const NONE_LEFT: Measurement = left("L2/none-left", || Ok(0.0));
const LOCKABLE_LEFT: Measurement = left("L2/lockable-left", keys_left::<Lockable>);
const TABLE_LEFT: Measurement = left("L2/table-left", keys_left::<Table>);

fn plan() -> Result<Vec<Race>, Error> {
    Ok(vec![
        Race {
            id: "L2",
            what: "1,000,000 keys in turn, exclusive: taken and let go",
            unit: Unit::Micros,
            ours: of_crate("workfleet", &OURS)?,
            limit: Some(floor(&FLOOR)?),
            rivals: vec![
                of_crate("lockable", &LOCKABLE)?,
                of_crate("keyed-lock", &KEYED_LOCK)?,
                of_crate("key-rwlock", &KEY_RWLOCK)?,
                table(&TABLE)?,
            ],
        },
        Race {
            id: "L2 shared",
            what: "1,000,000 keys in turn, shared: taken and let go",
            unit: Unit::Micros,
            ours: of_crate("workfleet", &OURS_SHARED)?,
            limit: Some(floor(&FLOOR)?),
            rivals: vec![of_crate("key-rwlock", &KEY_RWLOCK_SHARED)?, table(&TABLE_SHARED)?],
        },
        Race {
            id: "L2 memory",
            what: "each of 1,000,000 keys of 19 bytes held at once, guard and key included",
            unit: Unit::Cost("B"),
            ours: of_crate("workfleet", &OURS_BYTES)?,
            limit: Some(floor(&FLOOR_BYTES)?),
            rivals: vec![of_crate("lockable", &LOCKABLE_BYTES)?, table(&TABLE_BYTES)?],
        },
        Race {
            id: "L2 left",
            what: "left of 100,000 keys whose holder left before the only waiter gave up",
            unit: KEYS,
            ours: of_crate("workfleet", &OURS_LEFT)?,
            limit: Some(floor(&NONE_LEFT)?),
            rivals: vec![of_crate("lockable", &LOCKABLE_LEFT)?, table(&TABLE_LEFT)?],
        },
    ])
}
