//! Runs steps: says each one's name and time, stops at the first that fails, and says how to run it alone.

use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::steps::Step;
use crate::workspace::Workspace;

/// Runs the steps that belong to continuous integration, in order.
///
/// # Errors
/// The first step that fails; those after it are not started.
pub(crate) fn run_all(ws: &Workspace, steps: &[Step]) -> Result {
    let started = Instant::now();
    let mut times = Vec::new();
    for step in steps.iter().filter(|step| step.in_ci) {
        times.push((step.name, timed(ws, step, &[])?));
    }
    eprintln!("\nxtask: all steps passed");
    for (name, elapsed) in times {
        eprintln!("    {name:<10}{:>9}", seconds(elapsed));
    }
    eprintln!("    {:<10}{:>9}", "together", seconds(started.elapsed()));
    Ok(())
}

/// Runs one step with the arguments that followed its name.
///
/// # Errors
/// The step fails, or takes no arguments and was given some.
pub(crate) fn run_one(ws: &Workspace, step: &Step, arguments: &[String]) -> Result {
    if step.arguments.is_empty() && !arguments.is_empty() {
        return Err(Error::new(format!(
            "`{}` takes no arguments, but was given `{}`",
            step.name,
            arguments.join(" ")
        )));
    }
    timed(ws, step, arguments).map(drop)
}

fn timed(ws: &Workspace, step: &Step, arguments: &[String]) -> Result<Duration> {
    let started = Instant::now();
    eprintln!("==> {}: {}", step.name, step.about);
    let outcome = (step.run)(ws, arguments);
    let elapsed = started.elapsed();
    match outcome {
        Ok(()) => {
            eprintln!("<== {}: passed in {}", step.name, seconds(elapsed));
            Ok(elapsed)
        }
        Err(error) => Err(Error::new(format!(
            "step `{0}` failed after {1}: {error}\nxtask: run it alone with `cargo xtask {0}`",
            step.name,
            seconds(elapsed),
        ))),
    }
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSES: Step = Step { name: "passes", arguments: "", in_ci: true, about: "", run: |_, _| Ok(()) };
    const FAILS: Step = Step {
        name: "fails",
        arguments: "",
        in_ci: true,
        about: "",
        run: |_, _| Err(Error::new("out of paint")),
    };
    const UNREACHED: Step =
        Step { name: "unreached", arguments: "", in_ci: true, about: "", run: |_, _| panic!("was started") };

    fn nowhere() -> Workspace {
        Workspace { root: "nowhere".into() }
    }

    #[test]
    fn the_first_failure_stops_the_run_and_says_how_to_repeat_it() {
        let error = run_all(&nowhere(), &[PASSES, FAILS, UNREACHED]).unwrap_err().to_string();
        assert!(error.starts_with("step `fails` failed after "), "{error}");
        assert!(error.ends_with(": out of paint\nxtask: run it alone with `cargo xtask fails`"), "{error}");
    }

    #[test]
    fn what_is_not_part_of_ci_is_left_out_of_it_but_runs_alone() {
        let tool = Step { in_ci: false, ..FAILS };
        run_all(&nowhere(), &[PASSES, tool]).unwrap();
        run_one(&nowhere(), &Step { in_ci: false, ..FAILS }, &[]).unwrap_err();
    }

    #[test]
    fn arguments_that_a_step_does_not_take_are_refused() {
        let error = run_one(&nowhere(), &UNREACHED, &["--quickly".to_owned()]).unwrap_err().to_string();
        assert_eq!(error, "`unreached` takes no arguments, but was given `--quickly`");
    }
}
