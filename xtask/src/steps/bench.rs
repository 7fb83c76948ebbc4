//! `bench`: runs the benchmarks, which are a workspace of their own so that their rivals enter nobody's build.
//!
//! What they measure of ours in separate programs (the examples) is built here first; they find it under
//! `$WORKFLEET_TARGET_DIR/release/examples`. The arguments are theirs, and so is standard output.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::process::run as run_command;
use crate::workspace::Workspace;

pub(crate) fn run(ws: &Workspace, arguments: &[String]) -> Result {
    let manifest = ws.benches_manifest();
    if !manifest.exists() {
        return Err(Error::new(format!("{} is missing", manifest.display())));
    }
    let this_program = std::env::current_exe()
        .map_err(|error| Error::new(format!("cannot tell where this program is: {error}")))?;
    let target = target_directory(&this_program)?;

    run_command(ws.cargo().args(["build", "--release", "--locked", "--package", "workfleet", "--examples"]))?;
    let mut command = ws.cargo();
    command.args(["run", "--release", "--locked", "--manifest-path"]).arg(ws.relative(&manifest));
    run_command(command.arg("--").args(arguments).env("WORKFLEET_TARGET_DIR", target))
}

/// The directory in which cargo puts `release/examples`: the one in which it put this program, `<target>/debug/xtask`.
/// Asking where this program is, not what is configured, is right for every way to configure it.
fn target_directory(this_program: &Path) -> Result<PathBuf> {
    match this_program.ancestors().nth(2) {
        Some(directory) if !directory.as_os_str().is_empty() => Ok(directory.to_owned()),
        _ => Err(Error::new(format!("{} is not in a target directory of cargo", this_program.display()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_target_directory_is_found_from_a_program_in_it() {
        let target = target_directory(Path::new("/src/target/debug/xtask")).unwrap();
        assert_eq!(target, Path::new("/src/target"));
        let target = target_directory(Path::new("/src/target/aarch64-apple-darwin/debug/xtask")).unwrap();
        assert_eq!(target, Path::new("/src/target/aarch64-apple-darwin"));
    }

    #[test]
    fn a_program_somewhere_else_is_an_error() {
        target_directory(Path::new("debug/xtask")).unwrap_err();
        target_directory(Path::new("xtask")).unwrap_err();
    }
}
