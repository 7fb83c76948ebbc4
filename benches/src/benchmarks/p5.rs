//! P5: workers started per second, whatever the parent's memory.
//!
//! Target: at least 0.8 times a bare `posix_spawn` of the same executable; with 2 GiB resident within 5 % of
//! without.
//!
//! Of ours, the time runs from building a manager of many workers until the last has shaken hands; of the floor and
//! the rival until as many processes, started by as many threads as a manager starts at a time, have reached
//! `main`, ended, and were reaped. So ours has more to do: a socket, a page, two pipes, two threads in each
//! worker, and the handshake. Its workers all live at the end; the others' live one at a time.

use crate::benchmark::{Benchmark, Measurement};
use crate::command::Placement;
use crate::error::Error;
use crate::figure::Unit;
use crate::floors::spawn::{self, Way};
use crate::ours;
use crate::race::{Contender, Race};
use crate::versions;

pub(crate) const BENCHMARK: Benchmark =
    Benchmark { id: "P5", plan, measurements: &[OURS, SPAWN, FORK, OURS_LARGE, SPAWN_LARGE, FORK_LARGE] };

const STARTS_PER_SECOND: Unit = Unit::Rate("starts/s");
const WORKERS: usize = 200;
/// So that a round stays short: forking a large process takes tens of milliseconds.
const FORKS_LARGE: usize = 40;
const LARGE_LEN_BYTES: usize = 2 << 30;

const OURS: Measurement = starts("P5/ours", || ours::fleet::starts(WORKERS, &[]));
const SPAWN: Measurement = starts("P5/posix-spawn", || spawn::starts(Way::PosixSpawn, WORKERS, &[]));
const FORK: Measurement = starts("P5/fork", || spawn::starts(Way::Fork, WORKERS, &[]));
const OURS_LARGE: Measurement = starts("P5/ours-2gib", || ours::fleet::starts(WORKERS, &resident()));
const SPAWN_LARGE: Measurement =
    starts("P5/posix-spawn-2gib", || spawn::starts(Way::PosixSpawn, WORKERS, &resident()));
const FORK_LARGE: Measurement = starts("P5/fork-2gib", || spawn::starts(Way::Fork, FORKS_LARGE, &resident()));

const fn starts(name: &'static str, run: fn() -> Result<f64, Error>) -> Measurement {
    Measurement { name, unit: STARTS_PER_SECOND, run }
}

fn plan() -> Result<Vec<Race>, Error> {
    let ours = format!(
        "{}, ProcessManager::builder(..).workers({WORKERS}).start() until all have shaken hands",
        versions::of_crate("workfleet")
    );
    let limit = "std::process::Command, which takes posix_spawn: up to main and reaped, 4 at a time";
    let fork =
        "std::process::Command with a uid, which forks, as with pre_exec: up to main and reaped, 4 at a time";
    let own = |name, how: &str, measurement| Contender::own(name, how, measurement, Placement::Anywhere);
    Ok(vec![
        Race {
            id: "P5",
            what: "workers started",
            unit: STARTS_PER_SECOND,
            ours: own("workfleet", &ours, &OURS)?,
            limit: Some(own("limit", limit, &SPAWN)?),
            rivals: vec![own("fork", fork, &FORK)?],
        },
        Race {
            id: "P5 2 GiB",
            what: "workers started, 2 GiB resident in the parent",
            unit: STARTS_PER_SECOND,
            ours: own("workfleet", &ours, &OURS_LARGE)?,
            limit: Some(own("limit", limit, &SPAWN_LARGE)?),
            rivals: vec![own("fork", fork, &FORK_LARGE)?, own("workfleet without the 2 GiB", &ours, &OURS)?],
        },
    ])
}

/// Memory that is really there: every page was written.
fn resident() -> Vec<u8> {
    vec![1; LARGE_LEN_BYTES]
}
