//! `features`: each crate by itself builds with no feature, the default ones, each one alone, and all of them.
//!
//! One crate at a time (`--package`), because cargo unites the features that the members of a workspace ask of each
//! other: a crate that lacks one builds in the workspace and fails for whoever uses it alone. Clippy's front end does
//! the checking: it shares its results for dependencies with the step `clippy`. Sets that enable the same are built once.

use std::collections::BTreeSet;

use toml::{Table, Value};

use crate::error::{Error, Result};
use crate::process::run as run_command;
use crate::workspace::{Workspace, dependencies};

pub(crate) fn run(ws: &Workspace) -> Result {
    ws.require_subcommand("clippy", "clippy")?;
    let crates = ws.crates()?;
    if crates.is_empty() {
        return Err(Error::new("there is no crate in crates/"));
    }
    for member in crates {
        let package = member.package_name()?;
        for set in feature_sets(&member.manifest) {
            let mut command = ws.cargo();
            command.args(["clippy", "--quiet", "--locked", "--package", package]);
            run_command(command.args(set.flags()).args(["--", "-D", "warnings"]))?;
        }
    }
    Ok(())
}

/// A choice of features, as one gives it to cargo.
#[derive(Clone, Debug, PartialEq)]
enum FeatureSet {
    Default,
    None,
    One(String),
    All,
}

impl FeatureSet {
    fn flags(&self) -> Vec<&str> {
        match self {
            Self::Default => vec![],
            Self::None => vec!["--no-default-features"],
            Self::One(name) => vec!["--no-default-features", "--features", name],
            Self::All => vec!["--all-features"],
        }
    }
}

/// The sets to build, without those that enable what an earlier one does.
fn feature_sets(manifest: &Table) -> Vec<FeatureSet> {
    let names = feature_names(manifest);
    let enabled_by = |set: &FeatureSet| -> BTreeSet<String> {
        let words = match set {
            FeatureSet::None => BTreeSet::new(),
            FeatureSet::Default => enabled(manifest, ["default"]),
            FeatureSet::One(name) => enabled(manifest, [name.as_str()]),
            FeatureSet::All => enabled(manifest, names.iter().map(String::as_str)),
        };
        words.into_iter().map(str::to_owned).collect()
    };
    let alone = names.iter().cloned().map(FeatureSet::One);
    let mut seen = Vec::new();
    let mut sets: Vec<_> =
        [FeatureSet::Default, FeatureSet::None].into_iter().chain(alone).chain([FeatureSet::All]).collect();
    sets.retain(|set| {
        let enabled = enabled_by(set);
        let new = !seen.contains(&enabled);
        seen.push(enabled);
        new
    });
    sets
}

/// Every feature beside `default`: those in `[features]`, and optional dependencies that no feature names as `dep:`.
fn feature_names(manifest: &Table) -> BTreeSet<String> {
    let features = manifest.get("features").and_then(Value::as_table);
    let named: BTreeSet<&str> = features
        .iter()
        .flat_map(|table| table.values())
        .flat_map(items)
        .filter_map(|item| item.strip_prefix("dep:"))
        .collect();
    let explicit = features.iter().flat_map(|table| table.keys()).filter(|name| *name != "default").cloned();
    let implicit = dependencies(manifest)
        .filter(|dependency| dependency.value.get("optional").and_then(Value::as_bool) == Some(true))
        .map(|dependency| dependency.key.to_owned())
        .filter(|name| !named.contains(name.as_str()));
    explicit.chain(implicit).collect()
}

/// What `names` enable, in the words of `[features]`, directly or through one another; `default` itself is not counted.
fn enabled<'a>(manifest: &'a Table, names: impl IntoIterator<Item = &'a str>) -> BTreeSet<&'a str> {
    let features = manifest.get("features").and_then(Value::as_table);
    let mut enabled = BTreeSet::new();
    let mut pending: Vec<&str> = names.into_iter().collect();
    while let Some(name) = pending.pop() {
        if enabled.insert(name) {
            pending.extend(features.and_then(|table| table.get(name)).into_iter().flat_map(items));
        }
    }
    enabled.remove("default");
    enabled
}

fn items(value: &Value) -> impl Iterator<Item = &str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sets(manifest: &str) -> Vec<String> {
        feature_sets(&manifest.parse().unwrap()).iter().map(|set| set.flags().join(" ")).collect()
    }

    #[test]
    fn a_crate_without_features_is_built_once() {
        assert_eq!(sets("[package]"), [""]);
    }

    #[test]
    fn every_feature_is_built_alone() {
        let manifest = "
            [features]
            default = ['sync']
            sync = []
            async = ['dep:tokio']
            [dependencies]
            tokio = { workspace = true, optional = true }";
        // `sync` alone is what the default is.
        assert_eq!(
            sets(manifest),
            ["", "--no-default-features", "--no-default-features --features async", "--all-features"]
        );
    }

    #[test]
    fn an_optional_dependency_that_no_feature_names_is_a_feature() {
        let manifest = "
            [target.'cfg(unix)'.dependencies]
            rustix = { workspace = true, optional = true }";
        assert_eq!(sets(manifest), ["", "--no-default-features --features rustix"]);
    }

    #[test]
    fn a_feature_that_enables_another_is_built_apart_from_it() {
        let manifest = "
            [features]
            remote = ['wire']
            wire = []";
        assert_eq!(
            sets(manifest),
            ["", "--no-default-features --features remote", "--no-default-features --features wire"]
        );
    }
}
