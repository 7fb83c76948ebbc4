//! Arrows between files go one way: no file of a crate leads back to itself over others.
//!
//! Files that lead to one another are a *knot*. Only a reviewed one passes, and only as long as it is there and no larger.

mod scan;
#[cfg(test)]
mod tests;
mod tree;

use std::collections::BTreeMap;

use super::problem::{Problem, Text};
use tree::{Arrows, Tree};

/// Files that lead to one another, and why they may.
struct Knot {
    files: &'static [&'static str],
    /// Why one of them must know the other.
    reason: &'static str,
}

/// The knots that were reviewed.
const REVIEWED: [Knot; 3] = [
    Knot {
        files: &[
            "crates/task-manager/src/code.rs",
            "crates/task-manager/src/context.rs",
            "crates/task-manager/src/registry/entry.rs",
            "crates/task-manager/src/run/host.rs",
        ],
        reason: "a task's code is run with its surroundings, in which a chain finds the code of its links",
    },
    Knot {
        files: &[
            "crates/worker-lifecycle/src/group/roster.rs",
            "crates/worker-lifecycle/src/reference.rs",
            "crates/worker-lifecycle/src/shared.rs",
        ],
        reason: "a group's state has its children's references, each of which leads to a worker's state",
    },
    Knot {
        files: &["crates/worker-lifecycle/src/group/report.rs", "crates/worker-lifecycle/src/outcome.rs"],
        reason: "a group's outcome has a report, which has its children's outcomes",
    },
];

/// How many knots may pass.
const KNOTS_LIMIT: usize = 6;

pub(super) fn check(texts: &[Text]) -> Vec<Problem> {
    check_against(texts, &REVIEWED)
}

fn check_against(texts: &[Text], reviewed: &[Knot]) -> Vec<Problem> {
    let texts: BTreeMap<&str, &str> = texts
        .iter()
        .filter(|text| text.path.ends_with(".rs"))
        .map(|text| (text.path.as_str(), text.content.as_str()))
        .collect();
    let mut problems = Vec::new();
    let mut is_there = vec![false; reviewed.len()];
    for root in texts.keys().filter(|path| is_root(path)) {
        let tree = Tree::read(root, &texts, &mut problems);
        let arrows = tree.arrows();
        for knot in knots(tree.files().len(), &arrows) {
            let mut files: Vec<&str> = knot.iter().map(|&file| tree.files()[file].as_str()).collect();
            files.sort_unstable();
            match reviewed.iter().position(|one| one.files == files) {
                Some(place) => is_there[place] = true,
                None => problems.push(Problem::new(files[0], describe(&files, &knot, &tree, &arrows))),
            }
        }
    }
    for (knot, is_there) in reviewed.iter().zip(is_there) {
        if !is_there {
            let message = "these files no longer lead to one another as was reviewed; mend the list in xtask";
            problems.push(Problem::new(knot.files.join(", "), message));
        }
        if knot.reason.is_empty() {
            problems.push(Problem::new(knot.files.join(", "), "the list in xtask gives no reason"));
        }
    }
    if reviewed.len() > KNOTS_LIMIT {
        let message = format!("{} knots were reviewed, and only {KNOTS_LIMIT} may be", reviewed.len());
        problems.push(Problem::new("xtask", message));
    }
    problems
}

/// Whether a crate begins in this file that the check reads.
fn is_root(path: &str) -> bool {
    let directory = path.strip_suffix("/lib.rs").or_else(|| path.strip_suffix("/main.rs"));
    let parts = directory.map(|directory| directory.split('/').collect::<Vec<_>>()).unwrap_or_default();
    matches!(parts[..], ["crates", _, "src"] | ["xtask", "src"])
}

/// The sets of more than one file that all lead to one another.
fn knots(files: usize, arrows: &Arrows) -> Vec<Vec<usize>> {
    let reached: Vec<Vec<bool>> = (0..files).map(|from| reached(from, files, arrows)).collect();
    let mut knots = Vec::new();
    let mut is_in_knot = vec![false; files];
    for file in 0..files {
        if !is_in_knot[file] && reached[file][file] {
            let knot: Vec<usize> =
                (0..files).filter(|&other| reached[file][other] && reached[other][file]).collect();
            for &other in &knot {
                is_in_knot[other] = true;
            }
            knots.push(knot);
        }
    }
    knots
}

/// Which files can be reached from one, by at least one arrow.
fn reached(from: usize, files: usize, arrows: &Arrows) -> Vec<bool> {
    let mut reached = vec![false; files];
    let mut open = vec![from];
    while let Some(file) = open.pop() {
        for (&(_, to), _) in arrows.range((file, 0)..=(file, usize::MAX)) {
            if !std::mem::replace(&mut reached[to], true) {
                open.push(to);
            }
        }
    }
    reached
}

fn describe(files: &[&str], knot: &[usize], tree: &Tree, arrows: &Arrows) -> String {
    let mut message = format!("{} files lead to one another: {}", files.len(), files.join(", "));
    for ((from, to), reason) in arrows {
        if knot.contains(from) && knot.contains(to) {
            let [from, to] = [from, to].map(|file| &tree.files()[*file]);
            message += &format!("\n    {from}:{} uses {} of {to}", reason.line, reason.path);
        }
    }
    message
}
