//! The command line that people use: which benchmarks to run, how often, and in which form to print.
//!
//! One benchmark that cannot run does not stop the next; the exit code says that it happened
//! (0 all measured or not installed, 1 something failed, 2 bad arguments, 130 interrupted).

use std::process::ExitCode;

use clap::Parser;

use crate::benchmark::Benchmark;
use crate::benchmarks::BENCHMARKS;
use crate::error::{Error, chain};
use crate::race::Outcome;
use crate::report::Report;
use crate::{interrupt, report};

/// Measures workfleet beside its rivals and the machine's limits, in the same run.
#[derive(Debug, Parser)]
#[command(name = "workfleet-benches")]
struct Args {
    /// Which benchmarks to run, such as M1 or W1. All if none is named.
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// Print one JSON object a line instead of the table; notes go to standard error.
    #[arg(long)]
    json: bool,
    /// How many times each contender is measured; the median counts.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
}

/// Parses the arguments, runs the benchmarks and prints their report.
pub(crate) fn run() -> ExitCode {
    let args = Args::parse();
    let selected = match select(&args.ids) {
        Ok(selected) => selected,
        Err(unknown) => {
            eprintln!("error: no benchmark is called {unknown:?}; known: {}", known_ids());
            return ExitCode::from(2);
        }
    };
    if let Err(error) = interrupt::watch() {
        eprintln!("error: {}", chain(&error));
        return ExitCode::FAILURE;
    }
    let mut report = Report::new(args.rounds);
    let mut failed = false;
    for benchmark in selected {
        match run_one(benchmark, args.rounds, args.json, &mut report) {
            Ok(()) => {}
            Err(Error::Interrupted) => {
                eprintln!("interrupted");
                return ExitCode::from(130);
            }
            Err(error) => {
                eprintln!("error: {} could not run: {}", benchmark.id, chain(&error));
                failed = true;
            }
        }
    }
    if args.json {
        eprint!("{}", report.notes());
    } else {
        print!("{}", report.table());
    }
    if failed || report.any_failed() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn run_one(benchmark: &Benchmark, rounds: u32, json: bool, report: &mut Report) -> Result<(), Error> {
    eprintln!("{}: preparing", benchmark.id);
    for race in (benchmark.plan)()? {
        let outcome: Outcome = race.run(rounds)?;
        if json {
            for row in report::rows(&outcome) {
                println!("{}", row.to_json());
            }
        }
        report.add(outcome);
    }
    Ok(())
}

/// The benchmarks named, in the table's order and each once; the first unknown name is the error.
fn select(ids: &[String]) -> Result<Vec<&'static Benchmark>, String> {
    let is_named = |benchmark: &Benchmark, id: &String| id.eq_ignore_ascii_case(benchmark.id);
    for id in ids {
        if !BENCHMARKS.iter().any(|benchmark| is_named(benchmark, id)) {
            return Err(id.clone());
        }
    }
    let wanted = |benchmark: &&Benchmark| ids.is_empty() || ids.iter().any(|id| is_named(benchmark, id));
    Ok(BENCHMARKS.iter().filter(wanted).collect())
}

fn known_ids() -> String {
    BENCHMARKS.iter().map(|benchmark| benchmark.id).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids_of(names: &[&str]) -> Result<Vec<&'static str>, String> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        Ok(select(&names)?.iter().map(|benchmark| benchmark.id).collect())
    }

    #[test]
    fn no_name_selects_every_benchmark() {
        assert_eq!(ids_of(&[]).map(|ids| ids.len()), Ok(BENCHMARKS.len()));
    }

    #[test]
    fn names_select_once_and_in_any_case() {
        assert_eq!(ids_of(&["p1", "P1"]), Ok(vec!["P1"]));
    }

    #[test]
    fn an_unknown_name_is_an_error_that_carries_it() {
        assert_eq!(ids_of(&["P1", "Z9"]), Err("Z9".to_owned()));
        assert!(known_ids().contains("P1"));
    }
}
