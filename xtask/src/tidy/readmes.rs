//! Each crate has a README that says how to depend on it, and from which version of Rust on.

use toml::{Table, Value};

use super::{
    links::{Target, resolve},
    problem::{Problem, Text},
};
use crate::workspace::Member;

/// `root` is the manifest of the workspace.
pub(super) fn check(root: &Table, crates: &[Member], texts: &[Text]) -> Vec<Problem> {
    let shared = root.get("workspace").and_then(|workspace| workspace.get("package"));
    let shared =
        |name| shared.and_then(|package| package.get(name)).and_then(Value::as_str).unwrap_or_default();
    // `0.1.0` is asked for as `0.1`.
    let version = shared("version").rsplit_once('.').map_or("", |(version, _)| version);
    let rust = format!("Rust {} or later", shared("rust-version"));
    let mut problems = Vec::new();
    for member in crates {
        let package = member.manifest.get("package");
        let field =
            |name| package.and_then(|package| package.get(name)).and_then(Value::as_str).unwrap_or_default();
        let path = match resolve(&member.path, field("readme")) {
            Target::Path(path) => path,
            Target::Elsewhere | Target::Outside => field("readme").to_owned(),
        };
        let Some(text) = texts.iter().find(|text| text.path == path) else {
            problems.push(Problem::new(&member.path, format!("package.readme is no tracked file: {path}")));
            continue;
        };
        for wanted in [format!("{} = \"{version}\"", field("name")), rust.clone()] {
            if !text.content.contains(&wanted) {
                problems.push(Problem::new(&path, format!("it does not say `{wanted}`")));
            }
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::super::problem::{member, shown, text};
    use super::*;

    const GOOD: &str = "workfleet-wire = \"0.3\"\nRust 1.89 or later";

    fn problems(readme: &str, path: &str, content: &str) -> Vec<String> {
        let root = "[workspace.package]\nversion = '0.3.1'\nrust-version = '1.89'".parse().unwrap();
        let manifest = format!("[package]\nname = 'workfleet-wire'\nreadme = '{readme}'");
        shown(&check(&root, &[member("wire", &manifest)], &[text(path, content)]))
    }

    #[test]
    fn a_readme_that_says_both_passes_wherever_it_is() {
        assert_eq!(problems("README.md", "crates/wire/README.md", GOOD), [""; 0]);
        assert_eq!(problems("../../README.md", "README.md", GOOD), [""; 0]);
    }

    #[test]
    fn what_is_missing_or_old_is_found() {
        let missing = "crates/wire/Cargo.toml: package.readme is no tracked file: crates/wire/README.md";
        assert_eq!(problems("README.md", "README.md", GOOD), [missing]);
        let old = GOOD.replace("0.3", "0.2").replace("1.89", "1.88");
        assert_eq!(
            problems("README.md", "crates/wire/README.md", &old),
            [
                "crates/wire/README.md: it does not say `workfleet-wire = \"0.3\"`",
                "crates/wire/README.md: it does not say `Rust 1.89 or later`"
            ]
        );
    }
}
