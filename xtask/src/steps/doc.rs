//! `doc`: the documentation that users read builds without warning, broken links included.

use crate::error::Result;
use crate::process::{cargo, run as run_command};
use crate::workspace::Workspace;

pub(crate) fn run(ws: &Workspace) -> Result {
    let mut command = cargo(ws);
    command.args(["doc", "--workspace", "--no-deps", "--all-features", "--locked"]);
    run_command(command.env("RUSTDOCFLAGS", "-D warnings"))
}
