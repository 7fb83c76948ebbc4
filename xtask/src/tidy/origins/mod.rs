//! `docs/origins.md` names, for each item of the systems that this workspace draws on, where it is here and which test fails
//! without it: the names and the tests exist.
//!
//! Invariants:
//! - Each row of each table has a public name and a test, or no name and a note that says why.
//! - What is checked stands in backticks, in the columns `here` and `test`, which hold nothing else.

mod names;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use super::problem::{Problem, Text};
use names::Names;

/// The file with the tables.
pub(super) const FILE: &str = "docs/origins.md";

/// The facade: its modules are the first segments of all names.
const FACADE: &str = "crates/facade/src/lib.rs";

/// What a table has to begin with.
const COLUMNS: [&str; 4] = ["item", "here", "test", "note"];

/// What may stand behind `planned:` in a note.
const PLANS: [&str; 3] = ["mixed pools", "streams", "the broker"];

/// `packages` are the directories in `crates/` by the names of their packages.
pub(super) fn check(texts: &[Text], packages: &BTreeMap<&str, &str>) -> Vec<Problem> {
    let texts: BTreeMap<&str, &str> =
        texts.iter().map(|text| (text.path.as_str(), text.content.as_str())).collect();
    let Some(content) = texts.get(FILE) else {
        return vec![Problem::new(FILE, "is missing")];
    };
    let mut problems = Vec::new();
    let crates = names_of_crates(&texts, packages, &mut problems);
    let mut rows = 0;
    for (number, cells) in table_lines(content) {
        let mut report = |message: String| problems.push(Problem::new(format!("{FILE}:{number}"), message));
        let Ok([item, here, test, note]) = <[&str; 4]>::try_from(cells) else {
            report(format!("a row has the columns {}, each once", COLUMNS.join(", ")));
            rows += 1;
            continue;
        };
        if [item, here, test, note] == COLUMNS || is_rule(item) {
            continue;
        }
        rows += 1;
        if item.is_empty() {
            report("a row has no item".to_owned());
        }
        let (names, tests) = (in_backticks(here), in_backticks(test));
        let (Some(names), Some(tests)) = (names, tests) else {
            report("the columns `here` and `test` hold names in backticks, parted by commas".to_owned());
            continue;
        };
        names.iter().filter_map(|name| missing_name(name, &crates)).for_each(&mut report);
        tests.iter().filter_map(|test| missing_test(test, &texts)).for_each(&mut report);
        if names.is_empty() && note.is_empty() {
            report("a row without name has no note that says why".to_owned());
        }
        if !names.is_empty() && tests.is_empty() {
            report("a row has a name and no test that fails without it".to_owned());
        }
        let plans = note.match_indices("planned:").map(|(at, word)| note[at + word.len()..].trim_start());
        for plan in plans.filter(|plan| !PLANS.iter().any(|known| plan.starts_with(known))) {
            report(format!("`{plan}` is no plan: there are {}", PLANS.join(", ")));
        }
    }
    if rows == 0 {
        problems.push(Problem::new(FILE, "has no rows"));
    }
    problems
}

/// The public names of the crates that the facade has as modules, by these modules' names.
fn names_of_crates<'a>(
    texts: &BTreeMap<&'a str, &'a str>,
    packages: &BTreeMap<&str, &str>,
    problems: &mut Vec<Problem>,
) -> BTreeMap<&'a str, Names> {
    let mut crates = BTreeMap::new();
    for line in texts.get(FACADE).unwrap_or(&"").lines() {
        let reexport = line.trim().strip_prefix("pub use ").and_then(|rest| rest.strip_suffix(';'));
        let Some((package, module)) = reexport.and_then(|reexport| reexport.split_once(" as ")) else {
            continue;
        };
        let Some(directory) = packages.get(&*package.replace('_', "-")) else { continue };
        let sources = format!("crates/{directory}/src/");
        let mut names = Names::default();
        for (path, content) in texts.range(&*sources..) {
            if !path.starts_with(&sources) {
                break;
            }
            if path.ends_with(".rs") && names.read(content).is_err() {
                problems.push(Problem::new(*path, "is no Rust"));
            }
        }
        names.resolve();
        crates.insert(module, names);
    }
    crates
}

/// The lines of tables, as trimmed cells. A bar in a cell is written `\|`.
fn table_lines(content: &str) -> impl Iterator<Item = (usize, Vec<&str>)> {
    let lines = content.lines().enumerate().map(|(index, line)| (index + 1, line.trim()));
    lines.filter_map(|(number, line)| {
        let inner = line.strip_prefix('|')?;
        let inner = inner.strip_suffix('|').unwrap_or(inner);
        let mut cells = Vec::new();
        let (mut start, mut is_escaped) = (0, false);
        for (at, char) in inner.char_indices() {
            if char == '|' && !is_escaped {
                cells.push(inner[start..at].trim());
                start = at + 1;
            }
            is_escaped = char == '\\' && !is_escaped;
        }
        cells.push(inner[start..].trim());
        Some((number, cells))
    })
}

/// Whether this is a cell of the line below the columns' names.
fn is_rule(cell: &str) -> bool {
    !cell.is_empty() && cell.chars().all(|char| char == '-' || char == ':')
}

/// What stands in a cell's backticks; none if anything but commas stands outside of them.
fn in_backticks(cell: &str) -> Option<Vec<&str>> {
    let mut spans = Vec::new();
    let mut parts = cell.split('`');
    let is_between = |text: &str| matches!(text.trim(), "" | ",");
    if !parts.next().is_some_and(is_between) {
        return None;
    }
    while let Some(span) = parts.next() {
        if span.is_empty() || !parts.next().is_some_and(is_between) {
            return None;
        }
        spans.push(span);
    }
    Some(spans)
}

/// What is wrong with a name such as `worker::WorkerRef::state`.
fn missing_name(name: &str, crates: &BTreeMap<&str, Names>) -> Option<String> {
    let (module, path) = name.split_once("::").unwrap_or((name, ""));
    let Some(names) = crates.get(module) else {
        return Some(format!("`{name}`: the facade has no module `{module}`"));
    };
    let segments: Vec<&str> = path.split("::").filter(|segment| !segment.is_empty()).collect();
    names.missing(&segments).map(|missing| format!("`{name}`: there is no public {missing}"))
}

/// What is wrong with a test such as `crates/wire/tests/undr.rs::name`.
fn missing_test(test: &str, texts: &BTreeMap<&str, &str>) -> Option<String> {
    let Some((path, name)) = test.split_once(".rs::") else {
        return Some(format!("`{test}` is no test: write `path/of/the/file.rs::name`"));
    };
    let path = format!("{path}.rs");
    let Some(content) = texts.get(&*path) else {
        return Some(format!("`{test}`: there is no file {path}"));
    };
    (!functions(content).contains(name)).then(|| format!("`{test}`: {path} has no function {name}"))
}

/// The names behind `fn`, outside of comments that take a whole line.
fn functions(content: &str) -> BTreeSet<&str> {
    let code = content.lines().filter(|line| !line.trim_start().starts_with("//"));
    code.filter_map(|line| {
        let (before, after) = line.split_once("fn ")?;
        let is_word = |char: char| char.is_alphanumeric() || char == '_';
        let end = after.find(|char| !is_word(char))?;
        (!before.ends_with(is_word)).then(|| &after[..end])
    })
    .collect()
}
