//! `test`: every kind of test there is.
//!
//! Naming target kinds makes cargo build the examples as test programs *instead of* as programs, but integration
//! tests start the examples: so they are built as programs first. Documentation tests are a kind that cannot be named
//! together with the others.

use crate::error::Result;
use crate::process::run as run_command;
use crate::workspace::Workspace;

const SCOPE: [&str; 3] = ["--workspace", "--all-features", "--locked"];

pub(crate) fn run(ws: &Workspace) -> Result {
    run_command(ws.cargo().arg("build").args(SCOPE).arg("--examples"))?;
    run_command(ws.cargo().arg("test").args(SCOPE).args(["--lib", "--bins", "--tests", "--examples"]))?;
    run_command(ws.cargo().arg("test").args(SCOPE).arg("--doc"))
}
