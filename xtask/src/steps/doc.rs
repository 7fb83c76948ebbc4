//! `doc`: the documentation that users read builds without warning, broken links included.

use crate::error::Result;
use crate::process::run as run_command;
use crate::workspace::Workspace;

pub(crate) fn run(ws: &Workspace) -> Result {
    let mut command = ws.cargo();
    command.args(["doc", "--workspace", "--no-deps", "--all-features", "--locked"]);
    run_command(command.env("RUSTDOCFLAGS", "-D warnings"))
}
