//! `clippy`: no warning anywhere.
//!
//! Runs twice, because what all features enable together can hide what the default ones lack, and once more over the
//! benchmarks.

use crate::error::Result;
use crate::process::{cargo, require_subcommand, run as run_command};
use crate::workspace::Workspace;

pub(crate) fn run(ws: &Workspace) -> Result {
    require_subcommand(ws, "clippy", "clippy")?;
    for features in [Some("--all-features"), None] {
        let mut command = cargo(ws);
        command.args(["clippy", "--workspace", "--all-targets", "--locked"]);
        command.args(features).args(["--", "-D", "warnings"]);
        run_command(&mut command)?;
    }
    // A workspace of its own, which nothing else here compiles.
    let mut command = cargo(ws);
    command.args(["clippy", "--all-targets", "--locked", "--manifest-path", "benches/Cargo.toml"]);
    command.args(["--", "-D", "warnings"]);
    run_command(&mut command)
}
