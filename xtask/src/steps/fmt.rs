//! `fmt`: rustfmt over this workspace and the one of the benchmarks.

use crate::error::{Error, Result};
use crate::process::run as run_command;
use crate::workspace::Workspace;

pub(crate) fn run(ws: &Workspace, arguments: &[String]) -> Result {
    let check = match arguments {
        [] => true,
        [flag] if flag == "--fix" => false,
        _ => return Err(Error::new(format!("unknown arguments `{}`: only --fix is", arguments.join(" ")))),
    };
    ws.require_subcommand("fmt", "rustfmt")?;
    let manifests = [ws.root.join("Cargo.toml"), ws.benches_manifest()];
    for (manifest, scope) in manifests.iter().zip([Some("--all"), None]) {
        if !manifest.exists() {
            return Err(Error::new(format!("{} is missing", manifest.display())));
        }
        let mut command = ws.cargo();
        command.arg("fmt").args(scope).arg("--manifest-path").arg(ws.relative(manifest));
        if check {
            command.arg("--check");
        }
        run_command(&mut command)?;
    }
    Ok(())
}
