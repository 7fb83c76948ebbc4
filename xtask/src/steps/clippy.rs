//! `clippy`: no warning anywhere.
//!
//! Runs twice, because what all features enable together can hide what the default ones lack, and once more over the
//! benchmarks.

use crate::error::Result;
use crate::process::run as run_command;
use crate::workspace::Workspace;

pub(crate) fn run(ws: &Workspace) -> Result {
    ws.require_subcommand("clippy", "clippy")?;
    for features in [Some("--all-features"), None] {
        let mut command = ws.cargo();
        command.args(["clippy", "--workspace", "--all-targets", "--locked"]);
        command.args(features).args(["--", "-D", "warnings"]);
        run_command(&mut command)?;
    }
    // A workspace of its own, which nothing else here compiles.
    let mut command = ws.cargo();
    command.args(["clippy", "--all-targets", "--locked", "--manifest-path", "benches/Cargo.toml"]);
    command.args(["--", "-D", "warnings"]);
    run_command(&mut command)
}
