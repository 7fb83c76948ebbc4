//! The crates that ARCHITECTURE.md names exist, and it names every crate that does.

use std::collections::BTreeSet;

use super::problem::{Problem, Text};

/// The file with the map of the code.
pub(super) const FILE: &str = "ARCHITECTURE.md";

const PREFIX: &str = "crates/";

pub(super) fn check(architecture: Option<&Text>, crates: &[&str]) -> Vec<Problem> {
    let Some(text) = architecture else {
        return vec![Problem::new(FILE, "is missing")];
    };
    let mut named = BTreeSet::new();
    let mut problems = Vec::new();
    for (number, line) in text.lines() {
        for name in crates_in(line) {
            if !crates.contains(&name) {
                problems
                    .push(Problem::new(format!("{FILE}:{number}"), format!("there is no `{PREFIX}{name}`")));
            }
            named.insert(name);
        }
    }
    for name in crates.iter().filter(|name| !named.contains(*name)) {
        problems.push(Problem::new(FILE, format!("does not name `{PREFIX}{name}`")));
    }
    problems
}

/// Each `<dir>` of a `crates/<dir>` in `line`.
fn crates_in(line: &str) -> impl Iterator<Item = &str> {
    line.match_indices(PREFIX).filter_map(|(start, _)| {
        let inside_word = line[..start].ends_with(|c: char| c.is_alphanumeric() || "-_".contains(c));
        let rest = &line[start + PREFIX.len()..];
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || "-_".contains(c))).unwrap_or(rest.len());
        (!inside_word && end > 0).then(|| &rest[..end])
    })
}

#[cfg(test)]
mod tests {
    use super::super::problem::{shown, text};
    use super::*;

    fn problems(content: &str) -> Vec<String> {
        shown(&check(Some(&text(FILE, content)), &["task-manager", "wire"]))
    }

    #[test]
    fn a_map_of_all_crates_passes() {
        assert_eq!(
            problems("`crates/*`: [wire](crates/wire/src/lib.rs), and `crates/task-manager`."),
            [""; 0]
        );
    }

    #[test]
    fn a_crate_without_place_on_the_map_is_found() {
        assert_eq!(problems("crates/wire"), ["ARCHITECTURE.md: does not name `crates/task-manager`"]);
        assert_eq!(problems("crates/wire-tools crates/task-manager").len(), 2);
    }

    #[test]
    fn a_crate_that_is_only_on_the_map_is_found() {
        assert_eq!(
            problems("crates/wire\ncrates/task-manager\nsee `crates/broker`, othercrates/x"),
            ["ARCHITECTURE.md:3: there is no `crates/broker`"]
        );
    }

    #[test]
    fn a_missing_map_is_found() {
        assert_eq!(shown(&check(None, &["wire"])), ["ARCHITECTURE.md: is missing"]);
    }
}
