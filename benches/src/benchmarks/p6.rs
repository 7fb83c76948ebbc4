//! P6: what waiting tasks cost: memory and descriptors for each, and time for each when many wait.
//!
//! Target: at most 128 B in memory beside the payload; a task with 10⁷ others queued takes at most 1.3 times what
//! it takes with 10³; as many descriptors with 10⁶ queued as workers need.
//!
//! Memory is what becomes resident, so it includes what the allocator rounds up and what a growing queue holds in
//! reserve and has touched.

use std::panic::{self, AssertUnwindSafe};
use std::path::PathBuf;

use crate::benchmark::{Benchmark, Measurement};
use crate::command::Placement;
use crate::error::Error;
use crate::figure::Unit;
use crate::floors::{memory, socket};
use crate::gate::{self, Gate};
use crate::ours::queued;
use crate::procfs;
use crate::python;
use crate::race::{Contender, Race};
use crate::versions;

pub(crate) const BENCHMARK: Benchmark = Benchmark {
    id: "P6",
    plan,
    measurements: &[
        MEMORY,
        MEMORY_WITH_HANDLE,
        PAYLOADS,
        DESCRIPTORS,
        SOCKETS,
        PROCSPAWN_DESCRIPTORS,
        DISPATCH_E3,
        DISPATCH_E5,
        DISPATCH_E7,
        ECHO,
    ],
};

const WORKERS: usize = 2;
const FEW: usize = 100_000;
const MANY: usize = 1_000_000;
/// How many tasks are timed, with so many others queued all the time.
const TIMED: usize = 1_000_000;

const BYTES: Unit = Unit::Cost("B/task");
const MEMORY: Measurement = Measurement { name: "P6/memory", unit: BYTES, run: || queued::memory(FEW, MANY) };
const MEMORY_WITH_HANDLE: Measurement =
    Measurement { name: "P6/memory-handle", unit: BYTES, run: || queued::memory_with_handle(FEW, MANY) };
const PAYLOADS: Measurement = Measurement {
    name: "P6/payloads",
    unit: BYTES,
    run: || memory::of_payloads(FEW, MANY, queued::PAYLOAD_LEN_BYTES),
};

const OPEN: Unit = Unit::Cost("open");
const DESCRIPTORS: Measurement =
    Measurement { name: "P6/descriptors", unit: OPEN, run: || queued::descriptors(MANY) };
const SOCKETS: Measurement =
    Measurement { name: "P6/sockets", unit: OPEN, run: || memory::descriptors(WORKERS) };
const PROCSPAWN_DESCRIPTORS: Measurement =
    Measurement { name: "P6/procspawn-descriptors", unit: OPEN, run: procspawn_descriptors };

const DISPATCH_E3: Measurement =
    Measurement { name: "P6/dispatch-1e3", unit: Unit::Nanos, run: || queued::dispatch(1_000, TIMED) };
const DISPATCH_E5: Measurement =
    Measurement { name: "P6/dispatch-1e5", unit: Unit::Nanos, run: || queued::dispatch(100_000, TIMED) };
const DISPATCH_E7: Measurement =
    Measurement { name: "P6/dispatch-1e7", unit: Unit::Nanos, run: || queued::dispatch(10_000_000, TIMED) };
const ECHO: Measurement = Measurement { name: "P6/echo", unit: Unit::Nanos, run: echo };

fn plan() -> Result<Vec<Race>, Error> {
    Ok(vec![memory_of_each()?, memory_with_handle()?, descriptors()?, dispatch()?])
}

fn own(name: &str, how: &str, measurement: &'static Measurement) -> Result<Contender, Error> {
    Contender::own(name, how, measurement, Placement::Anywhere)
}

fn ours(how: &str, measurement: &'static Measurement) -> Result<Contender, Error> {
    own("workfleet", &format!("{}, {how}", versions::of_crate("workfleet")), measurement)
}

fn python(name: &str, script: &str) -> Result<Contender, Error> {
    python::contender(name, script, None, BYTES, Placement::Anywhere)
}

fn memory_of_each() -> Result<Race, Error> {
    Ok(Race {
        id: "P6 memory",
        what: "resident for each queued task, beside 16 B of payload",
        unit: BYTES,
        ours: ours("schedule, from 10⁵ to 10⁶ queued", &MEMORY)?,
        limit: Some(own("limit", "a VecDeque of boxed payloads", &PAYLOADS)?),
        rivals: vec![python("undr", "undr_memory.py")?],
    })
}

fn memory_with_handle() -> Result<Race, Error> {
    Ok(Race {
        id: "P6 handle",
        what: "the same with the caller's handle",
        unit: BYTES,
        ours: ours("submit, handles in a Vec, from 10⁵ to 10⁶ queued", &MEMORY_WITH_HANDLE)?,
        limit: Some(own("limit", "a VecDeque of boxed payloads", &PAYLOADS)?),
        rivals: vec![python("Pool", "mp_pool_memory.py")?],
    })
}

fn descriptors() -> Result<Race, Error> {
    let procspawn = format!("{}, Pool::new({WORKERS})", versions::of_crate("procspawn"));
    Ok(Race {
        id: "P6 descriptors",
        what: "descriptors of the manager with 10⁶ tasks queued, 2 workers",
        unit: OPEN,
        ours: ours("schedule", &DESCRIPTORS)?,
        limit: Some(own("limit", "one socket for each worker", &SOCKETS)?),
        rivals: vec![own("procspawn", &procspawn, &PROCSPAWN_DESCRIPTORS)?],
    })
}

fn dispatch() -> Result<Race, Error> {
    let how = "for each result one more is submitted";
    Ok(Race {
        id: "P6 dispatch",
        what: "time for each task while 10⁷ are queued",
        unit: Unit::Nanos,
        ours: ours(how, &DISPATCH_E7)?,
        limit: Some(own("limit", "a frame of 64 bytes echoed by one of 2 processes, 256 under way", &ECHO)?),
        rivals: vec![
            own("workfleet with 10³ queued", how, &DISPATCH_E3)?,
            own("workfleet with 10⁵ queued", how, &DISPATCH_E5)?,
        ],
    })
}

fn echo() -> Result<f64, Error> {
    const FRAMES: usize = 4_000_000;
    const WINDOW: usize = 256;
    Ok(1e9 / socket::pipelined(FRAMES, WINDOW, WORKERS)?)
}

/// How many descriptors procspawn has open with as many tasks queued, if it comes so far.
fn procspawn_descriptors() -> Result<f64, Error> {
    let before = procfs::open_descriptors()?;
    let pool = procspawn::Pool::new(WORKERS).map_err(Error::contender)?;
    let mut gate = Gate::new()?;
    let mut handles: Vec<procspawn::JoinHandle<()>> = Vec::with_capacity(MANY);
    for _ in 0..WORKERS {
        handles.push(pool.spawn(gate.path().to_owned(), |path: PathBuf| {
            // A gate that is gone with its process is open too.
            let _ = gate::pass(&path);
        }));
    }
    gate.wait_for(WORKERS)?;
    // It panics where it has no descriptors left; here that is the result.
    panic::set_hook(Box::new(|_| ()));
    for number in 0..MANY {
        match panic::catch_unwind(AssertUnwindSafe(|| pool.spawn((), |()| ()))) {
            Ok(handle) => handles.push(handle),
            Err(_) => {
                let reason = format!("it panics for want of descriptors with {number} tasks queued");
                return Err(Error::Unable(reason));
            }
        }
    }
    let open = procfs::open_descriptors()? - gate.descriptors();
    Ok(open as f64 - before as f64)
}
