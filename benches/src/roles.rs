//! The hidden roles of this executable: what it does when a run of it starts it again.

use std::ffi::OsString;
use std::process::ExitCode;

use crate::benchmark::Measurement;
use crate::benchmarks::BENCHMARKS;
use crate::command;
use crate::error::{Error, chain};
use crate::figure;
use crate::floors::{frames, hop, socket};
use crate::{idle, ours};

/// `--measure NAME`: measure that once, print `name value unit`.
pub(crate) const MEASURE: &str = "--measure";
/// `--on-one-cpu PROGRAM ARGS…`: become that program, bound to one processor.
pub(crate) const ON_ONE_CPU: &str = "--on-one-cpu";
/// `--echo`: send back what arrives on the socket that is standard input.
pub(crate) const ECHO: &str = "--echo";

/// `--exit`: end as soon as `main` is reached.
pub(crate) const EXIT: &str = "--exit";
/// `--flood FRAMES`: send so many frames of messages on the socket that is standard input.
pub(crate) const FLOOD: &str = "--flood";
/// `--stamp`: answer each byte on the socket that is standard input with the time.
pub(crate) const STAMP: &str = "--stamp";
/// `--idle workfleet|sockets WORKERS`: have so many idle workers, or processes in the echo role.
pub(crate) const IDLE: &str = "--idle";

/// A role and its arguments.
#[derive(Debug)]
pub(crate) struct Role {
    name: &'static str,
    args: std::vec::IntoIter<OsString>,
}

/// The role that the arguments ask for; `None` if it was a person who started this.
pub(crate) fn from_args(mut args: impl Iterator<Item = OsString>) -> Option<Role> {
    let first = args.next()?;
    let name =
        [MEASURE, ON_ONE_CPU, ECHO, EXIT, FLOOD, STAMP, IDLE].into_iter().find(|name| first == *name)?;
    Some(Role { name, args: args.collect::<Vec<_>>().into_iter() })
}

/// Does what the role asks and returns how it went.
pub(crate) fn play(mut role: Role) -> ExitCode {
    match role.name {
        ON_ONE_CPU => command::become_on_one_cpu(role.args),
        ECHO => finish(socket::echo().map(|()| None)),
        EXIT => ExitCode::SUCCESS,
        FLOOD => finish(flood(role.args).map(|()| None)),
        STAMP => finish(hop::stamp().map(|()| None)),
        IDLE => finish(stay_idle(role.args).map(|()| None)),
        _ => finish(measure(role.args.next().unwrap_or_default()).map(Some)),
    }
}

fn measure(name: OsString) -> Result<String, Error> {
    let Some(measurement) = find(&name) else {
        return Err(Error::Wrong(format!("no measurement is called {name:?}")));
    };
    let value = (measurement.run)()?;
    Ok(figure::print(measurement.name, value, measurement.unit))
}

fn flood(mut args: impl Iterator<Item = OsString>) -> Result<(), Error> {
    frames::flood(number(args.next())?)
}

fn stay_idle(mut args: impl Iterator<Item = OsString>) -> Result<(), Error> {
    let (who, count) = (args.next().unwrap_or_default(), number(args.next())?);
    match who.to_str() {
        Some("workfleet") => ours::idle::stay(count),
        Some("sockets") => idle::stay_with_peers(count),
        _ => Err(Error::Wrong(format!("nobody called {who:?} can be idle"))),
    }
}

fn number(arg: Option<OsString>) -> Result<usize, Error> {
    let parsed = arg.as_ref().and_then(|arg| arg.to_str()?.parse().ok());
    parsed.ok_or_else(|| Error::Wrong(format!("{arg:?} is no number")))
}

fn find(name: &OsString) -> Option<&'static Measurement> {
    BENCHMARKS.iter().flat_map(|benchmark| benchmark.measurements).find(|found| name == found.name)
}

fn finish(result: Result<Option<String>, Error>) -> ExitCode {
    match result {
        Ok(line) => {
            if let Some(line) = line {
                println!("{line}");
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{}", chain(&error));
            command::exit_code(&error)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measurements_are_found_by_names_that_are_unique_and_begin_with_their_benchmark() {
        let mut seen = std::collections::HashSet::new();
        for benchmark in BENCHMARKS {
            for Measurement { name, .. } in benchmark.measurements {
                assert_eq!(find(&OsString::from(name)).map(|found| found.name), Some(*name));
                assert!(name.starts_with(&format!("{}/", benchmark.id)), "{name}");
                assert!(seen.insert(*name), "{name} twice");
            }
        }
    }

    #[test]
    fn only_the_hidden_words_start_a_role() {
        let role = |args: &[&str]| from_args(args.iter().map(OsString::from)).map(|role| role.name);
        assert_eq!(role(&["--measure", "P1/submit"]), Some(MEASURE));
        assert_eq!(role(&["P1", "--measure"]), None);
        assert_eq!(role(&[]), None);
    }
}
