//! Which tasks two registries do not share, so that an error can name them.
//!
//! Invariant: what a worker says of its names is bounded, and fits the first frame that it sends.

use serde::{Deserialize, Serialize};

use crate::registry::Registry;

/// A worker says no more of its names than this.
const NAMES_LIMIT_BYTES: usize = 32 << 10;

/// An error names so many tasks, and counts the rest.
const NAMED: usize = 8;

/// The names of a registry's tasks, sorted.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Names {
    names: Vec<String>,
    /// There are more behind the last.
    cut: bool,
}

impl Names {
    pub(crate) fn of(registry: &Registry) -> Self {
        let mut room = NAMES_LIMIT_BYTES;
        let mut said = Self::default();
        for name in registry.names() {
            match room.checked_sub(name.len() + 4) {
                Some(left) => room = left,
                None => {
                    said.cut = true;
                    break;
                }
            }
            said.names.push(name.to_owned());
        }
        said
    }

    /// The tasks that only this registry has, and those that only the other does, as far as the other has said.
    pub(crate) fn compare(&self, ours: &Registry) -> (Vec<String>, Vec<String>) {
        let last = if self.cut { self.names.last() } else { None };
        let was_said = |name: &&str| last.is_none_or(|last| **name <= **last);
        let theirs = |name: &&str| !self.names.iter().any(|theirs| theirs == name);
        let only_ours = ours.names().filter(was_said).filter(theirs).map(str::to_owned).collect();
        let is_theirs = |name: &&String| ours.entry(name).is_none();
        (only_ours, self.names.iter().filter(is_theirs).cloned().collect())
    }
}

/// What an error says of the tasks that one side lacks.
pub(crate) fn named(only_ours: &[String], only_theirs: &[String]) -> String {
    let mut text = String::new();
    for (who, names) in [("manager", only_ours), ("worker", only_theirs)] {
        if names.is_empty() {
            continue;
        }
        let first: Vec<_> = names.iter().take(NAMED).map(|name| format!("{name:?}")).collect();
        text += &format!("; only the {who} has {}", first.join(", "));
        if names.len() > NAMED {
            text += &format!(" and {} more", names.len() - NAMED);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_said_is_not_missing() {
        let said = Names { names: vec!["a".into(), "b".into()], cut: true };
        let none = (Vec::new(), vec!["a".to_owned(), "b".to_owned()]);
        assert_eq!(said.compare(&Registry::new()), none);
    }

    #[test]
    fn many_names_are_counted() {
        let many: Vec<_> = (0..10).map(|n| n.to_string()).collect();
        let text = named(&many, &["x".into()]);
        assert_eq!(
            text,
            "; only the manager has \"0\", \"1\", \"2\", \"3\", \"4\", \"5\", \"6\", \"7\" and 2 more; only the worker has \"x\""
        );
        assert_eq!(named(&[], &[]), "");
    }
}
