//! Which crate may depend on which: normal, dev and build dependencies alike.

use toml::{Table, Value};

use super::problem::Problem;
use crate::workspace::{Dependency, Member, dependencies};

/// Each crate by its directory, and the crates that it may depend on. A crate depends only on crates above it.
const LAYERS: [(&str, &[&str]); 17] = [
    ("fork", &[]),
    ("notice", &[]),
    ("panics", &[]),
    ("causes", &["panics"]),
    ("signals", &["fork", "panics"]),
    ("wire", &["causes"]),
    ("shared-lock", &["causes", "fork", "panics", "wire"]),
    ("heartbeat", &["causes", "fork", "notice", "panics", "wire"]),
    ("worker-lifecycle", &["causes", "fork", "notice", "panics", "signals"]),
    ("scheduler", &["heartbeat", "worker-lifecycle"]),
    ("task-manager", &["causes", "fork", "notice", "panics", "signals", "wire", "heartbeat", "scheduler"]),
    ("engine", &["causes", "shared-lock"]),
    ("broker", &["wire", "shared-lock", "heartbeat", "worker-lifecycle", "task-manager", "engine"]),
    ("facade", &["wire", "shared-lock", "heartbeat", "worker-lifecycle", "task-manager", "engine", "broker"]),
    ("cli", &["facade"]),
    ("benches", &["facade"]),
    ("xtask", &[]),
];

/// The name that the package in the directory `name` must have.
pub(super) fn package_name(name: &str) -> String {
    match name {
        "facade" => "workfleet".to_owned(),
        "xtask" => "xtask".to_owned(),
        _ => format!("workfleet-{name}"),
    }
}

/// `root` is the workspace's manifest, which members inherit their dependencies from.
pub(super) fn check<'a>(root: &Table, members: impl IntoIterator<Item = &'a Member>) -> Vec<Problem> {
    let mut problems = Vec::new();
    for member in members {
        let Some((_, allowed)) = LAYERS.iter().find(|(name, _)| *name == member.name) else {
            let message = format!("the crate `{}` has no place in LAYERS in {}", member.name, file!());
            problems.push(Problem::new(&member.path, message));
            continue;
        };
        for dependency in dependencies(&member.manifest) {
            let sibling = match sibling(root, &dependency) {
                Sibling::No => continue,
                Sibling::Known(sibling) => sibling,
                Sibling::Unknown(package) => {
                    let message =
                        format!("`{package}` in [{}] is a path to no crate of ours", dependency.table);
                    problems.push(Problem::new(&member.path, message));
                    continue;
                }
            };
            if !allowed.contains(&sibling) {
                let message = format!(
                    "`{}` may not depend on `{sibling}`, as [{}] does",
                    member.name, dependency.table
                );
                problems.push(Problem::new(&member.path, message));
            }
        }
    }
    problems
}

enum Sibling<'a> {
    /// A package from elsewhere.
    No,
    /// The crate of ours in this directory.
    Known(&'static str),
    /// A package on this machine that is not one of our crates.
    Unknown(&'a str),
}

fn sibling<'a>(root: &'a Table, dependency: &Dependency<'a>) -> Sibling<'a> {
    let inherited = root
        .get("workspace")
        .and_then(|workspace| workspace.get("dependencies"))
        .and_then(|dependencies| dependencies.get(dependency.key))
        .filter(|_| dependency.value.get("workspace").is_some());
    let field =
        |name| [Some(dependency.value), inherited].into_iter().flatten().find_map(|value| value.get(name));
    let package = field("package").and_then(Value::as_str).unwrap_or(dependency.key);
    match LAYERS.iter().find(|(name, _)| package_name(name) == package) {
        Some((name, _)) => Sibling::Known(name),
        None if field("path").is_some() => Sibling::Unknown(package),
        None => Sibling::No,
    }
}

#[cfg(test)]
mod tests {
    use super::super::problem::{member, shown};
    use super::*;

    const ROOT: &str = "
        [workspace.dependencies]
        bytes = '1'
        workfleet = { path = 'crates/facade' }
        workfleet-wire = { path = 'crates/wire' }
        workfleet-task-manager = { path = 'crates/task-manager' }
        frames = { path = 'crates/wire', package = 'workfleet-wire' }
        stray = { path = '../stray' }";

    fn problems(name: &str, manifest: &str) -> Vec<String> {
        shown(&check(&ROOT.parse().unwrap(), &[member(name, manifest)]))
    }

    #[test]
    fn the_table_has_no_cycle_and_no_unknown_crate() {
        for (index, (name, allowed)) in LAYERS.iter().enumerate() {
            for dependency in *allowed {
                let above = LAYERS.iter().take(index).any(|(other, _)| other == dependency);
                assert!(above, "{name} → {dependency}");
            }
        }
    }

    #[test]
    fn a_dependency_downwards_passes() {
        let manifest = "
            [dependencies]
            bytes.workspace = true
            workfleet-wire.workspace = true
            [dev-dependencies]
            frames.workspace = true";
        assert_eq!(problems("task-manager", manifest), [""; 0]);
    }

    #[test]
    fn a_dependency_upwards_is_found_in_every_table() {
        for table in
            ["dependencies", "dev-dependencies", "build-dependencies", "target.'cfg(unix)'.dependencies"]
        {
            let manifest = format!("[{table}]\nworkfleet-task-manager.workspace = true");
            assert_eq!(
                problems("wire", &manifest),
                [format!(
                    "crates/wire/Cargo.toml: `wire` may not depend on `task-manager`, as [{table}] does"
                )]
            );
        }
    }

    #[test]
    fn another_name_or_a_direct_path_hides_nothing() {
        let wrong = "crates/worker-lifecycle/Cargo.toml: `worker-lifecycle` may not depend on `wire`, as [dependencies] does";
        assert_eq!(problems("worker-lifecycle", "[dependencies]\nframes.workspace = true"), [wrong]);
        assert_eq!(
            problems(
                "worker-lifecycle",
                "[dependencies]\nw = { path = '../wire', package = 'workfleet-wire' }"
            ),
            [wrong]
        );
        assert_eq!(
            problems("wire", "[dependencies]\nstray.workspace = true"),
            ["crates/wire/Cargo.toml: `stray` in [dependencies] is a path to no crate of ours"]
        );
    }

    #[test]
    fn siblings_and_the_facade_are_out_of_reach() {
        assert_eq!(problems("shared-lock", "[dependencies]\nworkfleet-heartbeat = '1'").len(), 1);
        assert_eq!(problems("cli", "[dependencies]\nworkfleet-wire.workspace = true").len(), 1);
        assert_eq!(problems("xtask", "[dependencies]\nworkfleet.workspace = true").len(), 1);
        assert_eq!(problems("cli", "[dependencies]\nworkfleet.workspace = true"), [""; 0]);
    }

    #[test]
    fn a_crate_that_is_not_in_the_table_is_found() {
        let problems = problems("scribbles", "[package]");
        assert_eq!(problems.len(), 1);
        assert!(problems[0].starts_with("crates/scribbles/Cargo.toml: the crate `scribbles` has no place"));
    }
}
