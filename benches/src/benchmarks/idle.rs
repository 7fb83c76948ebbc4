//! idle: what a manager and 8 workers with nothing to do cost, all their processes and threads together.
//!
//! Target: no wake-ups, and so no processor time.

use crate::benchmark::Benchmark;
use crate::command::Program;
use crate::error::Error;
use crate::figure::Unit;
use crate::idle;
use crate::python;
use crate::race::{Contender, Race};
use crate::roles;
use crate::split::split;
use crate::versions;

pub(crate) const BENCHMARK: Benchmark = Benchmark { id: "idle", plan, measurements: &[] };

const WORKERS: usize = 8;

/// The same contender in both races.
type Pair = [Contender; 2];

fn plan() -> Result<Vec<Race>, Error> {
    let ours = format!("{}, {WORKERS} workers, nothing scheduled", versions::of_crate("workfleet"));
    let [ours_cpu, ours_wakeups] = own("workfleet", &ours, "workfleet")?;
    let limit = format!("{WORKERS} processes that read a socket");
    let [limit_cpu, limit_wakeups] = own("limit", &limit, "sockets")?;
    let [undr_cpu, undr_wakeups] = python("undr", "undr_idle.py")?;
    let [pool_cpu, pool_wakeups] = python("Pool", "mp_pool_idle.py")?;
    Ok(vec![
        Race {
            id: "idle CPU",
            what: "processor time of 8 idle workers and their manager",
            unit: Unit::Cost("ms/s"),
            ours: ours_cpu,
            limit: Some(limit_cpu),
            rivals: vec![undr_cpu, pool_cpu],
        },
        Race {
            id: "idle wake-ups",
            what: "wake-ups of 8 idle workers and their manager",
            unit: Unit::Cost("/s"),
            ours: ours_wakeups,
            limit: Some(limit_wakeups),
            rivals: vec![undr_wakeups, pool_wakeups],
        },
    ])
}

fn own(name: &str, how: &str, who: &str) -> Result<Pair, Error> {
    let program = Program::own()?.arg(roles::IDLE).arg(who).arg(WORKERS.to_string());
    Ok(watched(name, how, program))
}

fn python(name: &str, script: &str) -> Result<Pair, Error> {
    match python::program(script, Some(&WORKERS.to_string()))? {
        Ok((program, how)) => Ok(watched(name, &how, program)),
        Err(reason) => Ok([Contender::absent(name, reason.clone()), Contender::absent(name, reason)]),
    }
}

fn watched(name: &str, how: &str, program: Program) -> Pair {
    // The manager's own thread, and at least one of each worker.
    let halves = split(move || {
        let seen = idle::watch(&program, 1 + WORKERS)?;
        Ok([seen.cpu_ms_per_second, seen.wakeups_per_second])
    });
    halves.map(|measure| Contender::new(name, how, measure))
}
