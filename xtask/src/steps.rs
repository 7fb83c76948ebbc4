//! The list of steps, one file each.
//!
//! A new step is a file in `steps/` with a function `run`, and a line in [`STEPS`]: its place there is its place in
//! `cargo xtask ci`. Cheap steps come first.

mod api;
mod bench;
mod clippy;
mod deny;
mod doc;
mod features;
mod fmt;
mod loom;
mod test;

use crate::error::Result;
use crate::workspace::Workspace;

/// One thing that `cargo xtask` can do.
pub(crate) struct Step {
    /// What one types after `cargo xtask`.
    pub(crate) name: &'static str,
    /// The arguments it takes, for the help; empty if it takes none.
    pub(crate) arguments: &'static str,
    /// Whether `cargo xtask ci` runs it.
    pub(crate) in_ci: bool,
    /// One line for the help.
    pub(crate) about: &'static str,
    /// Carries it out; gets the arguments that followed the name.
    pub(crate) run: fn(&Workspace, &[String]) -> Result,
}

/// Every step, in the order of `cargo xtask ci`.
pub(crate) const STEPS: [Step; 10] = [
    Step {
        name: "tidy",
        arguments: "",
        in_ci: true,
        about: "what no lint can check: layers between crates, arrows between files, manifests, budgets, links, texts, origins",
        run: |ws, _| crate::tidy::run(ws, STEPS.iter().map(|step| step.name)),
    },
    Step {
        name: "fmt",
        arguments: "[--fix]",
        in_ci: true,
        about: "rustfmt finds nothing to change; with --fix, changes it",
        run: fmt::run,
    },
    Step {
        name: "clippy",
        arguments: "",
        in_ci: true,
        about: "no warning in any target, with all features and with the default ones",
        run: |ws, _| clippy::run(ws),
    },
    Step {
        name: "features",
        arguments: "",
        in_ci: true,
        about: "each crate by itself builds without warning with every one of its features alone",
        run: |ws, _| features::run(ws),
    },
    Step {
        name: "test",
        arguments: "",
        in_ci: true,
        about: "unit tests, integration tests, tests of the examples, documentation tests",
        run: |ws, _| test::run(ws),
    },
    Step {
        name: "doc",
        arguments: "",
        in_ci: true,
        about: "the documentation builds without warning",
        run: |ws, _| doc::run(ws),
    },
    Step {
        name: "loom",
        arguments: "",
        in_ci: true,
        about: "the models of the hand-made synchronisation, in every order of events",
        run: |ws, _| loom::run(ws),
    },
    Step {
        name: "api",
        arguments: "[--update]",
        in_ci: false,
        about: "what each crate makes public is what was reviewed (crates/NAME/api.txt); --update writes it",
        run: api::run,
    },
    Step {
        name: "deny",
        arguments: "[--offline]",
        in_ci: false,
        about: "licences, sources and doubles of dependencies, and advisories unless --offline (needs cargo-deny)",
        run: deny::run,
    },
    Step {
        name: "bench",
        arguments: "[ID …] [--json]",
        in_ci: false,
        about: "measures the targets named, or all of them, beside their rivals",
        run: bench::run,
    },
];

/// The text of `cargo xtask help`.
pub(crate) fn help() -> String {
    let mut text = String::from("Usage: cargo xtask STEP [ARGUMENTS]\n\n");
    text.push_str(&line("ci", "all steps up to the first that fails, except those marked *"));
    for step in &STEPS {
        let mark = if step.in_ci { "" } else { " *" };
        let usage = if step.arguments.is_empty() {
            step.name.into()
        } else {
            format!("{} {}", step.name, step.arguments)
        };
        text.push_str(&line(&format!("{usage}{mark}"), step.about));
    }
    text.push_str(&line("help", "this list"));
    text
}

fn line(usage: &str, about: &str) -> String {
    format!("  {usage:<24}{about}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_has_one_line_for_each_step() {
        let help = help();
        for step in &STEPS {
            let lines = help.lines().filter(|line| line.split_whitespace().next() == Some(step.name));
            assert_eq!(lines.count(), 1, "{}", step.name);
        }
    }

    #[test]
    fn step_names_are_distinct() {
        let mut names: Vec<_> = STEPS.iter().map(|step| step.name).chain(["ci", "help"]).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), STEPS.len() + 2);
    }
}
