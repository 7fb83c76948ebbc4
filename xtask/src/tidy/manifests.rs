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
    // What is published says on crates.io and docs.rs what it is.
    if field("publish").and_then(Value::as_bool) != Some(false) {
        problems.extend(unfindable(package));
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

/// What a manifest lacks for a search on crates.io or docs.rs.
fn unfindable(package: Option<&Value>) -> Vec<String> {
    let field = |name: &str| package.and_then(|package| package.get(name));
    let count = |name: &str| field(name).and_then(Value::as_array).map_or(0, Vec::len);
    let mut problems = Vec::new();
    // The limit is that of crates.io.
    for name in ["keywords", "categories"].into_iter().filter(|name| !(1..=5).contains(&count(name))) {
        problems.push(format!("package.{name} has {} entries, of 1 to 5", count(name)));
    }
    if field("readme").and_then(Value::as_str).is_none() {
        problems.push("package.readme is missing".to_owned());
    }
    let docs = field("metadata").and_then(|metadata| metadata.get("docs")?.get("rs"));
    let all_features = docs.and_then(|docs| docs.get("all-features")).and_then(Value::as_bool);
    let arguments = docs.and_then(|docs| docs.get("rustdoc-args")).and_then(Value::as_array);
    let shows_features =
        arguments.is_some_and(|words| words.iter().any(|word| word.as_str() == Some("docsrs")));
    if all_features != Some(true) || !shows_features {
        problems.push(
            "[package.metadata.docs.rs] lacks `all-features = true` or `rustdoc-args = [\"--cfg\", \"docsrs\"]`".to_owned(),
        );
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
        readme = 'README.md'
        keywords = ['frame']
        categories = ['encoding']
        [package.metadata.docs.rs]
        all-features = true
        rustdoc-args = ['--cfg', 'docsrs']
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
            ("readme = 'README.md'", "", "package.readme is missing"),
            ("keywords = ['frame']", "keywords = []", "package.keywords has 0 entries, of 1 to 5"),
            ("categories = ['encoding']", "", "package.categories has 0 entries, of 1 to 5"),
            ("all-features = true", "", "[package.metadata.docs.rs] lacks"),
            ("'docsrs'", "'other'", "[package.metadata.docs.rs] lacks"),
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
        assert_eq!(problems("wire", "").len(), 2 + INHERITED.len() + 1 + 4);
    }
}
