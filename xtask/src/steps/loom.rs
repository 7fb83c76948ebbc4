//! `loom`: the models of the hand-made synchronisation, in every order of events that matters.
//!
//! A crate has models if it depends on loom, which it does for this alone. They are unit tests in modules named
//! `models`, compiled with `--cfg workfleet_loom` into a target directory of their own. `LOOM_MAX_PREEMPTIONS` raises
//! their bound for long runs.

use std::process::Command;

use crate::error::{Error, Result};
use crate::process::{output, run as run_command};
use crate::workspace::{Workspace, dependencies};

pub(crate) fn run(ws: &Workspace) -> Result {
    let mut crates = ws.crates()?;
    crates.retain(|member| dependencies(&member.manifest).any(|dependency| dependency.key == "loom"));
    if crates.is_empty() {
        return Err(Error::new("no crate has a model: this step has nothing to run"));
    }
    for member in crates {
        let package = member.package_name()?;
        let listing = output(models(ws, package).arg("--list"))?;
        if !listing.lines().any(|line| line.ends_with(": test")) {
            return Err(Error::new(format!(
                "{package} depends on loom and has no test in a module `models`"
            )));
        }
        run_command(&mut models(ws, package))?;
    }
    Ok(())
}

/// The command that runs the models of a package.
fn models(ws: &Workspace, package: &str) -> Command {
    let mut command = ws.cargo();
    command.env("RUSTFLAGS", "--cfg workfleet_loom").env("CARGO_TARGET_DIR", ws.root.join("target/loom"));
    command.args(["test", "--locked", "--lib", "--all-features", "--package", package, "--", "models::"]);
    command
}
