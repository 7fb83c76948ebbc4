//! The walk: from the paths on the command line to files.
//!
//! Invariants:
//! - A file is found once under each of its names, in whatever order the directories have. Names are made as `find`
//!   makes them, but for `-`, which is `./-`.
//! - A path that was given is followed if it is a symbolic link; below it, no link is.
//! - What cannot be walked is a [`Problem`] of its own, and so is a path that was given and is neither file nor
//!   directory. Below a directory, what is neither is passed over.
//! - A directory that is mounted below itself is walked once, and is a problem there, as it is for `find`.

use std::{
    collections::HashSet,
    fs::{self, Metadata},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use walkdir::{DirEntry, WalkDir};

use crate::name::{FileName, Problem, reason};

/// A regular file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) name: FileName,
    pub(crate) len_bytes: u64,
}

/// Which file it is, whatever it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino() }
    }
}

/// The files at and below some paths.
pub(crate) struct Walk {
    paths: std::vec::IntoIter<PathBuf>,
    below: Option<walkdir::IntoIter>,
    /// The directory that was given, and those between it and what was found last.
    above: Vec<FileId>,
    /// The directory that was given.
    given: PathBuf,
    left_out: Option<FileId>,
    /// What was found, if two of the paths could lead to one name.
    seen: Option<HashSet<FileName>>,
}

impl Walk {
    /// `left_out` is passed over: the file that the manifest is written to changes by that.
    pub(crate) fn new(paths: Vec<PathBuf>, left_out: Option<FileId>) -> Self {
        let seen = (paths.len() > 1).then(HashSet::new);
        Self {
            paths: paths.into_iter(),
            below: None,
            above: Vec::new(),
            given: PathBuf::new(),
            left_out,
            seen,
        }
    }

    fn start(&mut self, path: PathBuf) -> Option<Result<Found, Problem>> {
        match fs::metadata(&path) {
            Ok(metadata) if metadata.is_file() => self.file(path, &metadata).map(Ok),
            Ok(metadata) if metadata.is_dir() => {
                self.above = vec![FileId::of(&metadata)];
                self.given.clone_from(&path);
                self.below = Some(WalkDir::new(path).min_depth(1).into_iter());
                None
            }
            Ok(_) => Some(Err(problem(&path, "neither a regular file nor a directory".into()))),
            Err(error) => Some(Err(problem(&path, reason(&error)))),
        }
    }

    fn entry(&mut self, entry: walkdir::Result<DirEntry>) -> Option<Result<Found, Problem>> {
        let found = entry.and_then(|entry| match entry.file_type() {
            kind if kind.is_file() => {
                let metadata = entry.metadata()?;
                Ok(self.file(entry.into_path(), &metadata).map(Ok))
            }
            kind if kind.is_dir() => Ok(self.directory(&entry).map(Err)),
            _ => Ok(None),
        });
        found.unwrap_or_else(|error| {
            // An error amid the entries of a directory does not say of which.
            let path = error.path().unwrap_or(&self.given).to_owned();
            let error = error.into_io_error().unwrap_or_else(|| io::Error::other("it cannot be walked"));
            Some(Err(problem(&path, reason(&error))))
        })
    }

    /// Keeps a directory from being walked within itself.
    fn directory(&mut self, entry: &DirEntry) -> Option<Problem> {
        self.above.truncate(entry.depth());
        // If nobody can look at it, nobody can go there, and that is the next error.
        let id = FileId::of(&entry.metadata().ok()?);
        if !self.above.contains(&id) {
            self.above.push(id);
            return None;
        }
        if let Some(below) = &mut self.below {
            below.skip_current_dir();
        }
        Some(problem(entry.path(), "a directory that it is in is mounted here".into()))
    }

    fn file(&mut self, path: PathBuf, metadata: &Metadata) -> Option<Found> {
        if self.left_out == Some(FileId::of(metadata)) {
            return None;
        }
        // A manifest's reader takes a name that is `-` for its standard input.
        let path = if path == Path::new("-") { PathBuf::from("./-") } else { path };
        let name = FileName::from(path);
        let is_new = self.seen.as_mut().is_none_or(|seen| seen.insert(name.clone()));
        is_new.then_some(Found { name, len_bytes: metadata.len() })
    }
}

impl Iterator for Walk {
    type Item = Result<Found, Problem>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let found = match self.below.as_mut().and_then(Iterator::next) {
                Some(entry) => self.entry(entry),
                None => {
                    let path = self.paths.next()?;
                    self.start(path)
                }
            };
            if found.is_some() {
                return found;
            }
        }
    }
}

fn problem(path: &Path, reason: String) -> Problem {
    Problem { name: FileName::from(path.to_owned()), reason }
}

#[cfg(test)]
mod tests {
    use std::os::unix::{fs::symlink, net::UnixListener};

    use tempfile::{TempDir, tempdir};

    use super::*;

    /// A directory with `a`, `b/c`, links to both, a broken link and a socket.
    fn tree() -> TempDir {
        let directory = tempdir().expect("a directory");
        let at = |name: &str| directory.path().join(name);
        fs::write(at("a"), "1").expect("a file");
        fs::create_dir(at("b")).expect("a directory");
        fs::write(at("b/c"), "22").expect("a file");
        symlink("a", at("to-a")).expect("a link");
        symlink("b", at("to-b")).expect("a link");
        symlink("nowhere", at("to-nowhere")).expect("a link");
        // The name stays when the listener goes.
        UnixListener::bind(at("socket")).expect("a socket");
        directory
    }

    /// What is found at these paths in the tree, sorted, as `name size` or `name: reason`.
    fn found(tree: &TempDir, paths: &[&str], left_out: Option<FileId>) -> Vec<String> {
        let root = format!("{}/", tree.path().display());
        let paths = paths.iter().map(|path| tree.path().join(path)).collect();
        let mut found: Vec<String> = Walk::new(paths, left_out)
            .map(|found| match found {
                Ok(file) => format!("{} {}", file.name, file.len_bytes),
                Err(problem) => problem.to_string(),
            })
            .map(|line| line.replace(&root, ""))
            .collect();
        found.sort();
        found
    }

    #[test]
    fn below_a_directory_links_and_sockets_are_passed_over() {
        assert_eq!(found(&tree(), &[""], None), ["a 1", "b/c 2"]);
    }

    #[test]
    fn links_that_are_given_are_followed() {
        assert_eq!(found(&tree(), &["to-a", "to-b"], None), ["to-a 1", "to-b/c 2"]);
    }

    #[test]
    fn what_is_given_and_cannot_be_digested_has_a_reason() {
        let expected = [
            "a 1",
            "gone: No such file or directory",
            "socket: neither a regular file nor a directory",
            "to-nowhere: No such file or directory",
        ];
        assert_eq!(found(&tree(), &["gone", "socket", "a", "to-nowhere"], None), expected);
    }

    #[test]
    fn a_name_is_found_once_however_many_paths_lead_there() {
        assert_eq!(found(&tree(), &["b", "a", "", "b/c", "a"], None), ["a 1", "b/c 2"]);
    }

    #[test]
    fn what_is_left_out_is_not_found_under_any_name() {
        let tree = tree();
        let left_out = FileId::of(&fs::metadata(tree.path().join("a")).expect("it is there"));
        assert_eq!(found(&tree, &["", "to-a", "a"], Some(left_out)), ["b/c 2"]);
    }
}
