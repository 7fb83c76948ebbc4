//! `api`: the public items of each crate, beside those that were reviewed: `crates/NAME/api.txt`.
//!
//! What a crate makes public is read from rustdoc's JSON, which stable compilers write only if they are told to (`RUSTC_BOOTSTRAP`).
//! Its format changes from compiler to compiler. So this step is not part of `ci`: with another compiler it fails, and says so.

use std::{fmt::Write as _, fs, path::Path};

use crate::error::{Error, Result};
use crate::process;
use crate::workspace::{Member, Workspace};

/// The most lines of a difference that are shown.
const SHOWN_LINES: usize = 40;

pub(crate) fn run(ws: &Workspace, arguments: &[String]) -> Result {
    let update = match arguments {
        [] => false,
        [flag] if flag == "--update" => true,
        _ => {
            return Err(Error::new(format!("unknown arguments `{}`: only --update is", arguments.join(" "))));
        }
    };
    let mut changed = Vec::new();
    for member in ws.crates()? {
        let (path, items) = (format!("crates/{}/api.txt", member.name), public_items(ws, &member)?);
        let file = ws.root.join(&path);
        if update {
            fs::write(&file, items).map_err(|error| Error::new(format!("cannot write {path}: {error}")))?;
            continue;
        }
        let reviewed = fs::read_to_string(&file)
            .map_err(|error| Error::new(format!("cannot read {path}: {error} (`--update` writes it)")))?;
        if reviewed != items {
            eprint!("{path}:\n{}", difference(&reviewed, &items));
            changed.push(path);
        }
    }
    if changed.is_empty() {
        return Ok(());
    }
    let changed = changed.join(", ");
    Err(Error::new(format!(
        "other items are public than {changed} says; once it is meant: `cargo xtask api --update`"
    )))
}

/// The crate's public items with all features, one a line.
fn public_items(ws: &Workspace, member: &Member) -> Result<String> {
    let package = member.package_name()?;
    let target = ws.root.join("target/api");
    let mut command = ws.cargo();
    command.args(["rustdoc", "--quiet", "--lib", "--all-features", "--locked", "--package", package]);
    command.arg("--target-dir").arg(&target);
    command.args(["--", "-Zunstable-options", "--output-format=json", "--cap-lints=allow"]);
    process::run(command.env("RUSTC_BOOTSTRAP", "1"))?;
    let json = target.join(format!("doc/{}.json", package.replace('-', "_")));
    items_of(&json).map_err(|error| {
        let rustc = process::output(std::process::Command::new("rustc").arg("--version")).unwrap_or_default();
        Error::new(format!(
            "cannot read what rustdoc says of {package} ({error}): the public-api in Cargo.lock has to go with the compiler, {}",
            rustc.trim()
        ))
    })
}

fn items_of(json: &Path) -> std::result::Result<String, public_api::Error> {
    let api = public_api::Builder::from_rustdoc_json(json)
        .omit_auto_trait_impls(true)
        .omit_blanket_impls(true)
        .omit_auto_derived_impls(true)
        .build()?;
    Ok(api.items().fold(String::new(), |mut lines, item| {
        let _ = writeln!(lines, "{item}");
        lines
    }))
}

/// The lines that only one of the two has, in their order.
fn difference(reviewed: &str, items: &str) -> String {
    let only = |mark, of: &str, other: &str| {
        let others: std::collections::BTreeSet<&str> = other.lines().collect();
        of.lines()
            .filter(|line| !others.contains(line))
            .map(|line| format!("{mark} {line}\n"))
            .collect::<Vec<_>>()
    };
    let lines = [only('-', reviewed, items), only('+', items, reviewed)].concat();
    let rest = lines.len().saturating_sub(SHOWN_LINES);
    let more = if rest > 0 { format!("… and {rest} more\n") } else { String::new() };
    lines.into_iter().take(SHOWN_LINES).chain([more]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_gone_and_what_is_new_are_shown() {
        assert_eq!(difference("a\nb\nc\n", "a\nc\nd\n"), "- b\n+ d\n");
        assert_eq!(difference("a\n", "a\n"), "");
    }

    #[test]
    fn a_long_difference_is_cut_and_says_so() {
        let many: String = (0..SHOWN_LINES + 2).map(|n| format!("{n}\n")).collect();
        assert!(difference("", &many).ends_with("\n… and 2 more\n"));
    }
}
