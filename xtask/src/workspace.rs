//! What is in the workspace: its files and its crates, as the checks want them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use toml::{Table, Value};

use crate::error::{Error, Result};
use crate::process;

/// The workspace that this program belongs to.
#[derive(Debug)]
pub(crate) struct Workspace {
    /// Its absolute path.
    pub(crate) root: PathBuf,
}

/// One package of the workspace.
#[derive(Debug)]
pub(crate) struct Member {
    /// The name of its directory.
    pub(crate) name: String,
    /// Its manifest's path, from the root of the workspace.
    pub(crate) path: String,
    pub(crate) manifest: Table,
}

impl Member {
    /// The package's name as its manifest has it.
    ///
    /// # Errors
    /// The manifest has none.
    pub(crate) fn package_name(&self) -> Result<&str> {
        let package = self.manifest.get("package").and_then(|package| package.get("name"));
        package
            .and_then(Value::as_str)
            .ok_or_else(|| Error::new(format!("{} has no package.name", self.path)))
    }
}

/// One dependency as a manifest has it.
pub(crate) struct Dependency<'a> {
    /// The table it stands in, such as `dev-dependencies`.
    pub(crate) table: String,
    /// Its key there: the package's name, unless the value renames it.
    pub(crate) key: &'a str,
    pub(crate) value: &'a Value,
}

/// Every dependency of a manifest: normal, dev and build, of all targets and of one.
pub(crate) fn dependencies(manifest: &Table) -> impl Iterator<Item = Dependency<'_>> {
    let targets = manifest.get("target").and_then(Value::as_table).into_iter().flatten();
    let targets =
        targets.filter_map(|(target, value)| Some((format!("target.'{target}'."), value.as_table()?)));
    std::iter::once((String::new(), manifest)).chain(targets).flat_map(|(prefix, tables)| {
        ["dependencies", "dev-dependencies", "build-dependencies"].into_iter().flat_map(move |kind| {
            let table = format!("{prefix}{kind}");
            let entries = tables.get(kind).and_then(Value::as_table).into_iter().flatten();
            entries.map(move |(key, value)| Dependency { table: table.clone(), key, value })
        })
    })
}

impl Workspace {
    /// Finds the root: the directory above this package's.
    ///
    /// # Errors
    /// There is no manifest in it.
    pub(crate) fn find() -> Result<Self> {
        // Cargo sets the variable when it runs this program; a program that is started otherwise knows where it was built.
        let package =
            std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
        let root = Path::new(&package).parent().unwrap_or(Path::new("/")).to_owned();
        if !root.join("Cargo.toml").is_file() {
            return Err(Error::new(format!("{} is not the root of the workspace", root.display())));
        }
        Ok(Self { root })
    }

    /// Cargo, in the root: the one that runs this program, so that the toolchain stays the same.
    pub(crate) fn cargo(&self) -> Command {
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.current_dir(&self.root);
        if std::env::var_os("CI").is_some() {
            // A clean checkout is built once: what incremental compilation keeps for the next time only fills its disk.
            command.env("CARGO_INCREMENTAL", "0");
        }
        command
    }

    /// Makes sure that cargo has `subcommand`, which comes with the rustup component `component`.
    ///
    /// # Errors
    /// It has not; the error says how to install it.
    pub(crate) fn require_subcommand(&self, subcommand: &str, component: &str) -> Result {
        process::output(self.cargo().args([subcommand, "--version"])).map(drop).map_err(|error| {
            Error::new(format!(
                "`cargo {subcommand}` is missing: install it with `rustup component add {component}`\n{error}"
            ))
        })
    }

    /// The manifest of the benchmarks' own workspace.
    pub(crate) fn benches_manifest(&self) -> PathBuf {
        self.root.join("benches/Cargo.toml")
    }

    /// `path` as seen from the root.
    pub(crate) fn relative<'a>(&self, path: &'a Path) -> &'a Path {
        path.strip_prefix(&self.root).unwrap_or(path)
    }

    /// The packages in `crates/`, by name.
    ///
    /// # Errors
    /// A directory or a manifest cannot be read.
    pub(crate) fn crates(&self) -> Result<Vec<Member>> {
        let directory = self.root.join("crates");
        let unreadable = |error| Error::new(format!("cannot read {}: {error}", directory.display()));
        let mut members = Vec::new();
        for entry in fs::read_dir(&directory).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let name = entry.file_name().into_string().map_err(|name| {
                Error::new(format!("the name of the directory crates/{} is not UTF-8", name.display()))
            })?;
            if entry.path().join("Cargo.toml").is_file() {
                members.push(self.member(&name, &format!("crates/{name}"))?);
            }
        }
        members.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(members)
    }

    /// The package in `directory`, under the name `name`.
    ///
    /// # Errors
    /// Its manifest cannot be read.
    pub(crate) fn member(&self, name: &str, directory: &str) -> Result<Member> {
        let path = format!("{directory}/Cargo.toml");
        Ok(Member { name: name.to_owned(), manifest: self.manifest(&path)?, path })
    }

    /// The TOML file at `path`, seen from the root.
    ///
    /// # Errors
    /// It cannot be read, or is not TOML.
    pub(crate) fn manifest(&self, path: &str) -> Result<Table> {
        let text = fs::read_to_string(self.root.join(path))
            .map_err(|error| Error::new(format!("cannot read {path}: {error}")))?;
        text.parse().map_err(|error| Error::new(format!("{path} is not TOML: {error}")))
    }

    /// The files that git tracks, or would if they were added: paths from the root, sorted.
    ///
    /// # Errors
    /// Git is missing, or this is not a git repository.
    pub(crate) fn files(&self) -> Result<Vec<String>> {
        let mut git = Command::new("git");
        git.current_dir(&self.root).args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
        let listing = process::output(&mut git)?;
        // A file that is deleted but still in the index is not there; a submodule would be a directory.
        let is_there = |path: &&str| self.root.join(path).symlink_metadata().is_ok_and(|meta| !meta.is_dir());
        let mut files: Vec<String> =
            listing.split_terminator('\0').filter(is_there).map(str::to_owned).collect();
        files.sort_unstable();
        files.dedup();
        Ok(files)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_of_every_kind_and_target_are_found() {
        let manifest: Table = "
            [dependencies]
            a.workspace = true
            [dev-dependencies]
            b.workspace = true
            [build-dependencies]
            c.workspace = true
            [target.'cfg(unix)'.dependencies]
            d.workspace = true
            [target.'cfg(windows)'.dev-dependencies]
            e.workspace = true"
            .parse()
            .unwrap();
        let mut found: Vec<_> = dependencies(&manifest).map(|d| format!("{} {}", d.table, d.key)).collect();
        found.sort_unstable();
        assert_eq!(
            found,
            [
                "build-dependencies c",
                "dependencies a",
                "dev-dependencies b",
                "target.'cfg(unix)'.dependencies d",
                "target.'cfg(windows)'.dev-dependencies e",
            ]
        );
    }
}
