//! Who uses one crate compiles little beside it: each crate has a budget of packages from elsewhere.

use std::collections::BTreeSet;

use super::{layers, problem::Problem};
use crate::error::Result;
use crate::process;
use crate::workspace::{Member, Workspace};

/// How many packages from elsewhere a crate may bring along, as `cargo tree --edges normal` counts them.
#[derive(Clone, Copy, Debug)]
struct Budget {
    /// The crate's directory.
    name: &'static str,
    /// What cargo is told about its features; nothing, for the default ones.
    features: &'static [&'static str],
    packages: usize,
}

const DEFAULT: &[&str] = &[];

/// Every crate has a budget for its default features at least. A budget leaves a little room above what is needed now:
/// one more dependency of ours is to be a decision, one more of theirs is not to stop the work.
const BUDGETS: [Budget; 21] = [
    Budget { name: "fork", features: DEFAULT, packages: 1 },
    Budget { name: "notice", features: DEFAULT, packages: 6 },
    Budget { name: "panics", features: DEFAULT, packages: 0 },
    Budget { name: "causes", features: DEFAULT, packages: 0 },
    Budget { name: "signals", features: DEFAULT, packages: 4 },
    Budget { name: "wire", features: DEFAULT, packages: 16 },
    Budget { name: "wire", features: &["--all-features"], packages: 22 },
    // Neither serde nor sockets; by default tracing, and tokio for its timer alone.
    Budget { name: "shared-lock", features: &["--no-default-features"], packages: 16 },
    Budget { name: "shared-lock", features: DEFAULT, packages: 22 },
    Budget { name: "shared-lock", features: &["--all-features"], packages: 22 },
    Budget { name: "heartbeat", features: DEFAULT, packages: 20 },
    Budget { name: "heartbeat", features: &["--all-features"], packages: 20 },
    Budget { name: "worker-lifecycle", features: &["--no-default-features"], packages: 0 },
    Budget { name: "worker-lifecycle", features: DEFAULT, packages: 18 },
    Budget { name: "worker-lifecycle", features: &["--all-features"], packages: 29 },
    // Neither tokio nor a socket: its siblings lend it cores only.
    Budget { name: "scheduler", features: DEFAULT, packages: 16 },
    Budget { name: "task-manager", features: DEFAULT, packages: 45 },
    Budget { name: "task-manager", features: &["--all-features"], packages: 48 },
    // The port and its core: no runtime, no SQL, no serde.
    Budget { name: "engine", features: DEFAULT, packages: 22 },
    Budget { name: "engine", features: &["--all-features"], packages: 26 },
    Budget { name: "facade", features: DEFAULT, packages: 50 },
];

pub(super) fn check(ws: &Workspace, crates: &[Member]) -> Result<Vec<Problem>> {
    let mut problems = without_budget(crates.iter().map(|member| member.name.as_str()), &BUDGETS);
    for budget in BUDGETS.iter().filter(|budget| crates.iter().any(|member| member.name == budget.name)) {
        let mut command = ws.cargo();
        command.args([
            "tree", "--locked", "--edges", "normal", "--prefix", "none", "--format", "{p}", "--color",
            "never",
        ]);
        command.args(["--package", &layers::package_name(budget.name)]).args(budget.features);
        problems.extend(over(*budget, &process::output(&mut command)?));
    }
    Ok(problems)
}

fn without_budget<'a>(crates: impl Iterator<Item = &'a str>, budgets: &[Budget]) -> Vec<Problem> {
    let has_budget =
        |name: &str| budgets.iter().any(|budget| budget.name == name && budget.features == DEFAULT);
    crates
        .filter(|name| !has_budget(name))
        .map(|name| Problem::new(format!("crates/{name}"), format!("has no place in BUDGETS in {}", file!())))
        .collect()
}

/// The problem, if the tree that cargo printed has more packages than `budget` allows.
fn over(budget: Budget, tree: &str) -> Option<Problem> {
    let packages = third_party(tree);
    (packages.len() > budget.packages).then(|| {
        let features = budget.features.iter().map(|flag| format!(" {flag}")).collect::<String>();
        Problem::new(
            format!("crates/{}{features}", budget.name),
            format!(
                "brings {} packages along, and its budget is {}: {}",
                packages.len(),
                budget.packages,
                Vec::from_iter(packages).join(", ")
            ),
        )
    })
}

/// The distinct packages in the tree that do not come from this workspace, as `name version`.
///
/// A line is `name vVERSION`, then `(/path)` if it is a package on this machine, `(proc-macro)` if it is one, and `(*)`
/// if it was printed before.
fn third_party(tree: &str) -> BTreeSet<String> {
    let is_path = |word: &str| word.starts_with('(') && word != "(proc-macro)" && word != "(*)";
    tree.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let (name, version) = (words.next()?, words.next()?);
            (!words.any(is_path)).then(|| format!("{name} {}", version.trim_start_matches('v')))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::problem::shown;
    use super::*;

    const TREE: &str = "\
workfleet-task-manager v0.1.0 (/src/work fleet/crates/task-manager)
bytes v1.12.1
serde_derive v1.0.229 (proc-macro)
syn v3.0.9
syn v2.0.1
workfleet-wire v0.1.0 (/src/work fleet/crates/wire)
bytes v1.12.1
serde_derive v1.0.229 (proc-macro) (*)
";

    const WIRE: Budget = Budget { name: "wire", features: DEFAULT, packages: 4 };

    #[test]
    fn packages_from_elsewhere_are_counted_once() {
        let expected = ["bytes 1.12.1", "serde_derive 1.0.229", "syn 2.0.1", "syn 3.0.9"];
        assert_eq!(Vec::from_iter(third_party(TREE)), expected);
    }

    #[test]
    fn a_tree_above_its_budget_is_found() {
        assert_eq!(over(WIRE, TREE), None);
        let features = &["--no-default-features"];
        let problem = over(Budget { packages: 3, features, ..WIRE }, TREE).unwrap();
        assert!(
            problem.to_string().starts_with(
                "crates/wire --no-default-features: brings 4 packages along, and its budget is 3: bytes 1.12.1, "
            ),
            "{problem}"
        );
    }

    #[test]
    fn a_crate_without_budget_for_its_default_features_is_found() {
        let other = Budget { features: &["--all-features"], name: "heartbeat", ..WIRE };
        let found = shown(&without_budget(["heartbeat", "wire"].into_iter(), &[WIRE, other]));
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("crates/heartbeat: has no place in BUDGETS"), "{found:?}");
    }
}
