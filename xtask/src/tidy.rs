//! `tidy`: what no lint can check.
//!
//! Each check is a function from data to the problems it finds, so that its tests can show it bad input; this file
//! gathers the data. All checks run, whatever the others find, and every problem is reported.

mod arrows;
mod budgets;
mod code_map;
mod errors;
mod headers;
mod layers;
mod links;
mod loom;
mod manifests;
mod origins;
mod problem;
mod readmes;
mod setters;
mod sizes;
mod texts;
mod twins;

use std::collections::BTreeMap;
use std::fs;

use crate::error::{Error, Result};
use crate::workspace::{Member, Workspace};
use problem::Text;

/// Runs all checks. `steps` are the names of what `cargo xtask` can do.
///
/// # Errors
/// A check found a problem; or what it needs cannot be read.
pub(crate) fn run<'a>(ws: &Workspace, steps: impl Iterator<Item = &'a str>) -> Result {
    let files = ws.files()?;
    let mut texts = Vec::new();
    let mut file_sizes = Vec::new();
    for path in &files {
        let (size, text) = read(ws, path)?;
        file_sizes.push((path.as_str(), size));
        texts.extend(text.map(|content| Text { path: path.clone(), content }));
    }
    let crates = ws.crates()?;
    if crates.is_empty() {
        return Err(Error::new("there is no crate in crates/"));
    }
    let xtask = ws.member("xtask", "xtask")?;
    let members: Vec<&Member> = crates.iter().chain([&xtask]).collect();
    let benches = ws.member("benches", "benches")?;
    let root = ws.manifest("Cargo.toml")?;
    let crate_names: Vec<&str> = crates.iter().map(|member| member.name.as_str()).collect();
    let mut packages = BTreeMap::new();
    for member in &crates {
        packages.insert(member.package_name()?, member.name.as_str());
    }
    let architecture = texts.iter().find(|text| text.path == code_map::FILE);

    let mut problems = headers::check(&texts);
    problems.extend(errors::check(&texts));
    problems.extend(layers::check(&root, members.iter().copied().chain([&benches])));
    problems.extend(manifests::check(members.iter().copied()));
    problems.extend(readmes::check(&root, &crates, &texts));
    problems.extend(code_map::check(architecture, &crate_names));
    problems.extend(sizes::check(&file_sizes));
    problems.extend(texts::check(&texts));
    problems.extend(links::check(&texts, &files));
    problems.extend(arrows::check(&texts));
    problems.extend(loom::check(&texts, steps));
    problems.extend(origins::check(&texts, &packages));
    problems.extend(setters::check(&texts));
    problems.extend(twins::check(&texts, &packages));
    problems.extend(budgets::check(ws, &crates)?);

    let found = match problems.len() {
        0 => return Ok(()),
        1 => "1 problem".to_owned(),
        n => format!("{n} problems"),
    };
    for problem in problems {
        eprintln!("{problem}");
    }
    Err(Error::new(found))
}

/// The size of a file in bytes, and its content if that is text. A symbolic link has neither.
fn read(ws: &Workspace, path: &str) -> Result<(u64, Option<String>)> {
    let unreadable = |error| Error::new(format!("cannot read {path}: {error}"));
    let full = ws.root.join(path);
    let size_bytes = match full.symlink_metadata().map_err(unreadable)? {
        meta if meta.is_symlink() => return Ok((0, None)),
        meta => meta.len(),
    };
    // What is too large to be tracked is not worth reading: `sizes` reports it.
    if size_bytes > sizes::LIMIT_BYTES {
        return Ok((size_bytes, None));
    }
    let bytes = fs::read(&full).map_err(unreadable)?;
    let text = (!bytes.contains(&0)).then(|| String::from_utf8_lossy(&bytes).into_owned());
    Ok((size_bytes, text))
}
