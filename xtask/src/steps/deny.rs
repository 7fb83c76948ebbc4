//! `deny`: the dependencies' licences, sources and doubles, and the advisories against them, as `deny.toml` says.
//!
//! Not part of `ci`: cargo-deny takes minutes to install, and advisories need the network.

use crate::error::{Error, Result};
use crate::process;
use crate::workspace::Workspace;

pub(crate) fn run(ws: &Workspace, arguments: &[String]) -> Result {
    let is_offline = match arguments {
        [] => false,
        [flag] if flag == "--offline" => true,
        _ => {
            return Err(Error::new(format!(
                "unknown arguments `{}`: only --offline is",
                arguments.join(" ")
            )));
        }
    };
    process::output(ws.cargo().args(["deny", "--version"])).map_err(|error| {
        Error::new(format!("cargo-deny is missing: `cargo install cargo-deny --locked`\n{error}"))
    })?;
    let mut command = ws.cargo();
    command.args(["deny", "--locked"]);
    if is_offline {
        command.arg("--offline");
    }
    command.args(["check", "licenses", "bans", "sources"]);
    if !is_offline {
        command.arg("advisories");
    }
    process::run(&mut command)
}
