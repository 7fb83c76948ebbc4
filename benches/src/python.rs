//! Rivals written in Python: each is a script in `python/` that prints one figure.
//!
//! A script whose import fails exits with the code for "not installed"; asked for `--version`, it prints
//! what it would measure.

use std::ffi::OsString;
use std::path::Path;

use crate::command::{Placement, Program};
use crate::error::Error;
use crate::figure::Unit;
use crate::race::Contender;

/// The variable that names the interpreter to use.
const INTERPRETER: &str = "WORKFLEET_BENCH_PYTHON";

/// A contender that a script in `python/` measures. Its argument, if any, goes to the script.
pub(crate) fn contender(
    name: &str,
    script: &str,
    arg: Option<&str>,
    unit: Unit,
    placement: Placement,
) -> Result<Contender, Error> {
    let (program, how) = match self::program(script, arg)? {
        Ok(found) => found,
        Err(reason) => return Ok(Contender::absent(name, reason)),
    };
    let program = program.placed(placement)?;
    Ok(Contender::new(name, how, move || program.measure(unit)))
}

/// What runs a script, and which version of what that is; or why what it measures is not there.
pub(crate) fn program(script: &str, arg: Option<&str>) -> Result<Result<(Program, String), String>, Error> {
    let interpreter = std::env::var_os(INTERPRETER).filter(|value| !value.is_empty());
    let interpreter = interpreter.unwrap_or_else(|| OsString::from("python3"));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("python").join(script);
    let mut program = Program::new(interpreter).arg(path);
    if let Some(arg) = arg {
        program = program.arg(arg);
    }
    let version = match program.clone().arg("--version").run() {
        Ok(finished) => finished.stdout.trim().to_owned(),
        Err(Error::NotInstalled(reason)) => return Ok(Err(reason)),
        Err(Error::Interrupted) => return Err(Error::Interrupted),
        // It is measured all the same, and fails there with its reason.
        Err(_) => String::new(),
    };
    let how = match arg {
        Some(arg) => format!("{version}, {script} {arg}"),
        None => format!("{version}, {script}"),
    };
    Ok(Ok((program, how)))
}
