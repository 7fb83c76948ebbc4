//! Measures workfleet beside its rivals and beside what the machine can do at all, in the same run.
//!
//! The process that people start measures nothing itself in which a pool takes part: each measurement runs
//! in a fresh child (this executable again, or Python), which prints one figure and exits. So no pool sees
//! another's threads, descriptors or exit handlers, and a processor affinity set for a child binds exactly
//! what that child starts.
//!
//! Invariant: the two `init` calls stay first in `main`. A worker process of either pool is this executable
//! too; each `init` recognises only its own mark in the environment, and never returns if it finds it.

mod affinity;
mod benchmark;
mod benchmarks;
mod cli;
mod clock;
mod command;
mod error;
mod figure;
mod floors;
mod gate;
mod idle;
mod interrupt;
mod locks;
mod ours;
mod procfs;
mod python;
mod race;
mod report;
mod roles;
mod spin;
mod split;
mod tree;
mod versions;
mod workers;

use std::process::ExitCode;

fn main() -> ExitCode {
    ours::init();
    procspawn::init();
    match roles::from_args(std::env::args_os().skip(1)) {
        Some(role) => roles::play(role),
        None => cli::run(),
    }
}
