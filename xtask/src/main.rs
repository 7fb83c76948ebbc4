//! The checks and tools of the workspace, as plain Rust: `cargo xtask help` lists them.
//!
//! - `cargo xtask ci` is the whole of continuous integration: the steps of [`steps::STEPS`] that belong to it,
//!   in that order. Each step also runs alone, by its name.
//! - No step passes by skipping: a tool that is missing, or a file that cannot be read, is an error that names it.
//! - What this program says goes to standard error; standard output belongs to what a step runs.

mod error;
mod process;
mod runner;
mod steps;
mod tidy;
mod workspace;

use std::process::ExitCode;

use error::Error;
use steps::STEPS;
use workspace::Workspace;

/// The exit code of a command line that names no step.
const EXIT_USAGE: u8 = 2;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((name, rest)) = arguments.split_first() else {
        eprint!("{}", steps::help());
        return ExitCode::from(EXIT_USAGE);
    };
    let outcome = match name.as_str() {
        "help" | "--help" | "-h" => {
            print!("{}", steps::help());
            Ok(())
        }
        "ci" if rest.is_empty() => Workspace::find().and_then(|ws| runner::run_all(&ws, &STEPS)),
        "ci" => Err(Error::new(format!("`ci` takes no arguments, but was given `{}`", rest.join(" ")))),
        _ => match STEPS.iter().find(|step| step.name == name) {
            Some(step) => Workspace::find().and_then(|ws| runner::run_one(&ws, step, rest)),
            None => {
                eprintln!("xtask: there is no step named `{name}`\n\n{}", steps::help());
                return ExitCode::from(EXIT_USAGE);
            }
        },
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}
