//! What checks are about: the texts that they read, and the problems that they find.

use std::fmt;

#[cfg(test)]
use crate::workspace::Member;

/// Something that is not as it should be.
#[derive(Debug, PartialEq)]
pub(super) struct Problem {
    /// The file, or the line in it as `file:line`, or the package.
    pub(super) place: String,
    pub(super) message: String,
}

impl Problem {
    pub(super) fn new(place: impl Into<String>, message: impl Into<String>) -> Self {
        Self { place: place.into(), message: message.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

/// A text file that is tracked.
#[derive(Debug)]
pub(super) struct Text {
    /// Its path from the root.
    pub(super) path: String,
    pub(super) content: String,
}

impl Text {
    /// The file's lines, with their numbers.
    pub(super) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.content.lines().enumerate().map(|(index, line)| (index + 1, line))
    }
}

/// Builds a [`Text`] for the tests of the checks.
#[cfg(test)]
pub(super) fn text(path: &str, content: &str) -> Text {
    Text { path: path.to_owned(), content: content.to_owned() }
}

/// Builds a [`Member`] for the tests of the checks.
#[cfg(test)]
pub(super) fn member(name: &str, manifest: &str) -> Member {
    let path = format!("crates/{name}/Cargo.toml");
    Member { name: name.to_owned(), path, manifest: manifest.parse().unwrap() }
}

/// Problems as lines, for the tests of the checks.
#[cfg(test)]
pub(super) fn shown(problems: &[Problem]) -> Vec<String> {
    problems.iter().map(Problem::to_string).collect()
}
