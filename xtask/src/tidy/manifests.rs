//! Manifests inherit from the workspace what is the same for all, and packages are named after their directories.

use toml::Value;

use super::{layers, problem::Problem};
use crate::workspace::{Member, dependencies};

const INHERITED: [&str; 5] = ["version", "edition", "rust-version", "license", "repository"];

pub(super) fn check<'a>(members: impl IntoIterator<Item = &'a Member>) -> Vec<Problem> {
    members
        .into_iter()
        .flat_map(|member| check_one(member).into_iter().map(|message| Problem::new(&member.path, message)))
        .collect()
}

fn check_one(member: &Member) -> Vec<String> {
    let mut problems = Vec::new();
    let package = member.manifest.get("package");
    let field = |name| package.and_then(|package| package.get(name));

    let expected = layers::package_name(&member.name);
    match field("name").and_then(Value::as_str) {
        Some(name) if name == expected => {}
        name => {
            problems.push(format!("the package is named `{}`, not `{expected}`", name.unwrap_or_default()))
        }
    }
    if field("description").and_then(Value::as_str).is_none_or(str::is_empty) {
        problems.push("package.description is missing".to_owned());
    }
    for name in INHERITED.into_iter().filter(|name| !field(name).is_some_and(is_inherited)) {
        problems.push(format!("package.{name} is not inherited: write `{name}.workspace = true`"));
    }
    if !member.manifest.get("lints").is_some_and(is_inherited) {
        problems.push("the lints are not inherited: write `[lints]` and `workspace = true`".to_owned());
    }
    for dependency in dependencies(&member.manifest).filter(|dependency| !is_inherited(dependency.value)) {
        problems.push(format!(
            "`{}` in [{}] is not inherited: name its version in the workspace's manifest and write `workspace = true`",
            dependency.key, dependency.table
        ));
    }
    problems
}

fn is_inherited(value: &Value) -> bool {
    value.get("workspace").and_then(Value::as_bool) == Some(true)
}

#[cfg(test)]
mod tests {
    use super::super::problem::{member, shown};
    use super::*;

    const GOOD: &str = "
        [package]
        name = 'workfleet-wire'
        description = 'Frames'
        version.workspace = true
        edition.workspace = true
        rust-version.workspace = true
        license.workspace = true
        repository.workspace = true
        [dependencies]
        bytes.workspace = true
        [dev-dependencies]
        proptest = { workspace = true, features = ['fork'] }
        [lints]
        workspace = true";

    fn problems(name: &str, manifest: &str) -> Vec<String> {
        shown(&check(&[member(name, manifest)]))
    }

    #[test]
    fn a_manifest_that_inherits_everything_passes() {
        assert_eq!(problems("wire", GOOD), [""; 0]);
        assert_eq!(problems("facade", &GOOD.replace("'workfleet-wire'", "'workfleet'")), [""; 0]);
        assert_eq!(problems("xtask", &GOOD.replace("'workfleet-wire'", "'xtask'")), [""; 0]);
    }

    #[test]
    fn each_thing_that_is_not_inherited_is_found() {
        for (good, bad, problem) in [
            ("'workfleet-wire'", "'wire'", "the package is named `wire`, not `workfleet-wire`"),
            ("name = 'workfleet-wire'", "", "the package is named ``, not `workfleet-wire`"),
            ("description = 'Frames'", "", "package.description is missing"),
            (
                "version.workspace = true\n        edition",
                "version = '0.2.0'\nedition",
                "package.version is not inherited",
            ),
            ("edition.workspace = true", "edition = '2021'", "package.edition is not inherited"),
            ("rust-version.workspace = true", "", "package.rust-version is not inherited"),
            ("license.workspace = true", "license = 'MIT'", "package.license is not inherited"),
            ("repository.workspace = true", "", "package.repository is not inherited"),
            ("[lints]\n        workspace = true", "", "the lints are not inherited"),
            ("[lints]\n        workspace = true", "[lints.rust]", "the lints are not inherited"),
            ("bytes.workspace = true", "bytes = '1'", "`bytes` in [dependencies] is not inherited"),
            (
                "bytes.workspace = true",
                "bytes = { path = '..' }",
                "`bytes` in [dependencies] is not inherited",
            ),
            (
                "proptest = { workspace = true,",
                "proptest = { version = '1',",
                "`proptest` in [dev-dependencies] is not inherited",
            ),
        ] {
            assert!(GOOD.contains(good), "{good}");
            let found = problems("wire", &GOOD.replacen(good, bad, 1));
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(found[0].starts_with(&format!("crates/wire/Cargo.toml: {problem}")), "{found:?}");
        }
    }

    #[test]
    fn an_empty_manifest_lacks_everything() {
        assert_eq!(problems("wire", "").len(), 2 + INHERITED.len() + 1);
    }
}
